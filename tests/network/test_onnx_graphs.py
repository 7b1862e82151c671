"""The exported graphs, with nothing but what is in the files, give the answer of the network."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from crystals import CENTRE, make_crystals, make_entry
from cyclestrain.errors import InputError
from cyclestrain.network import Autoencoder, NetworkSettings, encoder_graphs, save_graph
from cyclestrain.network.views import Counts, Cutting, look
from cyclestrain.pattern import Dictionary

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

ENTRIES = (make_entry(spacing=20.0), make_entry())
N = 20


class Program:
    """Another program: it knows the file of a graph and how windows are cut, and nothing of the network."""

    def __init__(self, file: Path) -> None:
        self.session = runtime.InferenceSession(file)
        stored = {item.key: item.value for item in onnx.load(file).metadata_props}
        self.cutting = json.loads(stored["windows"])

    def __call__(self, **tensors: Any) -> dict[str, Any]:
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(None, tensors), strict=True))

    def windows(self, k: int, counts: Counts, theta: Any, pose: Any) -> dict[str, Any]:
        """Cut where ``c + R(theta + rho) ((I + S) g + t)`` is, docs/method.md."""
        entry = SimpleNamespace(**self.cutting["entries"][k])
        s_y, s_x, shear, rho, t_y, t_x = pose.T
        g_y, g_x = np.array(entry.reflections).T
        y = g_y + np.outer(s_y, g_y) + np.outer(shear, g_x) + t_y[:, None]
        x = g_x + np.outer(shear, g_y) + np.outer(s_x, g_x) + t_x[:, None]
        cos, sin = np.cos(theta + rho)[:, None], np.sin(theta + rho)[:, None]
        positions = CENTRE + np.stack([cos * y + sin * x, cos * x - sin * y], -1)
        shown = SimpleNamespace(
            background=np.array(entry.background),
            intensity=np.array(entry.intensity),
            probe=SimpleNamespace(values=np.array(entry.peak)),
            variance_floor=entry.floor,
        )
        views = look(
            counts, np.arange(len(theta)), positions, np.broadcast_to(CENTRE, (len(theta), 2)), shown,
            chosen=np.arange(len(g_y)),
            cutting=Cutting(self.cutting["half"], self.cutting["rim"], self.cutting["noise_scale"]),
        )  # fmt: skip
        return {name: getattr(views, name) for name in ("windows", "fraction", "contrast", "share")} | {
            "gain": views.gain
        }


@pytest.fixture(autouse=True)
def no_trace() -> None:
    """Pytest listens to every logger, and torch then writes down all that it does."""
    logging.getLogger("torch.__trace").handlers.clear()


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    torch.manual_seed(3)
    network = Autoencoder(Dictionary(ENTRIES, 1.0), NetworkSettings(gazes=1), 0.1).eval()
    for layer in (network.head.affine, network.head.activity):
        torch.nn.init.normal_(layer.weight, std=0.05)
    return network


def test_another_program_finds_what_the_network_finds(network: Autoencoder, tmp_path: Path) -> None:
    graphs = encoder_graphs(network)
    assert list(graphs) == ["glance", "gaze0", "gaze1"]
    for name in ("glance", "gaze1"):
        save_graph(graphs[name], tmp_path / f"{name}.onnx")
    glance, gaze = (Program(tmp_path / f"{name}.onnx") for name in ("glance", "gaze1"))
    crystals = make_crystals(N, ENTRIES[1])
    counts, theta = Counts.of_patterns(crystals.patterns, crystals.good), np.stack([crystals.theta] * 2, 1)
    with torch.inference_mode():
        expected = network.encode(counts, np.arange(N), theta, crystals.centre)

    theta32 = theta.astype(np.float32)
    cut = [glance.windows(k, counts, theta[:, k], np.zeros((N, 6))) for k in (0, 1)]
    seen = {name: np.stack([each[name] for each in cut], 1) for name in ("windows", "fraction", "contrast", "share")}
    first = glance(**seen, theta=theta32)
    np.testing.assert_allclose(first["logits"], expected.logits, atol=1e-4)
    np.testing.assert_allclose(first["one_hot"], np.eye(3)[first["logits"].argmax(1)], atol=1e-6)
    np.testing.assert_array_equal(first["label"], expected.label)
    np.testing.assert_allclose(first["pose"], expected.looks[0].pose, atol=1e-6)

    mine = np.flatnonzero(first["label"] == 1)
    assert len(mine) >= N // 4
    some, before = Counts.of_patterns(crystals.patterns[mine], crystals.good), first["pose"][mine]
    cut = gaze.windows(0, some, theta[mine, 1], before.astype(float))
    gain = cut.pop("gain")
    second = gaze(**cut, theta=theta32[mine, 1], before=before)
    np.testing.assert_allclose(second["pose"], expected.pose[mine], atol=1e-5)
    np.testing.assert_allclose(gain * second["gain_factor"], expected.gain[mine], rtol=1e-4)
    units = network.of_class(1).units.numpy()
    information = expected.looks[-1].information[mine].numpy() / np.outer(units, units)
    np.testing.assert_allclose(second["information"], information, rtol=1e-3, atol=1e-4 * information.max())


def test_without_the_packages_it_says_what_to_install(
    network: Autoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install 'cyclestrain\[onnx\]'"):
        save_graph(encoder_graphs(network)["glance"], tmp_path / "glance.onnx")
    assert not list(tmp_path.iterdir())
