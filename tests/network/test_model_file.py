"""A model read back is the model that was written; anything else is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from crystals import make_crystals, make_dictionary
from cyclestrain.errors import InputError, OutputError
from cyclestrain.learning import Material
from cyclestrain.network import (
    Course,
    Model,
    NetworkSettings,
    TrainingSettings,
    infer,
    load_model,
    save_model,
    train,
)
from cyclestrain.orientation import PolarGrid, Templates

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(24, DICTIONARY.entries[0])


@pytest.fixture(scope="module")
def model() -> Model:
    rng = np.random.default_rng(0)
    course = Course(CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre, 0.1)
    settings = TrainingSettings(epochs=2, steps=2, batch=6)
    trained = train(course, DICTIONARY, settings=settings, shape=NetworkSettings(gazes=1))
    spectra = rng.normal(size=(1, 4, 9)) + 1j * rng.normal(size=(1, 4, 9))
    templates = Templates(PolarGrid(np.arange(4.0), 16, 3), spectra.astype(np.complex64), np.ones(4))
    return Model(Material(DICTIONARY, templates, (5.0, 40.0), 3.0), trained.network, trained.log, {"name": "made"})


@pytest.fixture
def file(model: Model, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_a_model_read_back_is_the_same(model: Model, file: Path) -> None:
    again = load_model(file)
    assert (again.log, again.about) == (model.log, model.about)
    assert again.network.settings == model.network.settings
    for mine, its in ((model.material, again.material), (model.material.templates, again.material.templates)):
        for field in fields(mine):
            if isinstance(getattr(mine, field.name), np.ndarray | float | tuple):
                np.testing.assert_array_equal(getattr(mine, field.name), getattr(its, field.name), strict=True)
    arguments = (CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre)
    one, two = (infer(each.network, *arguments) for each in (model, again))
    np.testing.assert_array_equal(one.start.affine, two.start.affine)
    np.testing.assert_array_equal(one.affine_covariance, two.affine_covariance)
    # The dictionary trained with the network, and the one it started from.
    for each, other in ((model.network, again.network), (model.material, again.material)):
        mine, its = each.dictionary.entries[0], other.dictionary.entries[0]
        np.testing.assert_array_equal(mine.probe.values, its.probe.values)
        np.testing.assert_array_equal(mine.intensity, its.intensity)
    assert list(file.parent.iterdir()) == [file]
    with pytest.raises(OutputError, match="--force"):
        save_model(model, file)


@pytest.mark.parametrize(("pair", "kept"), [((np.nan, np.nan), True), ((np.nan, 1.0), False), ((np.inf, 1.0), False)])
def test_reflections_off_the_lattice_have_no_indices(
    model: Model, tmp_path: Path, pair: tuple[float, float], kept: bool
) -> None:
    (entry,) = model.material.dictionary.entries
    indices = entry.indices.copy()
    indices[0] = pair
    dictionary = replace(model.material.dictionary, entries=(replace(entry, indices=indices),))
    file = tmp_path / "off.safetensors"
    save_model(replace(model, material=replace(model.material, dictionary=dictionary)), file)
    if kept:
        again = load_model(file).material.dictionary.entries[0]
        np.testing.assert_array_equal(again.indices, indices)
        return
    with pytest.raises(InputError, match="indices is not finite"):
        load_model(file)


def test_any_reader_of_safetensors_finds_named_arrays(file: Path) -> None:
    names = load_file(file).keys()
    assert {"material.dictionary.entries.0.reflections", "material.templates.spectra"} <= names
    assert any(name.startswith("network.gaze.") for name in names)


def rewritten(file: Path, change: Callable[[dict], None]) -> None:
    with safe_open(file, "pt") as stored:
        header = json.loads(stored.metadata()["cyclestrain"])
    change(header)
    save_file(load_file(file), file, {"cyclestrain": json.dumps(header)})


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda file: file.write_bytes(b"no model"), "is not a model of cyclestrain"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "is not a model of cyclestrain"),
        (lambda file: save_file({"x": torch.ones(2)}, file), "is not a model of cyclestrain"),
        (lambda file: file.unlink(), "does not exist"),
        (lambda file: (file.unlink(), file.mkdir()), "is a folder"),
        (lambda file: rewritten(file, lambda header: header.update(format=99)), "newer cyclestrain .format 99"),
        (lambda file: rewritten(file, lambda header: header["tree"].pop("log")), "is damaged"),
        (lambda file: rewritten(file, lambda header: header["tree"].update(log={"class": "Popen"})), "is damaged"),
    ],
)
def test_other_files_are_refused(file: Path, spoil: Callable[[Path], None], expected: str) -> None:
    spoil(file)
    with pytest.raises(InputError, match=expected) as error:
        load_model(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
