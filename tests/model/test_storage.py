from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crystals import make_crystals, make_dictionary
from cyclestrain.errors import InputError
from cyclestrain.infer import infer
from cyclestrain.model.autoencoder import Autoencoder, NetworkSettings
from cyclestrain.model.storage import load_network, save_network


def test_a_network_read_back_says_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    dictionary = make_dictionary()
    network = Autoencoder(dictionary, NetworkSettings(gazes=1), 0.1).eval()
    save_network(network, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    crystals = make_crystals(6, dictionary.entries[0])
    one, two = (
        infer(net, crystals.patterns, crystals.good, crystals.theta[:, None], crystals.centre)
        for net in (network, again)
    )
    np.testing.assert_array_equal(one.start.affine, two.start.affine)
    np.testing.assert_array_equal(again.dictionary.entries[0].probe.values, dictionary.entries[0].probe.values)
    assert list(tmp_path.iterdir()) == [tmp_path / "net.safetensors"]


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"not a network")
    with pytest.raises(InputError, match="is not a network of cyclestrain"):
        load_network(path)
