"""Least squares of background and known crystals over the pixels of one pattern that the crystals touch.

Each pixel counts once, however many disks overlap there. See `cyclestrain.pattern.decompose`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.loops import part
from cyclestrain.pattern.cholesky import cholesky_solve
from cyclestrain.pattern.dictionary import Dictionary
from cyclestrain.pattern.disk_images import stacked_images
from cyclestrain.pattern.probe import Probe
from cyclestrain.pattern.turned_image import between_nodes, nodes_around, turn_of

__all__ = ["RIDGE", "TINY", "Crystals", "Equations", "Palette", "normal_equations"]

RIM = 1.5
"""Pixels around a disk that are looked at: brightness needs less of them than the place of the edge."""
LIGHT = 0.99
"""Part of a probe's light that is looked at in any case: what a spot has beyond would pass for another crystal."""
ITERATIONS = 3
"""Rounds of reweighting."""
BAD, UNSEEN = -2, -1
"""Entries of the index of pixels: not to be used, not on the list yet."""
RIDGE, TINY = 1e-6, 1e-12
"""Added to normal equations, relative and absolute: what the data do not see stays at rest."""


class Palette(NamedTuple):
    """All entries of a dictionary in arrays padded to the same size, as the compiled loop reads them."""

    reflections: FloatArray  # (entry, reflection, 2)
    intensity: FloatArray  # (entry, reflection)
    number: IntArray  # reflections of each entry
    tables: NDArray[np.float32]  # probes, (entry, phase, phase, size * size)
    left: IntArray  # first pixel of each row of a (round) window
    profile: NDArray[np.float32]  # backgrounds, (entry, radius)
    floor: float  # least variance of a pixel
    scale: float  # variance over mean, of pixels that scattered independently and told as much
    disks: NDArray[np.float32]  # what each disk has beyond its probe, (entry, reflection, n, n, 1); none without
    nodes: float  # of these in a pixel
    inner: FloatArray  # pixels nearer to the beam hold its own disk, (entry,); zero where no reflection comes near

    @classmethod
    def of(cls, dictionary: Dictionary) -> Palette:
        """Palette of a dictionary."""
        entries = dictionary.entries
        half = max(_half(e.probe) for e in entries)
        probes = [e.probe.blurred(0.0, half) for e in entries]
        tables = np.stack([p.tables[0].reshape(*p.tables.shape[1:3], -1) for p in probes])
        number = np.array([len(e.intensity) for e in entries])
        reflections, intensity = np.zeros((len(entries), number.max(), 2)), np.zeros((len(entries), number.max()))
        length = max(len(e.background) for e in entries)
        profile = np.stack([np.pad(e.background, (0, length - len(e.background)), mode="edge") for e in entries])
        for k, e in enumerate(entries):
            reflections[k, : number[k]], intensity[k, : number[k]] = e.reflections, e.intensity
        left, floor = probes[0].support.argmax(1), min(e.variance_floor for e in entries)
        scale = float(dictionary.noise_scale) * max(e.grain.area for e in entries)
        inner = np.array([e.annulus[0] if e.annulus else 0.0 for e in entries])
        disks = stacked_images([e.disks for e in entries], number.max(), 0.0)[..., None]
        nodes = float(max(e.disks.step for e in entries))  # the same in all that have images
        return cls(reflections, intensity, number, tables, left, profile, floor, scale, disks, nodes, inner)


def _half(probe: Probe) -> int:
    """Reach of the windows in which amounts of a crystal are told, pixels."""
    return max(int(np.ceil(probe.radius + RIM)), min(int(np.ceil(probe.reach(LIGHT))), probe.half))


class Crystals(NamedTuple):
    """Crystals that patterns may hold, see `cyclestrain.pattern.Candidates`."""

    label: IntArray  # (n, k)
    affine: FloatArray  # (n, k, 2, 2)
    gain: FloatArray  # (n, k)
    centre: FloatArray  # (n, 2)


class Equations(NamedTuple):
    """Weighted least squares of many patterns, background first."""

    normal: FloatArray  # (n, 1 + k, 1 + k)
    rhs: FloatArray  # (n, 1 + k)
    total: FloatArray  # weighted squares of the counts, (n,)
    pixels: IntArray  # (n,)


class _Listed(NamedTuple):
    """Scratch space of one thread: the pixels that the crystals of a pattern touch, one after the other."""

    index: Any  # number of each detector pixel on the list, `BAD` or `UNSEEN`
    pixels: Any  # the list, (pixel, 2)
    counts: Any  # (pixel,)
    columns: Any  # background and crystals there, (1 + k, pixel)
    weighted: Any  # the same times the weights, which come last, (2 + k, pixel)


