"""What a user may set: one frozen, validated object, stored resolved in every result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["FitSettings", "LearnSettings", "MapSettings", "ReadSettings"]

PositiveFloat = Annotated[float, Field(gt=0)]


class LearnSettings(BaseModel):
    """What `cyclestrain.fit` and `cyclestrain.map` have in common; every ``None`` means "measure it from the data"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    centre: tuple[float, float] | None = None
    """Beam centre ``(y, x)`` in detector pixels."""
    ring: tuple[float, float] | None = None
    """Inner and outer radius in pixels of the detector ring that is used."""
    classes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Largest number of dictionary entries."""
    seed: int = 0
    """Seed of every random choice."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch computes."""


class FitSettings(LearnSettings):
    """Settings of `cyclestrain.fit`."""

    init_from: str | None = None
    """Model whose dictionary and network to start from."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Largest number of training epochs."""


class MapSettings(LearnSettings):
    """Settings of `cyclestrain.map`."""

    reference: str = "auto"
    """``auto`` (largest coherent area), a region ``ry0:ry1,rx0:rx1`` or a boolean ``mask.npy`` of the scan's shape."""
    axes: Literal["detector", "scan", "crystal"] = "detector"
    """Axes in which strain is given."""
    scan_rotation: float | None = None
    """Angle of the scan axes in detector axes, degrees, positive from +x to +y; default from the file."""
    ellipse: tuple[PositiveFloat, float] | None = None
    """Elliptic distortion of the detector: ratio of the axes, and angle in degrees of the long one from +x to +y."""
    until: Literal["network", "refine", "context"] = "context"
    """Last stage to run."""
    model: str | None = None
    """Model that is applied instead of learning."""


class ReadSettings(BaseModel):
    """How the file of a scan is read, see `cyclestrain.read`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str | None = None
    """Name of the array in a file that holds several."""
    scan_shape: tuple[int, int] | None = None
    """``(ry, rx)`` for files that hold a plain stack of patterns, without flyback."""
    shape: tuple[int, ...] | None = None
    """Shape of the numbers in a raw binary file."""
    dtype: str | None = None
    """Type of the numbers in a raw binary file."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes before the first number of a raw binary file."""
    order: Literal["C", "F"] = "C"
    """Whether the last (``C``) or the first axis of a raw binary file varies fastest."""
    flyback: Annotated[int, Field(ge=0)] = 0
    """Positions at the end of each scan row that are left out."""
    scan_roi: str | None = None
    """Region ``y0:y1,x0:x1`` of positions that is read."""
    detector_roi: str | None = None
    """Region ``y0:y1,x0:x1`` of detector pixels that is read."""
    bin: Annotated[int, Field(ge=1)] = 1
    """Detector pixels that are summed into one, along each axis."""
