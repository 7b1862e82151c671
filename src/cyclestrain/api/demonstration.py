"""`demo`: the whole way on a simulated scan, compared with its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclestrain.api.arguments import PathLike
from cyclestrain.api.mapping import map
from cyclestrain.api.simulation import simulate
from cyclestrain.errors import OutputError
from cyclestrain.progress import Progress, shown

if TYPE_CHECKING:
    import xarray as xr

    from cyclestrain.evaluation import Accuracy

__all__ = ["Demo", "demo"]


@dataclass(frozen=True)
class Demo:
    """What `demo` made.

    Attributes
    ----------
    maps
        The result.
    truth
        What was simulated.
    accuracy
        Errors of the best and of the raw estimate: over all positions, in the interior, bias per grain and scatter.
    files
        What was written.
    """

    maps: xr.Dataset
    truth: xr.Dataset
    accuracy: tuple[Accuracy, ...]
    files: tuple[Path, ...]


def demo(
    folder: PathLike = "cyclestrain-demo",
    *,
    scan: tuple[int, int] = (48, 48),
    background: float = 0.4,
    counts: float = 1e5,
    seed: int = 7,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    force: bool = False,
    progress: Progress | bool | None = None,
) -> Demo:
    """Simulate a noisy scan, map it, compare the map with the truth and draw both.

    Parameters
    ----------
    folder
        Where the scan, the result and the figures go; made if missing.
    scan
        Number of probe positions ``(ry, rx)``.
    background
        Share of the counts in the smooth background, 0 to 1.
    counts
        Electrons per pattern.
    seed
        Seed of grains, noise and fit.
    device
        Where torch computes.
    force
        Whether existing files are replaced.
    progress
        Where to report to; True and False turn a bar on and off, which an interactive session shows by default.

    Returns
    -------
    demo
        Maps, truth, accuracy and the files.

    Raises
    ------
    OutputError
        If the folder cannot be made, or holds files that may not be replaced.
    """
    from cyclestrain.evaluation import compare, relative_truth
    from cyclestrain.figures import save_figures
    from cyclestrain.files import check_writable
    from cyclestrain.result import load_group

    home = Path(folder)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {home}: {error.strerror or error}") from error
    raw, result = home / "scan.h5", home / "strain.nc"
    check_writable(result, force)
    truth = simulate(
        "polycrystal", raw, scan=scan, background=background, counts=counts, seed=seed, force=force, progress=progress
    ).truth
    maps = map(raw, result, seed=seed, device=device, force=force, progress=progress)
    accuracy = tuple(compare(maps, truth, estimate) for estimate in ("", "raw"))
    with (shown(progress)).stage("draw"):
        figures = save_figures(maps, load_group(result, "dictionary"), home, truth=relative_truth(maps, truth))
    return Demo(maps, truth, accuracy, (raw, result, *figures))
