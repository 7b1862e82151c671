"""What is on the screen as files: figures, tables, a result with the reference that was drawn."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from cyclestrain.errors import InputError
from cyclestrain.explorer.session import Session
from cyclestrain.io import mask_text
from cyclestrain.result import export_maps, save_result

__all__ = ["EXPORTS", "Exported", "export", "python_lines"]

DPI = 300


@dataclass(frozen=True)
class Exported:
    """A file to be saved: its name, kind and content."""

    name: str
    kind: str
    content: bytes


def export(session: Session, what: str) -> Exported:
    """Something that is on the screen, as a file.

    Parameters
    ----------
    session
        What is looked at.
    what
        One of `EXPORTS`.

    Raises
    ------
    InputError
        If there is nothing of the kind on the screen.
    """
    if what not in EXPORTS:
        raise InputError(f"there is no export {what!r}; choose one of {', '.join(EXPORTS)}")
    part, _, kind = what.partition(".")
    stem = Path(session.opened.name).stem or "result"
    suffix = "_reference" if kind == "nc" else f"_{session.view.map.replace(':', '_')}" if part == "map" else f"_{part}"
    kinds = {"png": "image/png", "svg": "image/svg+xml", "csv": "text/csv", "nc": "application/x-netcdf"}
    return Exported(f"{stem}{suffix}.{kind}", kinds[kind], _MAKERS[what](session))


def python_lines(session: Session) -> str:
    """Lines of Python that give the same maps and the same profile again.

    Parameters
    ----------
    session
        What is looked at.
    """
    view = session.view
    lines = ["import cyclestrain as cs", f"maps = cs.load({session.opened.name!r})"] if session.opened.in_file else []
    if view.reference is not None:
        words = mask_text(view.reference.mask(session.opened.shape))
        lines.append(f"maps = maps.strain.relative_to({words!r})")
    if view.line is not None:
        line, raw = view.line, ', estimate="raw"' if view.estimate else ""
        lines.append(f"line = maps.strain.profile({line.start}, {line.stop}, width={line.width:g}{raw})")
    if not session.opened.in_file:
        lines.append(f"cs.explore(maps, view={str(view)!r})")
    return "; ".join(lines)


def _image(part: str, kind: str) -> Callable[[Session], bytes]:
    def make(session: Session) -> bytes:
        import matplotlib as mpl  # only where something is drawn with it: a window needs none of it

        from cyclestrain.explorer.drawings import DRAWINGS

        page, out = DRAWINGS[part](session), BytesIO()
        with mpl.rc_context({"svg.fonttype": "none"}):
            page.savefig(out, format=kind, dpi=DPI)
        return out.getvalue()

    return make


def _written(write: Callable[[Session, Path], None], name: str) -> Callable[[Session], bytes]:
    """What a function writes into a file, as bytes."""

    def make(session: Session) -> bytes:
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(session, path)
            return path.read_bytes()

    return make


def _write_result(session: Session, path: Path) -> None:
    save_result(session.maps, path, groups=session.opened.groups())


def _write_maps(session: Session, path: Path) -> None:
    export_maps(session.maps, path, estimate=session.view.estimate)


def _profile(session: Session) -> bytes:
    line = session.view.line
    if line is None:
        raise InputError("there is no profile to save; draw a line across the map first")
    step, out = session.opened.step, StringIO(newline="")
    found = session.profile()
    if found is None:
        raise InputError(f"the map {session.view.map!r} has no profile; choose one of numbers")
    name, unit = session.view.map, session.shown().unit or "1"
    out.write(f"# profile of {name} from (y, x) = {line.start} to {line.stop}, width {line.width:g} positions\r\n")
    writer = csv.writer(out)
    writer.writerow([f"distance_{step.unit}", f"{name}_{unit}", f"{name}_sigma_{unit}", "positions"])
    sigma = [""] * len(found.values) if found.sigma is None else [f"{s:.6g}" for s in found.sigma]
    for distance, value, error, count in zip(found.distance, found.values, sigma, found.count, strict=True):
        writer.writerow([f"{distance * step.value:.6g}", f"{value:.6g}", error, int(count)])
    return out.getvalue().encode("utf-8")


_MAKERS: dict[str, Callable[[Session], bytes]] = {
    "map.png": _image("map", "png"),
    "map.svg": _image("map", "svg"),
    "pattern.png": _image("pattern", "png"),
    "pattern.svg": _image("pattern", "svg"),
    "profile.png": _image("profile", "png"),
    "profile.svg": _image("profile", "svg"),
    "profile.csv": _profile,
    "maps.csv": _written(_write_maps, "maps.csv"),
    "result.nc": _written(_write_result, "result.nc"),
}
EXPORTS = {
    "map.png": "Map, PNG",
    "map.svg": "Map, SVG",
    "pattern.png": "Pattern, PNG",
    "pattern.svg": "Pattern, SVG",
    "profile.png": "Profile, PNG",
    "profile.svg": "Profile, SVG",
    "profile.csv": "Profile, CSV",
    "maps.csv": "All maps, CSV",
    "result.nc": "Result with this reference, .nc",
}
"""What can be exported, with the words of the menu."""
