"""`tilt`: what the intensities of a result say of the specimen."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np

from cyclestrain.api.arguments import PathLike
from cyclestrain.api.words import Known, known_words
from cyclestrain.errors import InputError
from cyclestrain.progress import Progress, SilentProgress

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.specimen import Axes

__all__ = ["tilt"]

POLAR_DISPLACEMENTS = tuple((0.25 * np.arange(-5, 6)).tolist())
POLAR_TILT = (3.75e-3, 0.75e-3)


def tilt(
    result: PathLike | xr.Dataset,
    output: PathLike | None = None,
    *,
    known: Known | None = None,
    voltage: float | str = 200.0,
    thickness: tuple[float, float] = (4.0, 80.0),
    polar: bool = False,
    vibration: float | None = None,
    figure: PathLike | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Map tilt and thickness, and the polarization of a polar crystal, from the intensities of the reflections.

    With a known crystal, the intensities of every position are compared with a library of that crystal over thickness
    and tilt (Bloch waves; needs the extra ``multislice``), which takes a few minutes the first time and is kept. The
    brightness of a position is free. Without a known crystal only the dipole and the asymmetry of the intensities are
    given: they cannot tell a tilt from a polarization, nor how large either is.

    Parameters
    ----------
    result
        Result file of ``map --intensities``; in Python also the data set that `map` returned.
    output
        File to write (netCDF); by default nothing is written.
    known
        The crystal with its elements: ``a=5.431,structure=diamond,zone=110,elements=Si``, or ``FILE.cif,zone=100``.
    voltage
        Acceleration voltage, kV; ``200kV`` and ``80000V`` are understood as well.
    thickness
        Least and largest thickness that the specimen may have, nm.
    polar
        Whether the crystal is polar: its displacement from the nearest centrosymmetric structure is fitted together
        with tilt and thickness, in units of the displacement in the CIF file, for tilts up to 3.7 mrad. The direction
        of the displacement is that of the file; other directions are not looked for.
    vibration
        Debye-Waller factor B, square angstrom; found from the scan by default.
    figure
        Picture of the maps to write; by default none.
    force
        Whether existing files are replaced.
    progress
        Where the run reports to; nowhere by default.

    Returns
    -------
    specimen
        Dimensions ``(ry, rx)``: `dipole_y`, `dipole_x`, `asymmetry_y`, `asymmetry_x`; with `known` also `tilt_y`,
        `tilt_x` (radians, detector axes: the direction of the beam in the crystal; the centre of the Laue circle is at
        minus that), `thickness` (nm), each with `_sigma`, `misfit`, the next best explanation `competing_tilt_y`,
        `competing_tilt_x` with `competing_odds`, `caution` (reasons why they may be wrong) and `valid`; with `polar`
        also `displacement`, its direction `polar_y`, `polar_x`, and `separable`, where its sign is told from a tilt.

    Raises
    ------
    InputError
        If the result holds no intensities, the crystal is not understood, or is not that of the scan.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    >>> found = cs.tilt(cs.map(made.scan, intensities=True))
    >>> bool((abs(found.dipole_x) < 5 * found.dipole_x_sigma).all())
    True
    """
    import xarray as xr

    from cyclestrain.api.inspection import intensities
    from cyclestrain.figures import save_figure, specimen_figure
    from cyclestrain.files import check_writable
    from cyclestrain.result import load_result, save_result
    from cyclestrain.specimen import Axes as LibraryAxes
    from cyclestrain.specimen import Zone, measure_specimen
    from cyclestrain.strain import known_cells

    progress = progress or SilentProgress()
    for path in (output, figure):
        if path is not None:
            check_writable(path, force)
    maps = result if isinstance(result, xr.Dataset) else load_result(result)
    spectra = intensities(result)
    cells = [cell for words in known_words(known) for cell in known_cells(words)]
    if len(cells) > 1:
        raise InputError("tilt is measured for one crystal at a time; give one --known")
    if polar and not cells:
        raise InputError("--polar needs the polar crystal: --known FILE.cif,zone=100")
    zone = Zone(cells[0], vibration or 0.5, _volts(voltage)) if cells else None
    axes = _axes(LibraryAxes, thickness, polar)
    if polar and zone is not None and zone.polar_direction is None:
        raise InputError(f"{cells[0].name} has no polar displacement across the beam; give a polar structure")
    radius = float(json.loads(maps.attrs["calibration"])["disk_radius"])
    waves = len(axes.tilts()) ** 2 * len(axes.displacement) * (1 if vibration else 3)
    with progress.stage("library and fit", waves) as task:
        found = measure_specimen(maps, spectra, zone, axes, radius, vibration=vibration, advance=task.advance)
    if output is not None:
        save_result(found, output, force)
    if figure is not None:
        save_figure(specimen_figure(found), figure)
    return found


def _volts(voltage: float | str) -> float:
    """Acceleration voltage in volts: numbers are kV.

    Examples
    --------
    >>> _volts("200kV"), _volts(80), _volts("300000 V")
    (200000.0, 80000.0, 300000.0)
    """
    found = re.fullmatch(r"\s*([\d.]+(?:e\d+)?)\s*(kV|V|)\s*", str(voltage), re.IGNORECASE)
    try:
        value = float(found[1]) * (1.0 if found[2].lower() == "v" else 1e3) if found else 0.0
    except ValueError:
        value = 0.0
    if not 1e4 <= value <= 5e6:
        raise InputError(f"voltage {voltage!r} is not understood; give kilovolts, such as 200 or 200kV")
    return value


def _axes(axes: type[Axes], thickness: tuple[float, float], polar: bool) -> Axes:
    """What the library runs over; thickness in steps of about 1 nm."""
    least, largest = thickness
    if not (np.isfinite(thickness).all() and 0 < least and least + 3 <= largest <= 300):
        raise InputError(f"thickness {least:g} {largest:g} is not least and largest in nm, 3 nm apart, to 300")
    whole = (least, least + float(np.ceil(largest - least)), 1.0)
    if polar:
        return axes(whole, POLAR_TILT, POLAR_DISPLACEMENTS)
    return axes(whole)
