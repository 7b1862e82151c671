"""`simulate`: scans whose strain is known."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from cyclestrain.api.arguments import PathLike
from cyclestrain.errors import InputError
from cyclestrain.progress import Progress, shown

if TYPE_CHECKING:
    from cyclestrain.simulation import SimulatedScan

__all__ = ["simulate"]


def simulate(
    phantom: str = "polycrystal",
    output: PathLike | None = None,
    *,
    scan: tuple[int, int] = (64, 64),
    detector: tuple[int, int] = (256, 256),
    background: float = 0.25,
    counts: float = 1e5,
    seed: int = 0,
    lattice: Literal["hexagonal", "square", "rhombic", "oblique"] = "hexagonal",
    force: bool = False,
    progress: Progress | bool | None = None,
    **options: Any,
) -> SimulatedScan:
    """Simulate a 4D-STEM scan whose strain is known.

    Parameters
    ----------
    phantom
        Sample: ``polycrystal``, ``two_phase``, ``uniform``, ``ripple``, ``dislocation`` or ``features``.
    output
        HDF5 file to write, patterns and truth; by default nothing is written.
    scan
        Number of probe positions ``(ry, rx)``.
    detector
        Detector size ``(qy, qx)`` in pixels.
    background
        Share of the counts in the smooth background, 0 to 1; without background there is no shot noise either.
    counts
        Electrons per pattern.
    seed
        Seed of grains and noise.
    lattice
        Lattice of the crystal.
    force
        Whether an existing output file is replaced.
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.
    **options
        Further keywords of the phantom (``grain_size``, ``max_strain``, ...) and of the acquisition (``radius``,
        ``drift``, ``texture``, ...), see `cyclestrain.simulation`.

    Returns
    -------
    simulated
        The scan and its truth.

    Raises
    ------
    InputError
        If there is no such phantom, or it has no such option.
    OutputError
        If the output cannot be written.
    """
    from cyclestrain.files import check_writable
    from cyclestrain.simulation import PHANTOMS, save

    if phantom not in PHANTOMS:
        raise InputError(f"no phantom is called {phantom!r}; there are {', '.join(PHANTOMS)}")
    _check_options(phantom, options)
    if output is not None:
        check_writable(output, force)
    progress = shown(progress)
    with progress.stage("simulate"):
        simulated = PHANTOMS[phantom](
            scan=scan,
            detector=detector,
            background=background,
            counts=counts,
            seed=seed,
            lattice=lattice,
            **options,
        )
        if output is not None:
            save(simulated, output, force)
    return simulated


def _check_options(phantom: str, options: dict[str, Any]) -> None:
    """Refuse a keyword that neither the phantom nor the acquisition has."""
    from cyclestrain.simulation import PHANTOMS, Acquisition

    own = inspect.signature(PHANTOMS[phantom]).parameters
    known = {*own, *inspect.signature(Acquisition).parameters} - {"options"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(f"{phantom} has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
