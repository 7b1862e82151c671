"""Lattices that a user knows: unstrained crystals seen along a zone axis, as two reciprocal-lattice vectors."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.errors import InputError

__all__ = [
    "STRUCTURES",
    "KnownCell",
    "KnownLattice",
    "known_cells",
    "lattices_text",
    "parse_known",
    "reduced",
    "stored_lattices",
]

_FACES = [(0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)]
_SHIFTED = [tuple(v + 0.25 for v in place) for place in _FACES]
_HALF = [tuple((v + h) % 1 for v, h in zip(place, (0.5, 0.0, 0.0), strict=True)) for place in _FACES]
STRUCTURES: dict[str, tuple[list[Any], list[Any], float]] = {
    "sc": (_FACES[:1], [], 1.0),
    "fcc": (_FACES, [], 1.0),
    "bcc": ([(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)], [], 1.0),
    "diamond": (_FACES + _SHIFTED, [], 1.0),
    "zincblende": (_FACES, _SHIFTED, 1.0),
    "rocksalt": (_FACES, _HALF, 1.0),
    "hcp": ([(0.0, 0.0, 0.0), (1 / 3, 2 / 3, 0.5)], [], math.sqrt(8 / 3)),
    "hexagonal": (_FACES[:1], [], math.sqrt(8 / 3)),
}
"""Places of the atoms of one kind and of another in the unit cell, and c/a unless it is given."""
_HEXAGONAL = ("hcp", "hexagonal", "graphene")
SECOND = 0.6
"""Scattering of the second kind of atom in units of the first: any number that is neither 0 nor 1 does."""
REACH = 6
"""Largest index of reflections that are looked at."""
ABSENT = 1e-4
"""Structure factor, in units of the largest possible, below which a reflection is absent."""


@dataclass(frozen=True)
class KnownLattice:
    """Reflections of an unstrained crystal along a zone axis.

    Attributes
    ----------
    name
        For messages and results.
    parameter
        Lattice constant `a`, angstrom.
    basis
        Reciprocal-lattice vectors ``(y, x)`` as columns, 1/nm, that span all reflections that are not absent, reduced,
        shape ``(2, 2)``. Their orientation has no meaning, and may be mirrored.
    axis
        Number `N` for which rotations about the zone axis with ``tan(angle / 2) = m / n sqrt(N)`` bring lattice points
        into coincidence: ``u^2 + v^2 + w^2`` of a cubic crystal, 3 for a hexagonal one along [0001]; 0 for others.
    """

    name: str
    parameter: float
    basis: FloatArray
    axis: int = 0


@dataclass(frozen=True)
class KnownCell:
    """A unit cell and the direction it is seen along.

    Attributes
    ----------
    name
        For messages and results.
    zone
        Direction ``uvw`` of the beam.
    cell
        Vectors of the unit cell as rows, angstrom, shape ``(3, 3)``.
    places
        Fractional coordinates of the atoms, shape ``(atom, 3)``.
    symbols
        Element of every atom; empty where the elements were not told.
    weight
        How strongly each atom scatters, roughly, shape ``(atom,)``.
    """

    name: str
    zone: IntArray
    cell: FloatArray
    places: FloatArray
    symbols: tuple[str, ...]
    weight: FloatArray

    @property
    def lattice(self) -> KnownLattice:
        """Its reflections."""
        return KnownLattice(
            self.name, float(np.linalg.norm(self.cell[0])), _seen_along(self), _coincidence_axis(self.cell, self.zone)
        )

    @property
    def across(self) -> FloatArray:
        """Unit vectors perpendicular to the beam as rows, in which `lattice` is given, shape ``(2, 3)``."""
        return np.asarray(np.linalg.svd((self.zone @ self.cell)[None])[2][1:])


def lattices_text(lattices: Sequence[KnownLattice]) -> str:
    """Lattices as text for the attributes of a result."""
    each = [
        {"name": one.name, "a_angstrom": one.parameter, "basis_1/nm": one.basis.tolist(), "axis": one.axis}
        for one in lattices
    ]
    return json.dumps(each)


def stored_lattices(text: str) -> tuple[KnownLattice, ...]:
    """Lattices from the attributes of a result, as `lattices_text` wrote them.

    Raises
    ------
    InputError
        If the text is damaged.
    """
    try:
        found = json.loads(text)
        return tuple(
            KnownLattice(one["name"], one["a_angstrom"], np.array(one["basis_1/nm"]), int(one.get("axis", 0)))
            for one in found
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"the known lattices in the result are damaged ({error}); map the scan again") from error


def parse_known(text: str) -> tuple[KnownLattice, ...]:
    """The lattices that one ``--known`` stands for: one, or one for every file that it names.

    Parameters
    ----------
    text
        ``a=5.431,structure=diamond,zone=110``, with ``c=`` and ``name=`` where they are wanted, or the names of CIF
        files with a zone, ``one.cif,two.cif,zone=001``.

    Raises
    ------
    InputError
        If something is missing, unknown or impossible.

    Examples
    --------
    The shortest reflections of silicon along [110] are 111, at 3.19 1/nm:

    >>> (silicon,) = parse_known("a=5.431,structure=diamond,zone=110")
    >>> np.hypot(*silicon.basis).round(2)
    array([3.19, 3.19])
    """
    return tuple(cell.lattice for cell in known_cells(text))


def known_cells(text: str) -> tuple[KnownCell, ...]:
    """The unit cells that one ``--known`` stands for, see `parse_known`.

    Parameters
    ----------
    text
        As for `parse_known`; ``elements=Si`` or ``elements=Ga-As`` tells the elements of a structure.

    Raises
    ------
    InputError
        If something is missing, unknown or impossible.

    Examples
    --------
    >>> (cell,) = known_cells("a=5.653,structure=zincblende,zone=110,elements=Ga-As")
    >>> cell.symbols
    ('Ga', 'Ga', 'Ga', 'Ga', 'As', 'As', 'As', 'As')
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    given = dict(part.split("=", 1) for part in parts if "=" in part)
    files = [part for part in parts if "=" not in part]
    unknown = sorted(set(given) - {"a", "c", "structure", "zone", "name", "elements"})
    if unknown or (files and set(given) - {"zone", "name"}) or not parts:
        raise InputError(
            f"--known {text!r} is not understood: give a=5.431,structure=diamond,zone=110 (and c=, name=, "
            "elements=), or FILE.cif,zone=110"
        )
    if "zone" not in given:
        raise InputError(f"--known {text!r} does not say along which zone axis the crystal is seen; add zone=110")
    zone = _zone(given["zone"])
    if files:
        return tuple(_from_file(Path(file), zone, given) for file in files)
    return (_from_structure(text, zone, given),)


