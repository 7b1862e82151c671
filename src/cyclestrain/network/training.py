"""Training of the autoencoder: one visible loop.

Every step sees patterns of the scan, compared with the dictionary in both directions, and patterns the decoder
imagined, whose poses are known. Nothing needs a truth. Held-out patterns of the scan decide when to stop; the best
epoch is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cyclestrain.data import BoolArray, FloatArray
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.checkpoint import Checkpoint
from cyclestrain.network.imagine import Imagined, Recording, imagine
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.losses import LossTerms, LossWeights, hinges, pose_error
from cyclestrain.network.reconstruct import Batch, class_gains, reconstruct
from cyclestrain.network.settings import NetworkSettings, TrainingSettings
from cyclestrain.network.views import Counts
from cyclestrain.pattern import Dictionary
from cyclestrain.progress import Progress, SilentProgress, Task
from cyclestrain.storage import RunFolder

__all__ = ["Course", "Trained", "default_device", "placed", "train"]


@dataclass(frozen=True)
class Course:
    """The patterns a network is trained on.

    Attributes
    ----------
    patterns
        Shape ``(n, qy, qx)``.
    good
        Detector pixels that can be trusted.
    theta
        Coarse rotation for each entry of the dictionary, radians, shape ``(n, class)``.
    centre
        Beam centres, shape ``(n, 2)``.
    centre_sigma
        Their standard deviation, pixels.
    """

    patterns: NDArray[Any]
    good: BoolArray
    theta: FloatArray
    centre: FloatArray
    centre_sigma: float


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes
    ----------
    network
        In evaluation mode, weights of the best epoch.
    log
        Of every epoch.
    seconds
        Time spent.
    patterns_per_second
        Patterns, of the scan and imagined, that went through training in a second.
    misfit
        Of every held-out pattern in the epoch that was kept, nats, shape ``(n,)``.
    """

    network: Autoencoder
    log: TrainingLog
    seconds: float
    patterns_per_second: float
    misfit: FloatArray


def train(
    course: Course,
    dictionary: Dictionary,
    *,
    settings: TrainingSettings | None = None,
    shape: NetworkSettings | None = None,
    init_from: Autoencoder | None = None,
    progress: Progress | None = None,
    run: RunFolder | None = None,
    watch: Callable[[int, FloatArray], object] | None = None,
) -> Trained:
    """Train encoder and dictionary.

    Parameters
    ----------
    course
        Patterns with their coarse rotations.
    dictionary
        Entries to start from.
    settings, shape
        Of the training and of the network.
    init_from
        A trained network of another scan whose weights to start from.
    progress
        Where to report to.
    run
        Run folder that keeps the state after every epoch and from which an interrupted training goes on, with the same
        result as an uninterrupted one; None to keep nothing.
    watch
        Called after every epoch with its index and the misfit of every held-out pattern, nats; an error that it raises
        ends the training.
    """
    settings, shape, progress = settings or TrainingSettings(), shape or NetworkSettings(), progress or SilentProgress()
    begin = time.perf_counter()
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    network = placed(Autoencoder(dictionary, shape, course.centre_sigma), settings.device, settings.mixed)
    if init_from is not None:
        network.load_encoder(init_from)
    optimizer = torch.optim.AdamW(_parameter_groups(network, settings), weight_decay=1e-3)
    source = Counts.of_patterns(course.patterns, course.good)
    train_rows, held_out_rows = _split(len(source), settings, rng)
    state = Checkpoint(network, optimizer, rng)
    if run is not None:
        state.load(run)
    with progress.stage("train network", settings.epochs) as task:
        task.advance(state.epoch)
        for done in range(state.epoch):
            _tell(state.log, done, settings.weights, task, progress)
        while state.epoch < settings.epochs and not state.is_stale(settings.patience):
            dreams = [_dream(network, k, course, settings, rng) for k in range(network.n_classes)]
            mean = _epoch(state, source, train_rows, course, dreams, settings)
            judged = _validate(network, source, held_out_rows, course, state.mask_radius, settings.mask_margin)
            state.record(Epoch(mean, judged.per_pixel, state.mask_radius), judged.misfit)
            state.mask_radius = judged.mask_radius if settings.shrink else state.mask_radius
            if run is not None:
                state.save(run)
            _tell(state.log, state.epoch - 1, settings.weights, task, progress)
            task.advance()
            if watch is not None:
                watch(state.epoch - 1, judged.misfit.double().numpy())
    state.restore_best()
    network.update_dictionary()
    seconds = time.perf_counter() - begin
    progress.note(f"network: epoch {state.best + 1} of {state.epoch} kept")
    seen = 2 * settings.batch * settings.steps * state.epoch
    return Trained(network.eval(), state.log, seconds, seen / seconds, state.held_out.double().numpy())


