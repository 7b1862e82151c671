"""Errors of a result against a known truth.

Errors are always reported apart for all positions, the interior, as bias per grain and as scatter, since the first is
dominated by grain boundaries, where the truth itself is a blend. What the result should hold is in
`cyclestrain.evaluation.truth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.errors import InputError
from cyclestrain.evaluation.truth import classes_found, error_map, relative_truth, renamed, suffix_of

__all__ = ["Accuracy", "ComponentAccuracy", "compare"]

STRAINS = ("exx", "eyy", "exy")
"""Components of strain, in the order in which they are reported."""
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
        title = "each pattern alone (raw)" if self.estimate else "best estimate"
        title += f": {self.n_positions} positions, {self.n_interior} interior, "
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
    suffix = suffix_of(estimate)
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
