"""Patterns as a file has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