def _zone(text: str) -> IntArray:
    """Direction ``uvw`` of a zone axis: ``110``, ``1-10``, ``[1 1 0]``, or ``11-20`` of a hexagonal lattice."""
    indices = [int(found) for found in re.findall(r"-?\d" if " " not in text else r"-?\d+", text)]
    if len(indices) == 4:
        u, v, t, w = indices
        indices = [u - t, v - t, w] if u + v + t == 0 else []
    if len(indices) != 3 or not any(indices):
        raise InputError(f"zone={text} is no zone axis; give three indices such as 110 or 1-10, or four, 0001")
    return np.array(indices) // math.gcd(*indices)


def _from_structure(text: str, zone: IntArray, given: dict[str, str]) -> KnownCell:
    structure = given.get("structure", "").lower().replace("graphene", "hexagonal")
    if structure not in STRUCTURES:
        names = ", ".join(STRUCTURES)
        raise InputError(f"--known {text!r}: structure is one of {names}, not {given.get('structure', 'given')!r}")
    first, second, ratio = STRUCTURES[structure]
    a = _length(given.get("a"), "a", text)
    c = _length(given["c"], "c", text) if "c" in given else ratio * a
    cell = np.diag([a, a, c])
    if structure in _HEXAGONAL:
        cell[1, :2] = -a / 2, a * math.sqrt(3) / 2
    weight = np.array([1.0] * len(first) + [SECOND] * len(second))
    label = given.get("name") or f"{structure} a={a:g} [{''.join(map(str, zone))}]"
    symbols = _elements(given["elements"], (len(first), len(second)), text) if "elements" in given else ()
    return KnownCell(label, zone, cell, np.array(first + second), symbols, weight)


