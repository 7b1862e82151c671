"""A model whose network was never trained, in seconds: maps use its dictionary and templates alone."""

from __future__ import annotations

from pathlib import Path

from cyclestrain.data import Scan
from cyclestrain.learning import Material
from cyclestrain.network import Autoencoder, Epoch, Model, NetworkSettings, TrainingLog, load_model, save_model
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.result import origin
from cyclestrain.settings import FitSettings


def untrained_model(scan: Scan, path: Path, ring: tuple[float, float] | None = None) -> Material:
    """Learn a dictionary from a scan, write it with a new network, and give it as it is read back."""
    settings = FitSettings(ring=ring, seed=2)
    _, known = prepare(scan, settings, SilentProgress())
    calibration = known.calibration
    material = Material(known.dictionary, known.templates, calibration.ring, calibration.disk_radius)
    network = Autoencoder(known.dictionary, NetworkSettings(), 0.1).eval()
    terms = ("inverse", "forward", "cycle", "choice", "sparsity", "strain", "shear")
    log = TrainingLog((Epoch(dict.fromkeys(terms, 0.0), 0.0, 1.0),), 0)
    save_model(Model(material, network, log, origin(scan, settings, "")), path, force=True)
    return load_model(path).material
