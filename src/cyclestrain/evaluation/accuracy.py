r"""Errors of a result against a known truth.

A result is relative to a reference region; the truth is absolute. `relative_truth` brings the truth to the same
reference: :math:`F_{rel} = F S F_{ref}^{-1}`, where `S` is a rotation the lattice maps onto itself under. A relabelled
lattice has another :math:`\varepsilon_{rel}` (through the strain of the reference), so `S` is the one whose rotation is
nearest to the result's. Errors are always reported apart for all positions, the interior, as bias per grain and as
scatter, since the first is dominated by grain boundaries, where the truth itself is a blend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cyclestrain.affine import left_polar, rotation, wrap_angle
from cyclestrain.errors import InputError

__all__ = ["Accuracy", "ComponentAccuracy", "classes_found", "compare", "error_map", "relative_truth", "renamed"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

STRAINS = ("exx", "eyy", "exy")
"""Components of strain, in the order in which they are reported."""
VACUUM, UNKNOWN = -1, -2
"""Stand for a class: no crystal, and a class that the truth does not have."""
FAILURE_DEG = 1.0
"""Rotation error, degrees modulo symmetry, above which a position counts as a failure."""
INTERIOR_SHARE = 0.999
"""Share of the probe in one crystal, or in vacuum, from which a position counts as inside it."""
SMALLEST_GRAIN = 50
"""Least number of interior positions of a grain for which a bias is given."""
LARGE_GRAIN = 200
"""Least number of positions (boundary included) of a large grain."""
OF_ONE = ("z_std", "coverage_68", "coverage_95")
"""Measures that are about one or below, whatever the strain; tables show them with three decimals."""


@dataclass(frozen=True)
class ComponentAccuracy:
    """Errors of one map: strain as a fraction, rotation in degrees; NaN where there is nothing to average.

    Attributes
    ----------
    name
        ``exx``, ``eyy``, ``exy`` or ``rotation``.
    mae
        Mean absolute error over all valid positions.
    mae_interior
        The same over the interior.
    bias_rms
        Root mean square, over grains of at least 50 interior positions, of the grain's mean error.
    bias_rms_large, bias_max_large
        Root mean square and largest magnitude over those of them with at least 200 positions in all.
    scatter
        Standard deviation of the interior errors around the mean of their grain, all grains pooled.
    z_std
        Standard deviation of error / sigma over the interior: 1 if the stated uncertainty is right; NaN without sigma.
    coverage_68, coverage_95
        Share of the interior errors within 1 and within 1.96 sigma: 0.683 and 0.95 if the stated uncertainty is right.
    """

    name: str
    mae: float
    mae_interior: float
    bias_rms: float
    bias_rms_large: float
    bias_max_large: float
    scatter: float
    z_std: float
    coverage_68: float
    coverage_95: float


@dataclass(frozen=True)
class Accuracy:
    """Errors of a result against the truth.

    Bias, scatter and z leave failures out (these are counted in `failure_share`); the mean absolute errors keep them
    and leave out invalid positions only.

    Attributes
    ----------
    estimate
        Which maps: ``""`` for the default ones, ``raw`` for those of each pattern alone.
    exx, eyy, exy, rotation
        Errors of each map.
    n_positions, n_interior
        Positions of the sample with a truth relative to the reference, and interior ones among them.
    n_grains, n_large_grains
        Grains behind `ComponentAccuracy.bias_rms` and `ComponentAccuracy.bias_rms_large`.
    failures
        Interior positions that are invalid or whose rotation is off by more than 1 degree modulo symmetry.
    class_accuracy
        Share of the positions inside a crystal or in vacuum that are in the right class, classes being named by the
        best one-to-one assignment; NaN where the truth has one class only.
    """

    estimate: str
    exx: ComponentAccuracy
    eyy: ComponentAccuracy
    exy: ComponentAccuracy
    rotation: ComponentAccuracy
    n_positions: int
    n_interior: int
    n_grains: int
    n_large_grains: int
    failures: int
    class_accuracy: float

    @property
    def components(self) -> tuple[ComponentAccuracy, ...]:
        """The four maps in the order exx, eyy, exy, rotation."""
        return self.exx, self.eyy, self.exy, self.rotation

    @property
    def failure_share(self) -> float:
        """Share of the interior positions that failed."""
        return self.failures / self.n_interior if self.n_interior else float("nan")

    def to_table(self) -> str:
        """Text table with one line per measure."""
        rows = [
            ("MAE, all", "mae"),
            ("MAE, interior", "mae_interior"),
            (f"bias rms, {self.n_grains} grains", "bias_rms"),
            (f"bias rms, {self.n_large_grains} large", "bias_rms_large"),
            (f"bias max, {self.n_large_grains} large", "bias_max_large"),
            ("scatter", "scatter"),
            ("std of error/sigma", "z_std"),
            ("within 1 sigma", "coverage_68"),
            ("within 1.96 sigma", "coverage_95"),
        ]
        title = f"{self.estimate or 'default'} estimate: {self.n_positions} positions, {self.n_interior} interior, "
        title += f"{self.failures} failed ({100 * self.failure_share:.2f} %)"
        if np.isfinite(self.class_accuracy):
            title += f", class right {100 * self.class_accuracy:.2f} %"
        lines = [title, f"{'':22}{'exx':>11}{'eyy':>11}{'exy':>11}{'rotation/deg':>14}"]
        for label, field in rows:
            values = [float(getattr(component, field)) for component in self.components]
            formatted = "".join(_format(value, field) for value in values[:3])
            lines.append(f"{label:22}{formatted}{values[3]:>14.4f}")
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return the table of `to_table`."""
        return self.to_table()


