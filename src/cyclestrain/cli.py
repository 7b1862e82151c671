"""The command line: every function of `cyclestrain.api` becomes a command, with its own arguments and documentation.

Exit codes: 0 fine, 1 an error the user can act on, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Unpack, get_origin, get_type_hints

from cyclopts import App, CycloptsError, Parameter

from cyclestrain import api
from cyclestrain.errors import CyclestrainError
from cyclestrain.memory import available_memory
from cyclestrain.progress import RichProgress
from cyclestrain.settings import FitSettings, MapSettings, ReadOptions, ReadSettings
from cyclestrain.version import __version__

__all__ = ["app", "main"]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
_Flag = Annotated[bool, Parameter(show_default=False)]

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
    for group in (MapSettings, FitSettings, ReadSettings)
    for name, field in group.model_fields.items()
}
_RETURNED: dict[str, Any] = {
    "BoundTable": object,
    "Figure": object,
    "Model": object,
    "SimulatedScan": object,
    "xr": SimpleNamespace(Dataset=str),
}


def _flat(function: Callable[..., Any], hints: dict[str, Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Parameters of a function with their types: groups are taken apart into the options they consist of."""
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is Unpack:  # the keywords of a group of settings
            for option, field in ReadSettings.model_fields.items():
                keyword = inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=field.default)
                yield keyword, ReadOptions.__annotations__[option]
        elif name not in ("progress", "reading"):
            yield parameter, hints[name]


def _parameter(parameter: inspect.Parameter, annotation: Any, output: str) -> inspect.Parameter:
    """A parameter of a function as the command line knows it; `output` explains where the command writes to."""
    kind = parameter.kind
    spelling: dict[str, Any] = {"help": _HELP[parameter.name]} if parameter.name in _HELP else {}
    if parameter.default is None or parameter.default is False:
        spelling["show_default"] = False
    if parameter.name == "output":
        kind = inspect.Parameter.KEYWORD_ONLY
        spelling |= {"name": ["--output", "-o"], "help": output}
    elif parameter.name == "scan_shape":
        spelling["name"] = "--scan"
    elif parameter.name in ("shape", "backgrounds"):
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
        app.command(command, name=function.__name__)
        return command

    return register


@_command(api.demo)
def _demo(*arguments: Any, **options: Any) -> None:
    made = api.demo(*arguments, **options, progress=RichProgress())
    for accuracy in made.accuracy:
        print(accuracy, end="\n\n")
    print("wrote", *made.files, sep="\n  ")


@_command(api.simulate, output="HDF5 file to write, patterns and truth; by default PHANTOM.h5.")
def _simulate(phantom: str = "polycrystal", **options: Any) -> None:
    output = options.pop("output", None) or f"{phantom}.h5"
    spelled = {name.replace("-", "_"): _scalar(value) for name, value in options.items()}
    api.simulate(phantom, output, **spelled, progress=RichProgress())
    print(f"wrote {output}")


@_command(api.map, output="File to write; by default SCAN_strain.nc, for a repeated run RESULT_again.nc.")
def _map(scan: str | None = None, **options: Any) -> None:
    again = f"{Path(options['config']).stem}_again.nc" if options.get("config") else "strain.nc"
    output = options.pop("output", None) or (f"{Path(scan).stem}_strain.nc" if scan else again)
    maps = api.map(scan, output, **options, progress=RichProgress())
    print(f"wrote {output}: {int(maps['valid'].sum())} of {maps['valid'].size} positions valid")


@_command(api.fit, output="Model to write, a .safetensors file; by default SCAN_model.safetensors.")
def _fit(scan: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(scan).stem}_model.safetensors"
    model = api.fit(scan, output, **options, progress=RichProgress())
    kept = model.log.kept
    print(f"wrote {output}: {len(model.material.dictionary.entries)} entries, held-out deviance {kept.held_out:.4f}")


@_command(
    api.show,
    output="With an extension (png, svg, pdf): file for the maps. Without one: folder for every figure there is. "
    "By default RESULT.png.",
)
def _show(result: str, **options: Any) -> None:
    output = options.pop("output", None) or f"{Path(result).stem}.png"
    api.show(result, output, **options)
    print(f"wrote {output}")


@_command(api.report, output="Page to write; by default RESULT.html.")
def _report(result: str, output: str | None = None, **options: Any) -> None:
    print(f"wrote {api.report(result, output or f'{Path(result).stem}.html', **options)}")


@_command(api.export, output="File to write; its extension names the target.")
def _export(result: str, output: str, **options: Any) -> None:
    print(f"wrote {', '.join(map(str, api.export(result, output, **options)))}")


@_command(api.info)
def _info(file: str, **options: Any) -> None:
    print(api.info(file, **options))


@_command(api.benchmark)
def _benchmark(*arguments: Any, **options: Any) -> None:
    print(api.benchmark(*arguments, **options))


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
def _launch(*tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], debug: _Flag = False) -> int:
    """Run a command.

    Parameters
    ----------
    debug
        Show the traceback of an error.
    """
    try:
        app(tokens, exit_on_error=False)
    except CycloptsError:
        raise
    except KeyboardInterrupt as stop:
        _fail("; ".join(["interrupted", *getattr(stop, "__notes__", ())]))
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        _fail(_in_words(error))
        return FAILED
    return 0


def _in_words(error: Exception) -> str:
    if isinstance(error, CyclestrainError):
        return str(error)
    if isinstance(error, MemoryError) and _asked(error) <= (available_memory() or math.inf):
        return "not enough memory; close other programs or use a machine with more"
    return f"unexpected {type(error).__name__}: {error}; please report it with what --debug prints"


def _asked(error: MemoryError) -> int:
    """Bytes of the array that could not be made, 0 where the error does not say.

    The memory that a run takes is bounded: an array larger than the machine is a fault of the program, and closing
    other programs makes no room for it.
    """
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    return 0 if shape is None or dtype is None else math.prod(shape) * int(dtype.itemsize)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        return int(app.meta(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False) or 0)
    except CycloptsError:
        return WRONG_USAGE


if __name__ == "__main__":
    sys.exit(main())
