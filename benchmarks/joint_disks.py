"""What a fit could reach where disks overlap, if all but the parameters of each pattern were known.

``python benchmarks/joint_disks.py`` prints, for disks of 7 px at several spacings of a square lattice, of a fit whose
expected counts hold the background and every disk, all moved by one affine, each pixel once: scatter over the
Cramer-Rao bound; scatter over the bound if a pixel tells of the nearest disk's place only (of the others, the light is
known and its derivatives are left out); by how much the bound grows if every disk has a brightness of its own in each
pattern; and the bias if mean intensities are wrong by 1 % (at random), or the radius by 0.05 px. Else the probe, the
background, and the reflections with their mean intensities are given. Strain is exx, eyy and exy; patterns are those of
`probes.py`.
"""

from __future__ import annotations

import argparse

import numpy as np
from probes import DETECTOR, OFFSET, st

RADIUS = 7.0
AWAY = np.array([4e-3, -3e-3, 2e-3, -4e-3, 0.2, -0.15, 0.03, -0.03])
"""How far starts are from the truth: affine, centre (pixels), gain, level."""
SHIFT = 0.05
"""Shift of a disk by which derivatives are taken, pixels."""
DIMMER, WIDER = 0.01, 0.05
"""Errors of the mean intensities, relative, and of the radius, pixels."""


