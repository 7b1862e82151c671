"""Crystals to simulate: cubic structures along their zone axes, and monolayers.

Needs the extra: ``pip install cyclestrain[multislice]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cyclestrain.simulation.propagation import VOLTAGE, Crystal

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MATERIALS", "ORIENTATIONS", "Material", "cubic"]


@dataclass(frozen=True)
class Material:
    """A crystal and its orientation.

    Attributes
    ----------
    crystal
        Unit cell.
    lattice
        Name of its lattice in `cyclestrain.simulation.LATTICES`.
    turn
        Angle from that lattice, whose first vector is along +x, to the unit cell, radians.
    first
        Length of the shortest reciprocal vector, 1/Angstrom.
    """

    crystal: Crystal
    lattice: str
    turn: float
    first: float


ZONES = {"110": [[-1, 1, 0], [0, 0, 1], [1, 1, 0]], "100": np.eye(3, dtype=int).tolist(), "111": [
    [1, -1, 0], [1, 1, -2], [1, 1, 1],
]}  # fmt: skip
"""Directions of x, y and the beam."""


RHOMBIC = ("rhombic", -math.atan(math.sqrt(0.5)), math.sqrt(3.0))


ORIENTATIONS = {
    ("diamond", "110"): RHOMBIC,
    ("zincblende", "110"): RHOMBIC,
    ("fcc", "110"): RHOMBIC,
    ("diamond", "100"): ("square", np.pi / 4, math.sqrt(8.0)),
    ("fcc", "100"): ("square", 0.0, 2.0),
    ("bcc", "100"): ("square", np.pi / 4, math.sqrt(2.0)),
    ("perovskite", "100"): ("square", 0.0, 1.0),
    ("diamond", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("zincblende", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("fcc", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("bcc", "111"): ("hexagonal", 0.0, math.sqrt(2.0)),
}
"""Name of the lattice, angle from it to the cell, and shortest reciprocal vector in units of 1/a."""


def cubic(
    structure: str, zone: str, symbols: Sequence[str], constant: float, vibration: float, alloy: float | None = None,
    *, voltage: float = VOLTAGE, fine: bool = False,
) -> Material:  # fmt: skip
    """A cubic crystal along a zone axis.

    Parameters
    ----------
    structure, zone
        ``diamond``, ``zincblende``, ``fcc``, ``bcc`` or ``perovskite`` along ``110``, ``100`` or ``111``, where that
        lattice is one of `cyclestrain.simulation.LATTICES`.
    symbols
        Elements; of an alloy the two that share the places.
    constant
        Lattice constant, Angstrom.
    vibration
        Debye-Waller factor `B`, square Angstrom.
    alloy
        Share of the second element of an alloy.
    voltage
        Acceleration voltage, volts.
    fine
        Whether thin slices cut the atoms; else each lies in one slice.
    """
    lattice, turn, first = ORIENTATIONS[structure, zone]
    directions = ZONES[zone]
    parts = [(1.0, symbols)] if alloy is None else [(1 - alloy, symbols[:1]), (alloy, symbols[1:2])]
    cells: list[tuple[float, Any]] = [(share, _cell(structure, directions, of, constant)) for share, of in parts]
    depths = np.unique(np.round(cells[0][1].positions[:, 2], 3))
    slices = 3 if zone == "111" else len(depths)  # the double layers of diamond along [111] stay together
    for _, atoms in cells:
        atoms.translate([0.0, 0.0, atoms.cell.lengths()[2] * (5 / 24 if len(depths) == 6 else 0.5 / slices)])
        atoms.wrap()
    return Material(
        Crystal.from_alloy(cells, None if fine else slices, vibration, voltage), lattice, turn, first / constant
    )


def _cell(structure: str, directions: list[list[int]], symbols: Sequence[str], constant: float) -> Atoms:
    from ase.lattice import compounds
    from ase.lattice import cubic as elements

    class Perovskite(elements.SimpleCubicFactory):
        bravais_basis = ((0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
        element_basis = (0, 1, 2, 2, 2)

    make = {
        "diamond": elements.Diamond,
        "fcc": elements.FaceCenteredCubic,
        "bcc": elements.BodyCenteredCubic,
        "zincblende": compounds.B3,
        "perovskite": Perovskite(),
    }[structure]
    symbol = symbols[0] if len(symbols) == 1 else tuple(symbols)
    return make(directions=directions, symbol=symbol, latticeconstant=constant)


def _monolayer(formula: str, thickness: float) -> Material:
    """Monolayer on the lattice of WS2, from which truth is measured, a zigzag row of tungsten along x."""
    import abtem
    from ase import build

    a, make = 3.18, cast("Any", build.mx2)
    atoms = abtem.orthogonalize_cell(make(formula, kind="2H", a=a, thickness=thickness, vacuum=1.0))
    return Material(Crystal.from_atoms(atoms, 3, 0.4), "hexagonal", np.pi / 6, 2 / (np.sqrt(3) * a))


MATERIALS: dict[str, Callable[[], Material]] = {
    "Si": lambda: cubic("diamond", "110", ["Si"], 5.431, 0.46),
    "WS2": lambda: _monolayer("WS2", 3.19),
    "WSe2": lambda: _monolayer("WSe2", 3.36),
}
"""Functions that make the crystals, by name."""
