r"""The truth as a result would state it: relative to its reference, in its labelling, under its class numbers.

A result is relative to a reference region; the truth is absolute. `relative_truth` brings the truth to the same
reference: :math:`F_{rel} = F S F_{ref}^{-1}`, where `S` is a rotation the lattice maps onto itself under. A relabelled
lattice has another :math:`\varepsilon_{rel}` (through the strain of the reference), so `S` is the one whose rotation is
nearest to the result's.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from cyclestrain.affine import left_polar, rotation, wrap_angle
from cyclestrain.data import BoolArray, FloatArray, IntArray
from cyclestrain.errors import InputError

__all__ = ["UNKNOWN", "VACUUM", "classes_found", "error_map", "relative_truth", "renamed", "suffix_of"]

VACUUM, UNKNOWN = -1, -2
"""Stand for a class: no crystal, and a class that the truth does not have."""


def relative_truth(result: xr.Dataset, truth: xr.Dataset, estimate: str = "") -> xr.Dataset:
    """Truth relative to the reference of a result: ``exx, eyy, exy, rotation`` (radians), dims ``(ry, rx)``.

    The reference of each class is the mean true ``F`` over the (interior) positions of the result's ``reference`` mask;
    classes without any are NaN. A result whose attribute ``reference_kind`` is ``lattice`` or ``known`` is compared
    with the absolute truth, one of kind ``ideal`` with the absolute truth at the mean spacing. At boundaries the strain
    is the mean over the crystals under the probe, each relative to the reference, weighted by their shares; crystals
    without a reference count as the dominant one.

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
    target = np.nan_to_num(result[f"rotation{suffix_of(estimate)}"].values)
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
    difference: FloatArray = result[name + suffix_of(estimate)].values - expected[name].values
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
    >>> from cyclestrain.evaluation import renamed
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


def suffix_of(estimate: str) -> str:
    """What the names of an estimate's variables end in: nothing, or ``_raw``."""
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
    if result.attrs.get("reference_kind") in ("lattice", "known"):
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
