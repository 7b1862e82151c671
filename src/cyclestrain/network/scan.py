"""The network of a scan: trained on a sample of it, or trained on another scan and given this one's dictionary."""

from __future__ import annotations

from dataclasses import replace

from cyclestrain.calibration import draw_sample
from cyclestrain.data import Scan
from cyclestrain.io import sample_mask
from cyclestrain.learning import Knowledge, centre_prior
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.settings import TrainingSettings
from cyclestrain.network.training import Course, Trained, default_device, placed, train
from cyclestrain.orientation import look
from cyclestrain.progress import Progress
from cyclestrain.settings import LearnSettings
from cyclestrain.storage import RunFolder

__all__ = ["applied", "train_on_scan"]

MAX_TRAINING_PATTERNS = 2048
"""Largest number of patterns to train on."""


def train_on_scan(
    scan: Scan,
    knowledge: Knowledge,
    settings: LearnSettings,
    *,
    progress: Progress,
    run: RunFolder | None = None,
    epochs: int | None = None,
    init_from: Autoencoder | None = None,
) -> Trained:
    """Train the autoencoder on a sample of a scan, starting from the learned dictionary.

    Parameters
    ----------
    scan
        The scan.
    knowledge
        What was learned of it.
    settings
        Seed and device.
    progress
        Receiver of stages and notes.
    run
        Folder that keeps the state of the training, which resumes from there.
    epochs
        Largest number of epochs; by default that of `TrainingSettings`.
    init_from
        Network whose weights are the start.
    """
    sample = draw_sample(scan, MAX_TRAINING_PATTERNS).only(sample_mask(settings.sample, scan.scan_shape))
    calibration = knowledge.calibration
    smooth = calibration.centre[sample.rows, sample.columns]
    seen = look(sample.patterns, calibration, smooth, knowledge.templates)
    training = TrainingSettings(seed=settings.seed, device=_device(settings))
    return train(
        Course(sample.patterns, calibration.good, seen.alignment.thetas, seen.centre, centre_prior(calibration)),
        knowledge.dictionary,
        settings=training if epochs is None else replace(training, epochs=epochs),
        init_from=init_from,
        progress=progress,
        run=run,
    )


def applied(network: Autoencoder, knowledge: Knowledge, settings: LearnSettings) -> Autoencoder:
    """A trained network for another scan: its weights with the dictionary and beam centre of that scan.

    Parameters
    ----------
    network
        Network trained on a scan of the same material.
    knowledge
        What was learned of the other scan.
    settings
        Device to run on.
    """
    out = Autoencoder(knowledge.dictionary, network.settings, centre_prior(knowledge.calibration))
    out.load_encoder(network)
    return placed(out.eval(), _device(settings))


def _device(settings: LearnSettings) -> str:
    return default_device() if settings.device == "auto" else settings.device
