"""The way of the data, once, in one direction: calibrate, learn, infer, refine, context, strain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.calibrate import Sample, calibrate, draw_sample
from cyclestrain.coarse import PolarGrid, Templates, align, correlations, learn_templates, local_means, to_polar
from cyclestrain.data import AffineField, BoolArray, Calibration, FloatArray, IntArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import check_patterns, fingerprint
from cyclestrain.learn import Lesson, learn_entry
from cyclestrain.model.dictionary import Dictionary, Entry, Priors
from cyclestrain.model.probe import Probe
from cyclestrain.model.windows import gather
from cyclestrain.progress import Progress
from cyclestrain.reference import parse_reference, pick_reference
from cyclestrain.refine import Start, approach, predicted_positions, refine
from cyclestrain.result import Fields, MapResult, assemble, dictionary_dataset, provenance
from cyclestrain.runfolder import RunFolder
from cyclestrain.settings import MapSettings
from cyclestrain.strain import Reference, relative_strain, turn_axes

__all__ = ["map_scan"]

MAX_TEMPLATE_PATTERNS = 1024
CHUNK = 512
"""Patterns fitted at a time: their windows stay in the processor's cache and memory stays small."""
MAX_CLASSES = 6
MIN_SIGNIFICANCE = 5.0
MAX_STRAIN = 0.15


@dataclass(frozen=True)
class Knowledge:
    """All that is learned before the first pattern is fitted for good."""

    calibration: Calibration
    templates: Templates
    dictionary: Dictionary


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
    with progress.stage("fit patterns", scan.n_positions) as task:
        fields = fit_scan(source, knowledge, task.advance, run)
    return finish(scan, settings, knowledge, fields, region, progress)


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
    aligned = align(correlations(polar, templates))
    entries, scales = [], []
    for k in range(len(templates.spectra)):
        member = chosen[aligned.label == k]
        lesson = Lesson(
            sample.patterns[member], calibration.good, centres[member], centre_prior(calibration),
            aligned.theta[aligned.label == k],
        )  # fmt: skip
        learned = learn_entry(lesson, calibration, rng)
        if learned is not None:
            entries.append(learned[0])
            scales.append(learned[1])
    if not entries:
        raise InputError(
            f"no crystal was found in {scan.name}: the averaged pattern shows no lattice of reflections between "
            f"{calibration.ring[0]:.0f} and {calibration.ring[1]:.0f} px from the beam centre "
            f"({calibration.centre[..., 0].mean():.1f}, {calibration.centre[..., 1].mean():.1f}); "
            "if there is one, set --centre or --ring"
        )
    return Knowledge(calibration, templates, Dictionary(tuple(entries), float(np.median(scales))))


def centre_prior(calibration: Calibration) -> float:
    """Standard deviation of the beam centre that the fit is given, pixels."""
    return max(0.1, 3.0 * calibration.centre_sigma)


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


@dataclass
class _Store:
    """Outcome of every position, filled block by block."""

    affine: FloatArray
    covariance: FloatArray
    centre: FloatArray
    gain: FloatArray
    misfit: FloatArray
    significance: FloatArray
    label: IntArray
    confidence: FloatArray

    @classmethod
    def empty(cls, n: int) -> _Store:
        nan = np.full
        return cls(
            nan((n, 2, 2), np.nan), nan((n, 4, 4), np.nan), nan((n, 2), np.nan), nan(n, np.nan), nan(n, np.nan),
            np.zeros(n), np.full(n, -1), np.zeros(n),
        )  # fmt: skip


def fit_scan(scan: Scan, knowledge: Knowledge, advance: Any, run: RunFolder | None = None) -> Fields:
    """Coarse rotation, network and refinement of every position, reading the scan once."""
    store = _Store.empty(scan.n_positions)
    centres = knowledge.calibration.centre.reshape(-1, 2)
    done = run.restore(vars(store)) if run else {}
    advance(sum(done.values()))
    for block in scan.blocks(done=done):
        check_patterns(block.patterns, int(block.positions[0]))
        label, theta, confidence = coarse_block(block.patterns, block.positions, scan.scan_shape, centres, knowledge)
        store.label[block.positions], store.confidence[block.positions] = label, confidence
        for k in range(len(knowledge.dictionary.entries)):
            members = np.flatnonzero(label == k)
            for start in range(0, len(members), CHUNK):
                part = members[start : start + CHUNK]
                at = block.positions[part]
                _fit_chunk(block.patterns[part], at, theta[part], centres[at], k, knowledge, store)
                advance(len(part))
        if run:
            run.save_block(block.positions, vars(store))
    return _fields(store, scan.scan_shape, knowledge.dictionary)


