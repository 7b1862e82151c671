"""How the arguments of a function become the options of its command: their types, groups and help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from types import NoneType, SimpleNamespace
from typing import Annotated, Any, Unpack, get_args, get_origin, get_type_hints

from cyclopts import CoercionError, Group, Parameter, convert
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cyclestrain.settings import (
    FitSettings,
    LiveOptions,
    LiveSettings,
    MapSettings,
    ReadOptions,
    ReadSettings,
    ShowOptions,
    ShowSettings,
)

__all__ = ["ALWAYS", "options_of"]

SET, READING = Group("What people set", sort_key=1), Group("Reading the file", sort_key=2)
EXPERT, ALWAYS = Group("Expert", sort_key=3), Group("Every command", sort_key=4)
"""Headings in the help."""
RESUME = "Insist on going on with an interrupted fit: an error where there is none."
EXPERTS = (
    "centre", "ring", "ellipse", "classes", "memory", "jobs", "seed", "device", "along", "epochs", "init_from",
    "resume", "trials", "study",
)  # fmt: skip
"""Options that are measured, or right, unless a person knows better."""
# What a person types for the types of api.py.
_TYPED: dict[str, Any] = dict.fromkeys(
    ("Client", "Mask", "PathLike", "PatternSource", "Progress", "Reference", "Scan"), str
)
_TYPED["Known"] = list[str]
# What the settings say of their fields.
_HELP = {
    name: " ".join(str(field.description).split())
    for group in (MapSettings, FitSettings, LiveSettings, ReadSettings, ShowSettings)
    for name, field in group.model_fields.items()
}
_RETURNED: dict[str, Any] = {
    "Aperture": object,
    "BoundTable": object,
    "Defects": object,
    "Figure": object,
    "Grains": object,
    "Model": object,
    "SimulatedScan": object,
    "WarmUp": object,
    "xr": SimpleNamespace(Dataset=str),
}
GROUPS: dict[Any, type[BaseModel]] = {LiveOptions: LiveSettings, ReadOptions: ReadSettings, ShowOptions: ShowSettings}
"""Settings whose fields are the keywords of a function."""


def options_of(function: Callable[..., Any], output: str = "", several: str = "") -> list[inspect.Parameter]:
    """Parameters of the command of a function, with their types, groups and help.

    Parameters
    ----------
    function
        Function of `cyclestrain.api`.
    output
        Explains where the command writes to.
    several
        What several values of its first argument mean; empty where it takes one.
    """
    hints = get_type_hints(function, localns={**_TYPED, **_RETURNED})
    parameters = [_parameter(parameter, hint, output) for parameter, hint in _flat(function, hints)]
    if several:
        first = Annotated[str, Parameter(help=several)]
        parameters[0] = inspect.Parameter(parameters[0].name, inspect.Parameter.VAR_POSITIONAL, annotation=first)
    return parameters


def _flat(function: Callable[..., Any], hints: dict[str, Any]) -> Iterator[tuple[inspect.Parameter, Any]]:
    """Parameters of a function with their types: groups are taken apart into the options they consist of."""
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is Unpack:  # the keywords of a group of settings
            (group,) = get_args(hints[name])
            types = get_type_hints(group)
            for option, field in GROUPS[group].model_fields.items():
                keyword = inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=field.default)
                yield keyword, types[option]
        elif name not in ("client", "progress", "reading"):
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
