"""`grains`: what a result says of the crystals of a scan."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cyclestrain.api.arguments import Known, PathLike, known_words

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.microstructure import Grains

__all__ = ["grains"]


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
    import xarray as xr

    from cyclestrain.microstructure import find_grains
    from cyclestrain.result import load_result
    from cyclestrain.strain import parse_known, stored_lattices

    maps = result if isinstance(result, xr.Dataset) else load_result(result)
    lattices = tuple(one for words in known_words(known) for one in parse_known(words))
    found = find_grains(maps, lattices or stored_lattices(str(maps.attrs.get("known_lattices", "[]"))))
    if output is not None:
        found.to_csv(os.fspath(output), force)
    return found
