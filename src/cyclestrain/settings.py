"""What a user may set: one frozen, validated object, stored resolved in every result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["MapSettings"]

PositiveFloat = Annotated[float, Field(gt=0)]


class MapSettings(BaseModel):
    """Settings of `cyclestrain.map`; every ``None`` means "measure it from the data"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = "auto"
    """``auto`` (largest coherent area), a region ``ry0:ry1,rx0:rx1`` or a boolean ``mask.npy`` of shape ``(ry, rx)``."""
    axes: Literal["detector", "scan", "crystal"] = "detector"
    """Axes in which strain is given."""
    scan_rotation: float | None = None
    """Angle of the scan axes in detector axes, degrees, positive from +x (column) to +y (row); default from the file."""
    until: Literal["network", "refine", "context"] = "context"
    """Last stage to run."""
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
