"""Independent oracles that several tests share, written for clarity and in double precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from cyclestrain.affine import rotation
from cyclestrain.data import AffineField, FloatArray, IntArray, Scan
from cyclestrain.pattern import Candidates, Entry, Priors, Probe, Start, disk_profile
from cyclestrain.simulation import Acquisition, SimulatedScan
from cyclestrain.simulation.patterns import make_pattern_model
from cyclestrain.simulation.sample import Sample, make_truth
from cyclestrain.simulation.source import SimulatedPatterns
from cyclestrain.strain import Lattices


def numerical_jacobian(function: Callable[[FloatArray], FloatArray], at: FloatArray, step: float = 1e-6) -> FloatArray:
    """Central differences of a function of a flat vector, shape ``(output, input)``."""
    steps = step * np.eye(len(at))
    return np.stack([(function(at + s) - function(at - s)) / (2 * step) for s in steps], -1)


def random_gradient(rng: np.random.Generator, strain: float = 0.02, turn: float = np.pi) -> FloatArray:
    """A deformation gradient: random strain of up to `strain`, random rotation of up to `turn` radians."""
    return (np.eye(2) + rng.uniform(-strain, strain, (2, 2))) @ rotation(rng.uniform(-turn, turn))


def lattices_seen(field: AffineField, reach: float = 30.0, apart: float = 1.0) -> Lattices:
    """Entries with reflections all around at one length, whose disks are two from a distance `apart`, pixels."""
    table, n = field.operator_table, len(field.operators)
    moment = np.tile(reach**2 / 2 * np.eye(2), (n, 1, 1))
    return Lattices(table.operators, table.order, moment, np.full(n, apart), np.full(n, 3 * apart))


def candidates_apart(
    label: IntArray, affine: FloatArray, gain: FloatArray, like: IntArray, centre: FloatArray
) -> Candidates:
    """Candidates none of which is near the own fit, see `cyclestrain.pattern.Candidates`."""
    n, k = label.shape
    far = np.full((n, k, 2, 2), np.nan)
    return Candidates(label, affine, gain, like, centre, far, np.ones(n), np.zeros((n, k)), np.zeros(n))


def one_class_field(
    affine: FloatArray, sigma: float = 1e-4, operators: FloatArray | None = None, **changes: Any
) -> AffineField:
    """Field of affines, shape ``(ry, rx, 2, 2)``, all of one entry and with the same uncorrelated uncertainties."""
    shape = affine.shape[:2]
    field = AffineField(
        affine,
        np.broadcast_to(sigma**2 * np.eye(4), (*shape, 4, 4)).copy(),
        np.zeros(shape, int),
        np.ones(shape, bool),
        (np.eye(2)[None] if operators is None else operators,),
    )
    return replace(field, **changes)


def made_up_entry(
    reflections: FloatArray,
    *,
    counts: float = 3000.0,
    background: float = 4.0,
    radius: float = 3.2,
    half: int = 6,
    oversampling: int = 8,
) -> Entry:
    """An entry with a soft round disk, reflections of uneven intensity and a background that falls off."""
    n = len(reflections)
    probe = Probe.from_profile(disk_profile(radius, 1.2, oversampling, half + 3.0), oversampling, half)
    return Entry(
        reflections=np.asarray(reflections, float),
        intensity=counts * (1.0 + 0.5 * np.sin(np.arange(n))),
        basis=np.asarray(reflections[:2], float).T,
        indices=np.zeros((n, 2)),
        operators=np.eye(2)[None],
        background=background * (1.0 + 2.0 * np.exp(-np.arange(200.0) / 25.0)),
        probe=probe,
        priors=Priors.none(n),
        average=np.zeros((3, 3)),
    )


def ring_of_reflections(length: float = 24.0, n: int = 6) -> FloatArray:
    """Reflections at equal angles on a circle, ``(y, x)``."""
    angle = 2 * np.pi * np.arange(n) / n + 0.2
    return length * np.stack([np.sin(angle), np.cos(angle)], -1)


def expected_counts(entry: Entry, affine: Any, centre: Any, gain: float, level: float, shape: Any) -> FloatArray:
    """The model's formula, pixel by pixel: background of the whole detector plus every disk, shape ``(qy, qx)``."""
    y, x = np.indices(shape).astype(float)
    radius = np.hypot(y - centre[0], x - centre[1])
    out = level * np.interp(radius, np.arange(len(entry.background)), entry.background)
    middle = entry.probe.values.shape[0] // 2
    for g, amount in zip(entry.reflections, entry.intensity, strict=True):
        py, px = np.asarray(centre) + np.asarray(affine) @ g
        at = [(y - py) * entry.probe.oversampling + middle, (x - px) * entry.probe.oversampling + middle]
        out += gain * amount * ndimage.map_coordinates(entry.probe.values, at, order=1, mode="constant")
    return out


def start_of(affine: FloatArray, centre: FloatArray, n: int = 1, gain: float = 1.0, level: float = 1.0) -> Start:
    """The same start for `n` patterns."""
    return Start(
        np.broadcast_to(np.asarray(affine, float), (n, 2, 2)).copy(),
        np.broadcast_to(np.asarray(centre, float), (n, 2)).copy(),
        np.full(n, gain),
        np.full(n, level),
    )


def simulated_field(gradient: FloatArray, **options: Any) -> SimulatedScan:
    """Simulate a scan with the deformation gradient of every position given, shape ``(ry, rx, 2, 2)``."""
    acquisition = Acquisition(scan=gradient.shape[:2], **options)
    sample = Sample.from_field(acquisition.make_lattice(), gradient)
    model = make_pattern_model(sample, acquisition)
    truth = make_truth(sample, model.centres, {})
    return SimulatedScan(Scan(np.asarray(SimulatedPatterns(model)), name="simulated"), truth)


def angle_error(theta: FloatArray, truth: FloatArray, fold: int) -> FloatArray:
    """Difference in degrees modulo a `fold`-fold symmetry, after the common offset that a template leaves free."""
    turned = np.exp(1j * fold * (theta - truth))
    offset = np.angle(turned.mean())
    return np.degrees(np.angle(turned * np.exp(-1j * offset))) / fold
