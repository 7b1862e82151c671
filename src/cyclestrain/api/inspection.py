"""`load`, `show`, `export` and `info`: what to do with a result or a model, and what a file holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from cyclestrain.api.arguments import PathLike, maps_of, stored_run
from cyclestrain.api.models import explain_model, export_encoder, is_model, model_figures
from cyclestrain.errors import InputError, printable
from cyclestrain.settings import ReadOptions, ReadSettings, ShowOptions, ShowSettings, known_options, validated

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from cyclestrain.data import PatternSource, Scan

__all__ = ["Lines", "export", "info", "intensities", "load", "show"]

FIGURES = ("png", "svg", "pdf")


class Lines(str):
    """Text that an interactive session shows as lines, not as a string with line breaks spelled out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def load(result: PathLike) -> xr.Dataset:
    """Read the maps of a result file into memory, with what ``maps.strain`` can do.

    Parameters
    ----------
    result
        File that `map` wrote.

    Returns
    -------
    maps
        As from `map`.

    Raises
    ------
    InputError
        If the file is missing, damaged or no result.
    """
    import cyclestrain.api.accessor  # noqa: F401  registers maps.strain
    from cyclestrain.result import load_result

    return load_result(result)


def intensities(result: PathLike | xr.Dataset) -> xr.Dataset:
    """Intensity of every reflection at every position, with its uncertainty.

    Parameters
    ----------
    result
        File that `map` wrote with ``intensities=True``, whose arrays are read where they are used; in Python also the
        data set that `map` returned.

    Returns
    -------
    intensities
        `intensity` and `intensity_sigma`, dimensions ``(ry, rx, g)``: counts in the disk above the background, in units
        of the file. `g` runs over the reflections of all classes, and is NaN where the position is of another class;
        coordinates `g_class`, `g_h`, `g_k` (indices in the basis of the entry), `g_y`, `g_x` (pixels, in the entry;
        ``affine`` times that at a position) and `g_friedel` (the index of the reflection at -g, -1 for none).

    Raises
    ------
    InputError
        If the result holds none.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    >>> found = cs.intensities(cs.map(made.scan, intensities=True))
    >>> found.intensity.dims
    ('ry', 'rx', 'g')
    >>> pair = found.intensity.isel(g=0), found.intensity.isel(g=int(found.g_friedel[0]))
    """
    import xarray as xr

    from cyclestrain.result import open_group

    if not isinstance(result, xr.Dataset):
        return open_group(result, "intensities", "holds no intensities; map the scan again with --intensities")
    names = [name for name in ("intensity", "intensity_sigma", "labelled_affine") if name in result]
    if len(names) < 3:
        raise InputError(
            "this data set holds no intensities: map with intensities=True, or give the name of the result file"
        )
    return result[names]


def show(
    result: PathLike | xr.Dataset,
    output: PathLike | None = None,
    *,
    estimate: Literal["", "raw"] = "",
    formats: Sequence[str] = ("png",),
    **options: Unpack[ShowOptions],
) -> Figure:
    """Draw the maps of strain and rotation, the training curves of a model, or every figure there is.

    Parameters
    ----------
    result
        Result file, a model's, or that of a simulation, whose truth is drawn; in Python also the data set that `map`
        returned.
    output
        With an extension (png, svg, pdf): file for the maps, or the curves. Without one: folder for every figure there
        is (maps, uncertainty, dictionary, training). By default nothing is written.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    formats
        Formats of the figures in a folder.
    **options
        Which maps and how: ``maps``, ``intensity`` (of a reflection instead, ``h k``), ``limit``, ``rotation_limit``,
        ``colours``, ``crop``, ``width``, ``font``, ``dpi``, see `cyclestrain.ShowSettings`.

    Returns
    -------
    figure
        The maps, or the curves; a matplotlib figure.

    Raises
    ------
    InputError
        If the file cannot be drawn, or there is no such map, colour map or part.
    OutputError
        If the output cannot be written.
    """
    from cyclestrain.figures import result_figures, save_figure, strain_figure, write_figures
    from cyclestrain.files import check_writable

    look = validated(ShowSettings, known_options(ShowSettings, options))
    figures: Iterable[tuple[str, Figure]]
    if is_model(result):
        figures = tuple(model_figures(result))
        figure = figures[0][1]
    elif look.intensity is not None:
        figure = _intensity_figure(result, look)
        figures = (("intensity", figure),)
    else:
        maps = _drawn(result, look)
        figure = strain_figure(maps, estimate, look=look)
        figures = result_figures(maps, _group(result, "dictionary"), training=_group(result, "training"), look=look)
    if output is not None and Path(output).suffix:
        check_writable(output, force=True)
        save_figure(figure, output, look.dpi)
    elif output is not None:
        write_figures(figures, f"{os.fspath(output)}/", formats)
    return figure


