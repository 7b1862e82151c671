"""Prior over poses, learned from the poses that were found in a scan.

A sample holds few crystals and many patterns of each, so its poses are not spread evenly: they lie in clouds. The prior
of each entry is a mixture of Gaussians over the affine `A`, fitted to the clouds after the noise of the poses, known
from the encoder's information, is taken off (as in extreme deconvolution, Bovy et al., Ann. Appl. Stat. 5, 1657, 2011),
and of one broad component for everything else. The posterior mean has the smallest expected squared error of all
estimates that use one pattern at a time. Where poses vary from place to place the components are as wide as the
variation; the pose of a pattern that is like no other is left as it was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from cyclestrain.affine import left_polar
from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray

__all__ = ["PosePrior", "Poses", "learn_prior", "with_prior"]

MAX_POSES = 16384
"""Largest number of poses from which a prior is learned."""
LEAST_MEMBERS = 5
"""Least number of poses of a cloud."""
LEAST_BROAD = 0.02
"""Least share of poses that belong to no cloud."""
STRAIN_RANGE = 0.1
"""Width of the range of strain over which poses of no cloud are spread."""
CHANCE = 2.0
"""Standard errors by which a cloud must be wider than the noise of its poses before it counts as wide."""
MEDIAN_DISTANCE = 3.357
"""Median squared Mahalanobis distance in four dimensions."""
LEAST_NOISE = 1e-4
"""Least factor by which stated variances are lowered: without noise nothing differs."""
GATE = 20.0
"""Squared Mahalanobis distance within which a pose may belong to a cloud: all but 0.05 % of its members."""


@dataclass(frozen=True)
class Poses:
    """Poses as found, in units in which their typical noise has unit variance in every direction.

    Attributes
    ----------
    value
        Affine parameters, shape ``(n, 4)``.
    covariance
        Covariance of the noise of each, shape ``(n, 4, 4)``.
    """

    value: FloatArray
    covariance: FloatArray

    @cached_property
    def tree(self) -> cKDTree:
        """Search tree of the poses."""
        return cKDTree(self.value)

    @cached_property
    def blur(self) -> float:
        """Largest variance in any direction of all but the 5 % vaguest poses."""
        return float(np.quantile(np.linalg.eigvalsh(self.covariance)[:, -1], 0.95))

    def near(self, mean: FloatArray, spread: FloatArray) -> IntArray:
        """Indices of the poses that may belong to a cloud.

        Parameters
        ----------
        mean, spread
            Mean and covariance of the cloud, shapes ``(4,)`` and ``(4, 4)``.
        """
        reach = np.sqrt(GATE * (self.blur + np.linalg.eigvalsh(spread)[-1]))
        return np.array(self.tree.query_ball_point(mean, reach), int)

    def __getitem__(self, chosen: IntArray) -> Poses:
        return Poses(self.value[chosen], self.covariance[chosen])

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True)
class PosePrior:
    """Mixture of Gaussians over poses.

    Attributes
    ----------
    mean
        Mean of each component, shape ``(component, 4)``.
    spread
        Covariance of the true poses of each component, shape ``(component, 4, 4)``.
    members
        Number of poses behind each component, shape ``(component,)``.
    weight
        Share of each component, shape ``(component,)``; what is missing to 1 is the share of the broad component.
    broad
        Density of the broad component.
    """

    mean: FloatArray
    spread: FloatArray
    members: FloatArray
    weight: FloatArray
    broad: float

    def responsibilities(self, poses: Poses) -> Iterator[tuple[IntArray, FloatArray]]:
        """For each component, the indices of the poses near it and the probability that they belong to it."""
        total = np.full(len(poses), (1.0 - self.weight.sum()) * self.broad)
        parts = []
        for mean, spread, weight in zip(self.mean, self.spread, self.weight, strict=True):
            near = poses.near(mean, spread)
            density = weight * _density(poses.value[near] - mean, spread + poses.covariance[near])
            total[near] += density
            parts.append((near, density))
        for near, density in parts:
            yield near, density / total[near]

    def posterior(self, poses: Poses) -> Poses:
        """Posterior mean and covariance of each pose."""
        moved, square = np.zeros_like(poses.value), np.zeros_like(poses.covariance)
        beside = np.ones(len(poses))
        for k, (near, probability) in enumerate(self.responsibilities(poses)):
            # The mean itself is as uncertain as the mean of its members.
            spread = self.spread[k] + np.eye(4) / self.members[k]
            gain = spread @ np.linalg.inv(spread + poses.covariance[near])
            rest = np.eye(4) - gain
            step = _apply(rest, self.mean[k] - poses.value[near])
            beside[near] -= probability
            moved[near] += probability[:, None] * step
            square[near] += probability[:, None, None] * (rest @ spread + _outer(step))
        square += np.clip(beside, 0.0, 1.0)[:, None, None] * poses.covariance
        return Poses(poses.value + moved, square - _outer(moved))


def with_prior(field: AffineField, seed: int = 0) -> AffineField:
    """Posterior of every pose of a field, with a prior of each entry that is learned from the field itself.

    Parameters
    ----------
    field
        Affine of every position with its covariance.
    seed
        Seed of the choice of poses in scans with more than `MAX_POSES`.
    """
    affine, covariance = field.affine.copy(), field.covariance.copy()
    finite = field.valid & np.isfinite(field.affine).all((-1, -2)) & np.isfinite(field.covariance).all((-1, -2))
    for k, operators in enumerate(field.operators):
        mine = finite & (field.label == k)
        if mine.sum() < LEAST_MEMBERS:
            continue
        value, noise = _folded(field.affine[mine], field.covariance[mine], operators)
        noise *= _overstated(value, noise, mine)
        # The pose of typical uncertainty sets the units: a median of each element need not be a covariance.
        trace = np.trace(noise, axis1=1, axis2=2)
        root = np.linalg.cholesky(noise[np.argsort(trace)[len(trace) // 2]])
        white = np.linalg.inv(root)
        poses = Poses(value @ white.T, white @ noise @ white.T)
        # Shear and rotation share the off-diagonal elements of A, which makes their plane twice as large.
        volume = STRAIN_RANGE**3 * 2 * (2 * np.pi / len(operators)) * np.linalg.det(white)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(poses))[:MAX_POSES])
        found = learn_prior(poses[chosen], 1.0 / volume).posterior(poses)
        affine[mine] = (found.value @ root.T).reshape(-1, 2, 2)
        covariance[mine] = root @ found.covariance @ root.T
    return replace(field, affine=affine, covariance=covariance)


def learn_prior(poses: Poses, broad: float, rounds: int = 10) -> PosePrior:
    """Learn the mixture from poses that were found.

    Parameters
    ----------
    poses
        Poses as found, noise included.
    broad
        Density of poses that belong to no cloud.
    rounds
        Rounds of expectation and maximisation.
    """
    prior = _prior(_clouds(poses), len(poses), broad)
    for _ in range(rounds):
        found = prior.responsibilities(poses)
        fitted = [_fit(poses[near], share, prior.spread[k]) for k, (near, share) in enumerate(found) if len(near)]
        prior = _prior([cloud for cloud in fitted if cloud.members >= LEAST_MEMBERS - 1], len(poses), broad)
    return prior


@dataclass(frozen=True)
class _Cloud:
    mean: FloatArray
    spread: FloatArray
    members: float


def _prior(clouds: list[_Cloud], n: int, broad: float) -> PosePrior:
    members = np.array([cloud.members for cloud in clouds])
    weight = members / max(n, float(members.sum()) / (1 - LEAST_BROAD))
    mean, spread = (np.array([getattr(cloud, name) for cloud in clouds]) for name in ("mean", "spread"))
    return PosePrior(mean.reshape(-1, 4), spread.reshape(-1, 4, 4), members, weight, broad)


def _fit(poses: Poses, share: FloatArray, spread: FloatArray) -> _Cloud:
    """Mean and spread of a cloud: the covariance of its poses less their noise and less what chance may add to it."""
    members = float(share.sum())
    precision = share[:, None, None] * np.linalg.inv(spread + poses.covariance)
    mean = np.linalg.solve(precision.sum(0), _apply(precision, poses.value).sum(0))
    # Precise poses carry more information about the spread than vague ones.
    weight = share / np.trace(spread + poses.covariance, axis1=1, axis2=2) ** 2
    excess = _outer(poses.value - mean) * (members / max(members - 1.0, 1.0)) - poses.covariance
    values, vectors = np.linalg.eigh(np.einsum("n,nij->ij", weight, excess) / weight.sum())
    # In these units noise has a variance of one, which n poses determine to within the square root of 2 / n.
    values = np.clip(values - CHANCE * np.sqrt(2.0 / members), 0.0, None)
    return _Cloud(mean, (vectors * values) @ vectors.T, members)


def _clouds(poses: Poses) -> list[_Cloud]:
    """Where to start: clouds taken away one after another, the densest first."""
    around = poses.tree.query_ball_point(poses.value, 2.0)
    count: IntArray = np.asarray(poses.tree.query_ball_point(poses.value, 2.0, return_length=True))
    left = np.ones(len(poses), bool)
    clouds = []
    while count.max(initial=0) >= LEAST_MEMBERS:
        core = np.array(poses.tree.query_ball_point(poses.value[count.argmax()], 3.0))
        core = core[left[core]]
        cloud = _fit(poses[core], np.ones(len(core)), np.zeros((4, 4)))
        near = poses.near(cloud.mean, cloud.spread)
        near = near[left[near]]
        distance = _squared(poses.value[near] - cloud.mean, cloud.spread + poses.covariance[near])
        taken = np.union1d(core, near[distance < GATE])
        left[taken] = False
        np.subtract.at(count, np.concatenate([np.array(around[i]) for i in taken]), 1)
        count[taken] = 0
        clouds.append(_Cloud(cloud.mean, cloud.spread, float(len(taken))))
    return clouds


def _folded(affine: FloatArray, covariance: FloatArray, operators: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Poses and their noise in the labelling with the smallest rotation, shapes ``(n, 4)`` and ``(n, 4, 4)``."""
    _, angle = left_polar(affine[:, None] @ operators)
    chosen = operators[np.abs(angle).argmin(1)]
    turn = np.einsum("ik,nlj->nijkl", np.eye(2), chosen).reshape(-1, 4, 4)
    return (affine @ chosen).reshape(-1, 4), turn @ covariance @ turn.swapaxes(-1, -2)