def compare(result: xr.Dataset, truth: xr.Dataset, estimate: str = "") -> Accuracy:
    """Errors of a result against the truth of a simulated scan.

    Parameters
    ----------
    result
        Maps of `cyclestrain.map`, dims ``(ry, rx)``, rotation in radians.
    truth
        Truth of the simulated scan.
    estimate
        ``""`` for ``exx ...``, ``raw`` for ``exx_raw ...``.

    Raises
    ------
    InputError
        If the result lacks maps of that estimate or its reference, is of another shape than the truth, or the truth
        lacks the crystals under the probe.

    Examples
    --------
    A result that is wrong by 1e-3 everywhere, against the truth of a crystal with a strained half:

    >>> import numpy as np
    >>> from cyclestrain.evaluation import compare
    >>> from cyclestrain.simulation.lattice import make_lattice
    >>> from cyclestrain.simulation.sample import Sample, make_truth
    >>> gradient = np.tile(np.eye(2), (4, 6, 1, 1))
    >>> gradient[:, 3:, 1, 1] += 0.02
    >>> truth = make_truth(Sample.from_field(make_lattice("hexagonal", 20.0), gradient), np.zeros((4, 6, 2)), {})
    >>> result = truth[["exx", "eyy", "exy", "rotation"]] + 1e-3
    >>> result["reference"] = ("ry", "rx"), np.arange(6) < np.full((4, 6), 3)
    >>> found = compare(result, truth)
    >>> print(f"{found.exx.mae:.4f} {found.exx.scatter:.4f} {found.failures}")
    0.0010 0.0000 0
    """
    suffix = _suffix(estimate)
    missing = [name + suffix for name in (*STRAINS, "rotation") if name + suffix not in result]
    if missing:
        raise InputError(f"the result has no {', '.join(missing)}")
    expected = relative_truth(result, truth, estimate)
    known = np.isfinite(expected["rotation"].values)
    valid = known & np.isfinite(result[f"rotation{suffix}"].values)
    if "valid" in result:
        valid &= result["valid"].values
    interior = known & truth["interior"].values
    errors = {name: error_map(result, truth, expected, name, estimate) for name in (*STRAINS, "rotation")}
    errors["rotation"] = np.rad2deg(errors["rotation"])
    good = interior & valid & (np.abs(errors["rotation"]) <= FAILURE_DEG)
    grain = truth["grain"].values
    grains = _grains(grain, good)
    regions = Regions(valid, interior & valid, good, grain, grains)
    parts = {name: _component(name, error, _sigma(result, name, suffix), regions) for name, error in errors.items()}
    return Accuracy(
        estimate=suffix[1:],
        **parts,
        n_positions=int(known.sum()),
        n_interior=int(interior.sum()),
        n_grains=len(grains.all),
        n_large_grains=len(grains.large),
        failures=int((interior & ~good).sum()),
        class_accuracy=_class_accuracy(result, truth),
    )


