"""What is learned of a class from single patterns and from sums over neighbours."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

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
