"""The command line: every function of `cyclestrain.api` becomes a command, with its own arguments and documentation.

Exit codes: 0 fine, 1 an error the user can act on, 2 wrong usage, 130 interrupted. Results go to the standard output,
progress and errors to the standard error. For scripts, ``--quiet`` leaves out progress and ``--json`` prints one line
of JSON instead of sentences.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Annotated, Any, Literal, Unpack, get_args, get_origin, get_type_hints

from cyclopts import App, CoercionError, CycloptsError, Group, Parameter, UnknownOptionError, convert
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cyclestrain import api
from cyclestrain.errors import CyclestrainError, printable
from cyclestrain.memory import available_memory
from cyclestrain.progress import Progress, RichProgress, SilentProgress
from cyclestrain.settings import FitSettings, MapSettings, ReadOptions, ReadSettings, ShowOptions, ShowSettings
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
    "--threads": "the environment variable NUMBA_NUM_THREADS",
}
"""What people type, and what it is called here; for options that the command does not have."""
SET, READING = Group("What people set", sort_key=1), Group("Reading the file", sort_key=2)
EXPERT, ALWAYS = Group("Expert", sort_key=3), Group("Every command", sort_key=4)
RESUME = "Insist on going on with an interrupted fit: an error where there is none."
EXPERTS = ("centre", "ring", "ellipse", "classes", "memory", "seed", "device", "along", "epochs", "init_from", "resume")
"""Options that are measured, or right, unless a person knows better."""
_Flag = Annotated[bool, Parameter(show_default=False, group=ALWAYS)]

app = App(
    name="cyclestrain",
    version=__version__,
    help="Strain, rotation and phase maps from extremely noisy 4D-STEM scans.",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

# What a person types for the types of api.py.
_TYPED: dict[str, Any] = dict.fromkeys(("Mask", "PathLike", "PatternSource", "Reference", "Scan", "Progress"), str)
_TYPED["Known"] = list[str]
# What the settings say of their fields.
_HELP = {
    name: " ".join(str(field.description).split())
    for group in (MapSettings, FitSettings, ReadSettings, ShowSettings)
    for name, field in group.model_fields.items()
}
_RETURNED: dict[str, Any] = {
    "BoundTable": object,
    "Figure": object,
    "Grains": object,
    "Model": object,
    "SimulatedScan": object,
    "xr": SimpleNamespace(Dataset=str),
}


_KINDS = {int: "a whole number", float: "a number", bool: "yes or no"}
GROUPS: dict[Any, type[BaseModel]] = {ReadOptions: ReadSettings, ShowOptions: ShowSettings}
"""Settings whose fields are the keywords of a function."""


def _flat(function: Callable[..., Any], hints: dict[str, Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Parameters of a function with their types: groups are taken apart into the options they consist of."""
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is Unpack:  # the keywords of a group of settings
            (group,) = get_args(hints[name])
            types = get_type_hints(group)
            for option, field in GROUPS[group].model_fields.items():
                keyword = inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=field.default)
                yield keyword, types[option]
        elif name not in ("progress", "reading"):
            yield parameter, hints[name]


def _whole_numbers(annotation: Any) -> bool:
    """Whether an option takes nothing but whole numbers."""
    inner = [
        kind for kind in get_args(annotation) if kind not in (NoneType, Ellipsis) and not isinstance(kind, FieldInfo)
    ]
    return all(map(_whole_numbers, inner)) if inner else annotation is int


def _whole(kind: Any, tokens: Sequence[Any]) -> Any:
    """Convert what was typed to whole numbers; left to itself, the parser rounds 1.5."""
    for token in tokens:
        if not re.fullmatch(r"[+-]?\d+", token.value):
            raise CoercionError(token=token, target_type=int)
    return convert(kind, tokens)