def relative_truth(result: xr.Dataset, truth: xr.Dataset, estimate: str = "") -> xr.Dataset:
    """Truth relative to the reference of a result: ``exx, eyy, exy, rotation`` (radians), dims ``(ry, rx)``.

    The reference of each class is the mean true ``F`` over the (interior) positions of the result's ``reference`` mask;
    classes without any are NaN. A result whose attribute ``reference_kind`` is ``lattice`` is compared with the
    absolute truth, one of kind ``ideal`` with the absolute truth at the mean spacing. At boundaries the strain is the
    mean over the crystals under the probe, each relative to the reference, weighted by their shares; crystals without a
    reference count as the dominant one.

    Parameters
    ----------
    result
        Maps of `cyclestrain.map`, with their ``reference`` mask.
    truth
        Truth of the simulated scan.
    estimate
        ``""`` or ``raw``: whose rotation picks the equivalent labelling.

    Raises
    ------
    InputError
        If the result has another shape than the truth or no reference, or the truth lacks the crystals under the probe.
    """
    if result["exx"].shape != truth["exx"].shape:
        raise InputError(f"the result has {result['exx'].shape} positions, the truth {truth['exx'].shape}")
    if "crystal_F" not in truth:
        raise InputError(
            "the truth does not say which crystals are under the probe; simulate the scan again with this version"
        )
    gradient, label = truth["F"].values, truth["class"].values
    crystals, phase = truth["crystal_F"].values, truth["crystal_class"].values
    target = np.nan_to_num(result[f"rotation{_suffix(estimate)}"].values)
    own = _median_by_crystal(target, truth)
    stretch, theta, alone = (
        np.full(gradient.shape, np.nan),
        np.full(label.shape, np.nan),
        np.full(crystals.shape, np.nan),
    )
    for k, order in enumerate(_orders(truth)):
        here, of_class = label == k, phase == k
        reference = _reference(result, truth, here, order)
        if reference is not None and here.any():
            inverse = np.linalg.inv(reference)
            stretch[here], theta[here] = left_polar(
                _nearest_variant(gradient[here], reference, order, target[here]) @ inverse
            )
            alone[of_class] = left_polar(
                _nearest_variant(crystals[of_class], reference, order, own[of_class]) @ inverse
            )[0]
    stretch += _blend(alone, truth)
    maps = {"rotation": theta}
    for name, row, column in (("exx", 1, 1), ("eyy", 0, 0), ("exy", 0, 1)):
        maps[name] = stretch[..., row, column] - float(row == column)
    return xr.Dataset({name: (("ry", "rx"), values) for name, values in maps.items()})


def error_map(result: xr.Dataset, truth: xr.Dataset, expected: xr.Dataset, name: str, estimate: str = "") -> FloatArray:
    """Result minus expected truth, shape ``(ry, rx)``; radians, modulo the symmetry of the lattice, for the rotation.

    Parameters
    ----------
    result, truth
        As for `compare`.
    expected
        Truth relative to the reference of the result, from `relative_truth`.
    name
        ``exx``, ``eyy``, ``exy`` or ``rotation``.
    estimate
        ``""`` for ``exx ...``, ``raw`` for ``exx_raw ...``.
    """
    difference: FloatArray = result[name + _suffix(estimate)].values - expected[name].values
    if name != "rotation":
        return difference
    order = np.array(_orders(truth))[np.maximum(truth["class"].values, 0)]
    error: FloatArray = wrap_angle(difference, 2 * np.pi / order)
    return error


