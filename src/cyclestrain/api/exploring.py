"""`explore`: a window in the browser, or in a notebook, on a result and its patterns."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from cyclestrain.api.arguments import PathLike, overridden, stored_run
from cyclestrain.api.inspection import intensities
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.settings import ReadOptions, ReadSettings, reading_given

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.data import PatternSource, Scan
    from cyclestrain.explorer import Opened, View

__all__ = ["check_app", "explore", "open_files"]


def explore(
    result: PathLike | xr.Dataset,
    scan: PathLike | PatternSource | Scan | None = None,
    *,
    beside: PathLike | xr.Dataset | None = None,
    view: str = "",
    address: str = "127.0.0.1",
    port: int = 0,
    browser: bool = True,
    reading: ReadSettings | None = None,
    **options: Unpack[ReadOptions],
) -> Any:
    """Look at a result in the browser: maps, and at every position the pattern with its fit, residual and numbers.

    Needs the extra `app`: ``pip install "cyclestrain[app]"``. In a notebook the window appears under the cell;
    elsewhere a server runs until it is interrupted with Ctrl+C. Nothing is loaded from the internet.

    Parameters
    ----------
    result
        Result file; in Python also the data set that `map` returned.
    scan
        The scan that was mapped; by default the file that the result names, if it is still there. Without one there are
        maps and no patterns.
    beside
        A second result of the same scan, to compare with.
    view
        What is looked at first, as the window itself writes it, such as "map=exx at=12,30 limits=-1:1".
    address
        Address to listen on. Any but that of this machine alone asks for a token, which is part of the printed address.
    port
        Port to listen on; 0 for any free one.
    browser
        Whether a browser is opened.
    reading, **options
        How the scan is read, where it is not as the result says: all at once, or one by one, see `cyclestrain.read`.

    Raises
    ------
    InputError
        If the result cannot be read, the scan does not fit it, or the extra is not installed.
    """
    from cyclestrain.io.hdf5 import check_ahead

    check_ahead(Path(each) for each in (result, scan, beside) if isinstance(each, str | os.PathLike))
    from cyclestrain.explorer import View  # takes longer than the check

    with _collector_paused():
        start = View.parse(view) if view else None
        opened = open_files(result, scan, beside, reading_given(reading, options))
        serve = _server(opened, start, address, port)
    return serve(browser)


def open_files(
    result: PathLike | xr.Dataset,
    scan: PathLike | PatternSource | Scan | None,
    beside: PathLike | xr.Dataset | None,
    given: dict[str, Any],
) -> Opened:
    """Everything that the window looks at.

    Parameters
    ----------
    result, scan, beside
        As for `explore`.
    given
        Options of reading that are not as the result says.

    Raises
    ------
    InputError
        If a result cannot be read, or what is given does not fit together.
    """
    from cyclestrain.explorer import Opened

    maps, name, groups = _result(result)
    second, second_name, _ = _result(beside) if beside is not None else (None, "", None)
    found, trouble = _scan(name, maps, scan, given)
    in_file = isinstance(result, str | os.PathLike)
    of = _intensities(result)
    return Opened(maps, name, groups, found, trouble, second, second_name, in_file, of)


def _result(result: PathLike | xr.Dataset) -> tuple[xr.Dataset, str, Callable[[], dict[str, xr.Dataset]]]:
    """Maps of a result, the name of its file, and what reads the data sets stored beside the maps."""
    import xarray as xr

    from cyclestrain.result import load_result

    if isinstance(result, xr.Dataset):
        return result, f"{result.attrs.get('name', 'result')}", dict
    return load_result(result), os.fspath(result), partial(_groups, result)


def _intensities(result: PathLike | xr.Dataset) -> xr.Dataset | None:
    """Intensities of a result that holds some."""
    with suppress(InputError):
        return intensities(result)
    return None


def _groups(result: PathLike) -> dict[str, xr.Dataset]:
    from cyclestrain.result import load_group

    groups = {}
    for name in ("dictionary", "training"):
        with suppress(InputError):
            groups[name] = load_group(result, name)
    return groups


def _scan(
    result: str, maps: xr.Dataset, scan: PathLike | PatternSource | Scan | None, given: dict[str, Any]
) -> tuple[Scan | None, str]:
    """The scan, and why there is none: a scan that cannot be read is no reason not to see the maps."""
    from cyclestrain.io import read

    stored, known = ReadSettings(), None
    with suppress(InputError):  # a result that was not made from a file
        run = stored_run(result, maps)
        stored, known = run.reading, run.scan or _beside(result, maps)
    source = known if scan is None else scan
    if source is None:
        named = str(maps.attrs.get("input_path", ""))
        where = (
            f"{Path(named).name} was not found from here" if named else "the result does not say of which scan it is"
        )
        return None, f"no patterns: {where}; give the scan after the result"
    try:
        return read(source, overridden(ReadSettings, stored, given)), ""
    except (CyclestrainError, OSError) as error:
        return None, f"no patterns, the scan cannot be read: {error}"


def _beside(result: str, maps: xr.Dataset) -> Path | None:
    """The scan of a result, if it lies in the same folder: both may have been moved together."""
    name = Path(str(maps.attrs.get("input_path", ""))).name
    found = Path(result).parent / name
    return found if name and found.exists() else None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Import and open without looking for garbage, of which there is none: a fifth of the time to the first window."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_app() -> None:
    """Make sure that the explorer can be served.

    Raises
    ------
    InputError
        If the extra is not installed.
    """
    if find_spec("bokeh") is None:
        raise InputError('the explorer needs Bokeh and Panel; install them with pip install "cyclestrain[app]"')


def _server(opened: Opened, view: View | None, address: str, port: int) -> Callable[[bool], Any]:
    """What shows a window: in a notebook by itself, elsewhere in a browser, until interrupted."""
    from cyclestrain.explorer import Session, in_notebook

    check_app()
    session = Session(opened, view)  # complains before anything is started
    if in_notebook():
        from cyclestrain.explorer.notebook import pane

        return lambda _browser: pane(session)
    from cyclestrain.explorer.guarding import LOCAL
    from cyclestrain.explorer.serving import make_server, serve, window_of

    server, where = make_server(partial(window_of, opened=opened, view=session.view), address=address, port=port)
    return lambda browser: serve(server, where, opened.name, local=address in LOCAL, browser=browser)
