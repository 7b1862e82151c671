"""What is known of a scan while it is recorded: knowledge from its first rows, fits, and the map of what has come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.affine import deformation, left_polar
from cyclestrain.calibration import above_pedestal, calibrate, draw_sample
from cyclestrain.context import smooth
from cyclestrain.data import Block, BoolArray, FloatArray, Scan
from cyclestrain.estimation import BlockFit, first_look, fit_alone, to_fields, with_doubts, with_unsettled
from cyclestrain.io import crop, sample_mask
from cyclestrain.learning import Knowledge, Material, transfer
from cyclestrain.pipeline import finish, scan_geometry
from cyclestrain.progress import SilentProgress
from cyclestrain.result import MapResult, dictionary_dataset
from cyclestrain.settings import MapSettings
from cyclestrain.strain import parse_known, parse_reference, pixel_size

__all__ = ["fit_block", "learn_so_far", "map_so_far", "preview_strain"]

SAMPLE = 1024
"""Largest number of patterns from which a scan that is under way is calibrated: a second of work."""


def fit_block(block: Block, knowledge: Knowledge) -> BlockFit:
    """Fit every pattern of a block by itself, as the first pass of a map does.

    Parameters
    ----------
    block
        Positions and patterns as the detector counted them.
    knowledge
        Calibration, templates and dictionary.
    """
    pedestal = knowledge.calibration.pedestal
    if pedestal:
        block = replace(block, patterns=block.patterns.astype(np.float32) - np.float32(pedestal))
    return fit_alone(block, first_look(block, knowledge), knowledge)


def preview_strain(affine: FloatArray) -> FloatArray:
    """Strain of each pattern relative to its dictionary entry: no reference, no neighbours, nothing corrected.

    Parameters
    ----------
    affine
        Affine of each pattern, shape ``(n, 2, 2)``.

    Returns
    -------
    strain
        ``eyy, exx, exy`` as a fraction and the rotation in radians, shape ``(n, 4)``; NaN where nothing was found.

    Examples
    --------
    Reflections 1 % nearer the beam along x belong to a lattice that is longer along x:

    >>> preview_strain(np.diag([1.0, 1 / 1.01])[None]).round(6)
    array([[0.  , 0.01, 0.  , 0.  ]])
    """
    strain = np.full((len(affine), 4), np.nan)
    found = np.flatnonzero(np.isfinite(affine).all((1, 2)))
    found = found[np.linalg.det(affine[found]) > 0]
    stretch, theta = left_polar(deformation(affine[found]))
    strain[found] = np.stack([stretch[:, 0, 0] - 1, stretch[:, 1, 1] - 1, stretch[:, 0, 1], theta], 1)
    return strain


def learn_so_far(scan: Scan, rows: int, material: Material, settings: MapSettings) -> Knowledge:
    """Calibrate a scan from its first rows, and find the crystals of a model in them.

    Parameters
    ----------
    scan
        The whole scan, of which the first rows can be read.
    rows
        How many whole rows have come.
    material
        What the model knows of the sample.
    settings
        As for `cyclestrain.pipeline.map_scan`.

    Raises
    ------
    InputError
        If the rows show no crystal of the model, or none at all.
    """
    window = (slice(0, rows, 1), *(slice(0, size, 1) for size in scan.shape[1:]))
    first, pedestal = above_pedestal(replace(scan, source=crop(scan.source, window)))
    within = sample_mask(settings.sample, scan.scan_shape)
    sample = draw_sample(first, SAMPLE)
    if within[:rows].any():
        sample = sample.only(within)
    calibration = calibrate(scan, sample, settings.model_copy(update={"ring": material.ring}), pedestal)
    return transfer(material, scan, sample, calibration, seed=settings.seed)


def map_so_far(
    scan: Scan,
    fit: BlockFit,
    came: BoolArray,
    knowledge: Knowledge,
    settings: MapSettings,
    *,
    context: bool = True,
) -> MapResult:
    """The normal result of the positions that have come, the others not valid.

    The passes that need the patterns of neighbours are left out, and with them mixtures.

    Parameters
    ----------
    scan
        The whole scan.
    fit
        Fits of all its positions, those that have not come unknown.
    came
        Positions that have come, flat, shape ``(n,)``.
    knowledge
        What is known of the scan.
    settings
        As for `cyclestrain.pipeline.map_scan`.
    context
        Whether neighbours of the same crystal share their estimates, which takes most of the time; otherwise the best
        estimate is that of each pattern alone.

    Raises
    ------
    InputError
        If nothing that has come can be measured.
    """
    shape, silent = scan.scan_shape, SilentProgress()
    lattices = tuple(lattice for text in settings.known for lattice in parse_known(text))
    wanted = parse_reference(settings.reference, shape, lattices, pixel_size(scan.reciprocal_step))
    within = sample_mask(settings.sample, shape) & came.reshape(shape)
    fields = to_fields(fit, shape, knowledge.dictionary).only(within)
    shared = fields.affine
    if context:
        shared = with_unsettled(smooth(shared, echo=knowledge.calibration.echo), fit, knowledge.dictionary)
    fields = with_doubts(replace(fields, context=shared), knowledge)
    geometry = scan_geometry(scan, settings, knowledge.calibration, within)
    maps, _ = finish(scan, settings, knowledge, geometry, fields, None, wanted=wanted, progress=silent)
    maps.attrs["live_positions"] = int(came.sum())
    live = f"live: {int(came.sum())} of {came.size} positions had come; patterns were fitted each by itself"
    maps.attrs["choices"] = "\n".join([maps.attrs["choices"], live])
    return MapResult(maps, dictionary_dataset(knowledge.dictionary), None)
