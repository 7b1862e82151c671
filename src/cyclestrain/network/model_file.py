"""A fitted model on disk: network, dictionary, coarse templates and training log in one safetensors file, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from cyclestrain.data import as_html, as_text
from cyclestrain.errors import InputError, first_line
from cyclestrain.files import write_whole
from cyclestrain.learning import Material, ModelFile, describe
from cyclestrain.learning.material_file import FORMAT, HEADER, NETWORK, PathLike, checksum, damaged
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.model_checks import check_sound
from cyclestrain.network.settings import NetworkSettings
from cyclestrain.network.tuned import Tuned
from cyclestrain.storage import decode, encode

__all__ = ["Model", "load_model", "model_of", "save_model"]


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


_STORED = (TrainingLog, Epoch, NetworkSettings)
"""Containers of a model beside those of its material."""


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
    arrays |= {f"{NETWORK}{name}": value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    arrays = {name: np.require(array, requirements="C") for name, array in arrays.items()}
    header = {"format": FORMAT, "tree": tree, "checksum": checksum(tree, arrays)}
    with write_whole(Path(path), force) as temporary:
        temporary.write_bytes(save(arrays, {HEADER: json.dumps(header)}))


def load_model(path: PathLike) -> Model:
    """Read a model back, on the CPU.

    Raises
    ------
    InputError
        If the file is not one that `save_model` wrote, is damaged, or a newer version wrote it.
    """
    return model_of(ModelFile.read(path))


def model_of(file: ModelFile) -> Model:
    """The model in a file, on the CPU.

    Parameters
    ----------
    file
        The file's content.

    Raises
    ------
    InputError
        If it cannot be a model.
    """
    try:
        parts = {name: decode(part, file.arrays, _STORED) for name, part in file.tree.items() if name != "material"}
        check_sound(parts, file.weights)
        network = Autoencoder(file.material.dictionary, parts["settings"], parts["centre_sigma"])
        network.load_state_dict({name: torch.tensor(array) for name, array in file.weights.items()})
        network.update_dictionary()
        return Model(file.material, network.eval(), parts["log"], parts["about"])
    except Exception as error:  # whatever a file that was tampered with leads to
        raise damaged(file.path, first_line(error)) from error
