"""`defects` and `grains`: what a result says of the crystals of a scan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cyclestrain.api.arguments import PathLike, maps_of
from cyclestrain.api.words import Known, known_words

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.microstructure import Defects, Grains

__all__ = ["defects", "grains"]


def defects(
    result: PathLike | xr.Dataset,
    output: PathLike | None = None,
    *,
    figure: PathLike | None = None,
    force: bool = False,
) -> Defects:
    """Find dislocations: place, Burgers vector with uncertainty and probability, density, and walls of them.

    A dislocation is where circuits through the lattice of the scan do not close. What is seen is the part of the
    Burgers vector across the beam: screw parts are not. Axes are those of the scan, whose rotation against the detector
    has to be known (``--scan-rotation``); to name lattice vectors, so have step and pixel size.

    Parameters
    ----------
    result
        Result file; in Python also the data set that `map` returned.
    output
        Table of the dislocations (CSV), with one of the walls beside it; with ``.nc`` all of it with the maps of the
        density; by default nothing is written.
    figure
        Figure to write (png, svg, pdf): density and Burgers vectors; by default none.
    force
        Whether existing files are replaced.

    Returns
    -------
    defects
        `cores` and `walls`, rows for ``pandas.DataFrame``; `density` with `alpha_13`, `alpha_23` and their sigma.

    Raises
    ------
    InputError
        If the result cannot be read.
    OutputError
        If a file cannot be written.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(8, 8), detector=(96, 96), radius=3.0, background=0.2)
    >>> cs.defects(cs.map(made.scan)).cores
    ()
    """
    from cyclestrain.files import check_writable
    from cyclestrain.microstructure import find_defects

    maps = maps_of(result)
    if figure is not None:
        check_writable(os.fspath(figure), force)
    found = find_defects(maps)
    if output is not None:
        found.save(os.fspath(output), force)
    if figure is not None:
        from cyclestrain.figures import dislocation_figure, save_figure

        save_figure(dislocation_figure(maps, found.dataset), figure)
    return found


def grains(
    result: PathLike | xr.Dataset, output: PathLike | None = None, *, known: Known | None = None, force: bool = False
) -> Grains:
    """Tell the grains of a result: size, strain, orientation, phase and neighbours, and how neighbours are turned.

    A pattern shows the crystal along the beam alone: misorientations, twins and coincidence lattices are those of the
    rotation about the beam, and phases are told by the spacings and angles of their reflections, not by brightness.

    Parameters
    ----------
    result
        Result file; in Python also the data set that `map` returned.
    output
        Table to write (CSV), with another one of the boundaries beside it; by default nothing is written.
    known
        Candidate structures, as for `map`: each gets a probability for every class, as has that it is none of them;
        with one that is sure, coincidence lattices are named. By default those that the scan was mapped with.
    force
        Whether existing files are replaced.

    Returns
    -------
    grains
        `grains` and `boundaries`, rows for ``pandas.DataFrame``; `number`, the grain of every position, 0 for none;
        `phases`, for every class the probability of each candidate.

    Raises
    ------
    InputError
        If the result cannot be read, or a candidate is not understood.
    OutputError
        If the tables cannot be written.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    >>> cs.grains(cs.map(made.scan)).grains[0].positions
    16
    """
    from cyclestrain.microstructure import find_grains
    from cyclestrain.strain import parse_known, stored_lattices

    maps = maps_of(result)
    lattices = tuple(one for words in known_words(known) for one in parse_known(words))
    found = find_grains(maps, lattices or stored_lattices(str(maps.attrs.get("known_lattices", "[]"))))
    if output is not None:
        found.to_csv(os.fspath(output), force)
    return found
