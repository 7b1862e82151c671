"""Whether loops are compiled is told from what numba keeps on disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyclestrain.estimation import compiling


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that stands for that of numba, and is empty."""
    loop: Any = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)), py_func=compiling.is_compiled)
    monkeypatch.setattr(compiling, "fit_patterns", loop)
    return tmp_path


def test_nothing_is_compiled_after_an_installation(folder: Path) -> None:
    assert compiling.cache_folder() == folder
    assert not compiling.is_compiled()


def test_what_is_older_than_the_installation_does_not_count(folder: Path) -> None:
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    index = folder / f"likelihood.fit_patterns-1.{version}.nbi"
    index.touch()
    assert compiling.is_compiled()
    os.utime(index, (0, 0))
    assert not compiling.is_compiled()
    (folder / "likelihood.fit_patterns-1.py20.nbi").touch()
    assert not compiling.is_compiled()


def test_where_nothing_is_kept_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "fit_patterns", lambda: None)  # as with NUMBA_DISABLE_JIT
    assert compiling.cache_folder() is None
    assert compiling.is_compiled()
