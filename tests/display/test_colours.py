from __future__ import annotations

import numpy as np
import pytest
from cmcrameri import cm
from matplotlib.colors import to_hex

from cyclestrain.display.colours import PATTERN, ColourMap, class_colours, crameri

NAMES = ("vik", "romaO", "batlow", "acton_r", "devon", "oslo_r", "batlowS")


@pytest.mark.parametrize("name", NAMES)
def test_colours_are_those_of_cmcrameri(name: str) -> None:
    ours, theirs = crameri(name), cm.cmaps[name]
    assert ours.name == theirs.name
    np.testing.assert_array_equal(ours.rgb, theirs(np.arange(theirs.N))[:, :3])
    places = np.linspace(0, 1, 1000)
    np.testing.assert_array_equal(ours.at(places), theirs(places)[:, :3])
    assert ours.hexes() == [to_hex(theirs(k)) for k in range(theirs.N)]


def test_a_map_reversed_twice_is_itself() -> None:
    twice = PATTERN.reversed().reversed()
    assert twice.name == PATTERN.name
    np.testing.assert_array_equal(twice.rgb, PATTERN.rgb)
    assert PATTERN.hexes() == PATTERN.reversed().hexes()[::-1]


@pytest.mark.parametrize("n", [1, 2, 3, 9, 98])
def test_every_class_has_its_own_colour(n: int) -> None:
    assert len(set(class_colours(n).hexes())) == n


def test_more_classes_than_colours_have_a_colour_all_the_same() -> None:
    assert len(class_colours(150).hexes()) == 150


def test_hexes_are_rounded() -> None:
    assert ColourMap("one", np.array([[0.0, 0.5, 1.0]])).hexes() == ["#0080ff"]