@part(fastmath=True)
def _add_image(
    image: Any, nodes: Any, affine: Any, fy: Any, fx: Any, bright: Any, half: int, values: Any
) -> None:  # pragma: no cover
    """Add what one reflection of a crystal shows beyond the probe to the pixels of its window."""
    turn = turn_of((affine[0, 0], affine[0, 1], affine[1, 0], affine[1, 1]))
    scale, light, y0, x0, size = np.float32(nodes), np.float32(bright), np.float32(fy), np.float32(fx), 2 * half + 1
    for i in range(size):
        for j in range(size):
            y, x = (np.float32(i - half) - y0) * scale, (np.float32(j - half) - x0) * scale
            a, b, weights = nodes_around(image, y, x, turn)
            values[i * size + j] += light * between_nodes(image, a, b, weights, 0)


@part(fastmath=True)
def _draw(palette: Any, crystal: Any, listed: Any, used: int, column: Any) -> int:  # pragma: no cover
    """Draw one crystal into its column over the list of pixels, which grows by those it is the first to touch.

    `crystal` are entry, affine, gain and centre; returns how long the list is now.
    """
    entry, affine, gain, centre = crystal
    index, pixels, values = listed.index, listed.pixels, listed.weighted[0]
    n_y, n_x = index.shape
    size, phases = palette.left.shape[0], palette.tables.shape[1]
    half, one, tables = size // 2, np.float32(1.0), palette.tables[entry]
    beam = palette.inner[entry] ** 2
    for g in range(palette.number[entry]):
        gy, gx = palette.reflections[entry, g, 0], palette.reflections[entry, g, 1]
        py, px = centre[0] + affine[0, 0] * gy + affine[0, 1] * gx, centre[1] + affine[1, 0] * gy + affine[1, 1] * gx
        oy, ox = int(np.rint(py)), int(np.rint(px))
        ty, tx = (py - oy + 0.5) * (phases - 1), (px - ox + 0.5) * (phases - 1)
        iy, ix = min(int(ty), phases - 2), min(int(tx), phases - 2)
        wy, wx = np.float32(ty - iy), np.float32(tx - ix)
        bright = np.float32(gain * palette.intensity[entry, g])
        w00, w01 = bright * (one - wy) * (one - wx), bright * (one - wy) * wx
        w10, w11 = bright * wy * (one - wx), bright * wy * wx
        t00, t01, t10, t11 = tables[iy, ix], tables[iy, ix + 1], tables[iy + 1, ix], tables[iy + 1, ix + 1]
        for k in range(size * size):
            values[k] = w00 * t00[k] + w01 * t01[k] + w10 * t10[k] + w11 * t11[k]
        if palette.disks.shape[1] > 0:
            _add_image(palette.disks[entry, g], palette.nodes, affine, py - oy, px - ox, bright, half, values)
        for i in range(max(0, half - oy), min(size, n_y + half - oy)):
            y, x, k = oy - half + i, ox - half, i * size
            for j in range(max(palette.left[i], half - ox), min(size - palette.left[i], n_x + half - ox)):
                at = index[y, x + j]
                if at == BAD:
                    continue
                if at == UNSEEN:
                    if beam > 0.0 and (y - centre[0]) ** 2 + (x + j - centre[1]) ** 2 < beam:
                        continue
                    index[y, x + j] = at = used
                    pixels[at, 0], pixels[at, 1] = y, x + j
                    used += 1
                column[at] += values[k + j]
    return used


@part(fastmath=True)
def _weigh(listed: Any, used: int, level: Any, palette: Any, normal: Any, rhs: Any) -> float:  # pragma: no cover
    """Weighted normal equations of the columns at the present `level` of each; returns the weighted sum of squares."""
    columns, counts, weighted = listed.columns, listed.counts, listed.weighted
    n_columns = len(level)
    weight, total = weighted[n_columns], np.float32(0.0)
    least, precision = np.float32(palette.floor), np.float32(1.0 / palette.scale)
    for u in range(used):
        weight[u] = 0.0
    for a in range(n_columns):
        amount, column = np.float32(level[a]), columns[a]
        for u in range(used):
            weight[u] += amount * column[u]
    for u in range(used):
        weight[u] = precision / max(weight[u], least)
        total += weight[u] * counts[u] * counts[u]
    for a in range(n_columns):
        column, product, sum_ = columns[a], weighted[a], np.float32(0.0)
        for u in range(used):
            product[u] = weight[u] * column[u]
            sum_ += product[u] * counts[u]
        rhs[a] = sum_
        for b in range(a + 1):
            other, sum_ = columns[b], np.float32(0.0)
            for u in range(used):
                sum_ += product[u] * other[u]
            normal[a, b] = normal[b, a] = sum_
    return float(total)


