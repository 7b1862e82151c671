"""The Cramer-Rao bound: against known figures, the model's own, and a Monte-Carlo of the likelihood."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import reciprocal
from cyclestrain.api.benchmarks import benchmark
from cyclestrain.cli import main
from cyclestrain.data import FloatArray
from cyclestrain.errors import InputError
from cyclestrain.evaluation import BoundTable, tabulate
from cyclestrain.evaluation.bound import Bound, bound_of_entry, bound_of_pattern
from cyclestrain.pattern import Entry, Priors, Probe, Start, gather, predicted_positions, refine
from cyclestrain.simulation import Acquisition, SimulatedScan, polycrystal, two_phase, uniform
from cyclestrain.simulation.patterns import background, draw_disk
from laws import start_of

COMPONENTS = ("eyy", "exx", "exy", "rotation")
STATE = {"strain": (0.012, -0.008, 0.005), "rotation_deg": 23.0}


def true_entry(acquisition: Acquisition, half: int = 7, oversampling: int = 16) -> Entry:
    """The entry that a perfect learning would find: the simulator's own disk, intensities and background."""
    lattice = acquisition.make_lattice()
    optics = np.array([acquisition.disk_radius, 0.0, 1.0, 0.0, 0.0, 1.0])
    m, reach = (half + 2) * oversampling, half + 3
    values = np.zeros((2 * reach * oversampling, 2 * reach * oversampling))
    for i in range(oversampling):
        for j in range(oversampling):
            image = np.zeros((2 * reach, 2 * reach))
            draw_disk(image, reach - i / oversampling, reach - j / oversampling, 1.0, optics, 0.0, 0.0, 0.0)
            values[i::oversampling, j::oversampling] = image
    middle = reach * oversampling
    probe = Probe(values[middle - m : middle + m + 1, middle - m : middle + m + 1], oversampling, half)
    size = acquisition.detector[0]
    smooth = background(acquisition.detector, (size - 1) / 2, (size - 1) / 2)
    r = np.arange(0.0, size)
    profile = smooth.max() * (1 + 0.5 / (0.01 * size) ** 2) / (1 + (r / (0.01 * size)) ** 2)
    n = len(lattice.vectors)
    share = acquisition.counts * (1 - acquisition.background)
    return Entry(
        lattice.vectors, share * lattice.intensity, lattice.vectors[:2].T, np.zeros((n, 2)), np.eye(2)[None],
        acquisition.counts * acquisition.background * profile, probe, Priors.none(n), np.zeros((3, 3)),
    )  # fmt: skip


def bounds(bound: Bound) -> FloatArray:
    return np.array([getattr(bound, name) for name in COMPONENTS])


@pytest.mark.parametrize(
    ("share", "exx", "exy"), [(0.05, 5.9e-4, 4.0e-4), (0.25, 8.8e-4, 6.1e-4), (0.6, 1.82e-3, 1.27e-3)]
)
def test_known_figures_of_the_benchmark(share: float, exx: float, exy: float) -> None:
    bound = bound_of_pattern(uniform(scan=(1, 1), background=share, rotation_deg=17.0).truth, nuisance=False)
    tolerance = 0.07  # the known figures are rounded, and their lattice had other rotations
    np.testing.assert_allclose([bound.exx, bound.eyy, bound.exy], [exx, exx, exy], rtol=tolerance)


def test_bound_of_the_model_is_that_of_the_counts() -> None:
    truth = uniform(scan=(1, 1), background=0.25, centre_offset=(1.3, -0.7), **STATE).truth
    direct = bound_of_pattern(truth)
    affine = reciprocal(truth["F"].values[0, 0])
    centre = np.array([truth["centre_y"].values[0, 0], truth["centre_x"].values[0, 0]])
    model = bound_of_entry(true_entry(Acquisition(background=0.25)), start_of(affine, centre), detector=(256, 256))
    np.testing.assert_allclose(bounds(model), bounds(direct), rtol=0.01)
    correlation = model.covariance / np.outer(bounds(model), bounds(model))
    np.testing.assert_allclose(correlation, direct.covariance / np.outer(bounds(direct), bounds(direct)), atol=0.01)


@pytest.mark.parametrize(("share", "counts"), [(0.25, 3e5), (0.6, 2e6)])
def test_maximum_likelihood_reaches_the_bound(share: float, counts: float) -> None:
    """With the true entry and enough counts the scatter of the fit is the bound: neither above nor below."""
    options = {"detector": (160, 160), "spacing": 30.0, "radius": 4.0, **STATE}
    simulated = uniform(scan=(40, 50), background=share, counts=counts, **options)  # type: ignore[arg-type]
    expected = bounds(bound_of_pattern(simulated.truth))
    error = 1 / np.sqrt(2 * 2000)
    np.testing.assert_allclose(fitted_scatter(simulated) / expected, 1.0, atol=3 * error)