def classes_found(result: xr.Dataset) -> IntArray:
    """Class of every position of a result, -1 outside the sample or without a class, shape ``(ry, rx)``."""
    found: IntArray = np.where(np.isfinite(result["class"].values), result["class"].values, VACUUM).astype(np.int64)
    if "sample" in result:
        found[~result["sample"].values.astype(bool)] = VACUUM
    return found


def renamed(found: IntArray, label: IntArray) -> IntArray:
    """Classes found, renamed to those of the truth by the best one-to-one assignment.

    Vacuum stays -1; a class that is left over, since the truth has fewer, becomes -2.

    Parameters
    ----------
    found
        Classes of a result, -1 for vacuum, any shape.
    label
        True classes of the same positions, -1 for vacuum.

    Examples
    --------
    >>> import numpy as np
    >>> from cyclestrain.evaluation.accuracy import renamed
    >>> renamed(np.array([1, 1, 0, 0, 2, -1]), np.array([0, 0, 1, 1, 1, -1]))
    array([ 0,  0,  1,  1, -2, -1])
    """
    both = (label >= 0) & (found >= 0)
    table = np.zeros((int(label.max()) + 1, int(found.max()) + 1), np.int64)
    np.add.at(table, (label[both], found[both]), 1)
    names = np.full(table.shape[1] + 1, UNKNOWN)
    names[VACUUM] = VACUUM  # the last one, behind those of the classes
    true, own = linear_sum_assignment(table, maximize=True)
    names[own] = true
    return names[found]


def _suffix(estimate: str) -> str:
    return f"_{estimate.strip('_')}" if estimate else ""


def _median_by_crystal(values: FloatArray, truth: xr.Dataset) -> FloatArray:
    """Median over the positions that each crystal dominates, 0 for those that dominate none, shape ``(crystal,)``."""
    out = np.zeros(truth.sizes["crystal"])
    dominant = truth["part_crystal"].values[..., 0].ravel()
    order = np.argsort(dominant, kind="stable")
    ids, first = np.unique(dominant[order], return_index=True)
    for k, members in zip(ids, np.split(order, first[1:]), strict=True):
        if k != VACUUM:
            out[k] = np.median(values.ravel()[members])
    return out


def _blend(stretch: FloatArray, truth: xr.Dataset) -> FloatArray:
    """Mean stretch of the crystals under the probe minus that of the dominant one, shape ``(ry, rx, 2, 2)``."""
    crystal, share = truth["part_crystal"].values, truth["part_share"].values * (truth["part_crystal"].values != VACUUM)
    share[truth["interior"].values, 1:] = 0.0
    difference = stretch[crystal] - stretch[crystal[..., :1]]
    total = np.maximum(share.sum(-1), 1e-12)
    mean: FloatArray = np.einsum("...k,...kij->...ij", share, np.nan_to_num(difference)) / total[..., None, None]
    return mean


@dataclass(frozen=True)
class Grains:
    """Numbers of the grains that have a bias: `all` of them, and the `large` ones among them."""

    all: list[int]
    large: list[int]


@dataclass(frozen=True)
class Regions:
    """Masks of the positions that enter each measure, shape ``(ry, rx)``, and the map of grains."""

    valid: BoolArray
    interior: BoolArray
    good: BoolArray
    grain: IntArray
    grains: Grains


def _grains(grain: IntArray, good: BoolArray) -> Grains:
    inside, total = np.bincount(grain[good], minlength=1), np.bincount(grain[grain >= 0], minlength=1)
    chosen = [int(g) for g in np.flatnonzero(inside >= SMALLEST_GRAIN)]
    return Grains(chosen, [g for g in chosen if total[g] >= LARGE_GRAIN])


