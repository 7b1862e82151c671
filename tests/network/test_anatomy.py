"""The diagram shows the network that is there, and what is followed is what the network says."""

from __future__ import annotations

import numpy as np

from crystals import make_crystals, make_dictionary
from cyclestrain.figures import network_figure
from cyclestrain.network import Autoencoder, NetworkSettings, anatomy, follow

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(1, DICTIONARY.entries[0])


def test_shapes_are_those_of_the_modules() -> None:
    narrow, wide = (anatomy(Autoencoder(DICTIONARY, NetworkSettings(channels=c), 0.1)) for c in (4, 8))
    assert narrow["glance"][0][1].split("×")[:2] == ["12", "4"]
    assert wide["glance"][0][1].split("×")[:2] == ["12", "8"]
    assert dict(wide["decoder"])["intensities"] == str(len(DICTIONARY.entries[0].reflections))
    drawn = " ".join(text.get_text() for text in network_figure(wide).texts)
    assert all(what in drawn and shape in drawn for rows in wide.values() for what, shape in rows)


def test_a_pattern_is_followed_to_where_its_reflections_are() -> None:
    network = Autoencoder(DICTIONARY, NetworkSettings(), 0.1).eval()
    seen = follow(network, CRYSTALS.patterns[0], CRYSTALS.good, CRYSTALS.theta[:1], CRYSTALS.centre[0])
    true = DICTIONARY.entries[0].reflections @ CRYSTALS.affine[0].T + CRYSTALS.centre[0]
    assert seen.expected.shape == (4, *true.shape)
    assert np.isfinite(seen.expected).all()
    assert seen.counts.shape == seen.drawn.shape
    assert np.abs(seen.shifted - seen.entry).mean() < np.abs(seen.shifted).mean()
