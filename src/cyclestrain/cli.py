"""The command line: every function of `cyclestrain.api` becomes a command, with its own arguments and documentation.

Exit codes: 0 fine, 1 an error the user can act on, 2 wrong usage, 130 interrupted. Results go to the standard output,
progress and errors to the standard error. For scripts, ``--quiet`` leaves out progress and ``--json`` prints one line
of JSON instead of sentences.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import App, CoercionError, CycloptsError, Parameter, UnknownOptionError

from cyclestrain import api
from cyclestrain.api.failures import in_words
from cyclestrain.api.scans import is_pattern
from cyclestrain.errors import InputError, printable
from cyclestrain.options import ALWAYS, options_of
from cyclestrain.progress import Progress, RichProgress, SilentProgress
from cyclestrain.version import __version__

__all__ = ["app", "main"]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
WELCOME = """\
cyclestrain {version}: strain, rotation and phase maps from extremely noisy 4D-STEM scans

  cyclestrain demo                              simulate a noisy scan, map it, compare it with its truth
  cyclestrain map scan.h5 -o strain.nc          map a scan: .mib .h5 .dm4 .blo .emd .zarr .npy .mat ...
  cyclestrain show strain.nc -o strain.png      draw the maps, also as .svg or .pdf

cyclestrain --help lists every command, cyclestrain map --help every option of one.
"""
MEANT = {
    "--roi": "--scan-roi (positions) or --detector-roi (pixels)",
    "--crop": "--scan-roi (positions) or --detector-roi (pixels)",
    "--center": "--centre",
    "--scan-shape": "--scan",
    "--binning": "--bin",
    "--out": "--output",
    "--overwrite": "--force",
    "--ref": "--reference",
    "--threads": "--jobs",
    "--workers": "--jobs, or --cluster local:N",
}
"""What people type, and what it is called here; for options that the command does not have."""
_Flag = Annotated[bool, Parameter(show_default=False, group=ALWAYS)]

app = App(
    name="cyclestrain",
    version=__version__,
    help="Strain, rotation and phase maps from extremely noisy 4D-STEM scans.",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

_KINDS = {int: "a whole number", float: "a number", bool: "yes or no"}


def _command(
    function: Callable[..., Any], output: str = "", several: str = ""
) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Make a command of `function`; the decorated one gets its arguments, calls it and prints what it returned.

    `output` explains where it writes to, `several` what several values of its first argument mean. It may return an
    exit code.
    """
    parameters = options_of(function, output, several)

    def register(command: Callable[..., int | None]) -> Callable[..., int | None]:
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        command.__doc__ = function.__doc__
        app.command(command, name=function.__name__.replace("_", "-"))
        return command

    return register


@dataclass
class _Voice:
    """How a command speaks: in sentences, in JSON for scripts, or not at all."""

    quiet: bool = False
    json: bool = False

    @property
    def progress(self) -> Progress:
        """Where a run reports to."""
        return SilentProgress() if self.quiet or self.json else RichProgress()

    def say(self, text: str, **facts: Any) -> None:
        """Say what was done, or print its facts."""
        if self.json:
            print(json.dumps(facts, default=str))
        elif not self.quiet:
            _say(text)


voice = _Voice()


SMALL = 0.7
"""Standard deviation of error over sigma below which the demo explains it."""
UNKNOWN_ELLIPSE = (
    "Errors are smaller than their sigma here: it also holds what the grains leave unknown of an elliptic distortion\n"
    "of the detector, and this simulated one has none. Who knows that of theirs says so: --ellipse 1 0."
)


@_command(api.demo)
def _demo(*arguments: Any, **options: Any) -> None:
    made = api.demo(*arguments, **options, progress=voice.progress)
    tables = "\n\n".join(str(accuracy) for accuracy in made.accuracy)
    if made.accuracy[0].exx.z_std < SMALL:
        tables += f"\n\n{UNKNOWN_ELLIPSE}"
    names = [str(file) for file in made.files]
    voice.say("\n  ".join([f"{tables}\n\nwrote", *names]), files=names)


@_command(api.simulate, output="HDF5 file to write, patterns and truth; by default PHANTOM.h5.")
def _simulate(phantom: str = "polycrystal", **options: Any) -> None:
    output = options.pop("output", None) or f"{phantom}.h5"
    spelled = {name.replace("-", "_"): _scalar(value) for name, value in options.items()}
    api.simulate(phantom, output, **spelled, progress=voice.progress)
    voice.say(f"wrote {output}", output=output)


