"""The way of the data, once, in one direction: calibrate, learn, infer, refine, context, strain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.calibrate import Sample, calibrate, draw_sample
from cyclestrain.coarse import (
    PolarGrid,
    Templates,
    align,
    correlations,
    learn_templates,
    local_means,
    neighbour_members,
    to_polar,
)
from cyclestrain.context import smooth
from cyclestrain.data import AffineField, BoolArray, Calibration, Scan
from cyclestrain.errors import InputError
from cyclestrain.fitting import Knowledge, centre_prior, fit_scan, revisit, to_fields
from cyclestrain.io import fingerprint
from cyclestrain.learn import Lesson, is_new_crystal, learn_entry, significance
from cyclestrain.model.autoencoder import Autoencoder
from cyclestrain.model.dictionary import Dictionary, Entry, Priors
from cyclestrain.model.prior import with_prior
from cyclestrain.model.probe import Probe
from cyclestrain.progress import Progress
from cyclestrain.reference import parse_reference, pick_reference
from cyclestrain.result import Fields, MapResult, assemble, dictionary_dataset, provenance
from cyclestrain.runfolder import RunFolder
from cyclestrain.settings import MapSettings
from cyclestrain.strain import Reference, relative_strain, smooth_rotation, turn_axes
from cyclestrain.training import Course, default_device, train

__all__ = ["map_scan"]

MAX_TEMPLATE_PATTERNS = 1024
MAX_TRAINING_PATTERNS = 2048
MAX_CLASSES = 6
SCARCE_SIGNIFICANCE = 12.0
"""Below this a single pattern shows too little: the dictionary is learned from sums over neighbours."""

KEPT = (Knowledge, Calibration, Templates, PolarGrid, Dictionary, Entry, Probe, Priors)
"""Classes that a run folder holds."""


def map_scan(scan: Scan, settings: MapSettings, progress: Progress, run: RunFolder | None = None) -> MapResult:
    """Strain, rotation, class and uncertainty for every position of a scan.

    Parameters
    ----------
    scan
        The patterns.
    settings
        What the user set; everything else is measured.
    progress
        Where to report to.

    Raises
    ------
    InputError
        If the scan cannot be a 4D-STEM scan of a crystal, or the reference does not fit it.
    """
    region = parse_reference(settings.reference, scan.scan_shape)
    source, knowledge = scan, run.load("knowledge", KEPT) if run else None
    if knowledge is not None:
        progress.note("going on with the run that was interrupted")
    else:
        with progress.stage("read a sample"):
            sample = draw_sample(scan)
        with progress.stage("calibrate"):
            calibration = calibrate(scan, sample, settings)
        for choice in calibration.choices:
            progress.note(choice)
        with progress.stage("learn the dictionary"):
            knowledge = learn(scan, sample, calibration, settings)
        if sample.complete:
            source = replace(scan, source=sample.patterns.reshape(scan.shape))
        if run:
            run.save("knowledge", knowledge)
    for text in _describe(knowledge.dictionary):
        progress.note(text)
    network = None
    if settings.until == "network":
        with progress.stage("train the network"):
            network = train_network(source, knowledge, settings)
    with progress.stage("fit patterns", scan.n_positions) as task:
        store = fit_scan(source, knowledge, task.advance, run, network)
    fields = to_fields(store, scan.scan_shape, knowledge.dictionary)
    _check_found(fields, scan)
    context = fields.affine
    if network is not None:
        context = with_prior(fields.affine, settings.seed)
    if settings.until == "context":
        with progress.stage("ask the neighbours", scan.n_positions) as task:
            revisit(source, knowledge, store, smooth(fields.affine), task.advance)
            fields = to_fields(store, scan.scan_shape, knowledge.dictionary)
            context = smooth(fields.affine)
    return finish(scan, settings, knowledge, fields, context, region, progress)


def train_network(scan: Scan, knowledge: Knowledge, settings: MapSettings) -> Autoencoder:
    """Train the autoencoder on a sample of the scan, starting from the learned dictionary."""
    sample = draw_sample(scan, MAX_TRAINING_PATTERNS)
    calibration = knowledge.calibration
    centres = calibration.centre[sample.rows, sample.columns]
    polar = to_polar(sample.patterns, calibration.good, centres, knowledge.templates.grid)
    thetas = align(correlations(polar, knowledge.templates)).thetas
    course = Course(sample.patterns, calibration.good, thetas, centres, centre_prior(calibration))
    device = settings.device if settings.device != "auto" else default_device()
    return train(course, knowledge.dictionary, seed=settings.seed, device=device).network


def _check_found(fields: Fields, scan: Scan) -> None:
    if not fields.affine.valid.any():
        raise InputError(
            f"no position of {scan.name} shows a crystal clearly enough to be measured; "
            "check the beam centre (--centre) and the ring (--ring), or record with more counts"
        )


def learn(scan: Scan, sample: Sample, calibration: Calibration, settings: MapSettings) -> Knowledge:
    """Learn coarse templates and the dictionary from a sample of the scan."""
    rng = np.random.default_rng(settings.seed)
    centres = calibration.centre[sample.rows, sample.columns]
    n = len(sample.rows)
    chosen = np.sort(rng.choice(n, min(n, MAX_TEMPLATE_PATTERNS), replace=False))
    grid = PolarGrid.fitting(calibration)
    polar = to_polar(sample.patterns[chosen], calibration.good, centres[chosen], grid)
    templates = learn_templates(
        polar, sample.rows[chosen], sample.columns[chosen], grid, rng, settings.classes or MAX_CLASSES
    )
    correlation = correlations(polar, templates)
    aligned = align(correlation)
    alone = Lesson(
        sample.patterns, chosen[:, None], calibration.good, centres[chosen], centre_prior(calibration), aligned.theta
    )
    pooled = local_means(correlation, sample.rows[chosen], sample.columns[chosen], 2)
    together = replace(
        alone, members=neighbour_members(sample.rows, sample.columns, chosen, 1), theta=align(pooled).theta
    )
    entries: list[Entry] = []
    scales: list[float] = []
    kept: list[int] = []
    for k in np.argsort(-np.bincount(aligned.label, minlength=len(templates.spectra))).tolist():
        members = np.flatnonzero(aligned.label == k)
        learned = _learn_class(alone.only(members), together.only(members), calibration, rng)
        if learned is None:
            continue
        others = [(entry, aligned.thetas[members, j]) for entry, j in zip(entries, kept, strict=True)]
        if not is_new_crystal(learned[0], others, alone.only(members)):
            continue
        entries.append(learned[0])
        scales.append(learned[1])
        kept.append(k)
    if not entries:
        raise InputError(
            f"no crystal was found in {scan.name}: the averaged pattern shows no lattice of reflections between "
            f"{calibration.ring[0]:.0f} and {calibration.ring[1]:.0f} px from the beam centre "
            f"({calibration.centre[..., 0].mean():.1f}, {calibration.centre[..., 1].mean():.1f}); "
            "if there is one, set --centre or --ring"
        )
    return Knowledge(calibration, templates.only(kept), Dictionary(tuple(entries), float(np.median(scales))))


def _learn_class(
    alone: Lesson, together: Lesson, calibration: Calibration, rng: np.random.Generator
) -> tuple[Entry, float] | None:
    """Learn an entry from single patterns, or from sums over neighbours where single ones show too little."""
    if len(alone.theta) < 2:
        return None
    learned = learn_entry(alone, calibration, rng)
    if learned is None or np.median(significance(learned[0], alone)) < SCARCE_SIGNIFICANCE:
        return learn_entry(together, calibration, rng) or learned
    return learned


def _describe(dictionary: Dictionary) -> list[str]:
    out = []
    for k, entry in enumerate(dictionary.entries):
        a, b = np.hypot(*entry.basis)
        out.append(
            f"entry {k}: {len(entry.indices)} reflections, lattice {a:.2f} x {b:.2f} px, "
            f"symmetry {entry.symmetry}-fold, disk radius {entry.probe.radius:.2f} px"
        )
    out.append(f"noise: variance = {dictionary.noise_scale:.3g} x mean")
    return out


def finish(
    scan: Scan,
    settings: MapSettings,
    knowledge: Knowledge,
    fields: Fields,
    context: AffineField,
    region: BoolArray | None,
    progress: Progress,
) -> MapResult:
    """From the affine of every position to the result: reference, strain, axes, attributes."""
    reference, text = pick_reference(fields.affine, region)
    progress.note(f"reference: {text}")
    angle = _axes_angle(scan, settings, knowledge.dictionary, reference)
    near = smooth_rotation(relative_strain(context, reference), context)
    raw, best = (turn_axes(relative_strain(f, reference, near), settings.axes, angle) for f in (fields.affine, context))
    attrs = provenance(scan, settings, knowledge.calibration, knowledge.dictionary, fingerprint(scan))
    attrs |= {
        "reference": text,
        "reference_kind": "region",
        "strain_axes_angle_deg": float(np.degrees(angle)),
        "scan_rotation_deg": float(np.degrees(_scan_rotation(scan, settings))),
        "stage": settings.until,
    }
    attrs["choices"] += f"\nreference: {text}"
    maps = assemble(fields, best, raw, reference, attrs, scan)
    return MapResult(maps, dictionary_dataset(knowledge.dictionary))


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
