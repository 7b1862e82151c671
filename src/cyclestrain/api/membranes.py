"""`tilt_series`: slope and strain of a membrane from scans at known tilts of the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyclestrain.api.arguments import PathLike, maps_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["tilt_series"]


def tilt_series(
    results: Sequence[PathLike | xr.Dataset],
    output: PathLike | None = None,
    *,
    tilts: Sequence[float],
    tilt_axis: float = 0.0,
    force: bool = False,
) -> xr.Dataset:
    """Tell slope and strain of a membrane apart, from scans of the same positions at known tilts of the stage.

    A slope shortens the projected lattice, which in one scan is the same as a strain. Of one scan an upper bound of the
    slope is given, and strain whose sigma holds what such a slope would do. Two or more tilts give slope and strain.
    Positions must be those of the same places of the membrane, and each result relative to the same flat part of it:
    a slope of that part is taken for none, and a drift between scans for a slope.

    Parameters
    ----------
    results
        Results of ``map``, in axes of the detector (the default); in Python also data sets.
    output
        File to write (netCDF); by default nothing is written.
    tilts
        Tilt of the stage in each scan, degrees, at least 3 degrees apart: positive where, 90 degrees further than the
        tilt axis from +x towards +y, the membrane is lifted towards the source.
    tilt_axis
        Direction of the tilt axis on the detector, degrees from +x towards +y.
    force
        Whether an existing file is replaced.

    Returns
    -------
    membrane
        Dimensions ``(ry, rx)``. Of several scans `slope_y`, `slope_x`, `eyy`, `exx`, `exy`, `rotation` with `_sigma`,
        `misfit` (chi-square per degree of freedom) and `valid`. Of one scan `slope_bound`, `foreshortened` (the strain
        is as a slope makes it: a ripple, or a compression along one direction, which one scan cannot tell apart) and
        `eyy`, `exx`, `exy` with `_sigma`.

    Raises
    ------
    InputError
        If the scans differ in shape, or tilts are missing or too near to each other.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    >>> found = cs.tilt_series([cs.map(made.scan)], tilts=[0])
    >>> int(found.foreshortened.sum())
    0
    """
    from cyclestrain.files import check_writable
    from cyclestrain.result import save_result
    from cyclestrain.specimen import membrane_maps

    if output is not None:
        check_writable(output, force)
    found = membrane_maps([maps_of(one) for one in results], tilts, tilt_axis)
    if output is not None:
        save_result(found, output, force)
    return found
