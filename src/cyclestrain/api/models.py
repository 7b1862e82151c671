"""What to do with a fitted model: its figures, its encoder for other programs, and what it is in words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from cyclestrain.api.arguments import MODEL_SUFFIX, PathLike

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure

    from cyclestrain.network import Model

__all__ = ["explain_model", "export_encoder", "is_model", "model_figures"]


def is_model(file: object) -> TypeGuard[PathLike]:
    """Whether `file` is named as models are."""
    return isinstance(file, str | os.PathLike) and Path(file).suffix == MODEL_SUFFIX


def model_figures(path: PathLike) -> Iterator[tuple[str, Figure]]:
    """Every figure of a model, as pairs of name and figure: training curves first."""
    from cyclestrain.figures import dictionary_figure, network_figure, training_figure
    from cyclestrain.network import anatomy, load_model
    from cyclestrain.result import dictionary_dataset

    model = load_model(path)
    yield "training", training_figure(model.log.dataset())
    yield "dictionary", dictionary_figure(dictionary_dataset(model.material.dictionary))
    yield "network", network_figure(anatomy(model.network))


def export_encoder(path: PathLike, output: PathLike, force: bool = False) -> tuple[Path, ...]:
    """Write the encoder of a model as ONNX, a file for each kind of look.

    Parameters
    ----------
    path
        The model.
    output
        ``encoder.onnx`` for ``encoder_glance.onnx``, ``encoder_gaze0.onnx``, ...
    force
        Whether existing files are replaced.
    """
    from cyclestrain.files import check_writable
    from cyclestrain.network import encoder_graphs, load_model, save_graph

    target = Path(output)
    graphs = encoder_graphs(load_model(path).network)
    files = {name: target.with_name(f"{target.stem}_{name}.onnx") for name in graphs}
    for file in files.values():
        check_writable(file, force)
    for name, graph in graphs.items():
        save_graph(graph, files[name], force)
    return tuple(files.values())


def explain_model(path: PathLike) -> str:
    """Lines about a model: its entries, its network, its training, where it comes from, how to apply it."""
    from cyclestrain.learning import ModelFile, describe
    from cyclestrain.network import model_of

    file = ModelFile.read(path)
    model = model_of(file)
    material, network, about = model.material, model.network, model.about
    shape = network.settings
    n_weights = sum(weight.numel() for weight in network.parameters())
    kept = model.log.kept
    settings = {name: value for name, value in json.loads(about["settings"]).items() if value is not None}
    lines = [
        f"model fitted to {about['name']} on {about['created']}",
        *describe(material.dictionary),
        f"direct disk radius: {material.disk_radius:.1f} px",
        f"ring used: {material.ring[0]:.0f} to {material.ring[1]:.0f} px from the centre",
        f"network: {n_weights} weights, {shape.gazes + 1} looks, {shape.head} head",
        f"training: pass {model.log.best + 1} of {len(model.log.epochs)} over the patterns is kept",
        f"misfit of the patterns left out of it: deviance {kept.held_out:.4f} per pixel",
        f"course of the training: cyclestrain show {os.fspath(path)}",
        *_tuning(model),
        f"scan: {about['input_path'] or 'an array in memory'}, fingerprint {about['input_fingerprint']}",
        f"started from: {about['init_from']}" if "init_from" in about else "",
        f"settings: {json.dumps(settings)}",
        f"versions: {about['versions']}",
        f"fingerprint: {file.fingerprint}",
        f"apply: cyclestrain map SCAN --model {os.fspath(path)}",
    ]
    return "\n".join(line for line in lines if line)


def _tuning(model: Model) -> list[str]:
    """What tuning found, with the table of its trials."""
    tuned = model.tuned
    if tuned is None:
        return []
    return [f"tuning: {tuned.summary}", f"tuned settings: {tuned.hyper.text}", *(f"  {line}" for line in tuned.table)]
