"""Calibration of detector and beam without a crystal: bad pixels, beam centre, ring.

Everything here is automatic, announced, stored with the result and can be overridden.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cyclestrain.calibration.beam import Beam, Centres, check_direct_beam, find_beam, find_centres
from cyclestrain.calibration.ceiling import find_ceiling
from cyclestrain.calibration.echo import Echo, measure_echo
from cyclestrain.calibration.grain import measure_grain
from cyclestrain.calibration.hidden_beam import disk_radius
from cyclestrain.calibration.moments import mean_of, variance_about
from cyclestrain.calibration.pixels import fill_from_nearest, find_bad_pixels, noise_scale
from cyclestrain.calibration.subset import Sample
from cyclestrain.calibration.vacuum import Vacuum, find_beam_like
from cyclestrain.data import INDEPENDENT, BoolArray, Calibration, FloatArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import parse_mask
from cyclestrain.settings import LearnSettings

__all__ = ["calibrate"]

MOST_SQUEEZED = 0.3
"""Share of the variance that its counts should have below which a pixel is taken for saturated."""
MOST_UNLIKE = 2.2
"""Ratio of the sizes of two beams beyond which they are not one: that of a patterned beam is known no better."""
GIVEN_SIGMA = 1.0
"""Standard deviation of a beam centre that the user gave, pixels."""


def _ring(centre: FloatArray, shape: tuple[int, int], disk_radius: float) -> tuple[float, float]:
    edge = min(centre[0], centre[1], shape[0] - 1 - centre[0], shape[1] - 1 - centre[1])
    return 2.0 * disk_radius + 2.0, float(max(edge, 3.0 * disk_radius + 6.0))


def _beyond(good: BoolArray, centre: FloatArray, inner: float) -> BoolArray:
    """Good pixels farther from the beam than the inner radius of the ring."""
    y, x = np.indices(good.shape)
    return np.asarray(good & (np.hypot(y - centre[0], x - centre[1]) > inner))


def calibrate(
    scan: Scan, sample: Sample, settings: LearnSettings, pedestal: float = 0.0, vacuum: Vacuum | None = None
) -> Calibration:
    """Measure bad pixels, the beam centre of every position, the disk radius and the ring of the detector that is used.

    Parameters
    ----------
    scan
        The whole scan, for its shape.
    sample
        Patterns to measure on.
    settings
        ``centre`` and ``ring`` override what would be measured; ``mask`` says which pixels may be used.
    pedestal
        Value of the file that was subtracted from the patterns, see `above_pedestal`.
    vacuum
        The probe as it was recorded in vacuum, which gives the size of the beam.

    Raises
    ------
    InputError
        If the beam centre or the ring that was given is not on the detector, or the probe is not that of the scan.
    """
    _check_given(settings, scan.detector_shape)
    patterns = sample.patterns
    mean = mean_of(patterns)
    some = patterns[:: max(1, len(patterns) // 256)]
    variance = variance_about(mean_of(some), some)
    bad, masked = find_bad_pixels(mean, variance, len(patterns), len(some)), np.zeros(mean.shape, bool)
    if settings.mask is not None:
        masked = ~parse_mask(settings.mask, scan.detector_shape, "--mask")
        bad = bad | masked
    saturated = variance < MOST_SQUEEZED * noise_scale(mean, variance) * mean
    if settings.centre is None:
        check_direct_beam(mean, ~bad, scan.name)
    seen = find_beam_like(mean, ~bad, vacuum) if vacuum is not None else None
    beam = seen or find_beam(patterns, mean, saturated, ~bad)
    if vacuum is not None:
        _check_same_beam(vacuum, beam, scan)
        beam = replace(beam, radius=vacuum.radius)
    good = ~bad & ~beam.shadow
    found = int((bad & ~masked).sum())
    choices = [f"bad pixels: {found} masked" if found else "bad pixels: none found"]
    if masked.any():
        choices.append(f"mask: {int(masked.sum())} pixels left out, as given")
    ceiling = find_ceiling(patterns, ~bad, pedestal)
    if np.isfinite(ceiling):
        choices.append(f"detector: counts end at {ceiling:.6g}")
    if pedestal:
        choices.append(f"counts: above {pedestal:.4g}, where the detector's noise would vanish")
    if beam.shadow.any():
        choices.append(f"beam stop: {int(beam.shadow.sum())} pixels in its shadow masked")
    if settings.centre is not None:
        smooth = np.broadcast_to(np.asarray(settings.centre, float), (*scan.scan_shape, 2)).copy()
        centres = Centres(smooth, GIVEN_SIGMA, np.inf, "as given")
    else:
        centres = find_centres(scan.scan_shape, sample, good, beam)
        if centres.jump == 0.0 and vacuum is None:  # the average of moving disks is larger than a disk
            beam = replace(beam, radius=disk_radius(patterns, good, beam.centre)[0])
            centres = find_centres(scan.scan_shape, sample, good, beam)
    choices.append(_describe(centres))
    if vacuum is not None:
        choices.append(f"probe: as recorded in {vacuum.name}, within {vacuum.radius:.1f} px of its centre")
    middle = centres.smooth.reshape(-1, 2).mean(0)
    ring = settings.ring or _ring(middle, scan.detector_shape, beam.radius)
    choices.append(f"disk radius: {beam.radius:.1f} px; ring used: {ring[0]:.0f} to {ring[1]:.0f} px from the centre")
    beyond = _beyond(good, middle, ring[0])
    grain = measure_grain(sample.patterns, sample.rows, sample.columns, beyond, beam.radius)
    if grain != INDEPENDENT:
        choices.append(grain.told)
    echo = measure_echo(sample.patterns, sample.rows, sample.columns, beyond)
    choices += _of_echo(echo)
    filled = fill_from_nearest(mean, good)
    return Calibration(
        good, centres.smooth, centres.sigma, beam.radius, (float(ring[0]), float(ring[1])), filled, tuple(choices),
        pedestal, centres.jump, ceiling, grain, echo.gain,
    )  # fmt: skip


def _of_echo(echo: Echo) -> list[str]:
    """What is said of noise that positions share, and of patterns without noise of their own."""
    if echo.is_rebuilt:  # simulations without noise look like that as well, and are right: no reason to refuse
        return [
            "noise: patterns have none of their own; if they were denoised (PCA, SVD, a network), small strains went "
            "with the noise, and sigma does not know it: map the scan as it was recorded"
        ]
    if echo.gain == 1.0:
        return []
    return [
        f"noise: neighbouring positions scatter alike, so that the variance of their mean is {echo.gain:.2g} times "
        "that of independent ones; was the scan averaged or filtered?"
    ]


def _check_same_beam(vacuum: Vacuum, beam: Beam, scan: Scan) -> None:
    """Refuse a probe of another camera length, binning or aperture."""
    ratio = vacuum.radius / beam.radius
    if not beam.hidden and not 1 / MOST_UNLIKE < ratio < MOST_UNLIKE:
        raise InputError(
            f"the probe {vacuum.name} reaches {vacuum.radius:.1f} px from its centre, the direct beam of {scan.name} "
            f"about {beam.radius:.1f} px; record both with one aperture, camera length and binning"
        )


def _check_given(settings: LearnSettings, shape: tuple[int, int]) -> None:
    ny, nx = shape
    if settings.centre is not None:
        y, x = settings.centre
        if not (-0.5 <= y <= ny - 0.5 and -0.5 <= x <= nx - 0.5):
            raise InputError(f"--centre {y:g} {x:g} is not on the detector of {ny}x{nx} pixels; give y and x in pixels")
    if settings.ring is not None and not settings.ring[0] < math.hypot(ny, nx):
        raise InputError(
            f"--ring {settings.ring[0]:g} {settings.ring[1]:g} lies outside the detector of {ny}x{nx} pixels; "
            "give radii in pixels"
        )


def _describe(centres: Centres) -> str:
    y, x = centres.smooth.reshape(-1, 2).mean(0)
    drift = np.ptp(centres.smooth.reshape(-1, 2), axis=0)
    moves = "" if centres.what == "as given" else (
        f" (drift over the scan {drift[0]:.2f}, {drift[1]:.2f} px in y, x; scatter {centres.sigma:.3f} px)"
    )  # fmt: skip
    return f"beam centre: y = {y:.2f}, x = {x:.2f} px, {centres.what}{moves}"
