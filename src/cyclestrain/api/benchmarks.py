"""`benchmark`: what the physics allows, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cyclestrain.errors import InputError

if TYPE_CHECKING:
    from cyclestrain.evaluation import BoundTable

__all__ = ["benchmark"]


def benchmark(
    name: Literal["crb"] = "crb",
    *,
    backgrounds: Sequence[float] = (0.0, 0.05, 0.1, 0.25, 0.4, 0.6, 0.7, 0.8, 0.9),
    counts: float = 1e5,
    lattice: Literal["hexagonal", "square", "rhombic", "oblique"] = "hexagonal",
    detector: tuple[int, int] = (256, 256),
    radius: float | None = None,
    rotation: float = 17.0,
) -> BoundTable:
    """Tell how precisely one pattern of the simulated benchmark can be measured at all.

    Parameters
    ----------
    name
        ``crb``: the Cramer-Rao bound of strain and rotation, shot noise being the only noise.
    backgrounds
        Shares of the counts in the smooth background, 0 to 1.
    counts
        Electrons per pattern.
    lattice
        Lattice of the crystal.
    detector
        Detector size ``(qy, qx)`` in pixels.
    radius
        Disk radius in pixels; by default 4.2 on a detector of 256 pixels, in proportion on others.
    rotation
        Rotation of the crystal, degrees.

    Returns
    -------
    table
        The bound at every background, with everything unknown and with the affine alone unknown.

    Raises
    ------
    InputError
        If there is no such benchmark, or a background is not a share below 1.
    """
    from cyclestrain.evaluation import tabulate

    if name != "crb":
        raise InputError(f"no benchmark is called {name!r}; there is crb")
    if not backgrounds or not all(0 <= share < 1 for share in backgrounds):
        raise InputError(f"the background shares are at least 0 and below 1, got {list(backgrounds)}")
    return tabulate(
        backgrounds, rotation_deg=rotation, counts=counts, lattice=lattice, detector=detector, radius=radius
    )
