r"""The encoder: from windows of a pattern to its class and its pose.

It looks at each pattern a few times. The first look, the *glance*, is the paper's encoder: residual convolution
blocks with normalisation and pooling on the windows of the strongest reflections, a fully connected latent, a
K-sparse layer that keeps one class, and an affine head. Every further look, a *gaze*, takes windows of all
reflections where the previous look expects them (a spatial transformer applied again and again), so what is left to
find is a fraction of a pixel.

Every window reports a score :math:`s` and an information matrix :math:`J`, which are pooled by weighted least squares
over the lattice (`cyclestrain.network.pooling`): the physics of one affine transform for all reflections is built in,
not learned. The gaze is linear in the counts; its filters start as the derivatives of the decoder's own disk (tied
weights) and are trained from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cyclestrain.network.pooling import LEAST, Pooled, Reports
from cyclestrain.network.transform import N_POSE
from cyclestrain.pattern import Probe

__all__ = ["AffineHead", "Gaze", "Glance", "Seen", "k_sparse"]


@dataclass(frozen=True)
class Seen:
    """`cyclestrain.network.views.Views` as tensors: see there for shapes and meaning."""

    windows: Tensor
    fraction: Tensor
    contrast: Tensor
    share: Tensor


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation around a skip connection."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(n_out)
        self.second = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(n_out)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, n_in, h, w)`` to ``(n, n_out, h, w)``."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.skip(x))


class Glance(nn.Module):
    """Residual convolutions on each window, then its report.

    Parameters
    ----------
    channels
        Of the first convolution; the block after it has twice as many.
    features
        Numbers kept of each window.
    hidden
        Width of the layers that turn features into reports.

    Attributes
    ----------
    low_precision
        Whether convolutions run in bfloat16: they only start the search, so its eight bits do not reach the strain.
    """

    def __init__(self, channels: int = 8, features: int = 24, hidden: int = 32) -> None:
        super().__init__()
        self.low_precision = False
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 5, stride=2, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), nn.AvgPool2d(2)
        )
        self.block = ResidualBlock(channels, 2 * channels)
        self.squeeze = nn.Linear(2 * channels * 16, features)
        last = nn.Linear(hidden, 3 * features + 7)
        self.mix = nn.Sequential(nn.Linear(8, hidden), nn.SiLU(), last)
        self.bend = nn.Sequential(nn.Linear(features + 8, hidden), nn.SiLU(), nn.Linear(hidden, 3))
        nn.init.zeros_(last.bias)

    def forward(self, seen: Seen) -> Reports:
        """Report of every window."""
        n, n_reflections, size, _ = seen.windows.shape
        x = seen.windows.reshape(n * n_reflections, 1, size, size)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.low_precision):
            x = self.block(self.stem(x))
            # A disk of any size ends on the same 4x4 grid, so the fully connected layer does not know the window size.
            features = self.squeeze(functional.adaptive_avg_pool2d(x, 4).flatten(1))
        features = features.float().reshape(n, n_reflections, -1)
        known = _known(seen)
        mixed = self.mix(known)
        m = features.shape[-1]
        weights = mixed[..., : 3 * m].reshape(n, n_reflections, 3, m)
        linear = (weights * features[..., None, :]).sum(-1) + self.bend(torch.cat([features, known], -1))
        contrast = seen.contrast[..., None]
        score = contrast * linear + contrast**2 * mixed[..., 3 * m : 3 * m + 3]
        return Reports(score, _information(mixed[..., 3 * m + 3 :], seen.contrast), features)


def _known(seen: Seen) -> Tensor:
    """What is known of each window before looking: sub-pixel phase, contrast and share of the disk."""
    f = 2 * seen.fraction
    contrast, share = seen.contrast[..., None], seen.share[..., None]
    return torch.cat([f, f**2, f[..., :1] * f[..., 1:], contrast.log(), contrast.clamp(max=5), share], -1)


def _information(raw: Tensor, contrast: Tensor) -> Tensor:
    """Positive definite information from four free numbers, in proportion to the squared contrast."""
    yy, xx, intensity = (raw[..., i].clamp(-6, 6).exp() for i in (0, 1, 3))
    yx = 0.95 * torch.tanh(raw[..., 2]) * (yy * xx).sqrt()
    return torch.stack([yy, yx, xx, intensity], -1) * (contrast**2)[..., None]


class Gaze(nn.Module):
    r"""Filters that know the sub-pixel phase, on windows of all reflections.

    The score is linear in the whitened window `z`, :math:`s = \kappa\, W(f, q)\, B z + \kappa^2\, o(f, q)`, with a
    bank `B` of filters shared by all reflections and weights that are polynomials of the phase `f` and of the disk's
    share `q` in the counts; :math:`\kappa` is the contrast.

    Parameters
    ----------
    half
        Windows reach this many pixels from their centre.
    features
        Filters in the bank.
    """

    PHASE_DEGREE = 4
    SHARE_DEGREE = 2

    def __init__(self, half: int, features: int = 28) -> None:
        super().__init__()
        self.reach = half
        self.bank = nn.Linear((2 * half + 1) ** 2, features, bias=False)
        powers = [(i, j) for i in range(self.PHASE_DEGREE + 1) for j in range(self.PHASE_DEGREE + 1 - i)]
        self.powers = [(i, j, k) for k in range(self.SHARE_DEGREE + 1) for i, j in powers]
        self.mix = nn.Linear(len(self.powers), 3 * features + 7, bias=False)
        nn.init.normal_(self.mix.weight, std=0.05)

    def forward(self, seen: Seen) -> Reports:
        """Report of every window."""
        features = self.bank(seen.windows.flatten(-2))
        m = features.shape[-1]
        mixed = self.mix(self._terms(seen.fraction, seen.share))
        weights = mixed[..., : 3 * m].unflatten(-1, (3, m))
        contrast = seen.contrast[..., None]
        score = contrast * (weights * features[..., None, :]).sum(-1) + contrast**2 * mixed[..., 3 * m : 3 * m + 3]
        return Reports(score, _information(mixed[..., 3 * m + 3 :], seen.contrast), features)

    def _terms(self, fraction: Tensor, share: Tensor) -> Tensor:
        f_y, f_x = (2 * fraction).unbind(-1)
        q = 2 * share - 1
        y, x, s = (torch.stack([v**i for i in range(self.PHASE_DEGREE + 1)]) for v in (f_y, f_x, q))
        return torch.stack([y[i] * x[j] * s[k] for i, j, k in self.powers], -1)

    @torch.no_grad()
    def tie(self, probe: Probe) -> None:
        """Start from the decoder's disk: the filters that maximise the likelihood of its pixels.

        For a disk :math:`P` of share `q`, scores are the derivatives of :math:`P` divided by the expected counts. The
        bank is their principal span over all phases and shares, the polynomials are fitted to them.
        """
        shares = torch.linspace(0.02, 0.98, 7)
        tables = torch.from_numpy(Probe(probe.values, probe.oversampling, self.reach).tables).flatten(3)
        tables = tables / float(probe.values.max())
        fraction = (torch.arange(tables.shape[1]) - tables.shape[1] // 2) / probe.oversampling
        ratio = (shares / (1 - shares))[:, None, None, None]
        value = tables[0]
        expected = (1 + ratio * value.clamp(min=0)) / (1 + 0.5 * ratio)
        slopes = torch.stack([tables[1], tables[2], value])[:, None].expand(-1, len(shares), -1, -1, -1)
        filters = slopes / expected  # (3, share, phase, phase, pixel)
        m = self.bank.out_features
        span = torch.linalg.svd(filters.flatten(0, 3), full_matrices=False)[2]
        bank = span[: min(m, len(span))]
        self.bank.weight.zero_()
        self.bank.weight[: len(bank)] = bank
        weights = filters @ self.bank.weight.T
        offset = -(filters * value).sum(-1)
        fisher = torch.einsum("asijp,bsijp->sijab", filters, slopes)
        yx = fisher[..., 0, 1] / (0.95 * (fisher[..., 0, 0] * fisher[..., 1, 1]).sqrt())
        raw = [fisher[..., 0, 0].log(), fisher[..., 1, 1].log(), torch.atanh(yx.clamp(-0.95, 0.95))]
        raw += [fisher[..., 2, 2].clamp(min=LEAST).log()]
        targets = torch.cat(
            [weights.permute(1, 2, 3, 0, 4).flatten(3), offset.permute(1, 2, 3, 0), torch.stack(raw, -1)], -1
        )
        f_y, f_x = torch.meshgrid(fraction, fraction, indexing="ij")
        grid = torch.stack([f_y, f_x], -1).expand(len(shares), -1, -1, -1)
        terms = self._terms(grid, shares[:, None, None].expand(grid.shape[:-1]))
        # By NumPy: what PyTorch solves with differs in the last digits from call to call.
        design, aims = (x.flatten(0, 2).double().numpy() for x in (terms, targets))
        self.mix.weight.copy_(torch.from_numpy(np.linalg.lstsq(design, aims)[0].T))


class AffineHead(nn.Module):
    """Latent, class activity and affine parameters from the glance.

    Parameters
    ----------
    kind
        ``pooled``: least squares over the windows plus a correction from latent and one-hot class;
        ``connected``: the paper's head, fully connected layers only.
    features
        Numbers of each window.
    n_windows
        Windows of the glance.
    n_classes
        Dictionary entries.
    latent
        Width of the fully connected latent.
    """

    def __init__(self, kind: str, features: int, n_windows: int, n_classes: int, latent: int = 32) -> None:
        super().__init__()
        self.kind = kind
        self.n_classes = n_classes
        n_in = n_windows * (features + 3) + 2 if kind == "connected" else features + 2
        self.latent = nn.Sequential(nn.Linear(n_in, 2 * latent), nn.SiLU(), nn.Linear(2 * latent, latent), nn.SiLU())
        self.activity = nn.Linear(latent + 2, 1)
        self.affine = nn.Linear(latent + n_classes, 2 * N_POSE + 1)  # pose, gain, precision of the pose
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        nn.init.zeros_(self.activity.weight)
        nn.init.constant_(self.activity.bias, -6.0)
        with torch.no_grad():
            self.activity.weight[0, -1] = 1.0

    def look(self, reports: Reports, pooled: Pooled, turn: Tensor) -> tuple[Tensor, Tensor]:
        """Latent ``(n, latent)`` and activity ``(n,)`` of one candidate class.

        Parameters
        ----------
        reports, pooled
            Of the windows of the glance, and what they say together.
        turn
            Rotation of each pattern, radians, shape ``(n,)``.
        """
        around = torch.stack([turn.cos(), turn.sin()], -1)
        if self.kind == "connected":
            scale = reports.information[..., [0, 2, 3]].sqrt()
            windows = torch.cat([reports.features, reports.score / scale], -1)
            latent = self.latent(torch.cat([windows.flatten(1), around], -1))
        else:
            latent = self.latent(torch.cat([reports.features.mean(1), around], -1))
        # Significance of the intensity: how surely there are disks at all.
        surely = (1 + pooled.gain_step.clamp(min=-1)) * reports.information[..., 3].sum(1).sqrt()
        known = torch.stack([pooled.evidence.clamp(min=0).log1p(), surely], -1)
        return latent, self.activity(torch.cat([latent, known], -1))[:, 0]

    def forward(self, pooled: Pooled, latent: Tensor, one_hot: Tensor) -> Pooled:
        """Affine parameters of the class that was kept.

        Parameters
        ----------
        pooled
            What the windows of the glance say together.
        latent
            Shape ``(n, latent)``.
        one_hot
            The class, one column for each entry.
        """
        raw = self.affine(torch.cat([latent, one_hot], -1))
        step, gain_step = raw[:, :N_POSE], pooled.gain_step + raw[:, N_POSE]
        if self.kind == "connected":
            information = torch.diag_embed(raw[:, N_POSE + 1 :].clamp(-6, 8).exp())
        else:
            step = step + pooled.step
            information = pooled.information
        return Pooled(step, information, gain_step, pooled.evidence)


def k_sparse(logits: Tensor) -> Tensor:
    """Keep the highest activity: one-hot forwards, gradient of the softmax backwards (straight-through).

    Parameters
    ----------
    logits
        Activity of each class, shape ``(n, class)``.
    """
    soft = logits.softmax(-1)
    hard = functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return hard + soft - soft.detach()
