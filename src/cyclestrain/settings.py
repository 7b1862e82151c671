"""What a user may set: frozen, validated objects, stored resolved in every result.

The sentence under each field is what the command line prints as its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cyclestrain.errors import InputError

__all__ = [
    "FitSettings",
    "LearnSettings",
    "LiveOptions",
    "LiveSettings",
    "MapSettings",
    "ReadOptions",
    "ReadSettings",
    "ShowOptions",
    "ShowSettings",
    "known_options",
    "reading_given",
    "validated",
]

AnySettings = TypeVar("AnySettings", bound=BaseModel)
PositiveFloat = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0.5, le=2)]
Radius = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
_CONFIG = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class LearnSettings(BaseModel):
    """What `cyclestrain.fit` and `cyclestrain.map` have in common; every ``None`` means "measure it from the data"."""

    model_config = _CONFIG

    centre: tuple[float, float] | None = None
    """Beam centre ``(y, x)`` in detector pixels; measured by default."""
    ring: tuple[Radius, Radius] | None = None
    """Inner and outer radius in pixels of the part of the detector that is used; measured by default."""
    classes: Annotated[int, Field(ge=1, le=16)] | None = None
    """Largest number of dictionary entries; found by default."""
    seed: Seed = 0
    """Seed of every random choice."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch computes."""
    mask: str | None = None
    """Detector pixels that may be used: a mask of shape ``(qy, qx)`` in a ``.npy`` file, or a region ``y0:y1,x0:x1``,
    in the pixels that are left after ``--detector-roi`` and ``--bin``."""
    probe: str | None = None
    """Image of the probe: a vacuum image or scan on the detector of the scan, in any format that scans are read from
    (its regions, bins and flips are those of the scan). By default it is learned: round, until the patterns show
    otherwise."""
    sample: str | None = None
    """Positions that are the sample: a mask of shape ``(ry, rx)`` in a ``.npy`` file, or a region; at others nothing is
    learned or measured."""

    @field_validator("ring")
    @classmethod
    def _inner_below_outer(cls, ring: tuple[float, float] | None) -> tuple[float, float] | None:
        if ring is not None and not ring[0] < ring[1]:
            raise ValueError("the inner radius should be less than the outer one")
        return ring


class FitSettings(LearnSettings):
    """Settings of `cyclestrain.fit`."""

    init_from: str | None = None
    """Model of another scan whose dictionary and network to start from; classes are those of that model."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Largest number of training epochs; ten by default. It ends earlier where more do not help."""
    trials: Annotated[int, Field(ge=2)] | None = None
    """Trainings with other learning rates, widths, loss weights and masks that are tried, the default first; the model
    is trained with the best of them, or with the default where none is better beyond doubt. None by default."""
    study: str | None = None
    """File that keeps the trials, ``study.db``: with it a search that was killed goes on, and several processes share
    one. By default they are not kept."""


class MapSettings(LearnSettings):
    """Settings of `cyclestrain.map`."""

    reference: str = "auto"
    """What strain is relative to: ``auto`` (the largest coherent area of each class), a region ``ry0:ry1,rx0:rx1``, a
    boolean mask of shape ``(ry, rx)`` in a ``.npy`` file, ``ideal`` (a 3-, 4- or 6-fold lattice in its most symmetric
    shape, at the mean spacing of the scan), ``class 0`` (the largest coherent area of that class, also for classes
    whose lattice corresponds to it), or ``known`` (the unstrained lattice of ``--known``; with a region behind it, the
    pixel is calibrated there)."""
    known: tuple[str, ...] = ()
    """Lattice of the sample, for absolute strain: ``a=5.431,structure=diamond,zone=110`` (angstrom; sc, fcc, bcc,
    diamond, zincblende, rocksalt, hcp or hexagonal, also with ``c=``), or ``FILE.cif,zone=110``; several for phases to
    be told apart. With it, ``auto`` is ``known``."""
    axes: Literal["detector", "scan", "crystal"] = "detector"
    """Axes in which strain is given."""
    along: tuple[int, int] = (1, 0)
    """For ``crystal`` axes the reflection ``h k``, in the basis of the dictionary (its figure shows the indices), along
    which x is."""
    scan_rotation: float | Literal["auto"] | None = None
    """Angle of the scan axes in detector axes, degrees, positive from +x to +y; by default what the file says. ``auto``
    measures it, and whether one is the mirror image of the other, from how the sample deflects the beam."""
    ellipse: tuple[Ratio, float] | None = None
    """Elliptic distortion of the detector that is corrected: ratio of the axes, and angle of the long one in degrees
    from +x to +y; ``1 0`` for none. By default what grains turned against each other share beyond chance, which is no
    different from a strain that all of them have in the axes of the detector; what they do not tell is in sigma."""
    until: Literal["network", "refine", "context"] = "context"
    """Last stage to run."""
    intensities: bool = False
    """Measure the intensity of every reflection at every position as well, with its uncertainty, at the transform that
    was found; in the result they are a group of their own, see `cyclestrain.intensities`."""
    model: str | None = None
    """File written by `fit`: its dictionary, and for ``until="network"`` its trained network, are applied instead of
    learning from this scan, which may have another dose and background."""