@part()
def _settle(normal: Any, rhs: Any, chosen: int, matrix: Any, inverse: Any, level: Any) -> None:  # pragma: no cover
    """Least squares of the `chosen` columns (bits) without those that would be negative, whose level is zero."""
    n = len(level)
    for _ in range(n):
        for a in range(n):
            level[a] = 0.0
            for b in range(n):
                one = 1.0 if a == b else 0.0
                matrix[a, b] = normal[a, b] if (chosen >> a) & (chosen >> b) & 1 else one
                inverse[a, b] = one
            matrix[a, a] = matrix[a, a] * (1.0 + RIDGE) + TINY
        cholesky_solve(matrix, inverse, n, n)
        worst = 0
        for a in range(n):
            for b in range(n):
                if (chosen >> a) & (chosen >> b) & 1:
                    level[a] += inverse[a, b] * rhs[b]
            if a > 0 and level[a] < min(level[worst], 0.0):
                worst = a
        if worst == 0:
            return
        chosen &= ~(1 << worst)


@part(fastmath=True)
def _background(profile: Any, centre: Any, pattern: Any, listed: Any, used: int) -> None:  # pragma: no cover
    """Radial background and counts of the listed pixels; takes them off the index."""
    index, pixels, column, counts = listed.index, listed.pixels, listed.columns[0], listed.counts
    last = profile.shape[0] - 1.001
    for u in range(used):
        y, x = pixels[u, 0], pixels[u, 1]
        radius = min(np.sqrt((y - centre[0]) ** 2 + (x - centre[1]) ** 2), last)
        inner = int(radius)
        column[u] = profile[inner] + (radius - inner) * (profile[inner + 1] - profile[inner])
        counts[u] = pattern[y, x]
        index[y, x] = UNSEEN


@nb.njit(cache=True, nogil=True)
def normal_equations(
    patterns: Any, chosen: Any, good: Any, palette: Any, crystals: Any, equations: Any, start: int, stop: int
) -> None:  # pragma: no cover
    """Normal equations of the background and every crystal, at the weights of the best non-negative fit of them all.

    Parameters
    ----------
    patterns, chosen, good, palette
        As for `cyclestrain.pattern.decompose`.
    crystals, equations
        `Crystals` and `Equations`.
    start, stop
        Which of the chosen patterns.
    """
    label, affine, gain, centre = crystals
    k = label.shape[1]
    most = k * palette.reflections.shape[1] * palette.tables.shape[3]
    index = np.empty(good.shape, np.int32)
    for y in range(good.shape[0]):
        for x in range(good.shape[1]):
            index[y, x] = UNSEEN if good[y, x] else BAD
    listed = _Listed(
        index, np.empty((most, 2), np.int32), np.empty(most, np.float32), np.zeros((k + 1, most), np.float32),
        np.empty((k + 2, most), np.float32),
    )  # fmt: skip
    matrix, inverse, level = np.empty((k + 1, k + 1)), np.empty((k + 1, k + 1)), np.empty(k + 1)
    for i in range(start, stop):
        n, present, entry = 0, 1, -1
        for a in range(k):
            if label[i, a] >= 0:
                crystal = label[i, a], affine[i, a], gain[i, a], centre[i]
                n = _draw(palette, crystal, listed, n, listed.columns[a + 1])
                present |= 2 << a
                entry = label[i, a] if entry < 0 else entry
        equations.pixels[i] = n
        if n == 0:
            continue
        _background(palette.profile[entry], centre[i], patterns[chosen[i]], listed, n)
        for a in range(k + 1):
            level[a] = 1.0 / max(k, 1) if a > 0 else 1.0
        normal, rhs = equations.normal[i], equations.rhs[i]
        for _ in range(ITERATIONS):
            equations.total[i] = _weigh(listed, n, level, palette, normal, rhs)
            _settle(normal, rhs, present, matrix, inverse, level)
        for a in range(k + 1):
            for u in range(n):
                listed.columns[a, u] = 0.0
