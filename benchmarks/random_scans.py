"""Scans drawn at random, and whether what is called valid is right.

    python benchmarks/random_scans.py 0 50            # seeds 0 to 49, some five seconds each
    python benchmarks/random_scans.py 0 50 --film     # the same under an amorphous film that grows over the scan

Every seed has a lattice, layout, probe, background, dose, detector and faults of its own. Prints, for raw and final
strain at valid positions that hold one crystal, error over sigma (root mean square of exx, eyy and exy), the share
beyond six sigmas and the mean absolute error; and marks what is wrong with `<<<`. What is marked is to be looked at one
by one: with few grains of unlike strain an ellipse may be told where there is none, and where a boundary is so smooth
that two grains count as one, the reference is the mean of both.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import cyclestrain as cs
import strangers as st

PURE = 0.98
"""Share of the dominant crystal from which a position holds one."""
WRONG, BEYOND, MOST_BEYOND = 2.0, 6.0, 0.01
"""Error over sigma above which a map is marked, or of more than such a share of its positions."""


@dataclass(frozen=True)
class Drawn:
    """A scan, where it holds one crystal, and what it is in words."""

    made: st.Stranger
    pure: np.ndarray
    words: str


def draw(seed: int, film: bool = False) -> Drawn:
    """The scan of a seed, bare or under a film that grows from none to at most 75 % of the counts."""
    rng = np.random.default_rng(seed + 10**6)
    side = int(rng.choice([72, 96, 128, 160]))
    spacing, fold = rng.uniform(11, 22) * side / 128, int(rng.choice([2, 4, 6]))
    options = {
        "reach": side / 2 * rng.uniform(0.7, 0.95), "falloff": rng.uniform(15, 45) * side / 128,
        "diffracted": rng.uniform(0.2, 0.7),
    }  # fmt: skip
    shape = tuple(int(n) for n in rng.choice([16, 20], 2))
    layout = str(rng.choice(list(LAYOUTS)))
    sample, labels = LAYOUTS[layout](shape, rng.uniform(0.001, 0.012), rng)
    phases = [_crystal(fold, spacing, rng, seed=seed, **options)]
    if labels > 1:
        phases.append(
            _crystal(int(rng.choice([2, 4, 6])), spacing * rng.uniform(0.7, 0.95), rng, seed=seed + 1, **options)
        )
    probe, background = str(rng.choice(list(PROBES))), str(rng.choice(list(BACKGROUNDS)))
    radius = min(rng.uniform(1.8, 0.33 * spacing), 6.0)
    record: dict[str, Any] = {
        "backgrounds": float(rng.choice([0.05, 0.25, 0.5, 0.7, 0.8])), "dose": float(rng.choice([1e4, 3e4, 1e5, 4e5])),
        "ellipse": (float(rng.choice([1.0, 1.0, 1.015, 1.04])), rng.uniform(0, 180)),
        "descan": float(rng.choice([0.0, 0.0, 2.0])), "jitter": float(rng.choice([0.0, 0.1, 0.4])),
        "contrast": float(rng.choice([0.0, 0.0, 0.3])), "wedge": float(rng.choice([0.0, 0.0, 0.3])),
    }  # fmt: skip
    told = ", ".join(f"{name} {value:g}" for name, value in record.items() if not isinstance(value, tuple))
    if film:
        other = np.random.default_rng(seed + 2 * 10**6)  # what is drawn for the bare scan stays
        of_film, thickest = str(other.choice(list(FILMS))), other.uniform(0.2, 0.75)
        record["film"] = FILMS[of_film](side / 128, other), thickest
        told += f", film {of_film} to {thickest:.2f}"
    made = st.stranger(
        phases, sample, probe=PROBES[probe](radius, rng), background=BACKGROUNDS[background](side / 128, rng),
        detector=(side, side), seed=seed, **record,
    )  # fmt: skip
    words = f"{layout}, {fold}-fold, {spacing:.1f} px, {probe} {radius:.1f} px, {background}, {told}, {side} px"
    return Drawn(made, sample.share.max(-1) > PURE, f"{words}, ellipse {record['ellipse'][0]:g}")


def _crystal(fold: int, length: float, rng: np.random.Generator, **options: Any) -> st.Phase:
    if fold == 2:
        return st.phase((0.0, length), (length * rng.uniform(1.1, 1.6), length * rng.uniform(0, 0.45)), 2, **options)
    return (st.square if fold == 4 else st.hexagonal)(length, **options)


def _smooth(shape: Any, strain: float, rng: np.random.Generator) -> tuple[st.Sample, int]:
    (y, x), turned = np.indices(shape), rng.uniform(0, 360)
    exx, eyy = strain * np.sin(x / rng.uniform(2.5, 6)), strain * np.cos(y / rng.uniform(2.5, 6))
    return st.field(st.deformed(exx, eyy, 0.3 * strain * np.sin((x + y) / 4), turned + np.sin(y / 5))), 1


def _step(shape: Any, strain: float, rng: np.random.Generator) -> tuple[st.Sample, int]:
    step = strain * (np.indices(shape)[1] > shape[1] / 2)
    return st.field(st.deformed(step, -0.5 * step, 0.0, rng.uniform(0, 360))), 1


def _mosaic(shape: Any, strain: float, rng: np.random.Generator) -> tuple[st.Sample, int]:
    noise = 0.3 * strain * rng.normal(size=(3, *shape))
    turned = rng.uniform(0, 360) + rng.uniform(0, 0.4) * rng.normal(size=shape)
    return st.field(st.deformed(*noise, turned)), 1


def _grains(shape: Any, strain: float, rng: np.random.Generator, phases: int = 1) -> tuple[st.Sample, int]:
    n, seed = int(rng.integers(3, 7)) if phases == 1 else 4, int(rng.integers(1000))
    gradients = st.deformed(*(strain * rng.uniform(-1, 1, (3, n))), rng.uniform(0, 360, n))
    labels = [int(k == 1 and phases > 1) for k in range(n)]
    return st.grains(st.voronoi(shape, n, seed), gradients, labels, blur=float(rng.choice([0.0, 0.5, 1.0]))), phases


def _two(shape: Any, strain: float, rng: np.random.Generator) -> tuple[st.Sample, int]:
    return _grains(shape, strain, rng, phases=2)


LAYOUTS: dict[str, Callable[..., tuple[st.Sample, int]]] = {
    "smooth strain": _smooth, "step": _step, "mosaic": _mosaic, "grains": _grains, "two phases": _two,
}  # fmt: skip
PROBES: dict[str, Callable[[float, np.random.Generator], st.Shape]] = {
    "disk": lambda r, _: st.disk(r),
    "soft disk": lambda r, _: st.disk(r, 1.6),
    "oval": lambda r, rng: st.oval(r, 1.12, rng.uniform(0, 180)),
    "spot": lambda _, rng: st.spot(rng.uniform(1.0, 1.8)),
    "bullseye": lambda r, _: st.bullseye(max(r, 4.5)),
    "cross": lambda r, _: st.cross(max(r, 4.0)),
    "disk with tails": lambda r, _: st.summed((0.8, st.disk(r)), (0.2, st.spot(3 * r))),
}
BACKGROUNDS: dict[str, Callable[[float, np.random.Generator], st.Shape]] = {
    "flat background": lambda *_: st.flat(),
    "falling background": lambda scale, rng: st.lorentzian(rng.uniform(4, 25) * scale),
    "peaked background": lambda _, rng: st.peaked(rng.uniform(2, 6)),
    "amorphous halo": lambda scale, _: st.halo(30 * scale, 8 * scale),
    "powder rings": lambda scale, _: st.summed(
        (0.6, st.lorentzian(12)), (0.4, st.rings([25 * scale, 42 * scale], 2.0))
    ),
    "bands": lambda _, rng: st.summed((0.7, st.lorentzian(15)), (0.3, st.bands(5, int(rng.integers(1000))))),
    "peak on a wide fall": lambda *_: st.summed((0.5, st.lorentzian(3)), (0.5, st.lorentzian(30))),
}
FILMS: dict[str, Callable[[float, np.random.Generator], st.Shape]] = {
    "flat": lambda *_: st.flat(),
    "falling": lambda scale, rng: st.lorentzian(rng.uniform(25, 75) * scale),
    "peaked": lambda _, rng: st.peaked(rng.uniform(3, 8)),
    "one halo": lambda scale, rng: st.halo(rng.uniform(25, 45) * scale, rng.uniform(5, 13) * scale),
    "two halos": lambda scale, rng: st.summed(
        (0.6, st.halo(26 * scale, rng.uniform(5, 9) * scale)), (0.4, st.halo(48 * scale, 8 * scale))
    ),
}  # fmt: skip


def figures(name: str, off: np.ndarray, ratio: np.ndarray) -> tuple[str, bool]:
    """An estimate in figures, and whether it is wrong.

    Parameters
    ----------
    name
        Of the estimate.
    off, ratio
        Errors of exx, eyy and exy, and these over their sigmas, shape ``(3, n)``.
    """
    z, beyond = np.sqrt((ratio**2).mean(1)), float((np.abs(ratio) > BEYOND).any(0).mean())
    of_z, error = (" ".join(f"{v:.{n}f}" for v in values) for values, n in ((z, 2), (1e4 * np.abs(off).mean(1), 1)))
    return f"{name} z {of_z} ({beyond:.1%}) error {error}e-4", bool((z > WRONG).any() or beyond > MOST_BEYOND)


def judged(valid: str, found: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """What is valid and the figures of every estimate, with a mark where one is wrong."""
    told = [figures(name, *errors) for name, errors in found.items()]
    return "; ".join([valid, *(text for text, _ in told)]) + (" <<<" if any(wrong for _, wrong in told) else "")


def mapped(seed: int, film: bool = False) -> tuple[str, Callable[[], str]]:
    """A seed's scan in words, and what maps it and judges the map."""
    drawn = draw(seed, film)

    def judge() -> str:
        maps, found = cs.map(drawn.made.counts), {}
        keep = drawn.pure & maps["valid"].values
        for name, suffix in (("raw", "_raw"), ("final", "")):
            off = drawn.made.errors(maps, suffix)[:3]
            here = keep & np.isfinite(off).all(0)  # a class without a reference has neither strain nor truth
            found[name] = off[:, here], drawn.made.z(maps, suffix, here)[:3]
        return judged(f"valid {maps['valid'].values.mean():.2f}", found)

    return drawn.words, judge


def run(
    about: str | None,
    mapped: Callable[[int], tuple[str, Callable[[], str]]],
    filmed: Callable[[int], tuple[str, Callable[[], str]]] | None = None,
) -> None:
    """Draw, map and judge the scans of the seeds that the command line names, `filmed` those under a film."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int)
    if filmed is not None:
        parser.add_argument("--film", action="store_true")
    given = parser.parse_args()
    chosen = filmed if filmed is not None and given.film else mapped
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    for seed in range(given.first, given.stop):
        words, judge = chosen(seed)
        try:
            said = judge()
        except cs.InputError as error:
            said = f"refused: {error}"
        print(f"{seed} {said} | {words}", flush=True)


if __name__ == "__main__":
    run(__doc__, mapped, partial(mapped, film=True))
