"""Damaged files of every kind: read or refused with a sentence, in time, within memory; never a crash or a hang."""

from pathlib import Path

import pytest

from fuzz.harness import inputs, try_all
from fuzz.samples import DATA, FURTHER, MEASURED, OWN, ROSETTASCIIO, Sample

pytest.importorskip("resource")  # limits of Unix

EVERY_RUN, CAMPAIGN = 4, 400


def judge(samples: tuple[Sample, ...], folder: Path, n: int, seed: int) -> None:
    paths = [
        path for index, sample in enumerate(samples) for path in inputs(sample, folder / str(index), n, seed + index)
    ]
    verdict = try_all(paths)
    assert not verdict.wrong, "\n".join(verdict.wrong)
    assert sum(verdict.counts.values()) == len(paths)
    assert verdict.counts["refused"] > 0.02 * len(paths)  # damage is noticed, though not where it is in a pattern


def test_damaged_files_that_we_can_write(tmp_path):
    judge(OWN, tmp_path, EVERY_RUN, seed=0)


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data with measured files is not here")
def test_damaged_files_of_instruments(tmp_path):
    judge(MEASURED, tmp_path, 2, seed=100)


@pytest.mark.slow
@pytest.mark.parametrize("sample", OWN, ids=lambda sample: sample.name)
def test_campaign_on_files_that_we_can_write(tmp_path, sample):
    judge((sample,), tmp_path, CAMPAIGN, seed=1000)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder ../shared/data with measured files is not here")
@pytest.mark.parametrize("sample", MEASURED, ids=lambda sample: sample.name)
def test_campaign_on_files_of_instruments(tmp_path, sample):
    judge((sample,), tmp_path, CAMPAIGN, seed=2000)


@pytest.mark.slow
@pytest.mark.skipif(not ROSETTASCIIO.is_dir(), reason="ROSETTASCIIO_DATA names no folder with the files of its tests")
@pytest.mark.parametrize("sample", FURTHER, ids=lambda sample: sample.name)
def test_campaign_on_files_of_rosettasciio(tmp_path, sample):
    judge((sample,), tmp_path, CAMPAIGN, seed=3000)