def _overstated(value: FloatArray, noise: FloatArray, where: BoolArray) -> float:
    """By which factor, at most one, variances are too large: neighbours of one crystal differ by noise only.

    Noise that is stated too large would make one cloud of several crystals.
    """
    index = np.full(where.shape, -1)
    index[where] = np.arange(len(value))
    pairs = [(index[:-1], index[1:]), (index[:, :-1], index[:, 1:])]
    i, j = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    i, j = i[(i >= 0) & (j >= 0)], j[(i >= 0) & (j >= 0)]
    if len(i) < LEAST_MEMBERS:
        return 1.0
    distance = float(np.median(_squared(value[i] - value[j], noise[i] + noise[j])))
    return float(np.clip(distance / MEDIAN_DISTANCE, LEAST_NOISE, 1.0))


def _squared(difference: FloatArray, covariance: FloatArray) -> FloatArray:
    """Squared Mahalanobis distance."""
    return np.asarray((difference * np.linalg.solve(covariance, difference[..., None])[..., 0]).sum(-1))


def _density(difference: FloatArray, covariance: FloatArray) -> FloatArray:
    scale = (2 * np.pi) ** 2 * np.sqrt(np.linalg.det(covariance))
    return np.asarray(np.exp(-0.5 * _squared(difference, covariance)) / scale)


def _apply(matrices: FloatArray, vectors: FloatArray) -> FloatArray:
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _outer(vectors: FloatArray) -> FloatArray:
    return vectors[..., :, None] * vectors[..., None, :]