@_command(
    api.map,
    output="File to write; by default SCAN_strain.nc, for a repeated run RESULT_again.nc. Of several scans the folder, "
    "in which a table, summary.csv, is written as well.",
    several="Files of any vendor or tool, or folders of frames. Several, or a name such as ``'*.mib'``, are mapped one "
    "after the other; the same command again does only those without a result.",
)
def _map(*scans: str, **options: Any) -> int:
    if _is_many(scans, options.get("output")):
        return _map_many(scans, **options)
    scan = scans[0] if scans else None
    again = f"{Path(options['config']).stem}_again.nc" if options.get("config") else "strain.nc"
    output = options.pop("output", None) or (f"{Path(scan).stem}_strain.nc" if scan else again)
    maps = api.map(scan, output, **options, progress=voice.progress)
    valid, positions = int(maps["valid"].sum()), int(maps["valid"].size)
    text = f"wrote {output}: {valid} of {positions} positions valid"
    voice.say(text, output=output, valid=valid, positions=positions, reference=maps.attrs["reference"])
    return 0


def _is_many(scans: Sequence[str], output: str | None) -> bool:
    """Whether results go into a folder: there are several scans, or a pattern, or the output is one."""
    folder = output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())
    return len(scans) > 1 or any(map(is_pattern, scans)) or (folder and bool(scans))


def _map_many(scans: Sequence[str], *, output: str | None = None, **options: Any) -> int:
    if output is None:
        last = f" (or, if {scans[-1]} is the file to write, -o {scans[-1]})" if scans[-1].endswith(".nc") else ""
        raise InputError(f"several scans are mapped into a folder; give one, -o maps/{last}")
    batch = api.map_many(scans, output, **options, progress=voice.progress)
    done = len(batch.summaries) - len(batch.failed)
    rows = [summary.row for summary in batch.summaries]
    text = f"{batch}\n\n{done} of {len(rows)} scans have a result in {batch.folder}, table {batch.table}"
    voice.say(text, output=str(batch.folder), table=str(batch.table), scans=rows)
    for summary in batch.failed:
        names_it = printable(summary.file) in summary.message
        _fail(summary.message if names_it else f"{printable(summary.file)}: {summary.message}")
    return FAILED if batch.failed else 0


@_command(api.live, output="File to write; by default live.nc.")
def _live(**options: Any) -> None:
    output = options.pop("output", None) or "live.nc"
    maps = api.live(output, **options, progress=voice.progress)
    valid, positions, came = int(maps["valid"].sum()), int(maps["valid"].size), int(maps.attrs["live_positions"])
    ended = str(maps.attrs["live_ended"])
    text = f"wrote {output}: {valid} of {positions} positions valid"
    if ended:
        text = f"{ended}; wrote {output} with what came: {came} of {positions} positions, {valid} of them valid"
    voice.say(text, output=output, valid=valid, positions=positions, came=came, ended=ended)


@_command(api.fit, output="Model to write, a .safetensors file; by default SCAN_model.safetensors.")
def _fit(scan: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(scan).stem}_model.safetensors"
    model = api.fit(scan, output, **options, progress=voice.progress)
    entries, held_out = len(model.material.dictionary.entries), model.log.kept.held_out
    text = f"wrote {output}: {entries} entries, held-out deviance {held_out:.4f}"
    tuned = model.tuned if options.get("trials") else None
    facts = {"tuning": tuned.summary, "settings": asdict(tuned.hyper)} if tuned else {}
    voice.say(text, output=output, entries=entries, held_out=held_out, **facts)


@_command(
    api.show,
    output="With an extension (png, svg, pdf): file for the maps. Without one: folder for every figure there is. "
    "By default RESULT.png.",
)
def _show(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}.png"
    api.show(result, output, **options)
    voice.say(f"wrote {output}", output=output)


@_command(api.probe, output="Figure to write: png, svg or pdf; by default none.")
def _probe(vacuum: str, output: str | None = None, **options: Any) -> None:
    made = api.probe(vacuum, output, **options)
    text = str(made) if output is None else f"{made}\n\nwrote {output}"
    voice.say(
        text, output=output, diameter=2 * made.radius, diameter_sigma=2 * made.radius_sigma, centre=made.centre,
        centre_sigma=made.centre_sigma, ratio=made.ratio, ratio_sigma=made.ratio_sigma, angle=made.angle,
        form=made.form,
    )  # fmt: skip


@_command(api.report, output="Page to write; by default RESULT.html.")
def _report(result: str, output: str | None = None, **options: Any) -> None:
    page = str(api.report(result, output or f"{Path(result).stem}.html", **options))
    voice.say(f"wrote {page}", output=page)


@_command(api.export, output="File to write; its extension names the target.")
def _export(result: str, output: str, **options: Any) -> None:
    files = [str(file) for file in api.export(result, output, **options)]
    voice.say(f"wrote {', '.join(files)}", files=files)


@_command(api.defects, output="Table to write (.csv), or all with the density (.nc); by default RESULT_defects.csv.")
def _defects(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}_defects.csv"
    found = api.defects(result, output, **options)
    voice.say(f"wrote {output}: {found}", output=output, dislocations=len(found.cores), walls=len(found.walls))