def _epoch(
    state: Checkpoint, source: Counts, train_rows: NDArray[Any], course: Course, dreams: list[Imagined],
    settings: TrainingSettings,
) -> dict[str, float]:  # fmt: skip
    """One epoch of steps; mean of each term of the loss over them."""
    network, optimizer, rng = state.network, state.optimizer, state.rng
    steps = settings.epochs * settings.steps
    network.train()
    log: list[dict[str, float]] = []
    for step in range(settings.steps):
        _set_rate(optimizer, (state.epoch * settings.steps + step) / steps)
        rows = rng.choice(train_rows, min(settings.batch, len(train_rows)), replace=False)
        terms = _losses(network, source, rows, course, dreams, state.mask_radius, settings, rng)
        optimizer.zero_grad()
        torch.autograd.backward(terms.total(settings.weights))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 50.0)
        optimizer.step()
        log.append(terms.log())
    return {name: float(np.mean([entry[name] for entry in log])) for name in log[0]}


def _tell(log: TrainingLog, index: int, weights: LossWeights, task: Task, progress: Progress) -> None:
    """Add a row to the table, and show the terms that weigh most beside the bar."""
    if index == 0:
        progress.note(log.key)
        progress.note(log.heading)
    progress.note(log.row(index))
    terms = log.epochs[index].terms
    leading = sorted(terms, key=lambda name: -abs(getattr(weights, name) * terms[name]))[:2]
    task.status(", ".join([f"held-out {log.epochs[index].held_out:.4f}", *(f"{n} {terms[n]:.4g}" for n in leading)]))


def default_device() -> str:
    """CUDA where there is a device for it, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def placed(network: Autoencoder, device: str, mixed: bool | None = None) -> Autoencoder:
    """Move a network to a device.

    Parameters
    ----------
    network
        The network.
    device, mixed
        As in `TrainingSettings`.
    """
    if mixed is None:
        mixed = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    network.glance.low_precision = mixed
    return network.to(device)


def _parameter_groups(network: Autoencoder, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Fresh layers learn fast; what starts from the dictionary, slowly."""
    fast = [*network.glance.parameters(), *network.head.parameters()]
    rate = settings.learning_rate
    groups = [
        {"params": fast, "peak": rate},
        {"params": list(network.gaze.parameters()), "peak": 0.1 * rate if network.settings.tied else rate},
    ]
    if settings.dictionary:
        groups.append({"params": list(network.decoder.parameters()), "peak": 0.002 * rate})
    return [{**group, "weight_decay": 0.0} if i else group for i, group in enumerate(groups)]


def _set_rate(optimizer: torch.optim.Optimizer, done: float, warm_up: float = 0.15) -> None:
    """Linear warm-up, then a cosine down to a hundredth."""
    if done < warm_up:
        factor = 0.1 + 0.9 * done / warm_up
    else:
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up)))
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]


