"""Whether all disks are softer in some patterns: told where they are, and not from contrast that disks have alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cyclestrain as cs
import strangers as st

SCAN = (14, 14)


def in_bands(made: list[st.Stranger]) -> st.Stranger:
    """One scan after the other along the rows."""
    part = np.arange(SCAN[0]) * len(made) // SCAN[0]
    return replace(made[0], counts=np.stack([made[k].counts[row] for row, k in enumerate(part)]))


def scan(edges: tuple[float, ...], **options: object) -> st.Stranger:
    """A crystal without strain whose disks have one edge after the other along the rows, as when focus drifts."""
    still, made = st.deformed(np.zeros(SCAN), degrees=20.0), []
    for edge in edges:
        made.append(
            st.stranger(
                [st.square(14.0, reach=44.0, seed=1)], st.field(still), probe=st.disk(3.5, edge), detector=(96, 96),
                background=st.lorentzian(15), backgrounds=0.2, seed=2, **options,  # type: ignore[arg-type]
            )
        )  # fmt: skip
    return in_bands(made)


def test_focus_that_drifts_is_no_strain() -> None:
    """Seven edges from .6 to 3 px: dilation followed them by four sigmas."""
    made = scan(tuple(np.linspace(0.6, 3.0, 7)))
    maps = cs.map(made.counts, ellipse=(1.0, 0.0), progress=False)
    assert "disks: softer in some patterns" in maps.attrs["choices"]
    assert float(maps["blur"][0]) > 0.05
    for suffix in ("_raw", ""):
        z = made.z(maps, suffix)
        assert z.shape[1] == 14 * 14
        assert (np.sqrt((z**2).mean(1)) < 1.3).all()


@pytest.mark.parametrize("contrast", [0.0, 0.4])
def test_disks_of_one_edge_are_not_taken_for_softer_ones(contrast: float) -> None:
    maps = cs.map(scan((0.8,), contrast=contrast).counts, ellipse=(1.0, 0.0), progress=False)
    assert "blur" not in maps
    assert "softer" not in maps.attrs["choices"]


def test_bowls_that_all_disks_have_alike_are_contrast_and_no_blur() -> None:
    """Thickness makes all disks brighter or darker towards their edges; light beyond the edge tells a blur from it."""
    still = st.deformed(np.zeros(SCAN), degrees=20.0)
    lattice, made = st.square(14.0, reach=44.0, seed=1), []
    for bowl in np.linspace(-0.9, 0.9, 7):

        def shape(_: int, bowl: float = bowl) -> st.Shape:
            return lambda y, x: st.disk(3.5)(y, x) * (1 + bowl * ((y**2 + x**2) / 3.5**2 - 0.5))

        made.append(
            st.stranger(
                [lattice], st.field(still), probe=st.disk(3.5), detector=(96, 96), background=st.lorentzian(15),
                backgrounds=0.2, inside=shape, seed=2, dose=1e6,
            )
        )  # fmt: skip
    bowls = in_bands(made)
    maps = cs.map(bowls.counts, ellipse=(1.0, 0.0), progress=False)
    assert "blur" not in maps
    assert (np.sqrt((bowls.z(maps, "_raw") ** 2).mean(1)) < 1.3).all()
