"""The steps of a run, one after the other: calibrate, learn, infer, refine, context, strain."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cyclestrain.boundaries import Mixtures
from cyclestrain.calibration import (
    ScanGeometry,
    Vacuum,
    above_pedestal,
    calibrate,
    draw_sample,
    held,
    levelled,
    measure_scan_geometry,
)
from cyclestrain.context import least_scatter, smooth
from cyclestrain.data import AffineField, Block, BoolArray, Calibration, Doubt, Fields, FloatArray, Grain, Scan
from cyclestrain.errors import InputError
from cyclestrain.estimation import (
    COMPILING,
    HERE,
    BlockFit,
    Runner,
    first_pass,
    is_compiled,
    scan_intensities,
    second_pass,
    to_fields,
    with_doubts,
    with_unsettled,
)
from cyclestrain.io import fingerprint, sample_mask
from cyclestrain.learning import Knowledge, Material, describe, learn, probe_of, transfer
from cyclestrain.orientation import PolarGrid, Templates
from cyclestrain.pattern import Dictionary, DiskImages, Entry, Priors, Probe, disks_touch
from cyclestrain.progress import Progress
from cyclestrain.result import (
    MapResult,
    Transforms,
    assemble,
    dictionary_dataset,
    intensities_dataset,
    mixture_variables,
    origin,
    pattern_variables,
    provenance,
)
from cyclestrain.settings import FitSettings, LearnSettings, MapSettings
from cyclestrain.storage import RunFolder
from cyclestrain.strain import (
    Ellipse,
    Wanted,
    lattices_text,
    measure_ellipse,
    parse_known,
    parse_reference,
    pixel_size,
)

if TYPE_CHECKING:
    from cyclestrain.network import Autoencoder, Model, Search, TrainingLog

__all__ = ["fit_model", "map_scan"]

KEPT = (Knowledge, Calibration, Grain, Templates, PolarGrid, Dictionary, Entry, Probe, Priors, DiskImages)
"""Classes that may occur in the state of a run folder."""
LEAST_STEP = 2.5
"""Step in strain, standard deviations of single patterns, below which smoothing blurs it (`benchmarks/context.py`)."""


def map_scan(
    scan: Scan,
    settings: MapSettings,
    progress: Progress,
    run: RunFolder | None = None,
    *,
    material: Material | None = None,
    network: Autoencoder | None = None,
    vacuum: Vacuum | None = None,
    runner: Runner = HERE,
) -> MapResult:
    """Map strain, rotation, class and uncertainty over every position of a scan.

    Parameters
    ----------
    scan
        Scan to map.
    settings
        What the user set; everything else is measured.
    progress
        Receiver of stages and notes.
    run
        Folder that keeps the state of the run; None to keep none.
    material, network
        Dictionary with templates, and network, of a model; by default they are learned from the scan. The network is
        needed only where the settings ask for its map.
    vacuum
        The probe as it was recorded in vacuum; by default it is learned from the scan.
    runner
        Where patterns are fitted, in this process by default.

    Raises
    ------
    InputError
        If the scan cannot be a 4D-STEM scan of a crystal, the reference does not fit it, or the model does not.
    """
    wanted, within = _wanted(scan, settings), sample_mask(settings.sample, scan.scan_shape)
    source, knowledge = prepare(scan, settings, progress, run=run, material=material, vacuum=vacuum, hold=runner.holds)
    wanted.check(_undistorted_bases(scan, settings, knowledge))
    geometry = scan_geometry(source, settings, knowledge.calibration, within)
    progress.note(geometry.text)
    encode, log = None, None
    if settings.until == "network":
        encode, log = _encoder(source, knowledge, settings, progress, run, network)
    with progress.stage("fit patterns", scan.n_positions) as task:
        fit = first_pass(source, knowledge, task.advance, run, encode, runner)
    fields = to_fields(fit, scan.scan_shape, knowledge.dictionary).only(within)
    _check_found(fields, scan)
    mixtures = None
    if settings.until == "network":
        from cyclestrain.network import with_prior

        fields = replace(fields, context=with_prior(fields.affine, settings.seed))
    if settings.until == "context":
        with progress.stage("refit from neighbours", scan.n_positions) as task:
            fields, mixtures = _refined(source, knowledge, fit, fields, within, task.advance, runner)
    fields = with_doubts(fields, knowledge)
    maps, labelled = finish(scan, settings, knowledge, geometry, fields, mixtures, wanted=wanted, progress=progress)
    spectra = None
    if settings.intensities:
        with progress.stage("measure intensities", scan.n_positions) as task:
            found = scan_intensities(source, knowledge, labelled, fields.centre, fields.gain, task.advance)
        for k in (k for k, entry in enumerate(knowledge.dictionary.entries) if disks_touch(entry)):
            progress.note(f"no intensities of class {k}: its disks touch, and no background is seen between them")
        spectra = intensities_dataset(found, knowledge.dictionary, maps, labelled.affine)
    return MapResult(maps, dictionary_dataset(knowledge.dictionary), log.dataset() if log else None, spectra)


@threadpool_limits.wrap(1, user_api="blas")  # type: ignore[untyped-decorator]  # more only wait for each other
def _refined(
    scan: Scan,
    knowledge: Knowledge,
    fit: BlockFit,
    fields: Fields,
    within: BoolArray,
    advance: Callable[[int], object],
    runner: Runner,
) -> tuple[Fields, Mixtures]:
    """Fields refitted from what neighbours say, and mixtures near boundaries."""
    shared = partial(smooth, spread=runner, echo=knowledge.calibration.echo)
    first = shared(fields.affine)
    fit, mixtures = second_pass(scan, knowledge, fit, first, advance, runner)
    fields = to_fields(fit, scan.scan_shape, knowledge.dictionary).only(within)
    raw, context = (
        with_unsettled(field, fit, knowledge.dictionary)
        for field in (fields.affine, shared(fields.affine, before=first))
    )
    mixtures = mixtures.only(context.valid)
    return mixtures.with_dominant_crystal(replace(fields, affine=raw, context=context)), mixtures


def fit_model(
    scan: Scan,
    settings: FitSettings,
    progress: Progress,
    run: RunFolder | None = None,
    init_from: Model | None = None,
    vacuum: Vacuum | None = None,
    search: Search | None = None,
) -> Model:
    """Learn a material from a scan: dictionary, coarse templates, trained network.

    Parameters
    ----------
    scan, settings, progress, run, vacuum
        As for `map_scan`.
    init_from
        Model of another scan whose entries, weights and tuned settings are the start.
    search
        Search for better settings of the training; None for none.

    Raises
    ------
    InputError
        If the scan cannot be a 4D-STEM scan of a crystal, the model does not fit it, or the study does not.
    """
    from cyclestrain.network import Model, fit_on_scan

    material = init_from.material if init_from else None
    source, knowledge = prepare(scan, settings, progress, run=run, material=material, improve=True, vacuum=vacuum)
    trained, tuned = fit_on_scan(
        source, knowledge, settings, progress=progress, run=run, init_from=init_from, search=search
    )
    calibration = knowledge.calibration
    material = Material(knowledge.dictionary, knowledge.templates, calibration.ring, calibration.disk_radius)
    about = origin(scan, settings, fingerprint(scan)) | ({"tuning": tuned.to_json()} if tuned else {})
    return Model(material, trained.network, trained.log, about)


@threadpool_limits.wrap(1, user_api="blas")  # type: ignore[untyped-decorator]  # more change the last bits of what is learned
def prepare(
    scan: Scan,
    settings: LearnSettings,
    progress: Progress,
    *,
    run: RunFolder | None = None,
    material: Material | None = None,
    improve: bool = False,
    vacuum: Vacuum | None = None,
    hold: bool = True,
) -> tuple[Scan, Knowledge]:
    """Calibrate a scan and learn a dictionary, or transfer one; an interrupted run goes on where it stopped.

    Parameters
    ----------
    scan, settings, progress, run, vacuum
        As for `map_scan`.
    material
        Dictionary and templates of another scan to transfer; by default they are learned from this one.
    improve
        Learn on from the transferred entries, see `cyclestrain.learning.transfer`.
    hold
        Whether a small scan is held in memory.

    Returns
    -------
    scan, knowledge
        The scan, counted from the level at which its noise vanishes and in memory where it is small, and what was
        learned.

    Raises
    ------
    InputError
        If the scan cannot be a 4D-STEM scan of a crystal, or the material does not fit it.
    """
    if not is_compiled():
        progress.note(COMPILING)
    knowledge: Knowledge | None = run.load("knowledge", KEPT) if run else None
    if knowledge is not None:
        progress.note("going on with the run that was interrupted")
        return levelled(scan, knowledge.calibration.pedestal), _described(knowledge, progress, ())
    with progress.stage("read a sample"):
        scan, pedestal = above_pedestal(scan)
        sample = draw_sample(scan).only(sample_mask(settings.sample, scan.scan_shape))
    with ThreadPoolExecutor(1) as pool:  # learning leaves a core idle
        coming = pool.submit(held, scan, sample) if hold else None
        calibration: Calibration | None = run.load("calibration", (Calibration, Grain)) if run else None
        if calibration is None:
            with progress.stage("calibrate"):
                known = settings if material is None else settings.model_copy(update={"ring": material.ring})
                calibration = calibrate(scan, sample, known, pedestal, vacuum)
            if run:
                run.save("calibration", calibration)
        for choice in calibration.choices:
            progress.note(choice)
        with progress.stage("learn the dictionary" if material is None else "find the crystals of the model") as task:
            if material is None:
                probe = probe_of(vacuum) if vacuum is not None else None
                knowledge = learn(scan, sample, calibration, settings, task.status, probe)
            else:
                knowledge = transfer(material, scan, sample, calibration, seed=settings.seed, improve=improve)
        if run:
            run.save("knowledge", knowledge)
        return coming.result() if coming else scan, _described(knowledge, progress, calibration.choices)


def _described(knowledge: Knowledge, progress: Progress, told: tuple[str, ...]) -> Knowledge:
    """What was learned, told; and what was chosen on the way, beside the choices that are `told` already."""
    for text in (*describe(knowledge.dictionary), *knowledge.calibration.choices):
        if text not in told:
            progress.note(text)
    for k, text in knowledge.doubts.items():
        progress.note(f"entry {k} is doubtful: {text}")
    return knowledge


def _encoder(
    scan: Scan,
    knowledge: Knowledge,
    settings: MapSettings,
    progress: Progress,
    run: RunFolder | None,
    network: Autoencoder | None,
) -> tuple[Callable[[Block, Knowledge], BlockFit], TrainingLog | None]:
    """What the network makes of a block, and the log of its training where it is trained on this scan."""
    from cyclestrain.network import applied, encode_block, train_on_scan

    if network is not None:
        return partial(encode_block, network=applied(network, knowledge, settings)), None
    trained = train_on_scan(scan, knowledge, settings, progress=progress, run=run)
    return partial(encode_block, network=trained.network), trained.log


def _undistorted_bases(scan: Scan, settings: MapSettings, knowledge: Knowledge) -> FloatArray:
    """Basis of every entry without the distortion that is known before the fit, shape ``(entry, 2, 2)``."""
    distortion = Ellipse.of_pixels(scan.pixel_ratio).matrix @ Ellipse.given(*(settings.ellipse or (1.0, 0.0))).matrix
    return np.stack([np.linalg.solve(distortion, entry.basis) for entry in knowledge.dictionary.entries])


def _check_found(fields: Fields, scan: Scan) -> None:
    if not fields.affine.valid.any():
        raise InputError(
            f"no position of {scan.name} shows a crystal clearly enough to be measured; "
            "check the beam centre (--centre) and the ring (--ring), or record with more counts"
        )


@threadpool_limits.wrap(1, user_api="blas")  # type: ignore[untyped-decorator]
def finish(
    scan: Scan,
    settings: MapSettings,
    knowledge: Knowledge,
    geometry: ScanGeometry,
    fields: Fields,
    mixtures: Mixtures | None,
    *,
    wanted: Wanted,
    progress: Progress,
) -> tuple[xr.Dataset, AffineField]:
    """Turn the affine of every position into the maps of a result: reference, strain, axes, attributes.

    Parameters
    ----------
    scan, settings, knowledge
        The scan, what the user set and what was learned.
    geometry
        How the axes of the scan lie on the detector.
    fields
        What was found at every position.
    mixtures
        Mixtures near boundaries; None where none were looked for.
    wanted
        What strain is to be relative to.
    progress
        Receiver of the notes on reference and ellipse.

    Returns
    -------
    maps, labelled
        The maps, and the best transform of every position in the labelling of its grain.

    Raises
    ------
    InputError
        If the scan does not hold the reference that is asked for.
    """
    square = Ellipse.of_pixels(scan.pixel_ratio).corrected(fields.affine)
    ellipse = Ellipse.given(*settings.ellipse) if settings.ellipse else measure_ellipse(square)
    entries = knowledge.dictionary.entries
    bases = np.stack([entry.basis for entry in entries])
    lengths = np.array([np.hypot(*entry.reflections.T).mean() for entry in entries])
    transforms = Transforms(
        fields.affine, fields.context, ellipse, bases, lengths, settings.axes,
        geometry.angle or 0.0, geometry.sigma, geometry.mirrored, scan.pixel_ratio, mixtures, settings.along,
    )  # fmt: skip
    strained = transforms.relative_to(wanted)
    notes = [geometry.text, f"ellipse: {ellipse}"]
    if settings.until == "context" and (fields.context.valid & fields.affine.usable).any():
        notes += _of_what_is_lost(fields)
    notes += strained.notes
    for note in notes[1:]:
        progress.note(note)
    fields = fields.doubted(strained.blank, Doubt.NO_REFERENCE).doubted(strained.unsure, Doubt.BRANCH)
    attrs = provenance(scan, settings, knowledge.calibration, knowledge.dictionary, fingerprint(scan))
    attrs |= strained.attributes | {
        "scan_shape": list(scan.scan_shape),
        "scan_rotation_deg": float(np.degrees(geometry.angle or 0.0)),
        "scan_rotation_sigma_deg": float(np.degrees(geometry.sigma)),
        "scan_rotation_known": int(geometry.angle is not None),
        "scan_mirrored": int(geometry.mirrored),
        "known_lattices": lattices_text(wanted.lattices),
        "ellipse": [ellipse.ratio, ellipse.degrees],
        "ellipse_covariance": ellipse.covariance.ravel().tolist(),
        "ellipse_sigma": 2 * ellipse.ratio * float(np.sqrt(np.linalg.eigvalsh(ellipse.covariance).max())),
        "stage": settings.until,
    }
    attrs["choices"] = "\n".join([attrs["choices"], *notes])
    maps = assemble(fields, strained.best, strained.raw, strained.reference, attrs, scan)
    recorded = pattern_variables(fields, knowledge.dictionary, knowledge.calibration.good)
    return maps.assign(recorded | mixture_variables(mixtures)), transforms.labelled(strained)


def _of_what_is_lost(fields: Fields) -> list[str]:
    """What becomes of steps and of mosaic that smoothing cannot tell from noise, in sentences."""
    alone, here = fields.affine, fields.context.valid & fields.affine.usable
    own = 1.0 if alone.shared is None else 1.0 - alone.shared[here, None]
    sigma = float(np.sqrt(np.median(own * np.einsum("nii->ni", alone.covariance[here])[:, [0, 3]])))
    mosaic = least_scatter(int(np.bincount(alone.label[here]).max()))
    return [
        f"steps: below {100 * LEAST_STEP * sigma:.2g} % of strain between neighbours they are blurred over the two or "
        "three positions on either side, and sigma does not hold that; the raw maps are not blurred",
        f"mosaic: strain that scatters from position to position by less than {100 * mosaic * sigma:.2g} % may pass "
        "for noise and be averaged away, and sigma does not hold that; the raw maps keep it",
    ]


def scan_geometry(scan: Scan, settings: MapSettings, calibration: Calibration, sample: BoolArray) -> ScanGeometry:
    """How the axes of the scan lie on the detector: as given, as the file says, or measured where that is asked for.

    Parameters
    ----------
    scan, settings, calibration
        The scan, what the user set and what was measured of the detector.
    sample
        Positions that are the sample, shape ``(ry, rx)``.

    Raises
    ------
    InputError
        If strain is wanted in axes that the scan does not tell.
    """
    if settings.scan_rotation is None:
        degrees = np.degrees(scan.scan_rotation)
        said = f"{degrees:.4g} deg, as the file says" if degrees else "none stated, axes of scan and detector are one"
        return ScanGeometry(scan.scan_rotation, text=f"scan rotation: {said}")
    if settings.scan_rotation != "auto":
        angle = float(np.radians(settings.scan_rotation))
        return ScanGeometry(angle, text=f"scan rotation: {settings.scan_rotation:g} deg, as given")
    found = measure_scan_geometry(scan, calibration, sample)
    if found.angle is None and settings.axes == "scan":
        raise InputError(f"{found.text}; give --scan-rotation in degrees, or --axes detector")
    return found


def _wanted(scan: Scan, settings: MapSettings) -> Wanted:
    """What strain is to be relative to."""
    lattices = tuple(lattice for text in settings.known for lattice in parse_known(text))
    return parse_reference(settings.reference, scan.scan_shape, lattices, pixel_size(scan.reciprocal_step))
