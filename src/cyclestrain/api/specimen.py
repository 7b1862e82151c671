"""`tilt`: what the intensities of a result say of the specimen."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from cyclestrain.api.arguments import PathLike, maps_of
from cyclestrain.api.words import Known, known_words
from cyclestrain.errors import InputError
from cyclestrain.progress import Progress, SilentProgress

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.specimen import Axes, Zone

__all__ = ["tilt"]

POLAR_DISPLACEMENTS = tuple(0.25 * k for k in range(-5, 6))
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

    Intensities are compared with a library of the crystal (Bloch waves; needs the extra ``multislice``), which takes
    minutes the first time and is kept; brightness is free. Without a known crystal only dipole and asymmetry are given:
    they cannot tell a tilt from a polarization, nor how large either is.

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
        Picture of the maps to write.
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
    >>> assert (abs(found.dipole_x) < 5 * found.dipole_x_sigma).all()
    """
    from cyclestrain.figures import save_figure, specimen_figure
    from cyclestrain.files import check_writable
    from cyclestrain.result import save_result

    for path in [one for one in (output, figure) if one is not None]:
        check_writable(path, force)
    zone, axes = _crystal(known, voltage, vibration, polar), _axes(thickness, polar)
    found = _measured(result, zone, axes, vibration, progress or SilentProgress())
    if output is not None:
        save_result(found, output, force)
    if figure is not None:
        save_figure(specimen_figure(found), figure)
    return found


def _crystal(known: Known | None, voltage: float | str, vibration: float | None, polar: bool) -> Zone | None:
    """The crystal that was given; None for none."""
    from cyclestrain.specimen import Zone
    from cyclestrain.strain import known_cells

    cells = [cell for words in known_words(known) for cell in known_cells(words)]
    if len(cells) > 1:
        raise InputError("tilt is measured for one crystal at a time; give one --known")
    if polar and not cells:
        raise InputError("--polar needs the polar crystal: --known FILE.cif,zone=100")
    if vibration is not None and not 0 <= vibration <= 10:
        raise InputError(f"vibration {vibration:g} is no Debye-Waller factor B in square angstrom, such as 0.5")
    volts = _volts(voltage)
    if not cells:
        return None
    zone = Zone(cells[0], 0.5 if vibration is None else vibration, volts)
    if polar and zone.polar_direction is None:
        raise InputError(f"{cells[0].name} has no polar displacement across the beam; give a polar structure")
    return zone


def _measured(
    result: PathLike | xr.Dataset, zone: Zone | None, axes: Axes, vibration: float | None, progress: Progress
) -> xr.Dataset:
    import numpy as np

    from cyclestrain.api.inspection import intensities
    from cyclestrain.result import stored_entries
    from cyclestrain.specimen import measure_specimen

    maps = maps_of(result)
    radii = np.array([entry.probe.radius for entry in stored_entries(maps)])
    spectra = intensities(result)
    waves = len(axes.tilts()) ** 2 * len(axes.displacement) * (1 if vibration is not None else 4)
    with progress.stage("library and fit", waves) as task:
        return measure_specimen(maps, spectra, zone, axes, radii, vibration=vibration, advance=task.advance)


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


def _axes(thickness: tuple[float, float], polar: bool) -> Axes:
    """What the library runs over; thickness in steps of about 1 nm."""
    from cyclestrain.specimen import Axes

    least, largest = thickness
    if not (0 < least and least + 3 <= largest <= 300):
        raise InputError(f"thickness {least:g} {largest:g} is not least and largest in nm, 3 nm apart, to 300")
    whole = (least, least + float(math.ceil(largest - least)), 1.0)
    if polar:
        return Axes(whole, POLAR_TILT, POLAR_DISPLACEMENTS)
    return Axes(whole)
