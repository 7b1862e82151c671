"""A trained network on disk: one safetensors file with the weights, the dictionary, and JSON metadata. No pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cyclestrain.errors import InputError
from cyclestrain.model.autoencoder import Autoencoder, NetworkSettings
from cyclestrain.model.dictionary import Dictionary, Entry, Priors
from cyclestrain.model.probe import Probe

__all__ = ["load_network", "save_network"]

FORMAT = 1
_ARRAYS = ("reflections", "intensity", "basis", "indices", "operators", "background", "average")


def save_network(network: Autoencoder, path: Path) -> None:
    """Write a network; the file appears whole or not at all.

    Parameters
    ----------
    network
        Trained network.
    path
        Ends in ``.safetensors``.
    """
    entries = network.dictionary.entries
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for k, entry in enumerate(entries):
        arrays = {name: getattr(entry, name) for name in _ARRAYS}
        arrays |= {"probe": entry.probe.values, "spread": entry.priors.spread}
        tensors |= {f"entry.{k}.{name}": torch.from_numpy(np.asarray(array, float)) for name, array in arrays.items()}
    about = {
        "format": FORMAT,
        "settings": asdict(network.settings),
        "centre_sigma": network.centre_sigma,
        "noise_scale": network.dictionary.noise_scale,
        "probes": [{"oversampling": entry.probe.oversampling, "half": entry.probe.half} for entry in entries],
    }
    temporary = path.with_name(f"{path.name}.part")
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, temporary, {"cyclestrain": json.dumps(about)})
    temporary.replace(path)


def load_network(path: Path) -> Autoencoder:
    """Read a network back, in evaluation mode.

    Raises
    ------
    InputError
        If the file is not one that `save_network` wrote.
    """
    try:
        with safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["cyclestrain"])
        tensors = load_file(path)
    except (SafetensorError, KeyError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a network of cyclestrain: {error}") from error
    if about["format"] > FORMAT:
        raise InputError(
            f"{path} was written by a newer cyclestrain (format {about['format']}, this one reads {FORMAT})"
        )
    entries = tuple(_entry(tensors, k, probe) for k, probe in enumerate(about["probes"]))
    dictionary = Dictionary(entries, about["noise_scale"])
    network = Autoencoder(dictionary, NetworkSettings(**about["settings"]), about["centre_sigma"])
    network.load_state_dict(
        {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    )
    return network.eval()


def _entry(tensors: dict[str, Tensor], k: int, probe: dict[str, int]) -> Entry:
    arrays = {name: tensors[f"entry.{k}.{name}"].numpy() for name in (*_ARRAYS, "probe", "spread")}
    values, spread = arrays.pop("probe"), arrays.pop("spread")
    return Entry(**arrays, probe=Probe(values, probe["oversampling"], probe["half"]), priors=Priors(spread))
