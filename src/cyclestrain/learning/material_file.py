"""The file of a model: what it holds, and what a map needs of it, which is all but the network.

One safetensors file, no pickle: a header with a tree of containers, whose arrays are tensors beside those of the
network (`cyclestrain.network.model_file`). Read here as NumPy arrays, since a map with a model needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from cyclestrain.data import Grain
from cyclestrain.errors import InputError, first_line
from cyclestrain.learning.knowledge import Material
from cyclestrain.orientation import PolarGrid, Templates
from cyclestrain.pattern import Dictionary, DiskImages, Entry, Priors, Probe
from cyclestrain.storage import decode

__all__ = ["FORMAT", "HEADER", "NETWORK", "STORED", "ModelFile", "PathLike", "checksum", "damaged"]

PathLike: TypeAlias = "str | os.PathLike[str]"
FORMAT = 1
"""Version of the layout of the file."""
HEADER = "cyclestrain"
"""Key of the header in the metadata of the file."""
NETWORK = "network."
"""Beginning of the names of the network's tensors."""
STORED = (Material, Dictionary, Entry, Probe, Priors, DiskImages, Grain, Templates, PolarGrid)
"""Containers of which a material is made."""
_NEVER_ZERO = ("intensity", "reflections", "basis", "values", "spectra")
"""Arrays of a dictionary and its templates that hold something in every model."""


@dataclass(frozen=True)
class ModelFile:
    """The content of a model's file, whose checksum fits.

    Attributes
    ----------
    path
        The file.
    material
        Dictionary and templates.
    tree
        Containers by name, as `cyclestrain.storage.encode` describes them.
    arrays
        Their arrays, by name.
    weights
        Tensors of the network, by name.
    fingerprint
        SHA-256 of the very bytes that were read.
    """

    path: Path
    material: Material
    tree: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    weights: dict[str, NDArray[Any]]
    fingerprint: str

    @classmethod
    def read(cls, path: PathLike) -> ModelFile:
        """Read a file.

        Parameters
        ----------
        path
            File that `cyclestrain.network.save_model` wrote.

        Raises
        ------
        InputError
            If the file is no model, is damaged, or a newer version wrote it; if safetensors is not installed.
        """
        if find_spec("safetensors") is None:
            raise InputError(
                "a model needs safetensors, which is not installed here: pip install 'cyclestrain[network]', or "
                "safetensors alone for a map, which needs no torch with --model"
            )
        path = Path(path)
        content = _content(path)
        header, tensors = _parts(content, path)
        if header["format"] > FORMAT:
            raise InputError(
                f"{path} was written by a newer cyclestrain (format {header['format']}, this one reads {FORMAT}); "
                "update it"
            )
        if header.get("checksum", "") not in ("", checksum(header["tree"], tensors)):  # version 0.1 wrote none
            raise damaged(path, "its checksum does not fit")
        weights = {name.removeprefix(NETWORK): t for name, t in tensors.items() if name.startswith(NETWORK)}
        arrays = {name: array for name, array in tensors.items() if not name.startswith(NETWORK)}
        try:
            material = decode(header["tree"]["material"], arrays, STORED)
            _check_sound(material)
        except Exception as error:  # whatever a file that was tampered with leads to
            raise damaged(path, first_line(error)) from error
        return cls(path, material, header["tree"], arrays, weights, hashlib.sha256(content).hexdigest())


def damaged(path: PathLike, why: str) -> InputError:
    """The sentence for a file that was tampered with.

    Parameters
    ----------
    path
        The file.
    why
        What is wrong with it.
    """
    return InputError(f"the model in {path} is damaged ({why}); fit it again")


def checksum(tree: Any, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Checksum of all that a file holds.

    Parameters
    ----------
    tree
        Of the header.
    tensors
        All arrays, by name.
    """
    digest = xxhash.xxh3_128(json.dumps(tree, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} torch.{tensor.dtype.name} {tensors[name].shape}".encode())
        if tensor.size:  # what is empty has no bytes to look at
            digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _check_sound(material: Material) -> None:
    """Make sure that numbers are finite, counts positive, the ring a ring, and no part empty of all content.

    Reflections off the lattice have no indices: pairs of NaN there are as they should be.
    """
    for name, value in _numbers(material, "material"):
        _check_number(name, value)
    inner, outer = material.ring
    if not 0 <= inner < outer:
        raise ValueError(f"its ring is {inner:g} to {outer:g} px")
    for name, number in (("disk radius", material.disk_radius), ("noise scale", material.dictionary.noise_scale)):
        if not 0 < number < math.inf:
            raise ValueError(f"its {name} is {number:g}")


def _check_number(name: str, value: Any) -> None:
    leaf = name.rpartition(".")[2]
    if isinstance(value, np.ndarray):
        off_lattice = np.isnan(value).all(-1, keepdims=True) if leaf == "indices" and value.ndim == 2 else False
        if not (np.isfinite(value) | off_lattice).all():
            raise ValueError(f"{name} is not finite")
        if leaf in _NEVER_ZERO and not value.any():
            raise ValueError(f"{name} is all zero")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    elif type(value) is int and value < 1:
        raise ValueError(f"{name} is {value}")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every number and array in a tree of dataclasses, with its name."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{name}.{index}")
    else:
        yield name, value


def _content(path: Path) -> bytes:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise InputError(f"the model {path} {what}; give a file that `cyclestrain fit` wrote")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the model {path} cannot be read ({error.strerror or error}); check the drive") from error


def _parts(content: bytes, path: PathLike) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and tensors of a file."""
    from safetensors.numpy import load

    try:
        (n,) = struct.unpack("<Q", content[:8])
        header = json.loads(json.loads(content[8 : 8 + n])["__metadata__"][HEADER])
        if not (isinstance(header, dict) and isinstance(header["format"], int) and isinstance(header["tree"], dict)):
            raise TypeError("another header")
        return header, load(content)
    except Exception as error:  # safetensors, JSON and struct each have their own
        raise InputError(f"{path} is not a model of cyclestrain; give a file that `cyclestrain fit` wrote") from error
