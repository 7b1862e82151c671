r"""Rotation and handedness between scan and detector, from how the sample deflects the beam.

A thin sample deflects the beam along the gradient of its potential, so the field of the beam's centre over the scan has
no curl (and differs from place to place only where there is a sample). Seen on a detector that is turned by
:math:`\varphi` against the scan, divergence and curl mix: with the complex number :math:`z = \mathrm{div} + i\,
\mathrm{curl}` of the recorded field, :math:`z e^{-i\varphi}` is real everywhere, so

.. math:: \varphi = \tfrac12 \arg \sum z^2

up to half a turn, which no strain tells apart. On a detector that is a mirror image this holds for the mirrored
field instead. Noise is as likely to turn as to diverge and adds nothing to the sum on average. Whether there is a
signal at all is judged by how alike :math:`z^2` is over the scan: parts of the scan must agree, :math:`|\sum z^2|` must
account for what rises above the noise in :math:`\sum |z|^2`, and the other handedness must fail to. Beam movements that
depend on the row, on the column, or smoothly on both (descan, jitter between lines) are taken out before.

The argument is that of Savitzky et al., Microsc. Microanal. 27, 712 (2021), for phase-contrast STEM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.affine import wrap_angle
from cyclestrain.calibration.beam import MOST_CUT, measure_centres
from cyclestrain.data import BoolArray, Calibration, FloatArray, Scan

__all__ = ["ScanGeometry", "geometry_from_centres", "measure_scan_geometry"]

WIDTHS = (0.7, 1.4, 2.8)
"""Widths of the Gaussians whose derivatives are taken, positions."""
PARTS = 6
"""Parts per side into which a scan is cut to see whether they agree."""
LEAST_SIDE = 12
"""Positions per side below which there is too little to compare."""
SIGNIFICANT = 6.0
"""Standard deviations from which the sum of a field is more than chance and its handedness is told."""
CHANCE = np.log(1e-6)
"""Logarithm of the probability of chance below which a field is believed."""
COHERENT = 0.9
"""Least share of the signal that a field without curl explains."""
OTHER_HAND = 0.5
"""Largest part of that sum that the wrong handedness may give: half of the deflections would have to be chance."""
MOST_SIGMA = np.deg2rad(3.0)
"""Uncertainty of the angle from which it is called unknown."""
CORRELATED = 0.1
"""Correlation below which values at some distance count as independent."""
OUTLYING = 6.0
"""Robust standard deviations beyond which a derivative counts as that much: single positions must not decide."""


@dataclass(frozen=True)
class ScanGeometry:
    """How the axes of the scan lie on the detector.

    Attributes
    ----------
    angle
        Angle of the scan's x axis in detector axes, radians, positive from +x (column) to +y (row), modulo pi; None
        where it is unknown.
    sigma
        Its standard deviation, radians.
    mirrored
        Whether the scan appears on the detector as its mirror image, its y axis on the other side of x.
    text
        What was found, in words.
    """

    angle: float | None
    sigma: float = 0.0
    mirrored: bool = False
    text: str = ""

    @classmethod
    def unknown(cls, why: str) -> ScanGeometry:
        """Nothing was found, for a reason."""
        return cls(None, text=f"scan rotation: unknown, {why}")


@dataclass(frozen=True)
class _Evidence:
    """Sum of ``z^2`` for one handedness.

    Attributes
    ----------
    total
        The sum.
    across
        Its standard deviation at right angles to it, from how much parts of the scan differ.
    share
        What it accounts for of the signal, that is, of what rises above the noise.
    chance
        Logarithm of the probability that a field without any relation between its components gives as much.
    """

    total: complex
    across: float
    share: float
    chance: float

    @property
    def significance(self) -> float:
        """The sum in its standard deviations."""
        return abs(self.total) / max(self.across, 1e-300)

    @property
    def angle(self) -> float:
        """Angle between scan and detector, radians."""
        return float(np.angle(self.total) / 2)

    @property
    def sigma(self) -> float:
        """Its standard deviation, radians."""
        return float(self.across / (2 * max(abs(self.total), 1e-300)))


def measure_scan_geometry(scan: Scan, calibration: Calibration, sample: BoolArray) -> ScanGeometry:
    """Rotation and handedness between scan and detector, or that they are unknown; reads the whole scan.

    Parameters
    ----------
    scan, calibration
        The scan, and what was measured of it.
    sample
        Positions that may be used, shape ``(ry, rx)``.
    """
    y, x = np.indices(scan.detector_shape)
    middle = calibration.centre.reshape(-1, 2).mean(0)
    disk = np.hypot(y - middle[0], x - middle[1]) < calibration.disk_radius
    if calibration.good[disk].mean() < 1 - MOST_CUT:
        return ScanGeometry.unknown("the direct beam, whose deflection tells it, is hidden")
    centres, smooth = np.empty((scan.n_positions, 2)), calibration.centre.reshape(-1, 2)
    for block in scan.blocks():
        at = smooth[block.positions]
        centres[block.positions] = measure_centres(block.patterns, calibration.good, at, calibration.disk_radius)
    side = np.sqrt(scan.pixel_ratio)
    return geometry_from_centres(centres.reshape(*scan.scan_shape, 2) * (side, 1 / side), sample)


def geometry_from_centres(centres: FloatArray, sample: BoolArray | None = None) -> ScanGeometry:
    """Rotation and handedness between scan and detector, or that they are unknown.

    Parameters
    ----------
    centres
        Centre of the beam ``(y, x)`` at every position, in units that are the same along both axes of the detector,
        shape ``(ry, rx, 2)``.
    sample
        Positions that may be used; all by default.

    Examples
    --------
    A field that is the gradient of a potential, on a detector turned by 30 degrees:

    >>> from scipy.ndimage import gaussian_filter
    >>> from cyclestrain.affine import rotation
    >>> potential = gaussian_filter(np.random.default_rng(0).normal(size=(48, 48)), 2.5, mode="wrap")
    >>> field = np.stack(np.gradient(potential), -1) @ rotation(np.deg2rad(30.0)).T
    >>> found = geometry_from_centres(field)
    >>> round(float(np.rad2deg(found.angle))), found.mirrored
    (30, False)
    """
    if min(centres.shape[:2]) < LEAST_SIDE:
        return ScanGeometry.unknown(f"a scan of less than {LEAST_SIDE} rows and columns does not tell it")
    good = np.asarray(np.isfinite(centres).all(-1))
    if sample is not None:
        good = good & sample
    found: list[tuple[_Evidence, _Evidence]] = []
    for width in WIDTHS:
        plain, turned = (_evidence(_filled(centres, good) * (side, 1.0), good, width) for side in (1.0, -1.0))
        found.append((plain, turned))
    told = [pair for pair in found if _tells(*sorted(pair, key=lambda e: -abs(e.total)))]
    if not told:
        return ScanGeometry.unknown(_why(found))
    plain, mirrored = min(told, key=lambda pair: min(e.chance for e in pair))
    flipped = abs(mirrored.total) > abs(plain.total)
    best = mirrored if flipped else plain
    # Other widths weigh the same deflections differently: where they disagree, parts of the scan are too few to say how
    # far the sum is off.
    others = [pair[flipped].angle for pair in told]
    sigma = float(np.sqrt(best.sigma**2 + np.mean(wrap_angle(np.array(others) - best.angle, np.pi) ** 2)))
    # In the field whose y is reversed the angle runs the other way.
    angle = -best.angle if flipped else best.angle
    side = "and mirrored" if flipped else "not mirrored"
    sign = np.rad2deg(angle), np.rad2deg(sigma)
    return ScanGeometry(
        angle, sigma, flipped,
        f"scan rotation: {sign[0]:.1f} +- {sign[1]:.1f} deg (or half a turn more), {side}, from the deflection of the "
        f"beam; {min(100, 100 * best.share):.0f} % of it is without curl",
    )  # fmt: skip


def _tells(best: _Evidence, other: _Evidence) -> bool:
    """Whether one handedness explains the deflections and the other one does not."""
    return bool(
        best.significance > SIGNIFICANT
        and best.chance < CHANCE
        and best.share > COHERENT
        and best.sigma < MOST_SIGMA
        and abs(other.total) < OTHER_HAND * abs(best.total)
    )


def _why(found: list[tuple[_Evidence, _Evidence]]) -> str:
    best = max((evidence for pair in found for evidence in pair), key=lambda e: e.significance)
    if best.significance < SIGNIFICANT:
        return "the beam is not deflected by the sample beyond the noise"
    if best.chance > CHANCE:
        return "the beam is deflected at too few places that differ from each other"
    if best.share < COHERENT:
        return "the deflection of the beam is not that of a potential, which has no curl, in any orientation"
    return "the deflection of the beam does not tell one handedness from the other"


def _filled(centres: FloatArray, good: BoolArray) -> FloatArray:
    """Centres with what cannot be used replaced by the nearest that can."""
    if good.all() or not good.any():
        return np.nan_to_num(centres)
    nearest = ndimage.distance_transform_edt(~good, return_distances=False, return_indices=True)
    filled: FloatArray = centres[tuple(nearest)]
    return filled


def _evidence(field: FloatArray, good: BoolArray, width: float) -> _Evidence:
    """Sum of ``z^2`` over the scan, with its scatter between parts and the share of the signal it explains."""
    used = ndimage.binary_erosion(good, iterations=max(1, round(2 * width)), border_value=0)
    if used.sum() < LEAST_SIDE**2 / 2:
        return _Evidence(0j, np.inf, 0.0, 0.0)
    z = _derivative(field, width)
    z = _centred(z, used)
    size = np.abs(z)
    limit = OUTLYING * np.median(size[used]) / 1.18
    z = np.where(size > limit, z * limit / np.maximum(size, 1e-300), z)
    square = np.where(used, z**2, 0.0)
    parts = _part_sums(square)
    total = complex(parts.sum())
    across = float(np.std((parts * np.exp(-1j * np.angle(total))).imag, ddof=1) * np.sqrt(parts.size))
    power = float(np.abs(square).sum())
    chance = -((abs(total) / max(power, 1e-300)) ** 2) * _independent(np.where(used, z, 0.0)) / 2
    signal = power - _noise_power(field, used, width)
    return _Evidence(total, across, abs(total) / max(signal, 1e-300), chance)


def _independent(z: NDArray[np.complex128]) -> float:
    """Number of independent values in a smooth random field, by its own correlation."""
    spectrum = np.abs(np.fft.fft2(z, [2 * n for n in z.shape])) ** 2
    correlation = np.abs(np.fft.ifft2(spectrum))
    overlap = np.abs(np.fft.ifft2(np.abs(np.fft.fft2(z != 0, [2 * n for n in z.shape])) ** 2))
    alike = np.where(correlation > CORRELATED * correlation[0, 0], correlation / correlation[0, 0], 0.0)
    return float(overlap[0, 0] / max((alike**2).sum(), 1.0))


def _derivative(field: FloatArray, width: float) -> NDArray[np.complex128]:
    """Divergence and, as the imaginary part, curl of a field ``(y, x)``, smoothed."""

    def slope(component: int, axis: int) -> FloatArray:
        order = (1, 0) if axis == 0 else (0, 1)
        return np.asarray(ndimage.gaussian_filter(field[..., component], width, order=order, mode="nearest"))

    return np.asarray(slope(0, 0) + slope(1, 1) + 1j * (slope(0, 1) - slope(1, 0)))


def _centred(z: NDArray[np.complex128], used: BoolArray) -> NDArray[np.complex128]:
    """Without the means of rows and columns: what depends on one of them alone is no sample."""
    for _ in range(3):
        for axis in (0, 1):
            count = np.maximum(used.sum(axis, keepdims=True), 1)
            z = z - np.where(used, z, 0).sum(axis, keepdims=True) / count
    return z


def _part_sums(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
    rows = np.array_split(np.arange(values.shape[0]), min(PARTS, values.shape[0] // 4))
    columns = np.array_split(np.arange(values.shape[1]), min(PARTS, values.shape[1] // 4))
    return np.array([values[np.ix_(r, c)].sum() for r in rows for c in columns])


def _noise_power(field: FloatArray, used: BoolArray, width: float) -> float:
    """Sum of ``|z|^2`` that white noise of the centres gives, judged by their finest differences."""
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1.0
    response = float((ndimage.gaussian_filter(impulse, width, order=(1, 0)) ** 2).sum())
    mixed = field[1:, 1:] - field[1:, :-1] - field[:-1, 1:] + field[:-1, :-1]
    variance = (1.4826 * np.median(np.abs(mixed), axis=(0, 1))) ** 2 / 4
    return float(used.sum() * 2 * response * variance.sum())