class Model:
    """Expected counts of a pattern by affine (4), centre (2), gain and level; the direct beam is the first disk."""

    def __init__(self, spacing: float, share: float, dose: float, seed: int) -> None:
        self.radius = RADIUS
        phase = st.square(spacing, reach=54.0, seed=seed + 1, falloff=40.0)
        self.reflections = np.r_[np.zeros((1, 2)), phase.reflections]
        self.grid, middle = np.indices(DETECTOR), (np.array(DETECTOR) - 1) / 2 + OFFSET
        y, x = self.grid - middle[:, None, None]
        disk, level = st.disk(RADIUS)(y, x), st.lorentzian(25)(y, x)
        self.bright = dose * (1 - share) / disk.sum() * np.r_[1 - phase.intensity.sum(), phase.intensity]
        self.level = dose * share * level / level.sum()
        affine = np.linalg.inv(st.deformed(3e-3, -2e-3, 1e-3, 17.0)).T
        self.truth = np.r_[affine.ravel(), middle, 1.0, 1.0]

    def places(self, at: np.ndarray) -> np.ndarray:
        """Middles of the disks, (disk, 2)."""
        return np.asarray(self.reflections @ at[:4].reshape(2, 2).T + at[4:6])

    def disks(self, at: np.ndarray, dy: float = 0.0, dx: float = 0.0) -> np.ndarray:
        """Counts of each disk at a gain of one, moved by some pixels, (disk, y, x)."""
        y, x = self.grid[:, None] - (self.places(at) + np.array([dy, dx])).T[:, :, None, None]
        return np.asarray(self.bright[:, None, None] * st.disk(self.radius)(y, x))

    def parts(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts of each disk and its derivatives by shifts, (disk, y, x) and (2, disk, y, x)."""
        by = [self.disks(at, dy, dx) - self.disks(at, -dy, -dx) for dy, dx in ((SHIFT / 2, 0.0), (0.0, SHIFT / 2))]
        return at[6] * self.disks(at), at[6] * np.array(by) / SHIFT

    def columns(self, at: np.ndarray, disks: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Derivatives by the eight parameters, (8, y, x)."""
        affine = np.einsum("igyx,gj->ijyx", by, self.reflections).reshape(4, *DETECTOR)
        return np.concatenate([affine, by.sum(1), disks.sum(0)[None] / at[6], self.level[None]])

    def step(self, counts: np.ndarray, at: np.ndarray) -> np.ndarray:
        """One step of Fisher scoring."""
        disks, by = self.parts(at)
        expected, columns = disks.sum(0) + at[7] * self.level, self.columns(at, disks, by)
        score = np.einsum("iyx,yx->i", columns, (counts - expected) / np.maximum(expected, 1e-9))
        return np.linalg.solve(_products(columns, columns, expected), score)

    def information(self) -> np.ndarray:
        """Of the parameters, (8, 8)."""
        disks, by = self.parts(self.truth)
        columns = self.columns(self.truth, disks, by)
        return _products(columns, columns, disks.sum(0) + self.level)

    def nearest_only(self) -> np.ndarray:
        """Covariance where the derivatives of a pixel are those of the nearest disk, (8, 8)."""
        disks, by = self.parts(self.truth)
        offset = self.grid[:, None] - self.places(self.truth).T[:, :, None, None]
        near = np.hypot(*offset).argmin(0) == np.arange(len(disks))[:, None, None]
        expected, full = disks.sum(0) + self.level, self.columns(self.truth, disks, by)
        own = np.concatenate([self.columns(self.truth, disks, by * near)[:6], full[6:]])
        inverse = np.linalg.inv(_products(own, full, expected))
        return np.asarray(inverse @ _products(own, own, expected) @ inverse.T)

    def own_brightness(self) -> np.ndarray:
        """Covariance of affine, centre and level where every disk has a brightness of its own, (7, 7)."""
        disks, by = self.parts(self.truth)
        shared, expected = np.delete(self.columns(self.truth, disks, by), 6, 0), disks.sum(0) + self.level
        cross, own = _products(shared, disks, expected), np.linalg.pinv(_products(disks, disks, expected))
        return np.asarray(np.linalg.inv(_products(shared, shared, expected) - cross @ own @ cross.T))

    def strain(self, at: np.ndarray) -> np.ndarray:
        """exx, eyy and exy relative to the truth's lattice, first order."""
        change = np.linalg.inv(self.truth[:4].reshape(2, 2)) @ at[:4].reshape(2, 2) - np.eye(2)
        return -np.array([change[1, 1], change[0, 0], (change[0, 1] + change[1, 0]) / 2])


def _products(one: np.ndarray, two: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("iyx,jyx,yx->ij", one, two, 1 / np.maximum(expected, 1e-9), optimize=True))


def climbed(model: Model, counts: np.ndarray) -> np.ndarray:
    """Strain after four steps of Fisher scoring."""
    at = model.truth + AWAY
    for _ in range(4):
        at = at + model.step(counts, at)
    return model.strain(at)


def wrong(model: Model, expected: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Bias by wrong intensities and by a wrong radius: root of the mean square of exx, eyy and exy."""
    bright, found = model.bright, []
    for _ in range(6):
        model.bright = bright * (1 + DIMMER * rng.normal(size=len(bright)))
        found.append(climbed(model, expected))
    model.bright, model.radius = bright, RADIUS + WIDER
    wider, model.radius = climbed(model, expected), RADIUS
    return float(np.sqrt(np.mean(np.square(found)))), float(np.sqrt(np.mean(wider**2)))


def row(spacing: float, share: float, draws: int, dose: float, seed: int) -> str:
    """What is found with one lattice."""
    model, rng = Model(spacing, share, dose, seed), np.random.default_rng(seed)
    expected = model.parts(model.truth)[0].sum(0) + model.level
    by = np.array([model.strain(model.truth + step) for step in 1e-6 * np.eye(8)]) / 1e-6
    bound = np.sqrt(np.diag(by.T @ np.linalg.inv(model.information()) @ by))
    nearest = np.sqrt(np.diag(by.T @ model.nearest_only() @ by)) / bound
    own = np.sqrt(np.diag(np.delete(by, 6, 0).T @ model.own_brightness() @ np.delete(by, 6, 0))) / bound
    scatter = np.std([climbed(model, rng.poisson(expected)) for _ in range(draws)], axis=0) / bound
    dimmer, wider = wrong(model, expected, rng)
    return (
        f"spacing {spacing:4.1f}  {100 * share:2.0f} %  bound {1e4 * bound.mean():5.2f}e-4  joint "
        f"{np.sqrt((scatter**2).mean()):4.2f} +- {1 / np.sqrt(6 * draws):4.2f}  nearest only {nearest.mean():4.2f}  "
        f"own brightness {own.mean():4.2f}  bias: intensities {1e4 * dimmer:4.2f}e-4, radius {1e4 * wider:4.2f}e-4"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spacings", nargs="+", type=float, default=[9.8, 12.5, 14.0])
    parser.add_argument("--backgrounds", nargs="+", type=float, default=[0.25, 0.6])
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--dose", type=float, default=1e5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for spacing in given.spacings:
        for share in given.backgrounds:
            print(row(spacing, share, given.draws, given.dose, given.seed), flush=True)


if __name__ == "__main__":
    main()
