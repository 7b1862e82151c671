"""What is learned of a class from single patterns and from sums over neighbours."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cyclestrain as cs
import strangers as st

module: Any = import_module("cyclestrain.learning.learn")  # the package gives its function the same name


@pytest.mark.parametrize(
    ("alone", "summed", "expected"), [(1.0, 1.9, "alone"), (1.0, 1.2, "summed"), (3.0, 1.9, "summed")]
)
def test_sums_replace_single_patterns_only_where_they_explain_theirs(
    monkeypatch: pytest.MonkeyPatch, alone: float, summed: float, expected: str
) -> None:
    """A tilted crystal varies so much that it looks faint; sums of its patterns gave a false lattice."""
    given = {"alone": alone, "summed": summed}
    monkeypatch.setattr(module, "learn_entry", lambda lesson, *_, **__: (lesson, given[lesson]))
    monkeypatch.setattr(module, "_or_overlapping", lambda found, *_: found)
    monkeypatch.setattr(module, "is_scarce", lambda *_: True)
    sources: Any = [SimpleNamespace(thetas=np.zeros((9, 1)), lesson=name) for name in given]
    found = module._learn_class(sources, None, np.random.default_rng(0), noise=1.0, probe=None)
    assert isinstance(found, module._Learned)
    assert found.source.lesson == expected


def test_both_of_two_mirror_twins_are_learned() -> None:
    """A twin of an oblique lattice has the lengths of its partner, but none of its rotations."""
    one = st.phase((0.0, 14.0), (16.0, 3.7), 2, reach=44.0, seed=1)
    other = st.Phase(one.reflections * np.array([1.0, -1.0]), one.intensity, 2)
    half = (np.arange(14) >= 7).astype(np.int64)[None] + np.zeros((14, 1), np.int64)
    y, x = np.indices((14, 14))
    gradient = st.deformed(0.003 * np.sin(x / 4), 0.003 * np.cos(y / 4), 0.0, 12.0)
    made = st.stranger(
        [one, other],
        st.field(gradient, half),
        probe=st.disk(3.0),
        detector=(96, 96),
        background=st.lorentzian(15),
        seed=4,
    )
    maps = cs.map(made.counts, ellipse=(1.0, 0.0), progress=False)
    assert maps.sizes["entry"] == 2
    assert maps["valid"].values.all()
    assert (np.sqrt((made.z(maps, "_raw") ** 2).mean(1)) < 1.25).all()