class ReadSettings(BaseModel):
    """How the file of a scan is read, see `cyclestrain.read`."""

    model_config = _CONFIG

    dataset: str | None = None
    """Name of the array in a file that holds several."""
    scan_shape: tuple[int, int] | None = None
    """``(ry, rx)`` for files that hold a plain stack of patterns; without flyback."""
    shape: tuple[int, ...] | None = None
    """Shape of the numbers in a raw binary file or a sparse matrix: ``qy qx``, ``n qy qx`` or ``ry rx qy qx``."""
    dtype: str | None = None
    """Type of the numbers in a raw binary file: uint16, float32, >u2 (big-endian), ..."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes before the first number of a raw binary file."""
    order: Literal["C", "F"] = "C"
    """C where the last axis of a raw binary file varies fastest, F where the first does."""
    flyback: Annotated[int, Field(ge=0)] = 0
    """Positions at the end of each scan row that were recorded while the beam flew back; they are left out."""
    scan_roi: str | None = None
    """Region ``y0:y1,x0:x1`` of positions; the rest is not read."""
    detector_roi: str | None = None
    """Region ``y0:y1,x0:x1`` of detector pixels; the rest is not read."""
    bin: Annotated[int, Field(ge=1)] = 1
    """Detector pixels that are summed into one, along each axis."""
    transpose: bool = False
    """Exchange the rows and columns of the detector, after the region and the bins."""
    flip: Literal["y", "x", "yx"] | None = None
    """Reverse the rows (y) or columns (x) of the detector, or both, after that: for a scan that is its mirror image."""
    step: str | None = None
    """Distance between neighbouring probe positions with its unit, 0.5nm; by default what the file says."""
    pixel: str | None = None
    """Size of a detector pixel of the file in reciprocal space, ``0.1/nm``, ``0.1+-0.002/nm``, or height and width,
    ``0.1,0.12/nm``; by default what the file says. An uncertainty that is not stated is 2 %."""


class ShowSettings(BaseModel):
    """How `cyclestrain.show` draws the maps of a result."""

    model_config = _CONFIG

    maps: Annotated[tuple[str, ...], Field(min_length=1, max_length=12)] = ("exx", "eyy", "exy", "rotation")
    """Which maps: exx, eyy, exy, rotation, dilation, shear, largest, smallest (principal strains), any also with
    ``_sigma``."""
    limit: PositiveFloat | None = None
    """Strain at the ends of the colour scales, percent; by default what the maps hold, never less than 2 sigma."""
    rotation_limit: PositiveFloat | None = None
    """Rotation at the ends of its colour scale, degrees."""
    colours: str | None = None
    """Colour map of the strains, and of a rotation that does not fill its period, from matplotlib or cmcrameri."""
    intensity: tuple[int, int] | None = None
    """Draw the intensity of the reflection ``h k`` instead, a virtual dark field whose detector follows the lattice, of
    a result that was mapped with ``--intensities``."""
    crop: str | None = None
    """Region ``ry0:ry1,rx0:rx1`` of positions that is drawn."""
    width: Annotated[float, Field(ge=60, le=400)] = 180.0
    """Width of the figure, mm; 85 and 170 are one and two columns of most journals."""
    font: Annotated[float, Field(ge=3, le=20)] = 7.0
    """Font size, points."""
    dpi: Annotated[int, Field(ge=20, le=2400)] = 200
    """Dots per inch of a png; svg and pdf are drawn with text as text."""

    @field_validator("maps", mode="before")
    @classmethod
    def _one_or_several(cls, maps: Any) -> Any:
        return (maps,) if isinstance(maps, str) else maps


