"""The page `real.md` of the semi-real benchmark: a table for every quantity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from measuring import markdown
from real_errors import Row, mean
from specimens import COMPONENTS

EVERYWHERE = "everywhere"
RAW, FINAL = "raw", "final"
PEER_NAMES = {"py4dstem": "py4DSTEM", "quantem": "quantem"}
METHODS = (RAW, FINAL, *PEER_NAMES.values())
ABOUT = """\
# Recorded patterns at known strain

`python benchmarks/real.py`: scans of {sides} positions, seeds: {seeds}. A recorded pattern is taken apart into its
reflections and a smooth rest; at every position each reflection, its measured shape unchanged, is put where
``g' = F^-T g`` of that position has it, and Poisson counts are drawn (`benchmarks/semireal.py`). *raw* is each pattern
alone, *final* the result of `cyclestrain map` with untouched settings but for the reference region, a corner of the
scan. The peers, in their fast modes, are told lattice, rotation, beam centre and disk radius, but no ellipse. Strain
and rotation (rad) are in units of 1e-3; electrons are per pattern. Every scan is drawn twice with independent noise;
errors are those of both draws, of the first alone for the peers. On a position with several crystals *final* is
compared with the mean of their strains weighted by their shares, every other method with the dominant crystal; rotation
with the dominant crystal, where its share leads by at least 0.1.

Where grains are turned by any angle (*turned*), what a disk holds turns with its crystal, about the centre of the disk,
and the reflections are put onto the lattice of the recorded pattern. Unturned contrast would move the apparent place of
a disk, and grains that lose reflections at the detector's edge would have another mean lattice, since recorded ones are
up to a pixel off it: both would fault the truth by up to 1e-3.
"""
ABOUT_VALID = """\
Per cent. *Wrong*: of the valid positions, those with an error of any component above 6 stated sigmas. *Entries*: number
of dictionary entries in each draw, of how many structures. *Class right*: of the valid positions. Seconds of a run, all
included.
"""
ABOUT_Z = """\
## Error over stated sigma, from two draws

Standard deviation over positions of ``(e1 - e2) / sqrt(s1^2 + s2^2)``, `e` the errors of the two draws and `s` their
stated sigmas: 1 if sigma is right. What the truth lacks, because the reflections of a recorded pattern do not sit
exactly on a lattice, is the same in both draws and drops out; so does every error that does not come from noise.
Sigma has these errors in it (an unknown ellipse above all, in grains turned against the reference), so that this may be
far below 1 where sigma is right; the next table has all errors in it."""
ABOUT_PULL = """\
## Error over stated sigma, against the truth

Standard deviation of ``e / s``: as above, with bias that varies over the scan and the faults of the truth in it."""
ABOUT_COMMON = """\
## Error that both draws share, 1e-3