@_command(
    api.grains, output="Table to write, with another one of the boundaries beside it; by default RESULT_grains.csv."
)
def _grains(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}_grains.csv"
    found = api.grains(result, output, **options)
    facts = {"grains": len(found.grains), "boundaries": len(found.boundaries), "phases": list(found.phases)}
    voice.say(f"wrote {output}: {found}", output=output, **facts)


@_command(api.tilt, output="File to write; by default RESULT_tilt.nc.")
def _tilt(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}_tilt.nc"
    found = api.tilt(result, output, **options, progress=voice.progress)
    valid = int(found["valid"].sum()) if "valid" in found else 0
    text = f"wrote {output}"
    if "valid" in found:
        text += f": {valid} of {found['valid'].size} positions valid"
    if "separable" in found:
        text += f", at {int(found['separable'].sum())} the sign of the polarization is told from a tilt"
    voice.say(text, output=output, valid=valid)


@_command(api.tilt_series, output="File to write; by default RESULT_membrane.nc of the first result.")
def _tilt_series(results: list[str], **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(results[0]).stem}_membrane.nc"
    found = api.tilt_series(results, output, **options)
    text = f"wrote {output}"
    if "foreshortened" in found:
        some = found["foreshortened"]
        text += f": {int(some.sum())} of {some.size} positions are as a slope makes them"
    voice.say(text, output=output)


@_command(api.explore)
def _explore(*arguments: Any, **options: Any) -> None:
    api.explore(*arguments, **options)


@_command(api.warm_up)
def _warm_up(**options: Any) -> None:
    done = api.warm_up(**options, progress=voice.progress)
    voice.say(str(done), folder=done.folder, seconds=done.seconds)


@_command(api.info)
def _info(file: str, **options: Any) -> None:
    text = str(api.info(file, **options))
    _say(json.dumps({"file": file, "lines": text.splitlines()}) if voice.json else text)


@_command(api.benchmark)
def _benchmark(*arguments: Any, **options: Any) -> None:
    text = str(api.benchmark(*arguments, **options))
    _say(json.dumps({"lines": text.splitlines()}) if voice.json else text)


def _say(text: str) -> None:
    """Print text line by line, with whatever would steer the terminal spelled out."""
    for line in text.split("\n"):
        print(printable(line))


def _scalar(value: Any) -> Any:
    """An option typed with one value is that value, with several it is a tuple."""
    if not isinstance(value, list):
        return value
    return value[0] if len(value) == 1 else tuple(value)


def _fail(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble(("error:", "bold red"), " ", message), soft_wrap=True)


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: _Flag = False,
    quiet: _Flag = False,
    json: _Flag = False,
) -> int:
    """Run a command.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    quiet
        Show no progress and say nothing where all is well.
    json
        Print one line of JSON instead of sentences, and no progress.
    """
    voice.quiet, voice.json = quiet, json
    code: int | None = 0
    try:
        if tokens:
            code = app(tokens, exit_on_error=False, print_error=False)
        else:
            print(WELCOME.format(version=__version__), end="")
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough: `cyclestrain info ... | head`
        _close_output()
    except CycloptsError as error:
        _wrong_usage(error)
        return WRONG_USAGE
    except KeyboardInterrupt as stop:
        _fail("; ".join(["interrupted", *getattr(stop, "__notes__", ())]))
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        _fail(in_words(error))
        return FAILED
    return code or 0


def _close_output() -> None:
    """Point the standard output to nowhere, so that Python has nothing to complain of when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _wrong_usage(error: CycloptsError) -> None:
    """One sentence on what was typed, with what was probably meant."""
    text = str(error)
    if isinstance(error, UnknownOptionError) and error.token is not None:
        typed = str(error.token.keyword or error.token.value).split("=")[0]
        if typed in MEANT:
            text = f'unknown option "{typed}"; what it may mean is called {MEANT[typed]} here'
    elif isinstance(error, CoercionError) and error.token is not None and "unable to convert" in text:
        text = f'{error.token.keyword or error.token.value} takes {_kind(error.target_type)}, not "{error.token.value}"'
    chain = " ".join(error.command_chain or ())
    _fail(f"{text.strip()} (cyclestrain {chain} --help)".replace("  ", " "))


def _kind(annotation: Any) -> str:
    """What a value may be, as people say it."""
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    return " or ".join(map(_kind, kinds)) if kinds else _KINDS.get(annotation, "something else")


app.register_install_completion_command(
    help="Let the shell complete commands and options (bash, zsh, fish): writes to its start-up file."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    given.sort(key=lambda word: word not in ("--debug", "--quiet", "--json"))  # those of every command stand anywhere
    try:
        return int(app.meta(given, exit_on_error=False) or 0)
    except CycloptsError:
        return WRONG_USAGE


if __name__ == "__main__":
    sys.exit(main())