def _parameter(parameter: inspect.Parameter, annotation: Any, output: str) -> inspect.Parameter:
    """A parameter of a function as the command line knows it; `output` explains where the command writes to."""
    kind = parameter.kind
    spelling: dict[str, Any] = {"help": _HELP[parameter.name]} if parameter.name in _HELP else {}
    if parameter.default is None or parameter.default is False:
        spelling["show_default"] = False
    elif isinstance(parameter.default, tuple):  # as it would be typed
        spelling["show_default"] = lambda values: " ".join(map(str, values))
    if kind is inspect.Parameter.KEYWORD_ONLY:
        read = parameter.name in ReadSettings.model_fields
        spelling["group"] = READING if read else EXPERT if parameter.name in EXPERTS else SET
    if _whole_numbers(annotation):
        spelling["converter"] = _whole
    if parameter.name == "estimate":  # one of its choices is to name none, which a list of choices cannot show
        spelling["show_choices"] = False
    if parameter.name == "output":
        spelling["group"] = SET
        kind = inspect.Parameter.KEYWORD_ONLY
        spelling |= {"name": ["--output", "-o"], "help": output}
    elif parameter.name == "scan_shape":
        spelling["name"] = "--scan"
    elif parameter.name == "resume":
        spelling["help"] = RESUME
    elif parameter.name == "browser":
        spelling["negative"] = "--no-browser"
    elif parameter.name in ("shape", "backgrounds", "maps", "formats", "tilts"):
        spelling["consume_multiple"] = True
    elif kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        kind = inspect.Parameter.POSITIONAL_ONLY
    elif kind is inspect.Parameter.VAR_KEYWORD:
        annotation = list[float | str]
        spelling |= {"consume_multiple": True, "help": "Any further option of the phantom, such as --grain-size 100."}
    return parameter.replace(annotation=Annotated[annotation, Parameter(**spelling)], kind=kind)


def _command(function: Callable[..., Any], output: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of `function`; the decorated one gets its arguments, calls it and prints what it returned."""
    hints = get_type_hints(function, localns={**_TYPED, **_RETURNED})
    parameters = [_parameter(parameter, hint, output) for parameter, hint in _flat(function, hints)]

    def register(command: Callable[..., None]) -> Callable[..., None]:
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


@_command(api.map, output="File to write; by default SCAN_strain.nc, for a repeated run RESULT_again.nc.")
def _map(scan: str | None = None, **options: Any) -> None:
    again = f"{Path(options['config']).stem}_again.nc" if options.get("config") else "strain.nc"
    output = options.pop("output", None) or (f"{Path(scan).stem}_strain.nc" if scan else again)
    maps = api.map(scan, output, **options, progress=voice.progress)
    valid, positions = int(maps["valid"].sum()), int(maps["valid"].size)
    text = f"wrote {output}: {valid} of {positions} positions valid"
    voice.say(text, output=output, valid=valid, positions=positions, reference=maps.attrs["reference"])


@_command(api.fit, output="Model to write, a .safetensors file; by default SCAN_model.safetensors.")
def _fit(scan: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(scan).stem}_model.safetensors"
    model = api.fit(scan, output, **options, progress=voice.progress)
    entries, held_out = len(model.material.dictionary.entries), model.log.kept.held_out
    text = f"wrote {output}: {entries} entries, held-out deviance {held_out:.4f}"
    voice.say(text, output=output, entries=entries, held_out=held_out)


@_command(
    api.show,
    output="With an extension (png, svg, pdf): file for the maps. Without one: folder for every figure there is. "
    "By default RESULT.png.",
)
def _show(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}.png"
    api.show(result, output, **options)
    voice.say(f"wrote {output}", output=output)


@_command(api.report, output="Page to write; by default RESULT.html.")
def _report(result: str, output: str | None = None, **options: Any) -> None:
    page = str(api.report(result, output or f"{Path(result).stem}.html", **options))
    voice.say(f"wrote {page}", output=page)


@_command(api.export, output="File to write; its extension names the target.")
def _export(result: str, output: str, **options: Any) -> None:
    files = [str(file) for file in api.export(result, output, **options)]
    voice.say(f"wrote {', '.join(files)}", files=files)


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
    try:
        if tokens:
            app(tokens, exit_on_error=False, print_error=False)
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
        _fail(_in_words(error))
        return FAILED
    return 0


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


def _in_words(error: Exception) -> str:
    if isinstance(error, CyclestrainError):
        return str(error)
    if isinstance(error, MemoryError) and _asked(error) <= (available_memory() or math.inf):
        return "not enough memory; close other programs or use a machine with more"
    return f"unexpected {type(error).__name__}: {printable(str(error))}; please report it with what --debug prints"


def _asked(error: MemoryError) -> int:
    """Bytes of the array that could not be made, 0 where the error does not say.

    The memory that a run takes is bounded: an array larger than the machine is a fault of the program, and closing
    other programs makes no room for it.
    """
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    return 0 if shape is None or dtype is None else math.prod(shape) * int(dtype.itemsize)


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
