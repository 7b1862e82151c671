"""Probes of any form, from the scan or from vacuum, through the functions and commands that people use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cyclestrain as cs
import strangers as st
from cyclestrain.cli import main


def image(
    shape: st.Shape, size: int = 128, at: tuple[float, float] = (64.6, 62.8), counts: float = 1e6
) -> st.FloatArray:
    """A vacuum image of a probe."""
    y, x = np.indices((size, size)).astype(float)
    bright = shape(y - at[0], x - at[1])
    return np.random.default_rng(0).poisson(counts * bright / bright.sum()).astype(float)


@pytest.fixture(scope="module")
def bullseye() -> st.Stranger:
    y, x = np.indices((14, 14))
    gradient = st.deformed(0.004 * np.sin(x / 3), 0.004 * np.cos(y / 4), 0.0, 20 + 0.3 * np.sin(y / 5))
    return st.stranger(
        [st.square(20.0, reach=54.0, seed=1)], st.field(gradient), probe=st.bullseye(7.0, 2.5), half=12,
        background=st.lorentzian(25), seed=2,
    )  # fmt: skip


@pytest.mark.parametrize("given", [False, True])
def test_a_bullseye_is_mapped(bullseye: st.Stranger, given: bool) -> None:
    probe = image(st.bullseye(7.0, 2.5)) if given else None
    maps = cs.map(bullseye.counts, reference=":,:", ellipse=(1.0, 0.0), probe=probe)
    z = bullseye.z(maps, "_raw")
    assert z.shape[1] == 14 * 14
    assert (z.std(1) < 1.3).all()
    assert np.abs(bullseye.errors(maps, "_raw")[:3]).mean() < 3e-4
    assert ("probe: as recorded in" in maps.attrs["choices"]) == given
    assert ("probe_fingerprint" in maps.attrs) == given


def test_an_entry_stands_for_one_pattern_at_any_gain(bullseye: st.Stranger) -> None:
    """Brightness is that of the patterns, whatever the noise of their counts."""
    maps = cs.map(20.0 * bullseye.counts, reference=":,:", ellipse=(1.0, 0.0), probe=image(st.bullseye(7.0, 2.5)))
    assert float(maps["gain"].median()) == pytest.approx(1.0, abs=0.1)


def test_a_run_with_an_image_is_repeated(bullseye: st.Stranger, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", bullseye.counts[:6, :6])
    first = cs.map(tmp_path / "scan.npy", tmp_path / "one.nc", reference=":,:", probe=image(st.bullseye(7.0, 2.5)))
    again = cs.map(config=tmp_path / "one.nc")
    np.testing.assert_array_equal(first["exx"].values, again["exx"].values)


VARYING = {
    "larger outwards": lambda at: st.disk(5.0 * (1 + 0.15 * float(at @ at))),
    "with coma": lambda at: lambda y, x: st.disk(5.0)(y, x) * (1 + 0.06 * (at[0] * y + at[1] * x)),
}
"""Disks by their place, the vector from the beam as a share of the longest reflection."""


def mapped_disks(own: Callable[[st.FloatArray], st.Shape] | None) -> tuple[st.FloatArray, st.FloatArray]:
    """Raw errors and errors over sigma of three grains, shapes ``(3, n)``, with equal disks or shapes of their own."""
    lattice, number = st.square(17.0, reach=54.0, falloff=40.0, seed=1), st.voronoi((14, 14), 3, seed=4)
    turned = np.stack([st.deformed(*each) for each in ((0, 0, 0, 17), (0.004, -0.003, 0.002, 22), (0, 0.005, 0, 12))])
    made = st.stranger(
        [lattice], st.grains(number, turned), probe=st.disk(5.0), half=12, background=st.lorentzian(25), seed=3,
        inside=None if own is None else lambda k: own(lattice.reflections[k] / 54),
    )  # fmt: skip
    maps = cs.map(made.counts, reference=number == 0, ellipse=(1.0, 0.0), progress=False)
    assert maps["valid"].values.all()
    return made.errors(maps, "_raw")[:3], made.z(maps, "_raw")[:3]


@pytest.fixture(scope="module")
def error_of_equal_disks() -> float:
    return float(np.abs(mapped_disks(None)[0]).mean())


@pytest.mark.parametrize("shape", VARYING)
def test_disks_that_change_over_the_detector_are_mapped_as_well(shape: str, error_of_equal_disks: float) -> None:
    """Each reflection may have a form of its own: strain is as good as with equal disks, and sigma is right."""
    error, z = mapped_disks(VARYING[shape])
    assert (np.abs(z.std(1) - 1) < 0.15).all()
    assert np.abs(error).mean() < 1.1 * error_of_equal_disks


BAD = {
    "empty": (np.zeros((64, 64)), "shows no beam"),
    "noise": (np.random.default_rng(0).poisson(3.0, (64, 64)), "shows no beam"),
    "cut": (image(st.disk(6.0), at=(3.0, 60.0)), "does not end within"),
    "crystal": (image(st.disk(6.0)) + 0.4 * image(st.disk(6.0), at=(64.0, 90.0)), "more than the direct beam"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_no_vacuum_is_refused_in_a_sentence(name: str) -> None:
    values, words = BAD[name]
    with pytest.raises(cs.InputError, match=words):
        cs.probe(values)


def test_a_probe_of_another_detector_is_refused(bullseye: st.Stranger, tmp_path: Path) -> None:
    np.save(tmp_path / "vacuum.npy", image(st.bullseye(7.0, 2.5), size=96, at=(48.0, 48.0)))
    with pytest.raises(cs.InputError, match="96x96 px, the scan has 128x128"):
        cs.map(bullseye.counts, probe=tmp_path / "vacuum.npy")


def test_a_probe_of_another_camera_length_is_refused(bullseye: st.Stranger) -> None:
    with pytest.raises(cs.InputError, match="one aperture, camera length and binning"):
        cs.map(bullseye.counts, probe=image(st.disk(20.0)))


def test_the_command_shows_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "vacuum.npy", image(st.oval(8.0, 1.2, 30.0)))
    assert main(["probe", str(tmp_path / "vacuum.npy"), "-o", str(tmp_path / "probe.png")]) == 0
    assert "ellipticity" in capsys.readouterr().out
    assert (tmp_path / "probe.png").stat().st_size > 5000
    assert main(["probe", str(tmp_path / "vacuum.npy"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ratio"] == pytest.approx(1.2, abs=3 * told["ratio_sigma"])
    assert told["angle"] == pytest.approx(30.0, abs=3.0)
    assert told["centre"] == pytest.approx([64.6, 62.8], abs=0.02)


def test_a_stack_is_averaged_without_what_a_sample_darkened() -> None:
    stack = np.stack([image(st.disk(7.0), counts=1e5)] * 8 + [image(st.disk(7.0), counts=4e4)])
    made = cs.probe(stack)
    assert made.patterns == 8
    assert made.form == "a round disk"
    assert made.radius == pytest.approx(7.0, abs=2 * made.radius_sigma)
