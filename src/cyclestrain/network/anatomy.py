"""The network taken apart: which modules a pattern passes, in which shapes, and what becomes of one on the way.

Nothing is stated by hand: modules are walked with hooks while the network encodes a pattern that its own decoder drew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.encoder import ResidualBlock
from cyclestrain.network.encoding import Encoding, Known
from cyclestrain.network.imagine import ImaginedRange, Recording, imagine
from cyclestrain.network.losses import LossWeights
from cyclestrain.network.reconstruct import Batch, drawn
from cyclestrain.network.transform import POSE, place, resample
from cyclestrain.network.views import Counts, Views, look

__all__ = ["Followed", "Row", "anatomy", "follow"]

Row: TypeAlias = tuple[str, str]
"""What happens, and the shape of what comes out of it."""


def _convolution(module: nn.Conv2d) -> str:
    (side, _), (step, _) = module.kernel_size, module.stride
    return f"conv {side}×{side}" + (f", step {step}" if step > 1 else "")


_WORDS: dict[type[nn.Module], Callable[[Any], str]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: lambda m: "batch normalisation",
    nn.ReLU: lambda m: "ReLU",
    nn.SiLU: lambda m: "SiLU",
    nn.AvgPool2d: lambda m: f"mean of {m.kernel_size}×{m.kernel_size}",
    ResidualBlock: lambda m: "residual, two 3×3",
    nn.Linear: lambda m: f"connected, {m.in_features} in",
}
"""How modules are called; others by the name of their class."""
_OWN = {
    "glance.mix": "weights by contrast",
    "glance.bend": "score of each window",
    "gaze.bank": "filters tied to the disk",
    "gaze.mix": "weights by phase",
    "head.activity": "activity of the class",
    "head.affine": "correction of the pose",
}
"""What some modules are for; where one consists of several, it stands for all of them."""


def anatomy(network: Autoencoder) -> dict[str, tuple[Row, ...]]:
    """What happens to one pattern, stage by stage, with the shape of what comes out of every step.

    Parameters
    ----------
    network
        Any network; a pattern is drawn by its decoder for the purpose.

    Returns
    -------
    stages
        Rows of ``windows``, ``glance``, ``choice``, ``affine``, ``gaze``, ``decoder``, ``transform``,
        ``imagined`` and ``losses``.
    """
    network.eval()
    detector, centre = _detector(network)
    recording = Recording(detector, centre, network.centre_sigma, network.noise_scale)
    entry = network.dictionary.entries[0]
    half = network.dream_half(0, ImaginedRange().strain)
    dream = imagine(
        entry, 1, recording, half=half, ranges=ImaginedRange(empty=0, faint=0), rng=np.random.default_rng(0)
    )
    with torch.no_grad(), _walked(network) as seen:
        known = network.encode_known(0, dream.source, np.array([0]), dream.theta, dream.centre)
        logits, one_hot, _ = network.choose([known.activity] * network.n_classes)
        bases = network.decoder()
        ones = known.activity.new_ones(1)
        batch = Batch(dream.source, np.array([0]), dream.theta, dream.centre, ones, ones)
        windows = drawn(network, 0, bases[0], batch, known.looks[-1].pose, network.of_class(0).every)
    glance, gaze, latent = (
        tuple(row for key, row in seen.items() if key.startswith(name)) for name in ("glance.", "gaze.", "head.latent")
    )
    return {
        "windows": _cut_rows(network),
        "glance": glance,
        "choice": (*latent, seen["head.activity"], *_choice_rows(network, logits, one_hot)),
        "affine": (
            ("latent with one-hot", _shape(network.head.affine.in_features)),
            seen["head.affine"],
            *_pose_rows(known, 0),
        ),
        "gaze": (*gaze, *_pose_rows(known, -1)),
        "decoder": (
            ("one-hot", _shape(network.n_classes)),
            ("intensities", _shape(bases[0].intensity)),
            ("disk at all phases", _shape(bases[0].tables)),
            ("background", _shape(bases[0].background)),
        ),
        "transform": (
            ("reflections placed", _shape(windows.fraction[0])),
            ("inverse: drawn", _shape(windows.expected[0])),
            ("forward: shifted", _shape(resample(windows.counts, windows.fraction)[0])),
        ),
        "imagined": (
            ("pose drawn at random", _shape(dream.pose.shape[1])),
            ("counts in windows", _shape(*dream.source.values.shape[1:])),
            ("pose that is found", _shape(known.looks[-1].pose[0])),
        ),
        "losses": tuple((name, f"weight {weight:g}") for name, weight in vars(LossWeights()).items()),
    }


def _cut_rows(network: Autoencoder) -> tuple[Row, ...]:
    """Windows that looks begin with."""
    geometry = network.of_class(0)
    return tuple(
        (name, _shape(len(chosen), network.cutting(first=first).size, network.cutting(first=first).size))
        for name, chosen, first in (("first look", geometry.glance, True), ("later looks", geometry.every, False))
    )


def _choice_rows(network: Autoencoder, logits: Tensor, one_hot: Tensor) -> tuple[Row, ...]:
    kept = "K-sparse, one is kept" if network.settings.sparse else "softmax"
    return (("all classes, vacuum", _shape(logits[0])), (kept, _shape(one_hot[0])))


def _pose_rows(known: Known, index: int) -> tuple[Row, ...]:
    seen = known.looks[index]
    return ("least squares", _shape(seen.information[0])), (f"pose: {len(POSE)} parameters", _shape(seen.pose[0]))


@contextmanager
def _walked(network: Autoencoder) -> Iterator[dict[str, Row]]:
    """What modules do, by name, in the order in which they are called first."""
    seen: dict[str, Row] = {}

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, given: Any, out: Any) -> None:
            if isinstance(out, Tensor) and name not in seen:
                words = _OWN.get(name) or _WORDS.get(type(module), lambda m: type(m).__name__)(module)
                # The first axis of a glance's convolutions are its windows, elsewhere it is the one pattern.
                seen[name] = (words, _shape(out if out.ndim == 4 or name == "glance.squeeze" else out[0]))

        return record

    handles = [module.register_forward_hook(hook(name)) for name, module in _named(network)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _named(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules without parts, and those that are told as a whole."""
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        if full in _OWN or type(child) in _WORDS or not any(True for _ in child.children()):
            yield full, child
        else:
            yield from _named(child, f"{full}.")


