"""A fitted model on disk: network, dictionary, coarse templates and training log in one safetensors file, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import xxhash
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from cyclestrain.data import Grain, as_html, as_text
from cyclestrain.errors import InputError, first_line
from cyclestrain.files import write_whole
from cyclestrain.learning import Material, describe
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.model_checks import check_sound
from cyclestrain.network.settings import NetworkSettings
from cyclestrain.network.tuned import Tuned
from cyclestrain.orientation import PolarGrid, Templates
from cyclestrain.pattern import Dictionary, DiskImages, Entry, Priors, Probe
from cyclestrain.storage import decode, encode

__all__ = ["FORMAT", "HEADER", "NETWORK", "Model", "PathLike", "load_model", "load_with_fingerprint", "save_model"]

PathLike: TypeAlias = "str | os.PathLike[str]"
FORMAT = 1
"""Version of the layout of the file."""
HEADER = "cyclestrain"
"""Key of the header in the metadata of the file."""
NETWORK = "network."
"""Beginning of the names of the network's tensors."""


@dataclass(frozen=True, repr=False)
class Model:
    """A model as `cyclestrain.fit` returns and `cyclestrain.map` applies it.

    Attributes
    ----------
    material
        Dictionary and templates.
    network
        The trained autoencoder, in evaluation mode; its own dictionary is the one trained with it.
    log
        Log of the training.
    about
        Origin: scan, settings, versions, date, and what tuning found.
    """

    material: Material
    network: Autoencoder
    log: TrainingLog
    about: dict[str, str]

    @property
    def tuned(self) -> Tuned | None:
        """What tuning found; None where the settings of the training are the default ones.

        Raises
        ------
        InputError
            If the model says it in a damaged way.
        """
        try:
            return Tuned.from_json(self.about["tuning"]) if "tuning" in self.about else None
        except ValueError as error:
            raise InputError(
                f"what the model says of its tuning is damaged ({first_line(error)}); fit it again"
            ) from error

    @property
    def _rows(self) -> list[tuple[str, str]]:
        parts = [line.partition(": ") for line in describe(self.material.dictionary)]
        entries = [(label, text) for label, _, text in parts]
        kept = (
            f"pass {self.log.best + 1} of {len(self.log.epochs)} kept, deviance {self.log.kept.held_out:.4f} per pixel"
        )
        return [*entries, ("training", kept), ("fitted", self.about.get("created", ""))]

    def __repr__(self) -> str:
        return as_text(f"Model of {self.about.get('name', 'a scan')!r}", self._rows)

    def _repr_html_(self) -> str:
        return as_html(f"Model of {self.about.get('name', 'a scan')}", self._rows)


_STORED = (
    Material, Dictionary, Entry, Probe, Priors, DiskImages, Grain, Templates, PolarGrid, TrainingLog, Epoch,
    NetworkSettings,
)  # fmt: skip


def save_model(model: Model, path: PathLike, force: bool = False) -> None:
    """Write a model with its checksum; the file appears whole or not at all.

    Parameters
    ----------
    model
        Model to write.
    path
        File to write, usually ``.safetensors``.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the file exists and not `force`, or cannot be written.
    """
    network = model.network
    parts = {
        "material": model.material,
        "log": model.log,
        "about": model.about,
        "settings": network.settings,
        "centre_sigma": network.centre_sigma,
    }
    arrays: dict[str, NDArray[Any]] = {}
    tree = {name: encode(part, arrays, name) for name, part in parts.items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors |= {f"{NETWORK}{name}": value for name, value in network.state_dict().items()}
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"format": FORMAT, "tree": tree, "checksum": _checksum(tree, tensors)}
    with write_whole(Path(path), force) as temporary:
        temporary.write_bytes(save(tensors, {HEADER: json.dumps(header)}))


def load_model(path: PathLike) -> Model:
    """Read a model back, on the CPU.

    Raises
    ------
    InputError
        If the file is not one that `save_model` wrote, is damaged, or a newer version wrote it.
    """
    return load_with_fingerprint(path)[0]


def load_with_fingerprint(path: PathLike) -> tuple[Model, str]:
    """Read a model back, and the SHA-256 of the very bytes that were read.

    Parameters
    ----------
    path
        File that `save_model` wrote.

    Raises
    ------
    InputError
        As `load_model`.
    """
    content = _content(Path(path))
    header, tensors = _read(content, path)
    if header["format"] > FORMAT:
        raise InputError(
            f"{path} was written by a newer cyclestrain (format {header['format']}, this one reads {FORMAT}); update it"
        )
    try:
        if header.get("checksum", "") not in ("", _checksum(header["tree"], tensors)):  # version 0.1 wrote none
            raise ValueError("its checksum does not fit")
        weights = {name.removeprefix(NETWORK): t for name, t in tensors.items() if name.startswith(NETWORK)}
        arrays = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith(NETWORK)}
        parts = {name: decode(part, arrays, _STORED) for name, part in header["tree"].items()}
        check_sound(parts, weights)
        model = Model(parts["material"], _network(parts, weights), parts["log"], parts["about"])
    except Exception as error:  # whatever a file that was tampered with leads to
        raise InputError(f"the model in {path} is damaged ({first_line(error)}); fit it again") from error
    return model, hashlib.sha256(content).hexdigest()


def _checksum(tree: Any, tensors: Mapping[str, Tensor]) -> str:
    digest = xxhash.xxh3_128(json.dumps(tree, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():  # what is empty has no bytes to look at
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _network(parts: dict[str, Any], weights: dict[str, Tensor]) -> Autoencoder:
    network = Autoencoder(parts["material"].dictionary, parts["settings"], parts["centre_sigma"])
    network.load_state_dict(weights)
    network.update_dictionary()
    return network.eval()


def _content(path: Path) -> bytes:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
        raise InputError(f"the model {path} {what}; give a file that `cyclestrain fit` wrote")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the model {path} cannot be read ({error.strerror or error}); check the drive") from error


def _read(content: bytes, path: PathLike) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        (n,) = struct.unpack("<Q", content[:8])
        header = json.loads(json.loads(content[8 : 8 + n])["__metadata__"][HEADER])
        if not (isinstance(header, dict) and isinstance(header["format"], int) and isinstance(header["tree"], dict)):
            raise TypeError("another header")
        return header, load(content)
    except Exception as error:  # safetensors, JSON and struct each have their own
        raise InputError(f"{path} is not a model of cyclestrain; give a file that `cyclestrain fit` wrote") from error
