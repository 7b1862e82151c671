"""The cycle-consistent spatial-transforming autoencoder (CC-ST-AE): encoder and dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclestrain.machine import threads
from cyclestrain.network.decoder import Decoder
from cyclestrain.network.encoder import AffineHead, Gaze, Glance, Seen, k_sparse
from cyclestrain.network.encoding import Encoding, Glanced, Known, Look
from cyclestrain.network.geometry import Geometry, glance_half
from cyclestrain.network.pooling import Pooled, pool
from cyclestrain.network.settings import NetworkSettings
from cyclestrain.network.transform import N_POSE, place
from cyclestrain.network.views import Counts, Cutting, look
from cyclestrain.pattern import Dictionary

__all__ = ["Autoencoder"]

FloatArray = NDArray[np.floating[Any]]

STRAIN_BOUND, ROTATION_BOUND = 0.08, 0.06
"""Largest strain and shear, and rotation in radians, of a pose."""
MAX_CONTRAST = 20.0
"""Sigma by which disks stand out at most."""
GLANCE_RIM, GAZE_RIM = 3.5, 1.8
"""Pixels from the edge of a disk on that show the background in a first and in a later look."""


class Autoencoder(nn.Module):
    """Encoder and decoder for the entries of one dictionary.

    Parameters
    ----------
    dictionary
        Entries to start from; they fix reflections and window sizes.
    settings
        Shape of the network.
    centre_sigma
        Standard deviation of the calibrated beam centre, pixels.
    """

    def __init__(self, dictionary: Dictionary, settings: NetworkSettings, centre_sigma: float) -> None:
        super().__init__()
        self.dictionary, self.settings, self.centre_sigma = dictionary, settings, centre_sigma
        entries = dictionary.entries
        n_glance = min(settings.glance_reflections, *(len(entry.reflections) for entry in entries))
        self.geometry = nn.ModuleList([Geometry(entry, n_glance, centre_sigma) for entry in entries])
        self.radius = max(entry.probe.radius for entry in entries)
        self.glance_half = max(6, glance_half(entries, n_glance, self.radius))
        self.gaze_half = int(min(entries[0].probe.half, np.ceil(self.radius + 2.5)))
        # One pixel more than is compared, for the interpolation of the forward direction.
        self.decoder = Decoder(entries, min(entry.probe.half for entry in entries) + 1)
        self.glance = Glance(settings.channels, settings.glance_features)
        self.head = AffineHead(settings.head, settings.glance_features, n_glance, len(entries), settings.latent)
        self.gaze = Gaze(self.gaze_half, settings.gaze_features)
        if settings.tied:
            with threads(1):  # several share sums in an order that differs from run to run
                self.gaze.tie(entries[0].probe)

    @property
    def noise_scale(self) -> float:
        """Variance over mean of a pixel, but never so small that disks stand out by more than `MAX_CONTRAST` sigma."""
        peak = max(float(entry.intensity.max() * entry.probe.values.max()) for entry in self.dictionary.entries)
        return max(self.dictionary.noise_scale, 2 * peak / MAX_CONTRAST**2)

    @property
    def n_classes(self) -> int:
        """Number of dictionary entries."""
        return len(self.geometry)

    def of_class(self, k: int) -> Geometry:
        """Geometry of one entry."""
        geometry = self.geometry[k]
        assert isinstance(geometry, Geometry)
        return geometry

    def cutting(self, *, first: bool) -> Cutting:
        """How windows of the first look, or of a later one, are cut."""
        half, rim = (self.glance_half, GLANCE_RIM) if first else (self.gaze_half, GAZE_RIM)
        return Cutting(half, self.radius + rim, self.noise_scale)

    def dream_half(self, k: int, strain: float) -> int:
        """Reach of imagined windows about the true positions: whatever a look within reach of the truth may ask for.

        Parameters
        ----------
        k
            Class.
        strain
            Largest strain that is imagined.
        """
        geometry = self.of_class(k)
        length = float(torch.hypot(*geometry.reflections[geometry.glance].T).max())
        return max(self.glance_half + int(np.ceil((2 * strain + 0.02) * length)), self.gaze_half + 4) + 1

    def load_encoder(self, other: Autoencoder) -> None:
        """Take over the weights of another scan's network where they fit."""
        mine = self.state_dict()
        fitting = {
            name: value
            for name, value in other.state_dict().items()
            if name.startswith(("glance.", "head.", "gaze.")) and mine[name].shape == value.shape
        }
        self.load_state_dict(mine | fitting)

    def update_dictionary(self) -> None:
        """Bring `dictionary` up to date with the trained decoder."""
        entries = self.decoder.entries(self.dictionary.entries)
        self.dictionary = Dictionary(entries, self.dictionary.noise_scale)

    def encode(self, source: Counts, rows: NDArray[Any], theta: FloatArray, centre: FloatArray) -> Encoding:
        """Class and pose of patterns.

        Parameters
        ----------
        source, rows
            Where to read, and which of its patterns, shape ``(n,)``.
        theta
            Coarse rotation for each candidate class, radians, shape ``(n, class)``.
        centre
            Calibrated beam centres, shape ``(n, 2)``.
        """
        firsts = [self._glance(k, source, rows, theta[:, k], centre) for k in range(self.n_classes)]
        logits, one_hot, label = self.choose([first.glanced.activity for first in firsts])
        parts = []
        for k, first in enumerate(firsts):
            chosen = (label == k).nonzero()[:, 0]
            if len(chosen):
                parts.append((chosen, self._of_class(k, first, chosen, one_hot, source, rows, theta[:, k], centre)))
        order = torch.argsort(torch.cat([chosen for chosen, _ in parts]))
        looks = tuple(
            Look(*(torch.cat([getattr(part.looks[i], name) for _, part in parts])[order] for name in _LOOK_FIELDS))
            for i in range(self.settings.gazes + 1)
        )
        gain, level = (torch.cat([getattr(part, name) for _, part in parts])[order] for name in ("gain", "level"))
        candidates = torch.stack([first.candidate for first in firsts], 1)
        return Encoding(looks, gain, level, logits, one_hot, candidates, label)

    def encode_known(self, k: int, source: Counts, rows: NDArray[Any], theta: FloatArray, centre: FloatArray) -> Known:
        """Look at patterns whose class is known.

        Parameters
        ----------
        k
            The class.
        source, rows, centre
            As for `encode`.
        theta
            Coarse rotation to that class, radians, shape ``(n,)``.
        """
        first = self._glance(k, source, rows, theta, centre)
        every = torch.arange(len(rows), device=first.gain.device)
        one_hot = torch.nn.functional.one_hot(torch.full_like(every, k), self.n_classes + 1).to(first.gain.dtype)
        looks = self._of_class(k, first, every, one_hot, source, rows, theta, centre).looks
        return Known(looks, first.glanced.activity)

    def choose(self, activities: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, one-hot class (vacuum last) and label from the activity of every candidate class."""
        activity = torch.stack(list(activities), -1)
        logits = torch.cat([activity, torch.zeros_like(activity[:, :1])], -1)
        one_hot = k_sparse(logits) if self.settings.sparse else logits.softmax(-1)
        return logits, one_hot, activity.argmax(-1)

    def _glance(self, k: int, source: Counts, rows: NDArray[Any], theta: FloatArray, centre: FloatArray) -> _First:
        """First look at one candidate class."""
        geometry = self.of_class(k)
        pose = geometry.reflections.new_zeros(len(rows), N_POSE)
        seen, gain, level, turn = self._see(k, source, rows, theta, centre, pose, first=True)
        glanced = self.glanced(k, seen, turn)
        candidate = self._bounded(pose, glanced.pooled.step.detach() * geometry.units)
        return _First(glanced, gain, level, candidate)

    def glanced(self, k: int, seen: Seen, turn: Tensor) -> Glanced:
        """What windows of a first look say.

        Parameters
        ----------
        k
            Class.
        seen
            The windows.
        turn
            Rotation of each pattern, radians, shape ``(n,)``.
        """
        geometry = self.of_class(k)
        reports = self.glance(seen)
        start = turn.new_zeros(turn.shape[0], N_POSE)
        pooled = pool(reports, turn, geometry.directions[geometry.glance], geometry.prior, start)
        return Glanced(pooled, *self.head.look(reports, pooled, turn))

    def gazed(self, k: int, seen: Seen, turn: Tensor, before: Tensor) -> Pooled:
        """What windows of a later look say.

        Parameters
        ----------
        k, seen, turn
            As for `glanced`.
        before
            Pose that expects the reflections where windows were cut, shape ``(n, 6)``.
        """
        geometry = self.of_class(k)
        return pool(self.gaze(seen), turn, geometry.directions, geometry.prior, before / geometry.units)

    def _of_class(
        self, k: int, first: _First, chosen: Tensor, one_hot: Tensor, source: Counts, rows: NDArray[Any],
        theta: FloatArray, centre: FloatArray,
    ) -> _Part:  # fmt: skip
        """Affine head and later looks for the patterns of one class."""
        index = chosen.cpu().numpy()
        rows, theta, centre = rows[index], theta[index], centre[index]
        kept = Pooled(*(getattr(first.glanced.pooled, name)[chosen] for name in _POOLED_FIELDS))
        pooled = self.head(kept, first.glanced.latent[chosen], one_hot[chosen, : self.n_classes])
        before = torch.zeros_like(pooled.step)
        looks = [self.look_after(k, before, pooled)]
        gain, level = first.gain[chosen], first.level[chosen]
        for _ in range(self.settings.gazes):
            before = looks[-1].pose.detach()
            seen, gain, level, turn = self._see(k, source, rows, theta, centre, before, first=False)
            pooled = self.gazed(k, seen, turn, before)
            looks.append(self.look_after(k, before, pooled))
        return _Part(tuple(looks), gain * pooled.gain_factor, level)

    def look_after(self, k: int, before: Tensor, pooled: Pooled) -> Look:
        """The pose after a look.

        Parameters
        ----------
        k
            Class.
        before
            Pose at which the look began, shape ``(n, 6)``.
        pooled
            What its windows say.
        """
        step = pooled.step * self.of_class(k).units
        return Look(before, step, pooled.information, self._bounded(before, step))

    def _bounded(self, before: Tensor, step: Tensor) -> Tensor:
        """Pose after a step, kept within its range by a tanh; to first order the step is taken in full.

        Bounding ``before + step`` itself would shrink a strain of 2 % by 2 % of itself at every look.
        """
        shift = max(1.0, 5 * self.centre_sigma)
        bound = before.new_tensor([STRAIN_BOUND] * 3 + [ROTATION_BOUND, shift, shift])
        share = (before / bound).clamp(-0.99, 0.99)
        return bound * torch.tanh(torch.atanh(share) + step / (bound * (1 - share**2)))

    def _see(
        self, k: int, source: Counts, rows: NDArray[Any], theta: FloatArray, centre: FloatArray, pose: Tensor, *,
        first: bool
    ) -> tuple[Seen, Tensor, Tensor, Tensor]:  # fmt: skip
        """Cut windows where a pose expects the reflections; also gain, level and rotation."""
        geometry, device = self.of_class(k), pose.device
        chosen = geometry.glance if first else geometry.every
        angle = torch.as_tensor(theta, dtype=torch.float32, device=device)
        relative = place(angle, pose.detach(), geometry.reflections[chosen])
        positions = relative.cpu().numpy() + centre[:, None, :]
        cutting = self.cutting(first=first)
        views = look(source, rows, positions, centre, self.dictionary.entries[k], chosen=chosen, cutting=cutting)
        tensors = (views.windows, views.fraction, views.contrast, views.share, views.gain, views.level)
        windows, fraction, contrast, share, gain, level = (torch.from_numpy(t).to(device) for t in tensors)
        return Seen(windows, fraction, contrast, share), gain, level, angle + pose[:, 3].detach()


@dataclass(frozen=True)
class _First:
    glanced: Glanced
    gain: Tensor
    level: Tensor
    candidate: Tensor


@dataclass(frozen=True)
class _Part:
    looks: tuple[Look, ...]
    gain: Tensor
    level: Tensor


_LOOK_FIELDS = ("before", "step", "information", "pose")
"""Fields of a `Look`, each a tensor over patterns."""
_POOLED_FIELDS = ("step", "information", "gain_step", "evidence")
"""Those of `Pooled`."""
