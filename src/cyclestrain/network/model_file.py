"""A fitted model on disk: network, dictionary, coarse templates and training log in one safetensors file, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cyclestrain.data import as_html, as_text
from cyclestrain.errors import InputError
from cyclestrain.io import write_whole
from cyclestrain.learning import Material, describe
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.settings import NetworkSettings
from cyclestrain.orientation import PolarGrid, Templates
from cyclestrain.pattern import Dictionary, Entry, Priors, Probe
from cyclestrain.storage import decode, encode

__all__ = ["FORMAT", "HEADER", "NETWORK", "Model", "PathLike", "file_fingerprint", "load_model", "save_model"]

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
        Origin: scan, settings, versions, date.
    """

    material: Material
    network: Autoencoder
    log: TrainingLog
    about: dict[str, str]

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


_STORED = (Material, Dictionary, Entry, Probe, Priors, Templates, PolarGrid, TrainingLog, Epoch, NetworkSettings)


def file_fingerprint(path: PathLike) -> str:
    """SHA-256 of a file, as a hexadecimal text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def save_model(model: Model, path: PathLike, force: bool = False) -> None:
    """Write a model; the file appears whole or not at all.

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
    header = {HEADER: json.dumps({"format": FORMAT, "tree": tree})}
    with write_whole(Path(path), force) as temporary:
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary, header)


def load_model(path: PathLike) -> Model:
    """Read a model back, on the CPU.

    Raises
    ------
    InputError
        If the file is not one that `save_model` wrote, or a newer version wrote it.
    """
    header, tensors = _read(Path(path))
    if header["format"] > FORMAT:
        raise InputError(
            f"{path} was written by a newer cyclestrain (format {header['format']}, this one reads {FORMAT}); update it"
        )
    weights = {name.removeprefix(NETWORK): t for name, t in tensors.items() if name.startswith(NETWORK)}
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith(NETWORK)}
    try:
        parts = {name: decode(part, arrays, _STORED) for name, part in header["tree"].items()}
        return Model(parts["material"], _network(parts, weights), parts["log"], parts["about"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the model in {path} is damaged ({_first_line(error)}); fit it again") from error


def _network(parts: dict[str, Any], weights: dict[str, Tensor]) -> Autoencoder:
    network = Autoencoder(parts["material"].dictionary, parts["settings"], parts["centre_sigma"])
    network.load_state_dict(weights)
    network.update_dictionary()
    return network.eval()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"the model {path} {what}; give a file that `cyclestrain fit` wrote")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            return header, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a model of cyclestrain; give a file that `cyclestrain fit` wrote") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
