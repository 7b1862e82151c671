"""The table of thick crystals: every row makes disks where its strained lattice puts them, at the counts it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cyclestrain.affine import reciprocal
from cyclestrain.simulation.lattice import make_lattice

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("abtem")

from cyclestrain.simulation.materials import cubic  # noqa: E402
from cyclestrain.simulation.propagation import Library, diffract  # noqa: E402
from cyclestrain.simulation.thick import SETS, Background, ThickSet  # noqa: E402

NAMES = sorted(SETS)


def quick(entry: ThickSet) -> ThickSet:
    """Thin and hardly bent: computed in a second."""
    return dataclasses.replace(entry, thickness=(3.0, 5.0), tilt=0.5)


@pytest.mark.parametrize("name", NAMES)
def test_disks_lie_where_the_strained_lattice_puts_them(name: str) -> None:
    entry = quick(SETS[name])
    made = entry.make((4, 2))
    patterns, truth = np.asarray(made.scan.source), made.truth
    vectors = make_lattice(str(truth.attrs["lattice"]), entry.ring).vectors
    y, x = np.indices(entry.detector)
    for at in ((0, 0), (3, 1)):
        assert 0.8 < patterns[at].sum() < 1.01
        places = np.concatenate([np.zeros((1, 2)), vectors @ reciprocal(truth["F"].values[at]).T])
        places += [truth["centre_y"].values[at], truth["centre_x"].values[at]]
        distance = np.min([np.hypot(y - p[0], x - p[1]) for p in places], axis=0)
        reach = 2.5 * entry.ring  # the list of vectors ends farther out
        inside = np.hypot(y - places[0, 0], x - places[0, 1]) < reach
        between = patterns[at][inside & (distance > entry.radius + 2.0)]
        assert between.sum() < 0.01 * patterns[at].sum()
        assert patterns[at][inside & (distance < entry.radius)].sum() > 0.75 * patterns[at].sum()


def test_layers_are_stretched_along_their_growth() -> None:
    truth = quick(SETS["SiGe layers [110]"]).make((20, 2)).truth
    rows = truth["eyy"].values.mean(1)
    layer = rows[7:11].mean()  # 20 % germanium, a misfit of 0.8 %
    assert layer == pytest.approx(0.2 * 0.0418 * 1.77, abs=0.004)
    assert np.abs(truth["exx"].values[:11]).max() < 0.006
    assert len(np.unique(truth["grain"].values)) == 4


@pytest.mark.parametrize("tilt", [(0.0, 0.0), (2.13e-3, -1.37e-3)])
def test_a_library_holds_what_a_single_wave_gives(tilt: tuple[float, float]) -> None:
    """Between the directions it was computed for: cubic interpolation of rocking curves 30 nm thick."""
    from cyclestrain.simulation.propagation import between

    crystal = cubic("diamond", "110", ["Si"], 5.431, 0.46).crystal
    library = Library.computed(
        crystal, np.eye(2), thickness=np.array([290.0, 300.0]), aperture=1e-3, tilt=2.5e-3, largest=1.0
    )
    incident = np.array(tilt) / crystal.wavelength
    depth = round(library.thickness[-1] / crystal.step)
    exact = diffract(crystal, np.eye(2), [depth], incident[None])[0, 0]
    shown = [
        np.unravel_index(np.hypot(*np.moveaxis(crystal.waves - b, -1, 0)).argmin(), exact.shape) for b in library.beams
    ]
    middle = (library.intensity.shape[-1] - 1) / 2 + incident / library.spacing
    ours = [between(image, *middle) for image in library.intensity[library.nearest(np.array(300.0))[0]]]
    np.testing.assert_allclose(ours, [exact[at] for at in shown], atol=2e-3)


def test_backgrounds_run_from_flat_to_a_peak_narrower_than_the_disk() -> None:
    entry = quick(SETS["SiGe layers [110]"])
    made = entry.make((2, 2))
    centre = (np.array(entry.detector) - 1) / 2
    y, x = np.indices(entry.detector)
    disk = np.hypot(y - centre[0], x - centre[1]) < entry.radius
    shares = []
    for shape in (Background(60.0), entry.background, Background(2.2, 1.5)):
        counts = np.asarray(entry.record(made, background=0.6, shape=shape).scan.source).astype(float)
        np.testing.assert_allclose(counts.sum((2, 3)), 1e5, rtol=0.03)
        shares.append(shape.image(entry.detector, centre)[disk].sum())
    assert shares[0] < 0.03
    assert shares[1] > 0.2
    assert shares[2] > 0.6
