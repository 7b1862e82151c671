"""The way of the data, once, in one direction: calibrate, learn, infer, refine, context, strain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from cyclestrain.beam import locate_beam
from cyclestrain.calibrate import calibrate
from cyclestrain.coarse import PolarGrid, Templates, align, correlations, to_polar
from cyclestrain.context import smooth
from cyclestrain.data import BoolArray, Calibration, Scan
from cyclestrain.ellipse import Ellipse, measure_ellipse
from cyclestrain.errors import InputError
from cyclestrain.fitting import Knowledge, centre_prior, fit_scan, revisit, to_fields
from cyclestrain.io import fingerprint
from cyclestrain.knowledge import describe, learn, transfer
from cyclestrain.mixtures import Mixtures
from cyclestrain.model.autoencoder import Autoencoder
from cyclestrain.model.dictionary import Dictionary, Entry, Priors
from cyclestrain.model.prior import with_prior
from cyclestrain.model.probe import Probe
from cyclestrain.modelfile import Material, Model
from cyclestrain.progress import Progress
from cyclestrain.reference import parse_reference, pick_reference
from cyclestrain.result import Fields, MapResult, assemble, dictionary_dataset, origin, provenance
from cyclestrain.runfolder import RunFolder
from cyclestrain.sampling import above_pedestal, draw_sample, levelled
from cyclestrain.settings import FitSettings, LearnSettings, MapSettings
from cyclestrain.strain import Reference, relative_strain, smooth_rotation, turn_axes
from cyclestrain.training import Course, Trained, TrainingSettings, default_device, placed, train

__all__ = ["fit_model", "map_scan"]

MAX_TRAINING_PATTERNS = 2048
SYSTEMATIC = 1e-4
"""Error of a reflection's modelled position that all neighbours share, pixels: what is left without any noise."""

KEPT = (Knowledge, Calibration, Templates, PolarGrid, Dictionary, Entry, Probe, Priors)
"""Classes that a run folder holds."""


def map_scan(
    scan: Scan, settings: MapSettings, progress: Progress, run: RunFolder | None = None, *, model: Model | None = None
) -> MapResult:
    """Strain, rotation, class and uncertainty for every position of a scan.

    Parameters
    ----------
    scan
        The patterns.
    settings
        What the user set; everything else is measured.
    progress
        Where to report to.
    run
        State of the run on disk; None to keep none.
    model
        Gives dictionary, templates and network, which are learned from the scan otherwise.

    Raises
    ------
    InputError
        If the scan cannot be a 4D-STEM scan of a crystal, the reference does not fit it, or the model does not.
    """
    region = parse_reference(settings.reference, scan.scan_shape)
    source, knowledge = prepare(scan, settings, progress, run=run, material=model.material if model else None)
    network, log = None, None
    if settings.until == "network":
        if model is None:
            trained = train_network(source, knowledge, settings, progress=progress, run=run)
            network, log = trained.network, trained.log
        else:
            network = placed(applied(model.network, knowledge), _device(settings))
    with progress.stage("fit patterns", scan.n_positions) as task:
        store = fit_scan(source, knowledge, task.advance, run, network)
    fields = to_fields(store, scan.scan_shape, knowledge.dictionary)
    _check_found(fields, scan)
    mixtures = None
    if network is not None:
        fields = replace(fields, context=with_prior(fields.affine, settings.seed))
    if settings.until == "context":
        with progress.stage("ask the neighbours", scan.n_positions) as task:
            mixtures = revisit(source, knowledge, store, smooth(fields.affine), task.advance)
            fields = to_fields(store, scan.scan_shape, knowledge.dictionary)
            context = smooth(fields.affine)
            mixtures = mixtures.only(context.valid)
            fields = mixtures.told(replace(fields, context=context))
    maps = finish(scan, settings, knowledge, fields, mixtures, region, progress)
    return MapResult(maps, dictionary_dataset(knowledge.dictionary), log.dataset() if log else None)


def fit_model(
    scan: Scan,
    settings: FitSettings,
    progress: Progress,
    *,
    run: RunFolder | None = None,
    init_from: Model | None = None,
) -> Model:
    """Learn a material from a scan: dictionary, coarse templates, trained network.

    Parameters
    ----------
    scan, settings, progress, run
        As for `map_scan`.
    init_from
        Model of another scan whose entries and weights to start from.
    """
    material, network = (init_from.material, init_from.network) if init_from else (None, None)
    source, knowledge = prepare(scan, settings, progress, run=run, material=material, improve=True)
    trained = train_network(
        source, knowledge, settings, progress=progress, run=run, epochs=settings.epochs, init_from=network
    )
    calibration = knowledge.calibration
    material = Material(knowledge.dictionary, knowledge.templates, calibration.ring, calibration.disk_radius)
    return Model(material, trained.network, trained.log, origin(scan, settings, fingerprint(scan)))


