"""The encoder for other programs: one ONNX graph for the glance, and one for the gaze at each class.

The caller cuts the windows, where the last pose predicts the reflections, so a graph holds what lies between two cuts:
it takes the tensors of a look (`cyclestrain.network.views.Views`) and returns the pose and its information. The graphs
are made from the code that PyTorch runs.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cyclestrain.errors import InputError
from cyclestrain.files import write_whole
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.encoder import Seen
from cyclestrain.network.transform import N_POSE

__all__ = ["GazeGraph", "GlanceGraph", "encoder_graphs", "save_graph"]

OPSET = 18
"""Version of the ONNX operators."""


def encoder_graphs(network: Autoencoder) -> dict[str, GlanceGraph | GazeGraph]:
    """Graphs of an encoder by name: ``glance``, and ``gaze0``, ``gaze1``, ... for the classes."""
    network = network.cpu().eval()
    return {"glance": GlanceGraph(network)} | {f"gaze{k}": GazeGraph(network, k) for k in range(network.n_classes)}


def save_graph(graph: GlanceGraph | GazeGraph, path: Path, force: bool = False) -> None:
    """Write a graph as ONNX, for any number of patterns.

    What a caller needs to cut the windows is in the file's metadata, ``windows``.

    Parameters
    ----------
    graph
        Graph from `encoder_graphs`.
    path
        File to write; it appears complete or not at all.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the packages for ONNX are not installed.
    OutputError
        If the file exists and not `force`, or cannot be written.
    """
    try:
        import onnxscript  # noqa: F401 - what torch makes ONNX with
    except ImportError:
        raise InputError("ONNX files need more packages: pip install 'cyclestrain[onnx]'") from None
    example = graph.example(3)
    with _quiet(), torch.no_grad(), _PlainAlgebra():
        made = torch.onnx.export(
            graph, example, dynamo=True, opset_version=OPSET, verbose=False, input_names=graph.inputs,
            output_names=graph.outputs, dynamic_shapes=[{0: torch.export.Dim("n")}] * len(example),
        )  # fmt: skip
    assert made is not None
    made.model.metadata_props["windows"] = json.dumps(graph.windows())
    with write_whole(path, force) as temporary:
        made.save(temporary, external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's messages about its own internals while it exports."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class GlanceGraph(nn.Module):
    """First look at all classes and the K-sparse choice among them, with tensors of ``(n, class, reflection, ...)``."""

    inputs = ("windows", "fraction", "contrast", "share", "theta")
    outputs = ("logits", "one_hot", "label", "pose", "information")

    def __init__(self, network: Autoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, windows: Tensor, fraction: Tensor, contrast: Tensor, share: Tensor, theta: Tensor
    ) -> tuple[Tensor, ...]:
        """Choose a class and find its pose; returns the tensors that ``outputs`` names.

        Parameters
        ----------
        windows, fraction, contrast, share
            Tensors of `cyclestrain.network.views.Views` for all classes, shape ``(n, class, reflection, ...)``.
        theta
            Coarse rotation from each entry, radians, shape ``(n, class)``.
        """
        network = self.network
        every = range(network.n_classes)
        seen = [Seen(windows[:, k], fraction[:, k], contrast[:, k], share[:, k]) for k in every]
        glanced = [network.glanced(k, seen[k], theta[:, k]) for k in every]
        logits, one_hot, label = network.choose([each.activity for each in glanced])
        start = theta.new_zeros(theta.shape[0], N_POSE)
        poses, informations = [], []
        for k, each in enumerate(glanced):
            look = network.look_after(k, start, network.head(each.pooled, each.latent, one_hot[:, : network.n_classes]))
            poses.append(look.pose)
            informations.append(_of_pose(network, k, look.information))
        kept = nn.functional.one_hot(label, network.n_classes).to(theta.dtype)
        pose = (torch.stack(poses, 1) * kept[..., None]).sum(1)
        information = (torch.stack(informations, 1) * kept[..., None, None]).sum(1)
        return logits, one_hot, label, pose, information

    def example(self, n: int) -> tuple[Tensor, ...]:
        """Inputs of the right shapes for `n` patterns."""
        network = self.network
        shape = (n, network.n_classes, len(network.of_class(0).glance))
        return *_example(shape, network.glance_half), torch.zeros(shape[:2])

    def windows(self) -> dict[str, Any]:
        """How windows are cut: fields of `cyclestrain.network.views.Cutting`, and what `look` reads of each entry."""
        network = self.network
        entries = [_entry(network, k, network.of_class(k).glance) for k in range(network.n_classes)]
        return {**asdict(network.cutting(first=True)), "entries": entries}


class GazeGraph(nn.Module):
    """A later look at the patterns of one class, with tensors of shape ``(n, reflection, ...)``."""

    inputs = ("windows", "fraction", "contrast", "share", "theta", "before")
    outputs = ("pose", "information", "gain_factor")

    def __init__(self, network: Autoencoder, k: int) -> None:
        super().__init__()
        self.network, self.k = network, k

    def forward(
        self, windows: Tensor, fraction: Tensor, contrast: Tensor, share: Tensor, theta: Tensor, before: Tensor
    ) -> tuple[Tensor, ...]:
        """Improve the poses; returns the tensors that ``outputs`` names.

        Parameters
        ----------
        windows, fraction, contrast, share
            Tensors of `cyclestrain.network.views.Views`, shape ``(n, reflection, ...)``.
        theta
            Coarse rotation, radians, shape ``(n,)``.
        before
            Pose before this look, shape ``(n, 6)``.
        """
        network, k = self.network, self.k
        pooled = network.gazed(k, Seen(windows, fraction, contrast, share), theta + before[:, 3], before)
        look = network.look_after(k, before, pooled)
        return look.pose, _of_pose(network, k, look.information), pooled.gain_factor

    def example(self, n: int) -> tuple[Tensor, ...]:
        """Inputs of the right shapes for `n` patterns."""
        shape = (n, len(self.network.of_class(self.k).every))
        return *_example(shape, self.network.gaze_half), torch.zeros(n), torch.zeros(n, N_POSE)

    def windows(self) -> dict[str, Any]:
        """How windows are cut: fields of `cyclestrain.network.views.Cutting`, and what `look` reads of each entry."""
        network = self.network
        entries = [_entry(network, self.k, network.of_class(self.k).every)]
        return {**asdict(network.cutting(first=False)), "entries": entries}


def _of_pose(network: Autoencoder, k: int, information: Tensor) -> Tensor:
    """Information about strains, radians and pixels, from that in the units of the pooling."""
    units = network.of_class(k).units
    return information / (units[:, None] * units)


def _example(shape: tuple[int, ...], half: int) -> tuple[Tensor, ...]:
    size = 2 * half + 1
    return torch.zeros(*shape, size, size), torch.zeros(*shape, 2), torch.ones(shape), torch.full(shape, 0.5)


def _entry(network: Autoencoder, k: int, chosen: NDArray[Any]) -> dict[str, Any]:
    """What `cyclestrain.network.views.look` reads of an entry."""
    entry = network.dictionary.entries[k]
    return {
        "reflections": entry.reflections[chosen].tolist(),
        "intensity": entry.intensity[chosen].tolist(),
        "background": entry.background.tolist(),
        "peak": float(entry.probe.values.max()),
        "floor": entry.variance_floor,
    }


def _cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factor of small matrices in plain arithmetic: ONNX has no such operator."""
    n = matrix.shape[-1]
    columns: list[Tensor] = []
    for j in range(n):
        column = matrix[..., j] * (torch.arange(n) >= j) / matrix[..., j : j + 1, j].sqrt()
        matrix = matrix - column[..., :, None] * column[..., None, :]
        columns.append(column)
    return torch.stack(columns, -1)


def _cholesky_solve(right: Tensor, factor: Tensor) -> Tensor:
    """Solve by forward and back substitution."""
    for lower in (factor, factor.mT):
        rows = range(factor.shape[-1])
        solved: dict[int, Tensor] = {}
        for i in rows if lower is factor else reversed(rows):
            solved[i] = right[..., i : i + 1, :] / lower[..., i : i + 1, i : i + 1]
            right = right - lower[..., :, i : i + 1] * solved[i]
        right = torch.cat([solved[i] for i in rows], -2)
    return right


class _PlainAlgebra(TorchFunctionMode):
    """Replaces what ONNX has no operator for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = {torch.linalg.cholesky: _cholesky, torch.cholesky_solve: _cholesky_solve}
        return plain.get(func, func)(*args, **(kwargs or {}))