Root of the mean over positions of ``e1 e2``: bias and imperfect truth, without noise."""
ABOUT_PARTS = """\
Valid and wrong in per cent, errors in 1e-3.
"""


def text(rows: list[Row], sets: str) -> str:
    """The page: a table for every quantity, below that of the sets."""
    whole = [row for row in rows if row.region == EVERYWHERE]
    sides = ", ".join(f"{side} x {side}" for side in sorted({row.side for row in rows}))
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    parts_of_page = [ABOUT.format(sides=sides, seeds=seeds), "## The sets", sets]
    parts_of_page += ["## Validity, classes, time", ABOUT_VALID, validity_table(whole)]
    for name in COMPONENTS:
        columns = [(method, lambda row, name=name: getattr(row, f"mae_{name}"), method) for method in METHODS]
        parts_of_page += [f"## Mean absolute error of {name}, valid positions, 1e-3", table(whole, columns, 1e3)]
    for field, title in (("z", ABOUT_Z), ("pull", ABOUT_PULL), ("common", ABOUT_COMMON)):
        columns = [
            (f"{method} {name}", lambda row, key=f"{field}_{name}": getattr(row, key), method)
            for method in (RAW, FINAL)
            for name in COMPONENTS
        ]
        parts_of_page += [title, table(whole, columns, 1e3 if field == "common" else 1.0)]
    parts_of_page += ["## Parts of the scans", ABOUT_PARTS, region_table(rows)]
    parts_of_page += ["## Failures", failure_table(whole)]
    return "\n\n".join(parts_of_page) + "\n"


Column = tuple[str, Callable[[Row], float], str]
"""Heading, measure and method of a column."""


def table(rows: list[Row], columns: list[Column], scale: float) -> str:
    """Means over seeds, a line for every set and dose."""
    lines = []
    for key in dict.fromkeys((row.set, row.counts) for row in rows):
        same = [row for row in rows if (row.set, row.counts) == key]
        cells = [number(scale * mean_of(same, measure, method)) for _, measure, method in columns]
        lines.append([key[0], f"{key[1]:g}", *cells])
    return markdown(["set", "electrons", *(title for title, _, _ in columns)], lines)


def mean_of(rows: list[Row], measure: Callable[[Row], float], method: str) -> float:
    """Mean of a measure of one method over seeds."""
    return mean(np.array([measure(row) for row in rows if row.method == method], float))


def number(value: float) -> str:
    """Three digits, a dash where there is nothing."""
    return f"{value:.3g}" if np.isfinite(value) else "-"


def validity_table(rows: list[Row]) -> str:
    """Valid shares of all methods, wrong values, classes and seconds of ours."""
    lines = []
    for key in dict.fromkeys((row.set, row.counts) for row in rows):
        same = [row for row in rows if (row.set, row.counts) == key]
        cells = [number(100 * mean_of(same, lambda row: row.valid, method)) for method in (FINAL, *PEER_NAMES.values())]
        cells += [number(100 * mean_of(same, lambda row: row.wrong, method)) for method in (RAW, FINAL)]
        final = [row for row in same if row.method == FINAL]
        cells.append("; ".join(dict.fromkeys(row.found for row in final if row.found)))
        cells.append(number(100 * mean_of(same, lambda row: row.right_class, FINAL)))
        cells += [number(mean_of(same, lambda row: row.seconds, method)) for method in (FINAL, *PEER_NAMES.values())]
        lines.append([key[0], f"{key[1]:g}", *cells])
    header = ["set", "electrons", "valid", "py4DSTEM", "quantem", "raw wrong", "final wrong", "entries", "class right"]
    return markdown([*header, "seconds", "py4DSTEM s", "quantem s"], lines)


def region_table(rows: list[Row]) -> str:
    """A line for every part of every scan that has parts."""
    lines = []
    inner = [row for row in rows if row.region != EVERYWHERE]
    for key in dict.fromkeys((row.set, row.counts, row.region) for row in inner):
        same = [row for row in inner if (row.set, row.counts, row.region) == key]
        cells = [number(100 * mean_of(same, lambda row: row.valid, FINAL))]
        cells.append(number(100 * mean_of(same, lambda row: row.wrong, FINAL)))
        for name in ("exx", "rotation"):
            key_of = f"mae_{name}"
            cells += [number(1e3 * mean_of(same, lambda row, k=key_of: getattr(row, k), m)) for m in METHODS]
        lines.append([key[0], f"{key[1]:g}", key[2], *cells])
    header = ["set", "electrons", "part", "valid", "final wrong"]
    return markdown([*header, *(f"{name} {method}" for name in ("exx", "rotation") for method in METHODS)], lines)


def failure_table(rows: list[Row]) -> str:
    """What runs that gave no result said."""
    failed = [row for row in rows if row.failure and row.method != RAW]
    lines = [
        [row.set, f"{row.counts:g}", str(row.seed), "cyclestrain" if row.method == FINAL else row.method, row.failure]
        for row in failed
    ]
    return markdown(["set", "electrons", "seed", "method", "what it said"], lines) if lines else "None."