def _elements(words: str, numbers: tuple[int, int], text: str) -> tuple[str, ...]:
    """Element of every atom of a structure."""
    each = [word for word in words.split("-") if word]
    if len(each) != 1 + bool(numbers[1]) or not all(re.fullmatch("[A-Z][a-z]?", word) for word in each):
        wanted = "two, as elements=Ga-As" if numbers[1] else "one, as elements=Si"
        raise InputError(f"--known {text!r}: this structure has places for {wanted}")
    return tuple(word for word, n in zip(each, numbers, strict=False) for _ in range(n))


def _length(text: str | None, name: str, whole: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not 0.5 < value < 100:
        raise InputError(f"--known {whole!r}: {name} is a lattice constant in angstrom, such as {name}=5.431")
    return value


def _from_file(path: Path, zone: IntArray, given: dict[str, str]) -> KnownCell:
    try:
        from ase.io import read
    except ImportError as error:
        raise InputError(
            "CIF files are read by ase, which is not installed: pip install 'cyclestrain[crystals]', or give the "
            "lattice as a=...,structure=...,zone=..."
        ) from error
    if not path.is_file():
        raise InputError(f"--known: there is no file {path}")
    try:
        atoms: Any = read(path, format="cif")
    except Exception as error:  # whatever a parser raises on a file that is none
        first = (str(error).splitlines() or [""])[0]
        raise InputError(
            f"--known: {path} is not a CIF file that ase can read ({type(error).__name__}: {first})"
        ) from error
    name = given.get("name") or f"{path.stem} [{''.join(map(str, zone))}]"
    return KnownCell(
        name, zone, np.array(atoms.cell.array, float), np.array(atoms.get_scaled_positions()),
        tuple(atoms.get_chemical_symbols()), np.array(atoms.numbers, float),
    )  # fmt: skip


def _coincidence_axis(cell: FloatArray, zone: IntArray) -> int:
    """See `KnownLattice.axis`."""
    lengths = np.linalg.norm(cell, axis=1)
    cosines = (cell @ cell.T / np.outer(lengths, lengths))[np.triu_indices(3, 1)]
    if np.ptp(lengths) < 1e-3 * lengths[0] and np.abs(cosines).max() < 1e-3:
        return int(zone @ zone)
    hexagonal = abs(lengths[0] - lengths[1]) < 1e-3 * lengths[0] and np.abs(cosines[1:]).max() < 1e-3
    return 3 if hexagonal and abs(abs(cosines[0]) - 0.5) < 1e-3 and not zone[:2].any() else 0


def _seen_along(crystal: KnownCell) -> FloatArray:
    """Reduced basis, columns ``(y, x)`` in 1/nm, of the lattice that the present reflections of a zone span."""
    grid = np.arange(-REACH, REACH + 1)
    hkl = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    hkl = hkl[(hkl @ crystal.zone == 0) & hkl.any(1)]
    vectors = 10.0 * hkl @ np.linalg.inv(crystal.cell).T @ crystal.across.T
    order = np.argsort(np.hypot(*vectors.T), kind="stable")
    hkl, vectors = hkl[order], vectors[order]
    scattered = np.abs(np.exp(2j * np.pi * hkl @ crystal.places.T) @ crystal.weight)
    present = scattered > ABSENT * crystal.weight.sum()
    areas = np.abs(vectors[0, 0] * vectors[:, 1] - vectors[0, 1] * vectors[:, 0])
    least = areas[areas > 1e-6 * areas.max()].min()
    primitive = np.stack([vectors[0], vectors[np.flatnonzero(np.isclose(areas, least))[0]]], 1)
    indices = np.rint(np.linalg.solve(primitive, vectors[present].T).T).astype(int)
    return reduced(primitive @ _generated(indices).T)


def _generated(vectors: IntArray) -> IntArray:
    """Two integer vectors, as rows, that generate the same lattice as many do (Hermite normal form)."""
    top, rest = np.zeros(2, int), 0
    for vector in vectors:
        one, other = top, vector
        while other[0]:
            one, other = other, one - (one[0] // other[0]) * other
        top, rest = one, math.gcd(rest, int(other[1]))
    return np.array([top, [0, rest]])


def reduced(basis: FloatArray) -> FloatArray:
    """The shortest two vectors, as columns, that span a lattice (Gauss), shape ``(2, 2)``."""
    one, two = basis.T
    for _ in range(100):
        if one @ one > two @ two:
            one, two = two, one
        step = np.rint(one @ two / (one @ one))
        if step == 0:
            break
        two = two - step * one
    return np.stack([one, two], 1)
