"""Positions whose disks reach the end of the detector's scale are told, those with a cut direct beam only are not."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.data import Doubt, Scan
from cyclestrain.estimation import first_pass, to_fields
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import uniform


@pytest.mark.parametrize(("end", "share"), [(None, 0.0), (60, 0.0), (8, 1.0)])
def test_saturated_disks_are_told(end: int | None, share: float) -> None:
    made = uniform(scan=(6, 6), detector=(128, 128), background=0.3, seed=1)
    counts = np.asarray(made.scan.source)
    cut = counts if end is None else np.minimum(counts, end)
    scan, knowledge = prepare(Scan(cut, name="scan"), MapSettings(), SilentProgress())
    fields = to_fields(first_pass(scan, knowledge, lambda n: None), scan.scan_shape, knowledge.dictionary)
    assert fields.doubt is not None
    assert ((fields.doubt & int(Doubt.SATURATION)) > 0).mean() == share
    assert np.isfinite(knowledge.calibration.ceiling) == (end is not None)
