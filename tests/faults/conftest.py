"""Fixtures that several tests of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.models import save_small_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a small model."""
    return save_small_model(tmp_path_factory.mktemp("model") / "m.safetensors")