class LiveSettings(BaseModel):
    """What `cyclestrain.live` listens to, and how long."""

    model_config = _CONFIG

    dectris: str | None = None
    """Dectris detector: ``HOST``, ``HOST:PORT`` of its data (9999), or ``HOST:PORT:PORT`` with that of its control
    (80). The microscope starts the scan. Needs the extra ``live``."""
    merlin: str | None = None
    """Merlin detector, likewise; usual ports are 6342 and 6341."""
    file: str | None = None
    """File that is being written: ``.npy``, a Merlin's ``.mib``, or HDF5 in chunks."""
    keep: str | None = None
    """``.npy`` file that keeps the patterns of a detector; by default they are removed when the map is done."""
    preview: bool = False
    """End with the live map, and leave out the one from all patterns together."""
    timeout: PositiveFloat = 60.0
    """Longest time to wait for the scan to start, and for its next pattern, seconds."""
    every: PositiveFloat = 10.0
    """Least time between two results of what has come, seconds."""
    explore: bool = False
    """Show the growing map in the explorer, on this machine alone; when the scan ends it stays until Ctrl+C, with the
    finished result. Needs the extra ``app``."""
    port: Annotated[int, Field(ge=0, lt=65536)] = 0
    """Port that the explorer listens on; 0 for any free one."""
    browser: bool = True
    """Whether a browser is opened on it."""


class LiveOptions(TypedDict, total=False):
    """The fields of `LiveSettings` as keywords of a function."""

    dectris: str | None
    merlin: str | None
    file: str | None
    keep: str | None
    preview: bool
    timeout: float
    every: float
    explore: bool
    port: int
    browser: bool


class ShowOptions(TypedDict, total=False):
    """The fields of `ShowSettings` as keywords of a function."""

    maps: tuple[str, ...]
    limit: float | None
    rotation_limit: float | None
    colours: str | None
    intensity: tuple[int, int] | None
    crop: str | None
    width: float
    font: float
    dpi: int


class ReadOptions(TypedDict, total=False):
    """The fields of `ReadSettings` as keywords of a function."""

    dataset: str | None
    scan_shape: tuple[int, int] | None
    shape: tuple[int, ...] | None
    dtype: str | None
    offset: int
    order: Literal["C", "F"]
    flyback: int
    scan_roi: str | None
    detector_roi: str | None
    bin: int
    transpose: bool
    flip: Literal["y", "x", "yx"] | None
    step: str | None
    pixel: str | None


def reading_given(reading: ReadSettings | None, options: ReadOptions) -> dict[str, Any]:
    """How to read a scan, as fields of `ReadSettings`: what the group says, and above it single options.

    Parameters
    ----------
    reading
        All of them at once, None for the defaults.
    options
        Some of them, as they were given to a function.

    Raises
    ------
    TypeError
        If an option is no field of `ReadSettings`, as any function says of an unknown keyword.
    """
    return {**(reading or ReadSettings()).model_dump(), **known_options(ReadSettings, options)}


def known_options(group: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a function, all of which are fields of a group of settings.

    Parameters
    ----------
    group
        Which settings.
    options
        Values by name.

    Raises
    ------
    TypeError
        If one is no field, as any function says of an unknown keyword.
    """
    unknown = sorted(options.keys() - group.model_fields.keys())
    if unknown:
        raise TypeError(
            f"there is no option {', '.join(unknown)}; "
            f"beside those that the function itself names there are {', '.join(group.model_fields)}"
        )
    return dict(options)


def validated(model: type[AnySettings], given: dict[str, Any]) -> AnySettings:
    """Make settings of what was given.

    Parameters
    ----------
    model
        Which settings.
    given
        Values by name.

    Raises
    ------
    InputError
        If a value does not fit, with what is wrong with it in one sentence.

    Examples
    --------
    >>> validated(ReadSettings, {"bin": 2}).bin
    2
    >>> validated(ReadSettings, {"bin": 0})
    Traceback (most recent call last):
        ...
    cyclestrain.errors.InputError: bin: input should be greater than or equal to 1, got 0
    """
    try:
        return model(**given)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for problem in error.errors():
            name = str(problem["loc"][0])  # of its alternatives, and of several values, the first one speaks for all
            problems.setdefault(name, f"{name}: {_sentence(problem['msg'])}, got {problem['input']!r}")
        raise InputError("; ".join(problems.values())) from None


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