def prepare(
    scan: Scan,
    settings: LearnSettings,
    progress: Progress,
    *,
    run: RunFolder | None = None,
    material: Material | None = None,
    improve: bool = False,
) -> tuple[Scan, Knowledge]:
    """Calibrate a scan and learn its dictionary, or take over that of `material`; an interrupted run goes on.

    Returns
    -------
    scan, knowledge
        The scan, counted from where its noise vanishes and in memory where it is small, and what was found.
    """
    knowledge: Knowledge | None = run.load("knowledge", KEPT) if run else None
    if knowledge is not None:
        progress.note("going on with the run that was interrupted")
        scan = levelled(scan, knowledge.calibration.pedestal)
    else:
        with progress.stage("read a sample"):
            scan, pedestal = above_pedestal(scan)
            sample = draw_sample(scan)
        with progress.stage("calibrate"):
            known = settings if material is None else settings.model_copy(update={"ring": material.ring})
            calibration = calibrate(scan, sample, known, pedestal)
        for choice in calibration.choices:
            progress.note(choice)
        with progress.stage("learn the dictionary" if material is None else "find the crystals of the model"):
            if material is None:
                knowledge = learn(scan, sample, calibration, settings)
            else:
                knowledge = transfer(material, scan, sample, calibration, seed=settings.seed, improve=improve)
        if sample.complete:
            scan = replace(scan, source=sample.patterns.reshape(scan.shape))
        if run:
            run.save("knowledge", knowledge)
    for text in describe(knowledge.dictionary):
        progress.note(text)
    return scan, knowledge


def train_network(
    scan: Scan,
    knowledge: Knowledge,
    settings: LearnSettings,
    *,
    progress: Progress,
    run: RunFolder | None = None,
    epochs: int | None = None,
    init_from: Autoencoder | None = None,
) -> Trained:
    """Train the autoencoder on a sample of the scan, starting from the learned dictionary."""
    sample = draw_sample(scan, MAX_TRAINING_PATTERNS)
    calibration = knowledge.calibration
    centres = locate_beam(sample.patterns, calibration, calibration.centre[sample.rows, sample.columns])
    polar = to_polar(sample.patterns, calibration.good, centres, knowledge.templates.grid)
    thetas = align(correlations(polar, knowledge.templates)).thetas
    return train(
        Course(sample.patterns, calibration.good, thetas, centres, centre_prior(calibration)),
        knowledge.dictionary,
        settings=TrainingSettings() if epochs is None else TrainingSettings(epochs=epochs),
        seed=settings.seed,
        device=_device(settings),
        init_from=init_from,
        progress=progress,
        checkpoint=run.path if run else None,
        resume=True,
    )


def applied(network: Autoencoder, knowledge: Knowledge) -> Autoencoder:
    """A trained network for another scan: its weights, and the dictionary and beam centre of that scan."""
    out = Autoencoder(knowledge.dictionary, network.settings, centre_prior(knowledge.calibration))
    out.load_encoder(network)
    return out.eval()


def _device(settings: LearnSettings) -> str:
    return default_device() if settings.device == "auto" else settings.device


def _check_found(fields: Fields, scan: Scan) -> None:
    if not fields.affine.valid.any():
        raise InputError(
            f"no position of {scan.name} shows a crystal clearly enough to be measured; "
            "check the beam centre (--centre) and the ring (--ring), or record with more counts"
        )


def finish(
    scan: Scan,
    settings: MapSettings,
    knowledge: Knowledge,
    fields: Fields,
    mixtures: Mixtures | None,
    region: BoolArray | None,
    progress: Progress,
) -> xr.Dataset:
    """From the affine of every position to the maps: reference, strain, axes, attributes."""
    ellipse = Ellipse.given(*settings.ellipse) if settings.ellipse else measure_ellipse(fields.affine)
    context = ellipse.corrected(fields.context)
    fields = replace(fields, affine=ellipse.corrected(fields.affine), context=context)
    progress.note(f"ellipse: {ellipse}")
    reference, text = pick_reference(fields.affine, region)
    progress.note(f"reference: {text}")
    angle = _axes_angle(scan, settings, knowledge.dictionary, reference)
    near = smooth_rotation(relative_strain(context, reference), context)
    lengths = [float(np.hypot(*entry.reflections.T).mean()) for entry in knowledge.dictionary.entries]
    systematic = SYSTEMATIC / min(lengths)
    raw, best = (
        turn_axes(ellipse.widened(relative_strain(field, reference, near, systematic=systematic)), settings.axes, angle)
        for field in (fields.affine, context)
    )
    if mixtures is not None:
        best = mixtures.blend(best, context)
    attrs = provenance(scan, settings, knowledge.calibration, knowledge.dictionary, fingerprint(scan))
    attrs |= {
        "reference": text,
        "reference_kind": "region",
        "strain_axes_angle_deg": float(np.degrees(angle)),
        "scan_rotation_deg": float(np.degrees(_scan_rotation(scan, settings))),
        "ellipse": [ellipse.ratio, ellipse.degrees],
        "stage": settings.until,
    }
    attrs["choices"] += f"\nellipse: {ellipse}\nreference: {text}"
    return assemble(fields, best, raw, reference, attrs, scan)


def _scan_rotation(scan: Scan, settings: MapSettings) -> float:
    return scan.scan_rotation if settings.scan_rotation is None else float(np.radians(settings.scan_rotation))


def _axes_angle(scan: Scan, settings: MapSettings, dictionary: Dictionary, reference: Reference) -> float:
    """Angle of the strain's x axis in detector axes, radians."""
    if settings.axes == "scan":
        return _scan_rotation(scan, settings)
    if settings.axes == "crystal":
        # The first lattice vector of the first entry, as it lies in the reference.
        k = int(np.flatnonzero(np.isfinite(reference.gradient).all((1, 2)))[0])
        vector = np.linalg.inv(reference.gradient[k]).T @ dictionary.entries[k].basis[:, 0]
        return float(np.arctan2(vector[0], vector[1]))
    return 0.0