def _intensity_figure(result: PathLike | xr.Dataset, look: ShowSettings) -> Figure:
    """Figure of the intensity of one reflection."""
    from cyclestrain.figures import intensity_figure
    from cyclestrain.io import parse_region
    from cyclestrain.result import virtual_dark_field

    assert look.intensity is not None
    found = virtual_dark_field(intensities(result), *look.intensity)
    maps = maps_of(result)
    if look.crop is not None:
        rows, columns = parse_region(look.crop, (maps.sizes["ry"], maps.sizes["rx"]), "--crop")
        maps, found = maps.isel(ry=rows, rx=columns), found.isel(ry=rows, rx=columns)
    return intensity_figure(maps, found, look)


def _drawn(result: PathLike | xr.Dataset, look: ShowSettings) -> xr.Dataset:
    """What is drawn of a result: the part that is wanted, with principal strains where they are."""
    from cyclestrain.io import parse_region
    from cyclestrain.result import principal

    maps = _maps_or_truth(result)
    if look.crop is not None:
        rows, columns = parse_region(look.crop, (maps.sizes["ry"], maps.sizes["rx"]), "--crop")
        maps = maps.isel(ry=rows, rx=columns)
    plain = {name.removesuffix("_sigma") for name in look.maps}
    for estimate in ("", "raw") if plain & {"dilation", "shear", "largest", "smallest"} else ():
        suffix = f"_{estimate}" if estimate else ""
        if f"exx{suffix}_sigma" in maps:
            found = principal(maps, estimate)
            named = {name: f"{str(name).removesuffix('_sigma')}{suffix}" for name in found}
            named = {name: f"{new}_sigma" if str(name).endswith("_sigma") else new for name, new in named.items()}
            maps = maps.assign({new: found[name] for name, new in named.items()})
    return maps


def _maps_or_truth(result: PathLike | xr.Dataset) -> xr.Dataset:
    """The maps of a result, or the truth of a simulated scan as if it had been mapped without an error."""
    from cyclestrain.simulation import has_truth, load_truth

    if not isinstance(result, str | os.PathLike) or not has_truth(result):
        return maps_of(result)
    truth = load_truth(result)
    attrs = {"name": Path(result).stem, "kind": "simulated truth", "reference": "the unstrained lattice"}
    return truth.assign({"valid": truth["class"] >= 0}).assign_attrs(attrs | {"axes": "detector"})


