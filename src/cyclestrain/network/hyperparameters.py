"""What tuning may change of a network and its training, and within which range."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from cyclestrain.network.settings import NetworkSettings, TrainingSettings

__all__ = ["SPACE", "WIDTHS", "Choices", "HyperParameters", "Range"]


@dataclass(frozen=True)
class Range:
    """Positive numbers from `low` to `high`, searched on a logarithmic scale."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and math.isfinite(value) and self.low <= value <= self.high


Choices: TypeAlias = tuple[int, ...]
"""A few values to choose from."""

SPACE: Mapping[str, Range | Choices] = {
    "learning_rate": Range(1e-3, 2e-2),
    "channels": (4, 8, 16),
    "glance_features": (12, 24, 48),
    "gaze_features": (14, 28, 56),
    "forward": Range(0.01, 1.0),
    "cycle": Range(0.1, 10.0),
    "choice": Range(0.01, 1.0),
    "sparsity": Range(1e-5, 1e-3),
    "mask_margin": Range(1.0, 9.0),
    "shrink": (False, True),
}
"""Where tuning looks; the defaults lie within."""
WIDTHS = ("channels", "glance_features", "gaze_features")
"""Those that are the network's: they cannot change where its weights come from another one."""
_WEIGHTS = ("forward", "cycle", "choice", "sparsity")
_TRAINING = ("learning_rate", "mask_margin", "shrink")


@dataclass(frozen=True)
class HyperParameters:
    """One choice of everything that is tuned.

    Attributes
    ----------
    learning_rate, mask_margin, shrink
        As in `TrainingSettings`.
    channels, glance_features, gaze_features
        As in `NetworkSettings`.
    forward, cycle, choice, sparsity
        As in `LossWeights`; only ratios to the inverse direction matter, whose weight is one.
    """

    learning_rate: float
    channels: int
    glance_features: int
    gaze_features: int
    forward: float
    cycle: float
    choice: float
    sparsity: float
    mask_margin: float
    shrink: bool

    @classmethod
    def of(cls, training: TrainingSettings, shape: NetworkSettings) -> HyperParameters:
        """Those that settings hold.

        Parameters
        ----------
        training, shape
            Settings of a training and of a network.

        Examples
        --------
        >>> HyperParameters.of(TrainingSettings(), NetworkSettings()).learning_rate
        0.005
        """
        groups = ((training, _TRAINING), (shape, WIDTHS), (training.weights, _WEIGHTS))
        return cls(**{name: getattr(group, name) for group, names in groups for name in names})

    @classmethod
    def from_json(cls, text: str) -> HyperParameters:
        """Read back what `to_json` wrote.

        Parameters
        ----------
        text
            What was written.

        Raises
        ------
        ValueError
            If it is not that, or a value lies outside of `SPACE`.
        """
        given = json.loads(text)
        if not isinstance(given, dict) or given.keys() != SPACE.keys():
            raise ValueError(f"hyper-parameters are {', '.join(SPACE)}")
        return cls(**{name: _within(name, value) for name, value in given.items()})

    def to_json(self) -> str:
        """All of them as text."""
        return json.dumps(asdict(self))

    def training(self, base: TrainingSettings) -> TrainingSettings:
        """Settings of a training with these hyper-parameters, all else as in `base`."""
        weights = replace(base.weights, **{name: getattr(self, name) for name in _WEIGHTS})
        return replace(base, weights=weights, **{name: getattr(self, name) for name in _TRAINING})

    def shape(self, base: NetworkSettings) -> NetworkSettings:
        """Shape of a network with these hyper-parameters, all else as in `base`."""
        return replace(base, **{name: getattr(self, name) for name in WIDTHS})

    @property
    def text(self) -> str:
        """All of them in one line."""
        masks = f"masks that shrink to {self.mask_margin:.3g} sigma" if self.shrink else "masks that do not shrink"
        return (
            f"learning rate {self.learning_rate:.3g}, {self.channels} channels, {self.glance_features} and "
            f"{self.gaze_features} features, weights forward {self.forward:.3g}, cycle {self.cycle:.3g}, choice "
            f"{self.choice:.3g}, sparsity {self.sparsity:.3g}, {masks}"
        )


def _within(name: str, value: object) -> Any:
    space = SPACE[name]
    if value not in space:
        raise ValueError(f"{name} cannot be {value}")
    return value if isinstance(space, Range) else next(choice for choice in space if choice == value)
