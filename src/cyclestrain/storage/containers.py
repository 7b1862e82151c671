"""Trees of containers (dataclasses, tuples, lists, dictionaries) as JSON and named arrays: storage without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode", "encode"]


def encode(value: Any, arrays: dict[str, NDArray[Any]], name: str = "value") -> Any:
    """JSON tree that stands for a value, whose arrays are collected apart.

    Parameters
    ----------
    value
        A tree of dataclasses, tuples, lists, dictionaries, arrays, numbers and text.
    arrays
        Receives the arrays, under names that say where in the tree they belong.
    name
        Name of the value, with which the names of its arrays begin.

    Raises
    ------
    TypeError
        If something in the tree is of another type.

    Examples
    --------
    >>> arrays = {}
    >>> encode({"ring": (2.0, 9.0), "mean": np.zeros(3)}, arrays, "scan")
    {'dict': {'ring': {'tuple': [2.0, 9.0]}, 'mean': {'array': 'scan.mean', 'scalar': False}}}
    >>> list(arrays)
    ['scan.mean']
    """
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise TypeError("arrays of Python objects are not kept")
        arrays[name] = array
        return {"array": name, "scalar": isinstance(value, np.generic)}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {item.name: getattr(value, item.name) for item in fields(value) if item.init}
        return {"class": type(value).__name__, "fields": _encode_all(parts, arrays, name)}
    if isinstance(value, dict):
        return {"dict": _encode_all(value, arrays, name)}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [encode(item, arrays, f"{name}.{i}") for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _encode_all(parts: Mapping[str, Any], arrays: dict[str, NDArray[Any]], name: str) -> dict[str, Any]:
    return {key: encode(item, arrays, f"{name}.{key}") for key, item in parts.items()}


def decode(tree: Any, arrays: Mapping[str, NDArray[Any]], classes: Sequence[type]) -> Any:
    """Value from which `encode` made a tree and arrays.

    Parameters
    ----------
    tree, arrays
        Tree and arrays.
    classes
        Dataclasses that may be made from the tree.

    Raises
    ------
    KeyError
        If the tree holds another class or an array is missing.
    """
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        array = arrays[tree["array"]]
        return array[()] if tree["scalar"] else array
    if "class" in tree:
        known = {each.__name__: each for each in classes}[tree["class"]]
        return known(**{key: decode(item, arrays, classes) for key, item in tree["fields"].items()})
    (kind, items), *_ = tree.items()
    if kind == "dict":
        return {key: decode(item, arrays, classes) for key, item in items.items()}
    decoded = [decode(item, arrays, classes) for item in items]
    return tuple(decoded) if kind == "tuple" else decoded