def export(
    result: PathLike | xr.Dataset,
    output: PathLike,
    *,
    format: Literal["hspy", "zspy", "py4dstem", "tiff", "csv", "mat", "png", "svg", "pdf", "onnx"] | None = None,
    estimate: Literal["", "raw"] = "",
    force: bool = False,
) -> tuple[Path, ...]:
    """Write the maps of a result for HyperSpy, py4DSTEM, ImageJ, MATLAB, a spreadsheet, a page; or a model's encoder.

    What axes, signs and units mean in each target is stated in docs/export.md and in every file.

    Parameters
    ----------
    result
        Result file, or a model's; in Python also the data set that `map` returned.
    output
        File to write; its extension names the target: .hspy, .zspy, .h5 and .emd (py4DSTEM), .tif, .csv, .mat, .png,
        .svg, .pdf; of a model .onnx, for a file for each kind of look.
    format
        The target, whatever the extension.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    force
        Whether an existing file is replaced.

    Raises
    ------
    InputError
        If the target is none of these, or does not fit what is exported.
    OutputError
        If the output cannot be written.
    """
    from cyclestrain.files import check_writable
    from cyclestrain.result import export_maps

    kind = format or Path(output).suffix.lower().lstrip(".")
    if is_model(result):
        if kind != "onnx":
            raise InputError(f"a model is exported as onnx, not as {kind or 'a file without extension'}")
        return export_encoder(result, output, force)
    if kind == "onnx":
        raise InputError("only a model has an encoder to export as ONNX; give a file that `cyclestrain fit` wrote")
    maps = maps_of(result)
    if kind not in FIGURES:
        export_maps(maps, output, format, estimate=estimate, force=force)
        return (Path(output),)
    from cyclestrain.figures import save_figure, strain_figure

    target = Path(output) if Path(output).suffix.lower() == f".{kind}" else Path(f"{os.fspath(output)}.{kind}")
    check_writable(target, force)
    save_figure(strain_figure(maps, estimate), target)
    return (target,)


def info(
    file: PathLike | PatternSource | Scan, *, reading: ReadSettings | None = None, **options: Unpack[ReadOptions]
) -> Lines:
    """Tell what a file holds and what `map` would assume about it.

    Parameters
    ----------
    file
        Scan, result or model.
    reading, **options
        How a scan is read: all at once, or one by one, see `cyclestrain.read`.

    Returns
    -------
    text
        A few lines, which print as such: shape, type, calibration, counts per pattern, assumptions; of a result also
        how to repeat it, of a model its entries, lattice, symmetry, network and training log.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    from cyclestrain.io import read
    from cyclestrain.result import describe

    if is_model(file):
        return Lines(explain_model(file))
    if isinstance(file, str | os.PathLike):
        with suppress(InputError):  # not a result: a scan, or the reader says what is wrong
            return Lines(_explain(file))
    found = describe(read(file, reading, **options))
    rows = [f"{label:<20}{printable(value)}" for label, value in found.rows()]
    return Lines("\n".join([*rows, "", *(f"- {printable(sentence)}" for sentence in found.assumptions)]))


def _explain(result: PathLike) -> str:
    """Lines about a result: its maps, how it was made, whether its scan is still the same, how to repeat it."""
    from cyclestrain.result import describe_result, load_result

    maps = load_result(result)
    return "\n".join([*describe_result(maps), *_origin(result, maps)])


def _origin(result: PathLike, maps: xr.Dataset) -> list[str]:
    from cyclestrain.io import fingerprint, read

    try:
        run = stored_run(result, maps)
    except InputError:
        return []  # a result that was not made from a file
    if run.scan is None:
        return [f"scan: {maps.attrs.get('input_path') or 'an array in memory'}, not found from here"]
    try:
        same = fingerprint(read(run.scan, run.reading)) == run.fingerprint
    except InputError as error:
        return [f"scan: {run.scan}, which can no longer be read: {error}"]
    state = (
        "the same as when it was mapped, as far as 64 patterns tell"
        if same
        else "NOT the one that was mapped: its content differs"
    )
    return [f"scan: {run.scan}, {state}", f"repeat: cyclestrain map --config {os.fspath(result)}"]


def _group(result: PathLike | xr.Dataset, name: str) -> xr.Dataset | None:
    """A data set stored beside the maps of a result, if it has one."""
    import xarray as xr

    from cyclestrain.result import load_group

    if isinstance(result, xr.Dataset):
        return None
    try:
        return load_group(result, name)
    except InputError:
        return None