@pytest.mark.slow
@pytest.mark.parametrize("lattice", ["hexagonal", "square", "oblique"])
@pytest.mark.parametrize(("share", "excess"), [(0.05, 0.0), (0.25, 0.02), (0.6, 0.12), (0.7, 0.3)])
def test_maximum_likelihood_at_the_counts_of_the_benchmark(lattice: str, share: float, excess: float) -> None:
    """At 1e5 counts the bound is reached up to 25 %; above, the likelihood of one pattern is no parabola any more."""
    simulated = uniform(scan=(40, 50), background=share, lattice=lattice, **STATE)  # type: ignore[arg-type]
    ratio = fitted_scatter(simulated) / bounds(bound_of_pattern(simulated.truth))
    assert (ratio > 0.95).all()
    assert (ratio < 1.05 + excess).all()


def fitted_scatter(simulated: SimulatedScan) -> FloatArray:
    """Standard deviation of ``eyy, exx, exy, rotation`` over fits of all patterns, centre, gain and level unknown."""
    from cyclestrain.affine import deformation, left_polar

    truth = simulated.truth
    keys = ("counts", "background", "detector", "spacing", "radius", "lattice")
    options = {key: truth.attrs[key] for key in keys}
    entry = true_entry(Acquisition(**{**options, "detector": tuple(int(n) for n in options["detector"])}))
    patterns = np.asarray(simulated.scan.source)
    patterns = patterns.reshape(-1, *patterns.shape[2:])
    n, good = len(patterns), np.ones(patterns.shape[1:], bool)
    centre = np.repeat([[truth["centre_y"].values[0, 0], truth["centre_x"].values[0, 0]]], n, 0)
    start = Start(np.repeat(reciprocal(truth["F"].values[0, 0])[None], n, 0), centre, np.ones(n), np.ones(n))
    stack = gather(patterns, predicted_positions(start, entry.reflections), entry.probe.half + 1, good)
    fit = refine(stack, entry, start, centre=centre, centre_sigma=1e3, iterations=8, robust=False)
    stretch, theta = left_polar(deformation(fit.start.affine))
    return np.array([stretch[:, 0, 0].std(), stretch[:, 1, 1].std(), stretch[:, 0, 1].std(), theta.std()])


def test_bound_scales_with_dose_and_knowledge() -> None:
    truth = uniform(scan=(1, 1), background=0.4, **STATE).truth
    more = uniform(scan=(1, 1), background=0.4, counts=4e5, **STATE).truth
    np.testing.assert_allclose(bounds(bound_of_pattern(more)), bounds(bound_of_pattern(truth)) / 2, rtol=1e-3)
    assert (bounds(bound_of_pattern(truth)) >= bounds(bound_of_pattern(truth, nuisance=False)) * (1 - 1e-9)).all()


def test_what_may_deviate_costs_precision() -> None:
    entry = true_entry(Acquisition(background=0.25))
    spread = np.full_like(entry.priors.spread, 0.3)
    loose = Entry(**{**vars(entry), "priors": Priors(spread)})
    assert (bounds(bound_of_entry(loose)) > bounds(bound_of_entry(entry))).all()


def test_bound_of_any_grain_and_none_of_vacuum() -> None:
    truth = polycrystal(scan=(6, 6), detector=(96, 96), grain_size=9.0, seed=3, background=0.3).truth
    values = [bounds(bound_of_pattern(truth, (k, k))) for k in range(6)]
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values, np.broadcast_to(values[0], (6, 4)), rtol=0.1)
    outside = two_phase(scan=(8, 8), detector=(96, 96), sample_size=0.5, background=0.3).truth
    with pytest.raises(InputError, match="vacuum"):
        bound_of_pattern(outside, (0, 0))


def test_table() -> None:
    table = tabulate([0.0, 0.3], detector=(96, 96), counts=1e4)
    assert isinstance(table, BoundTable)
    assert table.bounds[0].exx < table.bounds[1].exx
    assert f"{1e4 * table.bounds[1].exx:.2f}" in str(table)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--backgrounds", "0.1", "0.5", "--detector", "96", "96"]
    assert main(["benchmark", "crb", *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == str(benchmark("crb", backgrounds=(0.1, 0.5), detector=(96, 96)))
    with pytest.raises(InputError, match="below 1"):
        benchmark(backgrounds=(0.5, 1.0))
    with pytest.raises(InputError, match="no benchmark"):
        benchmark("speed")  # type: ignore[arg-type]
