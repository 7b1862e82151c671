"""Options with which a simulated scan is recorded: scan, detector, probe, dose, background and distortions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import rotation
from cyclestrain.errors import InputError
from cyclestrain.simulation.lattice import Lattice, make_lattice

__all__ = ["Acquisition", "AcquisitionOptions"]

FloatArray = NDArray[np.floating[Any]]


class AcquisitionOptions(TypedDict, total=False):
    """Keywords that every phantom accepts, see `Acquisition` for their meaning and defaults."""

    scan: tuple[int, int]
    detector: tuple[int, int]
    background: float
    counts: float
    seed: int
    lattice: str
    spacing: float | None
    radius: float | None
    centre_offset: tuple[float, float]
    drift: float
    ellipse: tuple[float, float]
    texture: float
    noise_free: bool | None


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """All options of a simulated scan except the sample; the defaults are those of the published benchmark.

    Attributes
    ----------
    scan
        Number of probe positions ``(ry, rx)``.
    detector
        Detector size ``(qy, qx)`` in pixels.
    background
        Share of the counts in the smooth radial background, 0 to 1.
    counts
        Electrons per pattern (mean of the Poisson distribution).
    seed
        Seed of grains and noise.
    lattice
        ``hexagonal``, ``square``, ``rhombic`` (diamond along [110]) or ``oblique``.
    spacing
        Length of the shortest reciprocal vector in pixels; default 37.9 on a detector of 256 pixels, in proportion
        to its smaller side on others.
    radius
        Disk radius in pixels; default 4.2 on a detector of 256 pixels, in proportion on others, at least 2.
    centre_offset
        Beam centre ``(y, x)`` from the middle of the detector, pixels.
    drift
        Distance in pixels the beam centre moves, linearly, from the first to the last position of the scan.
    ellipse
        Elliptic distortion: ratio of the axes (at constant area), and angle in degrees of the long axis.
    texture
        Contrast of the structure inside the disks, 0 (flat) to 1.
    noise_free
        Whether the counts are left without shot noise. By default a scan without background is also without noise,
        as in the published benchmark, where "0 %" means neither.

    Raises
    ------
    InputError
        If an option is out of its range, or the lattice is unknown.
    """

    scan: tuple[int, int] = (64, 64)
    detector: tuple[int, int] = (256, 256)
    background: float = 0.25
    counts: float = 1e5
    seed: int = 0
    lattice: str = "hexagonal"
    spacing: float | None = None
    radius: float | None = None
    centre_offset: tuple[float, float] = (0.0, 0.0)
    drift: float = 0.0
    ellipse: tuple[float, float] = (1.0, 0.0)
    texture: float = 0.0
    noise_free: bool | None = None

    def __post_init__(self) -> None:
        _require(min(self.scan) >= 1, "the scan has at least 1 x 1 positions", self.scan)
        _require(min(self.detector) >= 16, "the detector has at least 16 x 16 pixels", self.detector)
        _require(0 <= self.background <= 1, "the background share is between 0 and 1", self.background)
        _require(np.isfinite(self.counts) and self.counts > 0, "counts per pattern are positive", self.counts)
        _require(self.seed >= 0, "the seed is not negative", self.seed)
        _require(0 <= self.texture <= 1, "texture is between 0 and 1", self.texture)
        _require(self.ellipse[0] > 0, "the axis ratio of the ellipse is positive", self.ellipse[0])
        half = min(self.detector) / 2
        _require(0 < self.disk_radius < half, f"the disk radius is between 0 and {half:g} pixels", self.disk_radius)
        _require(0 < self.ring < half, f"the first ring is between 0 and {half:g} pixels", self.ring)
        centres = self.centres()
        inside = np.all((centres >= 0) & (centres <= np.array(self.detector) - 1))
        _require(bool(inside), "the beam centre stays on the detector", (self.centre_offset, self.drift))
        make_lattice(self.lattice, self.ring)  # refuses an unknown name

    @property
    def ring(self) -> float:
        """Length of the shortest reciprocal vector in pixels."""
        return self.spacing if self.spacing is not None else 37.9 * min(self.detector) / 256

    @property
    def disk_radius(self) -> float:
        """Disk radius in pixels."""
        return self.radius if self.radius is not None else max(2.0, 4.2 * min(self.detector) / 256)

    @property
    def is_noise_free(self) -> bool:
        """Whether the patterns are the expected counts rather than Poisson draws."""
        return self.background == 0 if self.noise_free is None else self.noise_free

    def make_lattice(self) -> Lattice:
        """The unstrained lattice."""
        return make_lattice(self.lattice, self.ring)

    def distortion(self) -> FloatArray:
        """Matrix that takes undistorted to recorded vectors from the beam centre, shape ``(2, 2)``, determinant 1."""
        ratio, degrees = self.ellipse
        turn = rotation(np.deg2rad(degrees))
        matrix: FloatArray = turn @ np.diag([ratio**-0.5, ratio**0.5]) @ turn.T
        return matrix

    def centres(self) -> FloatArray:
        """Beam centre ``(y, x)`` in pixels of every position, shape ``(ry, rx, 2)``."""
        middle = (np.array(self.detector) - 1) / 2 + np.array(self.centre_offset)
        step = [np.linspace(-0.5, 0.5, n) if n > 1 else np.zeros(1) for n in self.scan]
        shift = np.stack(np.meshgrid(*step, indexing="ij"), -1)
        centres: FloatArray = middle + self.drift / np.sqrt(2) * shift
        return centres


def _require(condition: bool, expected: str, got: object) -> None:
    if not condition:
        raise InputError(f"{expected}, got {got}")
