"""The network of a scan: trained on a sample of it, or trained on another scan and given this one's dictionary."""

from __future__ import annotations

from dataclasses import replace

from cyclestrain.calibration import draw_sample
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.io import sample_mask
from cyclestrain.learning import Knowledge, centre_prior
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.model_file import Model
from cyclestrain.network.settings import NetworkSettings, TrainingSettings
from cyclestrain.network.training import Course, Trained, default_device, placed, train
from cyclestrain.network.tuned import Tuned
from cyclestrain.network.tuning import Search, Start, tune
from cyclestrain.orientation import look
from cyclestrain.progress import Progress
from cyclestrain.settings import FitSettings, LearnSettings
from cyclestrain.storage import RunFolder

__all__ = ["applied", "course_of", "fit_on_scan", "train_on_scan"]

MAX_TRAINING_PATTERNS = 2048
"""Largest number of patterns to train on."""
TUNING = "tuning"
"""Name under which a run folder keeps what tuning found."""


def train_on_scan(
    scan: Scan, knowledge: Knowledge, settings: LearnSettings, *, progress: Progress, run: RunFolder | None = None
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
    """
    training = TrainingSettings(seed=settings.seed, device=_device(settings))
    course = course_of(scan, knowledge, settings)
    return train(course, knowledge.dictionary, settings=training, progress=progress, run=run)


def fit_on_scan(
    scan: Scan,
    knowledge: Knowledge,
    settings: FitSettings,
    *,
    progress: Progress,
    run: RunFolder | None = None,
    init_from: Model | None = None,
    search: Search | None = None,
) -> tuple[Trained, Tuned | None]:
    """Train as `train_on_scan` does, perhaps from another network, with the best settings that a search finds.

    Parameters
    ----------
    scan, knowledge, settings, progress, run
        As for `train_on_scan`; the settings also give the largest number of epochs.
    init_from
        Model whose weights, widths and tuned settings are the start.
    search
        Search for better settings; None to take those of the start.

    Returns
    -------
    trained, tuned
        The network, and what tuning found: here, or before it for the model it starts from; None where it never was.

    Raises
    ------
    InputError
        If the study of the search is of something else.
    """
    start, before = _start(settings, init_from)
    course = course_of(scan, knowledge, settings)
    tuned = before
    if search is not None:
        kept = run.load(TUNING, ()) if run else None
        tuned = Tuned.from_json(kept) if kept else tune(course, knowledge.dictionary, start, search, progress=progress)
        if run:
            run.save(TUNING, tuned.to_json())
    hyper = tuned.hyper if tuned else start.hyper
    training, shape = hyper.training(start.training), hyper.shape(start.shape)
    trained = train(
        course,
        knowledge.dictionary,
        settings=training,
        shape=shape,
        init_from=start.network,
        progress=progress,
        run=run,
    )
    return trained, tuned


def _start(settings: FitSettings, init_from: Model | None) -> tuple[Start, Tuned | None]:
    training = TrainingSettings(seed=settings.seed, device=_device(settings))
    if settings.epochs is not None:
        training = replace(training, epochs=settings.epochs)
    if init_from is None:
        return Start(training, NetworkSettings()), None
    tuned, network = init_from.tuned, init_from.network
    if tuned is not None:
        training = tuned.hyper.training(training)
    return Start(training, network.settings, network), tuned


def course_of(scan: Scan, knowledge: Knowledge, settings: LearnSettings) -> Course:
    """A sample of a scan, with the coarse rotations of its patterns, to train on.

    Parameters
    ----------
    scan
        The scan.
    knowledge
        What was learned of it.
    settings
        Positions that are the sample.

    Raises
    ------
    InputError
        If disks overlap.
    """
    if any(entry.overlaps for entry in knowledge.dictionary.entries):
        raise InputError(
            f"the disks in {scan.name} overlap, and the network looks at each of them by itself: map it without a "
            "model (cyclestrain map), or record it with a smaller aperture"
        )
    sample = draw_sample(scan, MAX_TRAINING_PATTERNS).only(sample_mask(settings.sample, scan.scan_shape))
    calibration = knowledge.calibration
    smooth = calibration.centre[sample.rows, sample.columns]
    seen = look(sample.patterns, calibration, smooth, knowledge.templates)
    return Course(sample.patterns, calibration.good, seen.alignment.thetas, seen.centre, centre_prior(calibration))


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