def _split(n: int, settings: TrainingSettings, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows to train on, and rows held out."""
    order = rng.permutation(n)
    held_out = min(settings.held_out, max(1, n // 5))
    return np.sort(order[held_out : held_out + settings.max_patterns]), np.sort(order[:held_out])


def _dream(
    network: Autoencoder, k: int, course: Course, settings: TrainingSettings, rng: np.random.Generator
) -> Imagined:
    """Imagined patterns of class `k` for one epoch."""
    n = max(8, settings.steps * settings.batch // (2 * network.n_classes))
    detector = (course.good.shape[0], course.good.shape[1])
    recording = Recording(detector, course.centre, course.centre_sigma, network.noise_scale)
    half = network.dream_half(k, settings.imagined.strain)
    return imagine(network.dictionary.entries[k], n, recording, half=half, ranges=settings.imagined, rng=rng)


def _losses(
    network: Autoencoder,
    source: Counts,
    rows: NDArray[Any],
    course: Course,
    dreams: list[Imagined],
    mask_radius: float,
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> LossTerms:
    """All terms of the loss for one batch of the scan and one of imagined patterns."""
    weights = settings.weights
    zero = network.gaze.bank.weight.new_zeros(())
    cycle = zero
    if weights.cycle > 0:
        cycle = torch.stack([_cycle(network, k, dream, settings.batch, rng) for k, dream in enumerate(dreams)]).mean()
    if not (weights.inverse > 0 or weights.forward > 0):
        return LossTerms(zero, zero, cycle, zero, zero, zero, zero)
    theta, centre = course.theta[rows], course.centre[rows]
    encoding = network.encode(source, rows, theta, centre)
    bases = network.decoder()
    inverse, forward, choice = zero, zero, zero
    for k, base in enumerate(bases):
        index = (encoding.label == k).nonzero()[:, 0]
        if not len(index):
            continue
        at = index.cpu().numpy()
        batch = Batch(source, rows[at], theta[at, k], centre[at], encoding.gain[index], encoding.level[index])
        # A pattern taken for vacuum teaches nothing about the pose.
        trust = encoding.one_hot[index, k].detach()
        for i, look in enumerate((encoding.looks[0], encoding.looks[-1])):
            # The glance is too coarse to teach the dictionary.
            drawn = base.detach() if i == 0 else base
            compared = reconstruct(
                network,
                k,
                drawn,
                batch,
                look.pose[index],
                mask_radius,
                first=i == 0,
                forward=settings.forward if weights.forward > 0 else "off",
            )
            inverse = inverse + (trust * compared.inverse).sum() / len(rows)
            forward = forward + (trust * compared.forward).sum() / len(rows)
    if weights.choice > 0:
        gains = class_gains(network, bases, source, rows, theta, centre, encoding)
        choice = -(encoding.one_hot * gains).sum(-1).mean()
    sparsity = torch.stack([base.intensity.abs().sum() for base in bases]).sum()
    strain, shear = hinges(encoding.pose)
    return LossTerms(inverse, forward, cycle, choice, sparsity, strain, shear)


def _cycle(network: Autoencoder, k: int, dream: Imagined, batch: int, rng: np.random.Generator) -> Tensor:
    """Error of what is found in imagined patterns: their poses, every look counted, and whether there is a crystal."""
    rows = rng.choice(len(dream.source), min(batch, len(dream.source)), replace=False)
    known = network.encode_known(k, dream.source, rows, dream.theta[rows], dream.centre[rows])
    units = network.of_class(k).units
    truth = torch.as_tensor(dream.pose[rows], dtype=units.dtype, device=units.device)
    crystal = torch.as_tensor(~dream.empty[rows], dtype=units.dtype, device=units.device)
    errors = [pose_error((truth - look.before - look.step) / units, look.information) for look in known.looks]
    surprise = functional.binary_cross_entropy_with_logits(known.activity, crystal)
    return (torch.stack(errors).mean(0) * crystal).sum() / crystal.sum().clamp(min=1) + surprise


@dataclass(frozen=True)
class _Judged:
    """Held-out patterns after an epoch: misfit of each (nats), deviance per pixel, radius the masks shrink to."""

    misfit: Tensor
    per_pixel: float
    mask_radius: float


@torch.no_grad()
def _validate(
    network: Autoencoder, source: Counts, rows: NDArray[Any], course: Course, mask_radius: float, margin: float
) -> _Judged:
    """Judge the network on held-out patterns.

    A mask must hold the disk wherever the network still puts it wrongly: its radius is that of the disk, its edge,
    and `margin` standard deviations of the positions by the network's own information.
    """
    network.eval()
    theta, centre = course.theta[rows], course.centre[rows]
    encoding = network.encode(source, rows, theta, centre)
    misfit, pixels = torch.zeros(len(rows)), 0.0
    sigma = [torch.zeros(0)]
    for k, base in enumerate(network.decoder()):
        index = (encoding.label == k).nonzero()[:, 0]
        if not len(index):
            continue
        at = index.cpu().numpy()
        batch = Batch(source, rows[at], theta[at, k], centre[at], encoding.gain[index], encoding.level[index])
        # Compared in masks of full size, so that epochs can be ranked.
        full = float(network.decoder.reach)
        compared = reconstruct(network, k, base, batch, encoding.pose[index], full, first=False)
        misfit[index.cpu()] = compared.inverse.cpu()
        pixels += float(compared.pixels.sum())
        covariance = torch.linalg.inv(encoding.looks[-1].information[index])
        sigma.append(covariance.diagonal(dim1=-2, dim2=-1)[:, :4].sum(-1).sqrt().cpu())
    spread = torch.cat(sigma)
    wanted = network.radius + 1.5 + margin * float(spread.median()) if len(spread) else mask_radius
    return _Judged(misfit, 2 * float(misfit.sum()) / max(pixels, 1.0), float(min(mask_radius, wanted)))
