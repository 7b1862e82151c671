"""A small trained model, as a file: what tests and benchmarks of damaged models start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crystals import make_crystals, make_dictionary
from cyclestrain.learning import Material
from cyclestrain.network import Course, Model, NetworkSettings, TrainingSettings, save_model, train
from cyclestrain.orientation import PolarGrid, Templates

__all__ = ["save_small_model"]


def save_small_model(path: Path) -> Path:
    """Train a small model in one step, and write it to `path`."""
    rng, dictionary = np.random.default_rng(0), make_dictionary()
    crystals = make_crystals(24, dictionary.entries[0])
    course = Course(crystals.patterns, crystals.good, crystals.theta[:, None], crystals.centre, 0.1)
    settings = TrainingSettings(epochs=1, steps=1, batch=4)
    trained = train(course, dictionary, settings=settings, shape=NetworkSettings(gazes=1))
    spectra = rng.normal(size=(1, 4, 9)) + 1j * rng.normal(size=(1, 4, 9))
    templates = Templates(PolarGrid(np.arange(4.0), 16, 3), spectra.astype(np.complex64), np.ones(4))
    made = Model(Material(dictionary, templates, (5.0, 40.0), 3.0), trained.network, trained.log, {"name": "made"})
    save_model(made, path)
    return path