def coarse_block(
    patterns: NDArray[Any], positions: IntArray, shape: tuple[int, int], centres: FloatArray, knowledge: Knowledge
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Class, rotation and confidence of the patterns of one block; weak patterns borrow from their neighbours."""
    parts = []
    for start in range(0, len(patterns), CHUNK):
        part = slice(start, start + CHUNK)
        polar = to_polar(patterns[part], knowledge.calibration.good, centres[positions[part]], knowledge.templates.grid)
        parts.append(correlations(polar, knowledge.templates))
    correlation = np.concatenate(parts)
    own = align(correlation)
    rows, columns = np.divmod(positions, shape[1])
    pooled = align(local_means(correlation, rows, columns, 1))
    weak = own.score < 6.0
    label, theta = np.where(weak, pooled.label, own.label), np.where(weak, pooled.theta, own.theta)
    heights = correlation.max(-1) / np.maximum(correlation.std(-1), 1e-12)
    evidence = 0.5 * (heights**2 - heights.max(1, keepdims=True) ** 2)
    probability = np.exp(np.clip(evidence, -50, 0))
    probability /= probability.sum(1, keepdims=True)
    return label, theta, probability[np.arange(len(label)), label]


def _fit_chunk(
    patterns: NDArray[Any],
    at: IntArray,
    theta: FloatArray,
    centres: FloatArray,
    k: int,
    knowledge: Knowledge,
    store: _Store,
) -> None:
    calibration, entry = knowledge.calibration, knowledge.dictionary.entries[k]
    sigma, noise_scale = centre_prior(calibration), knowledge.dictionary.noise_scale
    start = approach(patterns, calibration.good, entry, Start.turned(theta, centres), centre_sigma=sigma)
    stack = gather(patterns, predicted_positions(start, entry.reflections), entry.probe.half + 1, calibration.good)
    fit = refine(stack, entry, start, centre=centres, centre_sigma=sigma, noise_scale=noise_scale)
    store.affine[at], store.centre[at], store.gain[at] = fit.start.affine, fit.start.centre, fit.start.gain
    store.covariance[at] = fit.affine_covariance * fit.inflation[:, None, None]
    store.misfit[at], store.significance[at] = fit.misfit, fit.significance


def _fields(store: _Store, shape: tuple[int, int], dictionary: Dictionary) -> Fields:
    sample = (store.significance > MIN_SIGNIFICANCE) & np.isfinite(store.significance)
    sigma = np.sqrt(np.einsum("nii->ni", store.covariance).max(1, initial=0.0))
    stretch = np.linalg.svd(np.nan_to_num(store.affine, nan=1.0), compute_uv=False)
    valid = sample & np.isfinite(sigma) & (sigma < MAX_STRAIN / 3) & (np.abs(stretch - 1).max(1) < MAX_STRAIN)
    label = np.where(sample, store.label, -1)
    field = AffineField(
        store.affine.reshape(*shape, 2, 2), store.covariance.reshape(*shape, 4, 4), label.reshape(shape),
        valid.reshape(shape), tuple(e.operators for e in dictionary.entries),
    )  # fmt: skip
    return Fields(
        field, store.centre.reshape(*shape, 2), store.gain.reshape(shape), store.misfit.reshape(shape),
        sample.reshape(shape), store.confidence.reshape(shape),
    )  # fmt: skip


def finish(
    scan: Scan,
    settings: MapSettings,
    knowledge: Knowledge,
    fields: Fields,
    region: BoolArray | None,
    progress: Progress,
) -> MapResult:
    """From the affine of every position to the result: reference, strain, axes, attributes."""
    if not fields.affine.valid.any():
        raise InputError(
            f"no position of {scan.name} shows a crystal clearly enough to be measured; "
            "check the beam centre (--centre) and the ring (--ring), or record with more counts"
        )
    reference, text = pick_reference(fields.affine, region)
    progress.note(f"reference: {text}")
    raw = relative_strain(fields.affine, reference)
    angle = _axes_angle(scan, settings, knowledge.dictionary, reference)
    raw = turn_axes(raw, settings.axes, angle)
    attrs = provenance(scan, settings, knowledge.calibration, knowledge.dictionary, fingerprint(scan))
    attrs |= {
        "reference": text,
        "reference_kind": "region",
        "strain_axes_angle_deg": float(np.degrees(angle)),
        "scan_rotation_deg": float(np.degrees(_scan_rotation(scan, settings))),
        "stage": settings.until,
    }
    attrs["choices"] += f"\nreference: {text}"
    maps = assemble(fields, raw, raw, reference, attrs, scan)
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