def _shape(*sizes: Any) -> str:
    """A shape as people write it."""
    lengths = sizes[0].shape if isinstance(sizes[0], Tensor) else sizes
    return "×".join(str(length) for length in lengths)


def _detector(network: Autoencoder) -> tuple[tuple[int, int], FloatArray]:
    """A detector that holds all reflections at any rotation, and its centre."""
    reach = max(float(np.hypot(*entry.reflections.T).max()) for entry in network.dictionary.entries)
    side = 2 * int(np.ceil(1.1 * reach + 3 * network.decoder.reach)) + 1
    return (side, side), np.full((1, 2), side // 2, float)


@dataclass(frozen=True)
class Followed:
    """One pattern on its way through the network.

    Attributes
    ----------
    views
        Windows of the first look in units of noise, see `cyclestrain.network.views.Views`.
    encoding
        What the encoder says.
    expected
        Where each look expects the reflections, and where the last one finds them, ``(y, x)`` in detector pixels,
        shape ``(look + 1, reflection, 2)``.
    counts, drawn
        Inverse direction: counts around all reflections, and the entry drawn at the same pixels, shape ``(reflection,
        size, size)``.
    shifted, entry
        Forward direction: these windows shifted into the frame of the entry, and the entry itself as the same
        interpolation shows it.
    """

    views: Views
    encoding: Encoding
    expected: FloatArray
    counts: FloatArray
    drawn: FloatArray
    shifted: FloatArray
    entry: FloatArray


@torch.no_grad()
def follow(
    network: Autoencoder, pattern: NDArray[Any], good: BoolArray, theta: FloatArray, centre: FloatArray
) -> Followed:
    """Follow one pattern through encoder, choice of a class, transform and decoder.

    Parameters
    ----------
    network
        A trained network, in evaluation mode.
    pattern
        Counts, shape ``(qy, qx)``.
    good
        Detector pixels that can be trusted, same shape.
    theta
        Coarse rotation to each class, radians, shape ``(class,)``.
    centre
        Calibrated beam centre ``(y, x)``, pixels.
    """
    source, rows, middle = Counts.of_patterns(pattern[None], good), np.array([0]), np.asarray(centre, float)[None]
    encoding = network.encode(source, rows, theta[None], middle)
    k = int(encoding.label[0])
    geometry, entry, angle = network.of_class(k), network.dictionary.entries[k], theta[None, k]
    turn = torch.as_tensor(angle, dtype=torch.float32)
    poses = [*(seen.before for seen in encoding.looks), encoding.pose]
    expected = np.stack([place(turn, pose, geometry.reflections)[0].numpy() for pose in poses]) + middle
    views = look(
        source, rows, expected[:1, geometry.glance], middle, entry, chosen=geometry.glance,
        cutting=network.cutting(first=True),
    )  # fmt: skip
    batch = Batch(source, rows, angle, middle, encoding.gain, encoding.level)
    seen = drawn(network, k, network.decoder()[k], batch, encoding.pose, geometry.every)
    images = (seen.counts, seen.expected, resample(seen.counts, seen.fraction), resample(seen.expected, seen.fraction))
    return Followed(views, encoding, expected, *(image[0].double().numpy() for image in images))
