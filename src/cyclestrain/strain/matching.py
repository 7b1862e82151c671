r"""Which known lattice each dictionary entry is, and the absolute reference that follows.

The orientation of the crystal is free, and so are the labelling of the lattice (any integer matrix :math:`M`), the side
it is seen from (a mirror image), and whether only every second or third reflection is strong enough to be seen
(:math:`|\det M| > 1`). What remains is how the measured lattice :math:`G`, in pixels, is stretched against a known one
:math:`K`: the polar part of :math:`p\,G\,(K M)^{-1}` with the pixel size :math:`p`. A lattice that is stretched more
than a crystal can be is another one.

An error of the pixel size, that is, of the camera length, is the same at every position and in every class: it adds one
unknown dilation to all strains. Shear, rotation and the difference of the principal strains are free of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from cyclestrain.affine import deformation, rotation
from cyclestrain.data import AffineField, BoolArray, FloatArray, Quantity
from cyclestrain.errors import InputError
from cyclestrain.strain.known import KnownLattice
from cyclestrain.strain.lattices import mean_spacing
from cyclestrain.strain.reference import Reference

__all__ = ["CAMERA_LENGTH", "NONE", "Match", "check_known", "known_reference", "pixel_size", "rank_known"]

CAMERA_LENGTH = 0.02
"""Relative uncertainty of a pixel size that does not state one."""
STRAINED = 0.015
"""Standard deviation of the mean strain of a class before anything is known."""
MOST_COST = 9.0
"""Squared deviation, in those units, from which a lattice is said to be another one."""
SURE = 6.0
"""Difference of squared deviations from which one candidate is preferred to another."""
FEWER = 4.0
"""What it costs to take every second reflection for absent; every fourth costs twice that."""
SAME_SHAPE = 1e-3
"""Difference of a labelling of the known lattice from a rotation above which it is none of its symmetries."""
MOST_SPARSE = 4
"""Largest share of the reflections, every fourth, that may be all that is seen."""
MOST_SHEAR = 3 * STRAINED
"""Largest difference of shape that is looked at."""
NONE = "none of these"
"""Name of the candidate that is none."""
INTEGERS = np.array(list(product(range(-3, 4), repeat=4)), float).reshape(-1, 2, 2)
"""Labellings that are tried."""


@dataclass(frozen=True)
class Match:
    """A known lattice in the labelling of a dictionary entry.

    Attributes
    ----------
    lattice
        Which one.
    vectors
        Its reciprocal vectors that correspond to the basis of the entry, columns, 1/nm, shape ``(2, 2)``.
    dilation
        Logarithm of the measured over the known spacing of reflections, at the pixel size that was assumed.
    cost
        Squared deviation of the shape, and of reflections that are absent.
    """

    lattice: KnownLattice
    vectors: FloatArray
    dilation: float
    cost: float


def pixel_size(step: Quantity | None) -> tuple[float, float] | None:
    """Pixel size in 1/nm and its relative uncertainty; None where it is unknown, or an angle.

    Examples
    --------
    >>> pixel_size(Quantity(0.1, "1/nm"))
    (0.1, 0.02)
    """
    if step is None or step.unit != "1/nm":
        return None
    return step.value, CAMERA_LENGTH if step.sigma is None else step.sigma / step.value


def known_reference(
    field: AffineField,
    bases: FloatArray,
    lattices: Sequence[KnownLattice],
    pixel: tuple[float, float] | None,
    region: BoolArray | None = None,
) -> Reference:
    """The unstrained lattices that were given, as reference of every entry that is one of them.

    Parameters
    ----------
    field
        Affine of every position, without the distortion of the detector.
    bases
        Reciprocal-lattice vectors of every entry as columns, pixels, shape ``(entry, 2, 2)``.
    lattices
        Those that may occur.
    pixel
        Pixel size in 1/nm and its relative uncertainty; None to calibrate it from the scan.
    region
        Positions whose mean spacing is that of the known lattice, shape ``(ry, rx)``; the pixel is calibrated there.

    Raises
    ------
    InputError
        If no entry is any of these lattices.
    """
    size, sigma = pixel if pixel and region is None else (1.0, None)
    chosen, names = _matched([_shape(field, basis, k) for k, basis in enumerate(bases)], lattices, size, sigma)
    members = np.zeros(field.label.shape, bool)
    if sigma is None:
        size, sigma, members = _calibrated(field, bases, chosen, region)
    n, odd = len(bases), []
    gradient, covariance = np.full((n, 2, 2), np.nan), np.full((n, 4, 4), np.nan)
    for k, match in enumerate(chosen):
        if match is not None:
            if _looks_more_symmetric(match, bases[k], field.operators[k]):
                odd.append(k)
            upright = rotation(-np.arctan2(match.vectors[0, 0], match.vectors[1, 0]))
            gradient[k] = deformation(upright @ match.vectors @ np.linalg.inv(bases[k]) / size)
            covariance[k] = 0.0
    return Reference(
        members, gradient, covariance, np.ones(n), absolute=True, scale_sigma=sigma, phases=tuple(names),
        parameters=tuple(np.nan if match is None else match.lattice.parameter for match in chosen),
        pixel=(size, sigma), text=_words(names, size, sigma, members, region, bool(pixel)) + _variants(odd),
        unsure=tuple(odd),
    )  # fmt: skip


def _looks_more_symmetric(match: Match, basis: FloatArray, operators: FloatArray) -> bool:
    """Whether some labelling that the entry takes for equivalent is none of the known lattice."""
    across = match.vectors @ np.linalg.inv(basis)
    turns = across @ operators @ np.linalg.inv(across)
    return bool(np.abs(turns @ turns.swapaxes(-1, -2) - np.eye(2)).max(initial=0.0) > SAME_SHAPE)


def _variants(odd: list[int]) -> str:
    if not odd:
        return ""
    which = " and ".join(f"class {k}" for k in odd)
    return (
        f"; {which} was learned as more symmetric than its lattice is, so grains of it that are turned variants show "
        "the difference as strain"
    )


def rank_known(
    field: AffineField, bases: FloatArray, lattices: Sequence[KnownLattice], pixel: tuple[float, float] | None
) -> list[dict[str, float]]:
    """How probable each candidate is for every entry, by its reciprocal lattice alone.

    The probability is that of a mean strain with a standard deviation of 1.5 %, at the pixel size that suits all
    entries best within its uncertainty; ``none of these`` stands for lattices further than three such deviations away.
    A candidate of which reflections have to be absent counts less. Brightness is not compared.

    Parameters
    ----------
    field, bases, lattices, pixel
        As for `known_reference`.

    Returns
    -------
    probabilities
        Of every entry by the name of the lattice, the largest first; they sum to 1.
    """
    size, sigma = pixel or (1.0, None)
    shapes = [_shape(field, basis, k) for k, basis in enumerate(bases)]
    most = 1 if sigma is None else MOST_SPARSE
    options = [[] if shape is None else _options(shape * size, lattices, most) for shape in shapes]
    out = []
    for group, cost in zip(options, _costs(options, sigma), strict=True):
        weight = np.exp(-0.5 * (cost - cost.min()))
        found = dict.fromkeys([one.name for one in lattices] + [NONE], 0.0)
        for name, part in zip([NONE] + [match.lattice.name for match in group], weight, strict=True):
            found[name] = max(found[name], float(part))
        total = sum(found.values())
        out.append({name: found[name] / total for name in sorted(found, key=lambda name: -found[name])})
    return out


def check_known(bases: FloatArray, lattices: Sequence[KnownLattice], pixel: tuple[float, float] | None) -> None:
    """Refuse lattices that no entry is, before any pattern is fitted.

    Parameters
    ----------
    bases
        Reciprocal-lattice vectors of every entry as columns, on a detector with square pixels, shape ``(entry, 2, 2)``.
    lattices, pixel
        As for `known_reference`.

    Raises
    ------
    InputError
        If no entry is any of them.
    """
    size, sigma = pixel or (1.0, None)
    _matched(list(bases), lattices, size, sigma)


def _matched(
    shapes: Sequence[FloatArray | None], lattices: Sequence[KnownLattice], size: float, sigma: float | None
) -> tuple[list[Match | None], list[str]]:
    most = 1 if sigma is None else MOST_SPARSE  # without a scale too many lattices would look like part of another
    options = [[] if shape is None else _options(shape * size, lattices, most) for shape in shapes]
    chosen, names = _assigned(options, sigma)
    if not any(chosen):
        raise InputError(_no_match(shapes, lattices, size if sigma is not None else None, names))
    return chosen, names


def _shape(field: AffineField, basis: FloatArray, k: int) -> FloatArray | None:
    """A basis of the typical lattice of an entry, turned in any way, pixels; None where it occurs nowhere."""
    here = field.usable & (field.label == k)
    if not here.any():
        return None
    vectors = field.affine[here] @ basis
    gram = np.median(vectors.swapaxes(-1, -2) @ vectors, axis=0)
    upper: FloatArray = np.linalg.cholesky(gram).T
    return np.diag([np.sign(np.linalg.det(basis)), 1.0]) @ upper


def _options(shape: FloatArray, lattices: Sequence[KnownLattice], most: int) -> list[Match]:
    """For every known lattice its best labelling, for each number of reflections that may be absent."""
    found: list[Match] = []
    determinant = np.abs(np.rint(np.linalg.det(INTEGERS)))
    for lattice in lattices:
        best: dict[int, Match] = {}
        for mirror in (np.eye(2), np.diag([-1.0, 1.0])):
            vectors = mirror @ lattice.basis @ INTEGERS
            fits = (np.linalg.det(vectors) * np.linalg.det(shape) > 0) & (determinant >= 1) & (determinant <= most)
            ratio = shape @ np.linalg.inv(vectors[fits])
            values = np.log(np.linalg.svd(ratio, compute_uv=False))
            shear, dilation = (values[:, 0] - values[:, 1]) / 2, values.mean(1)
            for number in range(1, most + 1):
                at = np.where(determinant[fits] == number, shear, np.inf).argmin()
                cost = float((shear[at] / STRAINED) ** 2 + FEWER * np.log2(number))
                near = determinant[fits][at] == number and shear[at] < MOST_SHEAR
                if near and (number not in best or cost < best[number].cost):
                    best[number] = Match(lattice, vectors[fits][at], float(dilation[at]), cost)
        found += best.values()
    return found


def _costs(options: list[list[Match]], sigma: float | None) -> list[FloatArray]:
    """Squared deviation of every option of each entry, the first of them that it is none of the candidates.

    Every entry is told apart with the others summed up in their best case, so that ratios between entries count.
    """
    dilations = sorted({match.dilation for group in options for match in group})
    if sigma is None:
        shared = np.array(dilations or [0.0])
    else:
        shared = np.linspace(-4 * sigma, 4 * sigma, 161) if sigma > 0 else np.zeros(1)
    prior = np.zeros(len(shared)) if not sigma else (shared / sigma) ** 2
    costs = [
        np.array([np.full(len(shared), MOST_COST)] + [m.cost + ((m.dilation - shared) / STRAINED) ** 2 for m in group])
        for group in options
    ]
    least = [cost.min(0) for cost in costs]
    total = prior + sum(least)
    return [np.asarray((total - least[k] + cost).min(1)) for k, cost in enumerate(costs)]


def _assigned(options: list[list[Match]], sigma: float | None) -> tuple[list[Match | None], list[str]]:
    """The lattice of every entry, None where it is unknown or unsure, and its name in words."""
    chosen: list[Match | None] = []
    names: list[str] = []
    for group, each in zip(options, _costs(options, sigma), strict=True):
        best = int(each.argmin())
        rivals = sorted(
            {m.lattice.name for m, cost in zip(group, each[1:], strict=True) if cost < each[best] + SURE}
            - {group[best - 1].lattice.name if best else ""}
        )
        sure = best > 0 and not rivals
        chosen.append(group[best - 1] if sure else None)
        names.append(group[best - 1].lattice.name if sure else _unsure(best, rivals, group))
    return chosen, names


def _unsure(best: int, rivals: list[str], group: list[Match]) -> str:
    if best == 0:
        return "unknown"
    return " or ".join([group[best - 1].lattice.name, *rivals])


def _calibrated(
    field: AffineField, bases: FloatArray, chosen: list[Match | None], region: BoolArray | None
) -> tuple[float, float, BoolArray]:
    """Pixel size in 1/nm at which the mean spacing is that of the known lattices, its relative error, and where."""
    logs, weights, variances = [], [], []
    members = np.zeros(field.label.shape, bool)
    for k, match in enumerate(chosen):
        here = field.usable & (field.label == k)
        if region is not None:
            here = here & region
        if match is None or not here.any():
            continue
        spacing, variance, used = mean_spacing(field, here)
        ratio = abs(np.linalg.det(match.vectors) / np.linalg.det(bases[k]))
        members[here] = used
        logs.append(0.5 * np.log(ratio) + np.log(spacing))
        weights.append(used.sum())
        variances.append(variance)
    if not logs:
        raise InputError("the region of --reference known holds no valid position of a known lattice: choose another")
    weight = np.array(weights) / sum(weights)
    return float(np.exp(weight @ logs)), float(np.sqrt(weight**2 @ variances)), members


def _words(
    names: list[str], size: float, sigma: float, members: BoolArray, region: BoolArray | None, stated: bool
) -> str:
    which = "; ".join(f"class {k}: {name}" for k, name in enumerate(names)) if len(names) > 1 else names[0]
    text = f"the known lattice, {which} (known), pixel"
    if not members.any():
        exact = "said to be exact" if not sigma else f"+- {100 * sigma:.2g} % (in sigma, the same error everywhere)"
        return f"{text} {size:.5g} 1/nm {exact}"
    where = "the scan" if region is None else "the region given"
    why = "" if stated else ", since none in 1/nm is stated"
    return (
        f"{text} calibrated to {size:.5g} 1/nm by the mean spacing of {where} ({int(members.sum())} positions){why}: "
        "exx + eyy is relative to that mean"
    )


def _no_match(
    shapes: Sequence[FloatArray | None], lattices: Sequence[KnownLattice], size: float | None, names: list[str]
) -> str:
    if any(" or " in name for name in names):
        both = next(name for name in names if " or " in name)
        return f"the measured lattice may be {both}: give one of them, or a more certain --pixel"
    seen = "; ".join(f"class {k}, {_described(shape, size)}" for k, shape in enumerate(shapes) if shape is not None)
    wanted = "; ".join(f"{one.name}, {_described(one.basis, 1.0)}" for one in lattices)
    return (
        f"no class of the scan is the lattice of --known. Measured: {seen}. Expected: {wanted}. Check the structure, "
        "the zone axis and the pixel size (--pixel)"
    )


def _described(basis: FloatArray, size: float | None) -> str:
    from cyclestrain.strain.known import reduced

    short = reduced(basis)
    lengths = np.hypot(*short) * (size or 1.0)
    cosine = abs(short[:, 0] @ short[:, 1]) / np.prod(np.hypot(*short))
    unit = "px" if size is None else "1/nm"
    return f"{lengths[0]:.4g} and {lengths[1]:.4g} {unit} at {np.degrees(np.arccos(cosine)):.1f} deg"
