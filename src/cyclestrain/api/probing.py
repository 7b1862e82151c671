"""`probe`: the probe as a vacuum image or scan shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Unpack

from cyclestrain.api.arguments import PathLike
from cyclestrain.settings import ReadOptions, ReadSettings, reading_given, validated

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.calibration import Vacuum
    from cyclestrain.data import PatternSource, Scan

__all__ = ["Aperture", "probe"]

ROUND = 0.1
"""Largest deviation (rms) of a round probe from the mean over all directions, relative to the probe's own."""
EDGE_ERROR = 0.05
"""Error of a radius by what square pixels leave open, pixels."""


@dataclass(frozen=True)
class Aperture:
    """The image of an aperture, and what is told of it.

    Attributes
    ----------
    image
        Super-resolved image of unit sum per detector pixel, dimensions ``(py, px)``, attribute ``oversampling``.
    centre, centre_sigma
        Centroid ``(y, x)`` on the detector and its standard deviation, pixels.
    radius, radius_sigma
        Of the edge at half height, in the direction in which it reaches furthest, pixels.
    ratio, ratio_sigma, angle
        Ratio of the long to the short axis, its standard deviation, and the angle of the long one in degrees from +x
        to +y.
    roughness
        Root mean square of the deviation from the mean over all directions, relative to that of the probe.
    is_flat
        Whether it is bright all over, without dark rings or a hole.
    patterns
        Number of patterns it was made from.
    """

    image: xr.DataArray
    centre: tuple[float, float]
    centre_sigma: float
    radius: float
    radius_sigma: float
    ratio: float
    ratio_sigma: float
    angle: float
    roughness: float
    is_flat: bool
    patterns: int

    @property
    def form(self) -> str:
        """What kind of probe it is, in words."""
        if self.roughness > ROUND:
            return f"not round: {100 * self.roughness:.0f} % of it (rms) is off the mean over all directions"
        return "a round disk" if self.is_flat else "round, with dark rings or a hole"

    def __str__(self) -> str:
        """Return what is told of it, one line each."""
        y, x = self.centre
        several = f", mean of {self.patterns} patterns" if self.patterns > 1 else ""
        return "\n".join(
            [
                f"diameter            {2 * self.radius:.2f} +- {2 * self.radius_sigma:.2f} px",
                f"centre              y = {y:.2f}, x = {x:.2f} +- {self.centre_sigma:.3f} px{several}",
                f"ellipticity         {self.ratio:.3f} +- {self.ratio_sigma:.3f}, long axis at {self.angle:.0f} deg",
                f"form                {self.form}",
            ]
        )


def probe(
    vacuum: PathLike | PatternSource | Scan,
    output: PathLike | None = None,
    *,
    force: bool = False,
    reading: ReadSettings | None = None,
    **options: Unpack[ReadOptions],
) -> Aperture:
    """Show the probe of a vacuum image or scan: what ``map --probe`` would use.

    Parameters
    ----------
    vacuum
        Image, stack or scan of the direct beam without a sample, in any format that scans are read from; in Python also
        an array ``(qy, qx)``, ``(n, qy, qx)`` or ``(ry, rx, qy, qx)``.
    output
        Figure to write (png, svg, pdf) with the image and its radial profile; by default none.
    force
        Whether an existing figure is replaced.
    reading, **options
        How the file is read, see `cyclestrain.read`.

    Returns
    -------
    aperture
        Image, diameter, centre, ellipticity and form; it prints as a few lines.

    Raises
    ------
    InputError
        If it cannot be read, or shows no single beam with dark pixels around it.
    OutputError
        If the figure cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import cyclestrain as cs
    >>> y, x = np.mgrid[:64, :64]
    >>> made = cs.probe(1000.0 * (np.hypot(y - 31, x - 33) < 8))
    >>> [round(place, 1) for place in made.centre], made.patterns
    ([31.0, 33.0], 1)
    """
    from cyclestrain.calibration import measure_vacuum
    from cyclestrain.files import check_writable
    from cyclestrain.io import read_images

    if output is not None:
        check_writable(output, force)
    how = validated(ReadSettings, reading_given(reading, options))
    found = measure_vacuum(read_images(vacuum, how))
    made = _aperture(found)
    if output is not None:
        from cyclestrain.figures import probe_figure, save_figure

        name = os.path.basename(os.fspath(vacuum)) if isinstance(vacuum, str | os.PathLike) else "vacuum"
        words = f"{name}: diameter {2 * made.radius:.2f} px, axes {made.ratio:.3f} : 1, {made.form}"
        save_figure(probe_figure(made.image, made.radius, words), output)
    return made


def _aperture(vacuum: Vacuum) -> Aperture:
    """What is told of a beam in vacuum."""
    import numpy as np
    import xarray as xr

    from cyclestrain.learning import probe_of

    learned = probe_of(vacuum)
    ratio, angle, ratio_sigma = vacuum.ellipse
    ratio_sigma = float(np.hypot(ratio_sigma, EDGE_ERROR / learned.radius))
    counts = float(vacuum.patterns.sum(dtype=np.float64)) / max(np.pi * learned.radius**2, 1.0)
    image = xr.DataArray(learned.values, dims=("py", "px"), attrs={"oversampling": learned.oversampling})
    middle = vacuum.centre.mean(0)
    return Aperture(
        image, (float(middle[0]), float(middle[1])), vacuum.centre_sigma, learned.radius,
        float(np.hypot(EDGE_ERROR, 1 / np.sqrt(max(2 * np.pi * learned.radius * counts, 1.0)))),
        ratio, ratio_sigma, float(np.degrees(angle)), learned.roughness,
        learned.has_plateau, len(vacuum.patterns),
    )  # fmt: skip
