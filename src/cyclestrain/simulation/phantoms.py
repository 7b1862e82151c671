"""Samples with a known truth: `polycrystal`, `two_phase`, `uniform`, `ripple`, `dislocation` and `features`.

Every phantom takes the keywords of `Acquisition` beside its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import rotation, symmetric
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.simulation.acquisition import Acquisition, AcquisitionOptions
from cyclestrain.simulation.grains import draw_deformations, voronoi_blend
from cyclestrain.simulation.lattice import make_lattice
from cyclestrain.simulation.noise import sample_generator
from cyclestrain.simulation.patterns import make_pattern_model
from cyclestrain.simulation.sample import VACUUM, Sample, SimulatedScan, make_truth
from cyclestrain.simulation.source import SimulatedPatterns

__all__ = [
    "FEATURES",
    "PHANTOMS",
    "dislocation",
    "feature_map",
    "features",
    "polycrystal",
    "ripple",
    "two_phase",
    "uniform",
]

FloatArray = NDArray[np.floating[Any]]

IN_MEMORY_BYTES = 2 * 2**30
"""Size of a scan, bytes, up to which it is held in memory; patterns of larger ones are made when they are read."""
POISSON_RATIO = 0.3
"""Poisson ratio of the crystal around the dislocation."""
FEATURES = ("flat", "inclusion", "lamella", "turned lamella", "ripple")
"""Features of the phantom `features`, in the order of the numbers of `feature_map`."""
INCLUSION_GAP = 9
"""Positions from one inclusion to the next in `features`: beyond the reach of the context, so that each is alone."""
FEATURE_MARGIN = 2
"""Positions between the edge of a quarter of `features` and the lamellae or the ripple in it."""
LAMELLA_WIDTH = 3
"""Width of the lamellae in `features`, positions."""


def polycrystal(
    *,
    grain_size: float = 250.0,
    max_strain: float = 0.02,
    rotation_range: float = 360.0,
    probe_width: float = 0.7,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """Voronoi grains, each with its own constant strain and rotation: the published benchmark.

    Parameters
    ----------
    grain_size
        Mean number of positions per grain.
    max_strain
        Each strain component of a grain is -1, -1/2, 0, 1/2 or 1 times this.
    rotation_range
        Rotations are uniform in 0 to this many degrees.
    probe_width
        Full width at half maximum of the probe, which blends neighbouring grains, in positions.
    **options
        Fields of `Acquisition`.

    Raises
    ------
    InputError
        If an option is out of its range.
    """
    acquisition = Acquisition(**options)
    _require_positive(grain_size=grain_size, probe_width=probe_width)
    rng = sample_generator(acquisition.seed)
    n = max(1, round(np.prod(acquisition.scan) / grain_size))
    seeds = rng.random((n, 2)) * acquisition.scan - 0.5
    blend = voronoi_blend(seeds, acquisition.scan, probe_width)
    sample = Sample(
        lattices=(acquisition.make_lattice(),),
        deformation=draw_deformations(n, max_strain, rotation_range, rng),
        phase=np.zeros(n, np.int64),
        grain=np.arange(n),
        crystal=blend.grain,
        share=blend.share,
    )
    own = {"grain_size": grain_size, "max_strain": max_strain, "rotation_range": rotation_range}
    return _record("polycrystal", sample, acquisition, {**own, "probe_width": probe_width})


def two_phase(
    *,
    second_lattice: str = "square",
    second_spacing: float = 1.18,
    sample_size: float = 0.85,
    grain_size: float = 250.0,
    max_strain: float = 0.02,
    rotation_range: float = 360.0,
    probe_width: float = 0.7,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """Grains of two phases (classes 0 and 1) in an elliptic sample with vacuum (class -1) around it.

    Parameters
    ----------
    second_lattice
        Lattice of class 1; that of class 0 is ``lattice``.
    second_spacing
        Shortest reciprocal vector of class 1 in units of that of class 0.
    sample_size
        Axes of the sample as a share of the scan.
    grain_size, max_strain, rotation_range, probe_width
        As for `polycrystal`.
    **options
        Fields of `Acquisition`.

    Raises
    ------
    InputError
        If an option is out of its range.
    """
    acquisition = Acquisition(**options)
    _require_positive(
        grain_size=grain_size, probe_width=probe_width, second_spacing=second_spacing, sample_size=sample_size
    )
    rng = sample_generator(acquisition.seed)
    n = max(2, round(np.prod(acquisition.scan) / grain_size))
    seeds = rng.random((n, 2)) * acquisition.scan - 0.5
    blend = voronoi_blend(seeds, acquisition.scan, probe_width, sample_size=sample_size)
    phase = np.zeros(n, np.int64)
    present = np.setdiff1d(blend.grain[..., 0], [VACUUM])
    phase[present[1::2]] = 1
    sample = Sample(
        lattices=(acquisition.make_lattice(), make_lattice(second_lattice, second_spacing * acquisition.ring)),
        deformation=draw_deformations(n, max_strain, rotation_range, rng),
        phase=phase,
        grain=np.arange(n),
        crystal=blend.grain,
        share=blend.share,
    )
    own = {"second_lattice": second_lattice, "second_spacing": second_spacing, "sample_size": sample_size}
    own |= {"grain_size": grain_size, "max_strain": max_strain, "rotation_range": rotation_range}
    return _record("two_phase", sample, acquisition, {**own, "probe_width": probe_width})


def uniform(
    *,
    strain: tuple[float, float, float] = (0.0, 0.0, 0.0),
    rotation_deg: float = 0.0,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """One crystal in the same state everywhere.

    Parameters
    ----------
    strain
        ``(exx, eyy, exy)`` in detector axes.
    rotation_deg
        Rotation of the crystal, degrees, positive from +x (column) to +y (row).
    **options
        Fields of `Acquisition`.

    Raises
    ------
    InputError
        If the strain leaves no crystal, or an option is out of its range.
    """
    acquisition = Acquisition(**options)
    exx, eyy, exy = (np.asarray(component) for component in strain)
    state = symmetric(1 + eyy, 1 + exx, exy) @ rotation(np.deg2rad(rotation_deg))
    if np.linalg.det(state) <= 0:
        raise InputError(f"the strain leaves no crystal: exx, eyy, exy = {strain}")
    field = np.broadcast_to(state, (*acquisition.scan, 2, 2))
    sample = Sample.from_field(acquisition.make_lattice(), field)
    return _record("uniform", sample, acquisition, {"strain": strain, "rotation_deg": rotation_deg})


def ripple(
    *,
    amplitude: float = 0.01,
    period: float = 24.0,
    direction_deg: float = 30.0,
    rotation_deg: float = 17.0,
    bend_deg: float = 0.0,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """One crystal with a plane wave of displacement: strain and rotation vary sinusoidally along one direction.

    Parameters
    ----------
    amplitude
        Amplitude of the normal strain along the wave; the transverse displacement gradient has half of it.
    period
        Wavelength in positions.
    direction_deg
        Direction of the wave in degrees, positive from +x (column) to +y (row).
    rotation_deg
        Mean rotation of the crystal in degrees.
    bend_deg
        By how much the rotation grows from the first to the last column, degrees.
    **options
        Fields of `Acquisition`.
    """
    acquisition = Acquisition(**options)
    _require_positive(period=period)
    along = np.array([np.sin(np.deg2rad(direction_deg)), np.cos(np.deg2rad(direction_deg))])
    across = np.array([along[1], -along[0]])
    wave = np.sin(2 * np.pi / period * (_positions(acquisition) @ along))[..., None, None]
    gradient = amplitude * wave * (np.outer(along, along) + 0.5 * np.outer(across, along))
    own = {"amplitude": amplitude, "period": period, "direction_deg": direction_deg, "rotation_deg": rotation_deg}
    bend = np.linspace(-0.5, 0.5, acquisition.scan[1]) * bend_deg * np.ones((acquisition.scan[0], 1))
    sample = _displaced(gradient, rotation_deg + bend, acquisition)
    return _record("ripple", sample, acquisition, {**own, "bend_deg": bend_deg})


def dislocation(
    *,
    burgers: float = 0.35,
    core: float = 2.0,
    rotation_deg: float = 17.0,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """One crystal with an edge dislocation in the middle of the scan, isotropic elasticity.

    Parameters
    ----------
    burgers
        Burgers vector, along +x, in positions; strain falls off as ``burgers / (2 pi r)``.
    core
        Radius in positions within which the field is smoothed so that it stays finite.
    rotation_deg
        Rotation of the crystal in degrees.
    **options
        Fields of `Acquisition`.
    """
    acquisition = Acquisition(**options)
    _require_positive(core=core)
    offset = _positions(acquisition) - (np.array(acquisition.scan) - 1) / 2
    gradient = edge_dislocation(offset, burgers, core)
    own = {"burgers": burgers, "core": core, "rotation_deg": rotation_deg}
    return _record("dislocation", _displaced(gradient, rotation_deg, acquisition), acquisition, own)


def edge_dislocation(offset: FloatArray, burgers: float, core: float) -> FloatArray:
    """Displacement gradient of an edge dislocation with Burgers vector along +x, line along the beam.

    Parameters
    ----------
    offset
        Vectors ``(y, x)`` from the line, shape ``(..., 2)``.
    burgers, core
        Burgers vector and radius of the smoothed core, in the unit of the offsets.

    Returns
    -------
    gradient
        ``du_i / dx_j`` in (y, x) order, shape ``(..., 2, 2)``.
    """
    y, x = offset[..., 0], offset[..., 1]
    less, more = 1 - 2 * POISSON_RATIO, 3 - 2 * POISSON_RATIO
    scale = burgers / (4 * np.pi * (1 - POISSON_RATIO) * (x**2 + y**2 + core**2) ** 2)
    xx = -y * (more * x**2 + less * y**2)
    xy = x * (more * x**2 + less * y**2)
    yx = -x * (less * x**2 + more * y**2)
    yy = y * ((1 + 2 * POISSON_RATIO) * x**2 - less * y**2)
    gradient = np.stack([np.stack([yy, yx], -1), np.stack([xy, xx], -1)], -2)
    result: FloatArray = scale[..., None, None] * gradient
    return result


def features(
    *,
    strain: float = 0.02,
    turn_deg: float = 1.5,
    amplitude: float = 0.01,
    period: float = 10.0,
    rotation_deg: float = 17.0,
    **options: Unpack[AcquisitionOptions],
) -> SimulatedScan:
    """One crystal with features of a few positions, sharp and without blending; its top left quarter has none.

    Inclusions of a single position are at the top right, a lamella and a turned one of three positions at the bottom
    left, and a ripple along x at the bottom right: all strained along x only, so that everything is in exx. See
    `feature_map` for the places.

    Parameters
    ----------
    strain
        exx of the inclusions and the lamellae.
    turn_deg
        Rotation of the turned lamella against the crystal, degrees.
    amplitude, period
        Amplitude of exx in the ripple, and its wavelength in positions.
    rotation_deg
        Rotation of the crystal, degrees.
    **options
        Fields of `Acquisition`.
    """
    acquisition = Acquisition(**options)
    _require_positive(period=period)
    place = feature_map(acquisition.scan)
    ripple_start = acquisition.scan[1] // 2 + FEATURE_MARGIN
    wave = amplitude * np.sin(2 * np.pi / period * (_positions(acquisition)[..., 1] - ripple_start))
    gradient = np.zeros((*acquisition.scan, 2, 2))
    gradient[..., 1, 1] = np.choose(place, [0.0, strain, strain, strain, wave])
    turn = rotation_deg + turn_deg * (place == FEATURES.index("turned lamella"))
    own = {"strain": strain, "turn_deg": turn_deg, "amplitude": amplitude, "period": period}
    sample = _displaced(gradient, turn, acquisition)
    return _record("features", sample, acquisition, {**own, "rotation_deg": rotation_deg})


def feature_map(scan: tuple[int, int]) -> NDArray[np.int64]:
    """Index into `FEATURES` at each position of the phantom `features`, shape ``scan``.

    The number and the length of the features grow with the scan, their width does not.
    """
    place = np.zeros(scan, np.int64)
    middle = scan[0] // 2, scan[1] // 2
    first, margin = INCLUSION_GAP // 3, FEATURE_MARGIN
    place[first : middle[0] : INCLUSION_GAP, middle[1] + first :: INCLUSION_GAP] = FEATURES.index("inclusion")
    rows = slice(middle[0] + margin, scan[0] - margin)
    for name, quarter in (("lamella", 1), ("turned lamella", 3)):
        left = quarter * middle[1] // 4 - LAMELLA_WIDTH // 2
        place[rows, left : left + LAMELLA_WIDTH] = FEATURES.index(name)
    place[rows, middle[1] + margin : scan[1] - margin] = FEATURES.index("ripple")
    return place


PHANTOMS: Mapping[str, Callable[..., SimulatedScan]] = {
    "polycrystal": polycrystal,
    "two_phase": two_phase,
    "uniform": uniform,
    "ripple": ripple,
    "dislocation": dislocation,
    "features": features,
}
"""The phantoms by name."""


def _positions(acquisition: Acquisition) -> FloatArray:
    """Probe positions ``(y, x)``, shape ``(ry, rx, 2)``; scan axes are detector axes."""
    return np.stack(np.meshgrid(*(np.arange(n) for n in acquisition.scan), indexing="ij"), -1).astype(float)


def _displaced(gradient: FloatArray, rotation_deg: FloatArray | float, acquisition: Acquisition) -> Sample:
    deformation = (np.eye(2) + gradient) @ rotation(np.deg2rad(rotation_deg))
    return Sample.from_field(acquisition.make_lattice(), deformation)


def _record(name: str, sample: Sample, acquisition: Acquisition, own: Mapping[str, Any]) -> SimulatedScan:
    model = make_pattern_model(sample, acquisition)
    patterns = SimulatedPatterns(model)
    resolved = {"spacing": acquisition.ring, "radius": acquisition.disk_radius, "noise_free": acquisition.is_noise_free}
    parameters = {"phantom": name, **dataclasses.asdict(acquisition), **resolved, **own}
    truth = make_truth(sample, model.centres, parameters)
    source = np.asarray(patterns) if patterns.nbytes <= IN_MEMORY_BYTES else patterns
    return SimulatedScan(Scan(source, name=name, metadata=dict(truth.attrs)), truth)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name} is positive, got {value}")