def _component(name: str, error: FloatArray, sigma: FloatArray | None, regions: Regions) -> ComponentAccuracy:
    good, grain = regions.good, regions.grain
    bias = {g: float(error[good & (grain == g)].mean()) for g in regions.grains.all}
    large = np.array([bias[g] for g in regions.grains.large])
    ids, inverse = np.unique(grain[good], return_inverse=True)
    counts = np.bincount(inverse, minlength=len(ids))
    means = np.bincount(inverse, weights=error[good], minlength=len(ids)) / np.maximum(counts, 1)
    freedom = int(counts.sum()) - len(ids)
    residual = error[good] - means[inverse]
    z = np.empty(0) if sigma is None else error[good & (sigma > 0)] / sigma[good & (sigma > 0)]
    return ComponentAccuracy(
        name=name,
        mae=_mean(np.abs(error[regions.valid])),
        mae_interior=_mean(np.abs(error[regions.interior])),
        bias_rms=_rms(np.array(list(bias.values()))),
        bias_rms_large=_rms(large),
        bias_max_large=float(np.abs(large).max()) if large.size else float("nan"),
        scatter=float(np.sqrt((residual**2).sum() / freedom)) if freedom > 0 else float("nan"),
        z_std=float(z.std()) if z.size > 1 else float("nan"),
        coverage_68=_mean(np.abs(z) < 1.0),
        coverage_95=_mean(np.abs(z) < 1.96),
    )


def _orders(truth: xr.Dataset) -> list[int]:
    return [int(order) for order in np.atleast_1d(truth.attrs["symmetry"])]


def _operators(order: int) -> FloatArray:
    operators: FloatArray = rotation(2 * np.pi / order * np.arange(order))
    return operators


def _nearest_variant(gradient: FloatArray, reference: FloatArray, order: int, target: FloatArray) -> FloatArray:
    """Labelling ``F S`` of each gradient, shape ``(n, 2, 2)``, whose relative rotation is nearest to `target`."""
    variants = gradient[:, None] @ _operators(order)
    _, theta = left_polar(variants @ np.linalg.inv(reference))
    best = np.argmin(np.abs(wrap_angle(theta - target[:, None])), axis=1)
    nearest: FloatArray = variants[np.arange(len(gradient)), best]
    return nearest


def _reference(result: xr.Dataset, truth: xr.Dataset, here: BoolArray, order: int) -> FloatArray | None:
    """Average the true deformation gradient over the reference of one class; None where the class has none."""
    if result.attrs.get("reference_kind") == "lattice":
        return np.eye(2)
    if "reference" not in result:
        raise InputError("the result has neither a `reference` mask nor reference_kind 'lattice'")
    mask = here & result["reference"].values.astype(bool)
    interior = mask & truth["interior"].values
    if interior.any():
        mask = interior
    if not mask.any():
        return None
    gradient = truth["F"].values[mask]
    if result.attrs.get("reference_kind") == "ideal":
        return np.eye(2) * float(np.sqrt(np.abs(np.linalg.det(gradient)).mean()))
    variants = _nearest_variant(gradient, gradient[0], order, np.zeros(len(gradient)))
    # Rotation and stretch apart, as the reference is measured: turned matrices average to a smaller one.
    _, theta = left_polar(variants @ np.linalg.inv(variants.mean(0)))
    mean: FloatArray = (rotation(theta.mean() - theta) @ variants).mean(0)
    return mean


def _sigma(result: xr.Dataset, name: str, suffix: str) -> FloatArray | None:
    variable = f"{name}{suffix}_sigma"
    if variable not in result:
        return None
    sigma: FloatArray = result[variable].values
    return np.rad2deg(sigma) if name == "rotation" else sigma


def _class_accuracy(result: xr.Dataset, truth: xr.Dataset) -> float:
    label = truth["class"].values
    if len(np.unique(label)) < 2 or "class" not in result:
        return float("nan")
    counted = truth["interior"].values | (truth["share"].values < 1 - INTERIOR_SHARE)
    label, found = label[counted], classes_found(result)[counted]
    return _mean(renamed(found, label) == label)


def _mean(values: FloatArray | BoolArray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _rms(values: FloatArray | Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def _format(value: float, field: str) -> str:
    return f"{value:>11.3f}" if field in OF_ONE else f"{value:>11.2e}"
