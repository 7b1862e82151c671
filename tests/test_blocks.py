"""Blocks: what is found does not depend on how a scan was cut, and the next one is read while one is worked on."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cyclestrain.context import smooth
from cyclestrain.data import Scan
from cyclestrain.fitting import Knowledge, fit_scan, revisit, to_fields
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulate import polycrystal


@dataclass
class Stored:
    """Patterns that are read, not just looked at, as those of a file."""

    patterns: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.patterns.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.patterns.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return self.patterns[key].copy()


@pytest.fixture(scope="module", params=[1.5e4, 6e3])
def faint(request: pytest.FixtureRequest) -> tuple[Scan, Knowledge]:
    """A scan with few counts, most of whose patterns are fitted from sums with 8, or 24, neighbours."""
    options = {"scan": (9, 11), "detector": (96, 96), "grain_size": 60.0, "radius": 3.0}
    made = polycrystal(**options, background=0.6, counts=request.param, seed=3)  # type: ignore[arg-type]
    scan, knowledge = prepare(made.scan, MapSettings(), SilentProgress())
    return replace(scan, source=Stored(np.asarray(scan.source))), knowledge


def outcome(scan: Scan, knowledge: Knowledge, patterns_per_block: int) -> dict[str, NDArray[Any]]:
    limited = replace(scan, memory_bytes=16 * patterns_per_block * scan.pattern_bytes)
    store = fit_scan(limited, knowledge, lambda n: None)
    fields = to_fields(store, scan.scan_shape, knowledge.dictionary)
    mixtures = revisit(limited, knowledge, store, smooth(fields.affine), lambda n: None)
    return vars(store) | {name: value for name, value in vars(mixtures).items() if isinstance(value, np.ndarray)}


@pytest.mark.parametrize("patterns_per_block", [1, 4, 11, 33, 60])
def test_results_do_not_depend_on_the_memory_limit(faint: tuple[Scan, Knowledge], patterns_per_block: int) -> None:
    scan, knowledge = faint
    whole, cut = outcome(scan, knowledge, scan.n_positions), outcome(scan, knowledge, patterns_per_block)
    assert np.median(whole["significance"]) < 10.0
    for name, expected in whole.items():
        np.testing.assert_array_equal(cut[name], expected, err_msg=name)


class Slow(Stored):
    """Tells when a read begins."""

    def __init__(self, patterns: NDArray[Any]) -> None:
        super().__init__(patterns)
        self.begun = [threading.Event() for _ in range(len(patterns))]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        self.begun[key.start].set()
        return super().__getitem__(key)


def test_one_block_is_read_ahead_and_no_more() -> None:
    source = Slow(np.random.default_rng(0).poisson(3, (5, 4, 16, 16)))
    scan = Scan(source)
    for row, block in enumerate(scan.blocks(4 * scan.pattern_bytes)):
        np.testing.assert_array_equal(block.patterns, source.patterns[row])
        if row + 1 < 5:
            assert source.begun[row + 1].wait(10)
        assert not any(event.is_set() for event in source.begun[row + 2 :])


def test_an_error_while_reading_ahead_arrives() -> None:
    class Broken(Slow):
        def __getitem__(self, key: Any) -> NDArray[Any]:
            if key.start == 2:
                raise OSError("gone")
            return super().__getitem__(key)

    scan = Scan(Broken(np.ones((4, 4, 16, 16))))
    blocks = scan.blocks(4 * scan.pattern_bytes)
    assert [int(next(blocks).positions[0]) for _ in range(2)] == [0, 4]
    with pytest.raises(OSError, match="gone"):
        next(blocks)
