"""The fit as a function of LiberTEM gives what the first pass gives, bit by bit, on any of its data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cyclestrain.data import Block
from cyclestrain.estimation import first_look, fit_alone
from cyclestrain.streaming.so_far import preview_strain

api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed: pip install 'cyclestrain[live]'")

from cyclestrain.streaming.fit_udf import FitUDF, fit_of  # noqa: E402

# LiberTEM asks for as many threads as there are cores, and says so where Numba was told to use fewer.
pytestmark = pytest.mark.filterwarnings("ignore:Attempting to set threads:UserWarning")


@pytest.fixture(scope="module")
def context() -> Any:
    return api.Context.make_with("inline")


def test_the_udf_is_the_first_pass(context: Any, sample: Any) -> None:
    patterns, positions = sample.patterns[:6], np.arange(120)
    block = Block(positions, patterns.reshape(-1, *patterns.shape[2:]))
    expected = fit_alone(block, first_look(block, sample.knowledge), sample.knowledge)
    data = context.load("memory", data=patterns, num_partitions=3, sig_dims=2)
    found = context.run_udf(dataset=data, udf=FitUDF(sample.knowledge))
    for name, values in fit_of(found, positions).arrays.items():
        np.testing.assert_array_equal(values, expected.arrays[name], err_msg=name)
    assert found["affine"].data.shape == (6, 20, 2, 2)
    assert found["valid"].data.mean() > 0.9
    np.testing.assert_array_equal(found["strain"].raw_data, preview_strain(expected.affine))


def test_vacuum_is_not_valid(context: Any, sample: Any) -> None:
    empty = np.random.default_rng(0).poisson(0.1, (2, 20, 96, 96)).astype(np.uint16)
    data = context.load("memory", data=empty, num_partitions=1, sig_dims=2)
    assert not context.run_udf(dataset=data, udf=FitUDF(sample.knowledge))["valid"].data.any()


def test_a_region_and_reversed_rows(context: Any, sample: Any) -> None:
    """LiberTEM has the rows of a Merlin in the other order; of a region, each position knows where it is."""
    patterns = np.ascontiguousarray(sample.patterns[:4, :, ::-1])
    region = np.zeros((4, 20), bool)
    region[1, 3:9] = region[3, 5] = True
    block = Block(np.flatnonzero(region), sample.patterns[:4][region])
    expected = fit_alone(block, first_look(block, sample.knowledge), sample.knowledge)
    data = context.load("memory", data=patterns, num_partitions=2, sig_dims=2)
    found = context.run_udf(dataset=data, udf=FitUDF(sample.knowledge, flip=True), roi=region)
    np.testing.assert_array_equal(found["affine"].raw_data, expected.affine)
    np.testing.assert_array_equal(found["label"].raw_data, expected.label)
    assert np.isnan(found["affine"].data[0, 0]).all()
