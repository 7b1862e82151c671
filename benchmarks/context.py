"""Context against raw estimates and against vectorial total variation, on fields with a known truth.

    python benchmarks/context.py                               # about five minutes
    python benchmarks/context.py --only grains ripple --levels 5 60 --seeds 1 2
    python benchmarks/context.py --steps                       # beside steps of some sigmas of a single pattern

No patterns are drawn: the raw estimates are the truth plus Gaussian noise at the Cramer-Rao bound of the published
benchmark at 5, 25, 60 and 70 % background. Positions where grains meet are shifted by up to a few permille towards
another state, and 1 in 500 has a wrong rotation. Errors are means over the four components (exx, eyy, exy, rotation)
in units of that of an unbiased estimate at the bound; for grains, over the interior. The weight of total variation is
chosen with the truth at hand for every scan, which no real analysis could do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from measuring import markdown

from cyclestrain.affine import left_polar, reciprocal, rotation, symmetric, wrap_angle
from cyclestrain.context import smooth
from cyclestrain.data import AffineField
from cyclestrain.simulation.grains import draw_deformations, voronoi_blend
from cyclestrain.simulation.phantoms import edge_dislocation
from cyclestrain.strain import jacobian

BOUND = {5: (5.9e-4, 4.0e-4), 25: (8.8e-4, 6.1e-4), 60: (1.82e-3, 1.27e-3), 70: (2.46e-3, 1.72e-3)}
"""Standard deviation of a normal strain, and of shear and rotation, by background in percent."""
MEAN_OF_NORMAL = np.sqrt(2 / np.pi)
SIXFOLD = rotation(2 * np.pi / 6 * np.arange(6))


@dataclass(frozen=True)
class Case:
    """Truth in ``(V_yy - 1, V_xx - 1, V_yx, theta)`` of the affine, noise-free measurement, and where to judge."""

    truth: np.ndarray
    measured: np.ndarray
    judged: np.ndarray


def components(affine):
    stretch, theta = left_polar(affine)
    return np.stack([stretch[..., 0, 0] - 1, stretch[..., 1, 1] - 1, stretch[..., 0, 1], theta], -1)


def affine_of(values):
    return symmetric(1 + values[..., 0], 1 + values[..., 1], values[..., 2]) @ rotation(values[..., 3])


def everywhere(truth):
    return Case(truth, truth, np.ones(truth.shape[:2], bool))


def grains(scan, size, rng):
    n = max(1, round(np.prod(scan) / size))
    blend = voronoi_blend(rng.random((n, 2)) * scan - 0.5, scan, 0.7)
    truth = components(reciprocal(draw_deformations(n, 0.02, 360.0, rng)))[blend.grain[..., 0]]
    interior = blend.share[..., 0] >= 0.999
    pull = 0.01 * rng.standard_normal((n, n, 4))
    measured = truth.copy()
    if n > 1:
        other = np.maximum(blend.grain[..., 1], 0)
        measured += (~interior * blend.share[..., 1])[..., None] * pull[blend.grain[..., 0], other]
    wrong = rng.random(scan) < 0.002
    measured[wrong, 3] += rng.uniform(-0.5, 0.5, wrong.sum())
    return Case(truth, measured, interior & ~wrong)


def positions(scan):
    return np.stack(np.meshgrid(*(np.arange(n) for n in scan), indexing="ij"), -1).astype(float)


def ripple(scan, period, rng, amplitude=0.01):
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    wave = amplitude * np.sin(2 * np.pi / period * (positions(scan) @ along))[..., None, None]
    gradient = wave * (np.outer(along, along) + 0.5 * np.outer(across, along))
    return everywhere(components(reciprocal((np.eye(2) + gradient) @ rotation(np.deg2rad(17.0)))))


def dislocation(scan):
    gradient = edge_dislocation(positions(scan) - (np.array(scan) - 1) / 2, 0.35, 2.0)
    return everywhere(components(reciprocal((np.eye(2) + gradient) @ rotation(np.deg2rad(17.0)))))


def bent(scan, degrees=5.0):
    along = positions(scan)[..., 1] / scan[1] - 0.5
    zero = np.zeros(scan)
    return everywhere(np.stack([0.003 * along, zero, zero, np.deg2rad(28.0 + degrees * along)], -1))


def inclusions(scan):
    """Single positions and twins 3 positions wide, strained by 2 %."""
    truth = np.tile([0.01, -0.01, 0.005, 0.3], (*scan, 1))
    truth[4 : scan[0] // 2 : 8, 4::8, 1] += 0.02
    truth[scan[0] // 2 + 8 :, 12:15, 1] += 0.02
    truth[scan[0] // 2 + 8 : scan[0] // 2 + 11, 24:, 1] += 0.02
    return Case(truth, truth, truth[..., 1] > 0)


CASES: dict[str, Callable[..., Case]] = {
    "grains of 60": lambda scan, rng: grains(scan, 60, rng),
    "grains of 250": lambda scan, rng: grains(scan, 250, rng),
    "grains of 1000": lambda scan, rng: grains(scan, 1000, rng),
    "one crystal": lambda scan, rng: everywhere(np.tile([0.01, -0.01, 0.005, 0.3], (*scan, 1))),
    "ripple 24": lambda scan, rng: ripple(scan, 24.0, rng),
    "ripple 10": lambda scan, rng: ripple(scan, 10.0, rng),
    "dislocation": lambda scan, rng: dislocation(scan),
    "bent by 5 degrees": lambda scan, rng: bent(scan),
    "inside inclusions": lambda scan, rng: inclusions(scan),
}


def noisy_field(case, sigma, rng):
    values = case.measured + sigma * rng.standard_normal(case.truth.shape)
    affine = affine_of(values)
    inverse = np.linalg.inv(jacobian(affine))
    covariance = inverse @ np.diag(sigma**2) @ inverse.swapaxes(-1, -2)
    scan = affine.shape[:2]
    field = AffineField(affine, covariance, np.zeros(scan, int), np.ones(scan, bool), (SIXFOLD,))
    return values, field


def total_variation(values, weight, steps=200):
    """Vectorial total variation denoising by accelerated gradient projection on its dual (Beck and Teboulle 2009)."""
    dual = np.zeros((2, *values.shape))
    ahead, t = dual.copy(), 1.0

    def divergence(p):
        out = p[0] + p[1]
        out[1:] -= p[0, :-1]
        out[:, 1:] -= p[1, :, :-1]
        return out

    for _ in range(steps):
        primal = values + weight * divergence(ahead)
        move = np.zeros_like(dual)
        move[0, :-1], move[1, :, :-1] = np.diff(primal, axis=0), np.diff(primal, axis=1)
        old, dual = dual, ahead + move / (8 * weight)
        dual[0, -1], dual[1, :, -1] = 0.0, 0.0
        dual /= np.maximum(1, np.sqrt((dual**2).sum((0, -1))))[None, ..., None]
        t, before = (1 + np.sqrt(1 + 4 * t * t)) / 2, t
        ahead = dual + (before - 1) / t * (dual - old)
    return values + weight * divergence(dual)


def errors(field, case):
    """Errors and stated standard deviations of the four components."""
    affine = field.affine
    values = components(affine)
    turns = np.round((values[..., 3] - case.truth[..., 3]) / (np.pi / 3))
    error = components(affine @ rotation(-turns * np.pi / 3)) - case.truth
    error[..., 3] = wrap_angle(error[..., 3])
    jac = jacobian(affine)
    return error, np.sqrt(np.einsum("...ij,...jk,...ik->...i", jac, field.covariance, jac))


def measure(make, level, seeds, scan):
    normal, shear = BOUND[level]
    sigma = np.array([normal, normal, shear, shear])
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        case = make(scan, rng)
        values, field = noisy_field(case, sigma, rng)
        error, stated = errors(smooth(field), case)
        raw, _ = errors(field, case)

        def in_units(e, case=case):
            return (np.abs(e[case.judged]) / sigma).mean(0) / MEAN_OF_NORMAL

        weights = (0.3, 0.6, 1.2, 2.4, 4.8)
        variation = [sigma * total_variation(values / sigma, w) - case.truth for w in weights]
        z = error[case.judged] / stated[case.judged]
        rows.append(
            [
                in_units(raw).mean(), in_units(error).mean(), (in_units(error) / in_units(raw)).max(),
                min(in_units(v).mean() for v in variation),
                z.std(0).mean(), (np.abs(z) < 1).mean(), (np.abs(z) < 1.96).mean(),
            ]
        )  # fmt: skip
    table = np.array(rows)
    mean = table.mean(0)
    return [*mean[:2], table[:, 2].max(), *mean[3:]]


STEPS = (0.3, 0.5, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0)
"""Steps of one normal strain, half of it of the other with the opposite sign, in standard deviations of one pattern."""


def beside_steps(seeds, scan):
    """Rows of errors and sigmas in the first three columns on both sides of a step along the rows, at 25 %."""
    normal, shear = BOUND[25]
    sigma, middle, rows = np.array([normal, normal, shear, shear]), scan[1] // 2, []
    for size in STEPS:
        truth = np.tile([0.01, -0.01, 0.005, 0.3], (*scan, 1))
        truth[:, middle:, :2] += size * normal * np.array([-0.5, 1.0])
        error, ratio = [], []
        for seed in seeds:
            _, field = noisy_field(everywhere(truth), sigma, np.random.default_rng(seed))
            found, stated = errors(smooth(field), everywhere(truth))
            towards = np.where(np.arange(scan[1]) < middle, 1, -1)  # the other side
            error.append(found[..., 1] * towards / normal)
            ratio.append(found[..., 1] / stated[..., 1])
        for away in range(3):
            beside = np.s_[:, :, [middle - 1 - away, middle + away]]
            e, z = np.array(error)[beside], np.array(ratio)[beside]
            values = [f"{value:.2f}" for value in (e.mean(), np.sqrt((z**2).mean()))]
            rows.append([str(size), str(away + 1), *values, f"{(np.abs(z) > 3).mean():.1%}"])
    return rows


def speed(side=256):
    rng = np.random.default_rng(0)
    normal, shear = BOUND[25]
    _, field = noisy_field(grains((side, side), 250, rng), np.array([normal, normal, shear, shear]), rng)
    smooth(field)
    start, busy = time.perf_counter(), time.process_time()
    smooth(field)
    elapsed, busy = time.perf_counter() - start, time.process_time() - busy
    return f"{side**2 / elapsed:.0f} positions/s, {1e6 * busy / side**2:.0f} microseconds of processor time each"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="beginnings of the names of fields")
    parser.add_argument("--levels", nargs="+", type=int, default=list(BOUND), choices=list(BOUND))
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102, 103, 104])
    parser.add_argument("--scan", nargs=2, type=int, default=[64, 64])
    parser.add_argument("--steps", action="store_true", help="only what is found beside steps")
    options = parser.parse_args()
    if options.steps:
        header = ["step / sigma", "column", "error towards the other side / sigma", "error / stated", "beyond three"]
        print(markdown(header, beside_steps(options.seeds, tuple(options.scan))))
        return
    rows = []
    for name, make in CASES.items():
        if name.startswith(tuple(options.only)):
            for level in options.levels:
                values = measure(make, level, options.seeds, tuple(options.scan))
                rows.append([name, f"{level} %", *(f"{v:.3f}" for v in values)])
    header = ["field", "background", "raw", "context", "worst of raw", "total variation", "z std", "68 %", "95 %"]
    print(markdown(header, rows))
    print(speed())


if __name__ == "__main__":
    main()
