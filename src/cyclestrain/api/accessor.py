"""``maps.strain``: what a result can do, as an accessor of `xarray.Dataset`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xarray as xr

from cyclestrain.api.arguments import PathLike, stored_reading

if TYPE_CHECKING:
    from cyclestrain.data import PatternSource, Scan

__all__ = ["StrainAccessor"]


@xr.register_dataset_accessor("strain")
class StrainAccessor:
    """What a result can do: ``maps.strain.predicted(12, 30)``.

    Known after `cyclestrain.map` or `cyclestrain.load`; it works on the data set that they return, on parts of it that
    were cut with ``isel``, and on what `xarray.open_dataset` reads from a result file.
    """

    def __init__(self, maps: xr.Dataset) -> None:
        self._maps = maps

    def predicted(self, ry: int, rx: int) -> xr.Dataset:
        """Reflections of the fitted pattern of one position, in detector pixels.

        Parameters
        ----------
        ry, rx
            Row and column of the position, counted from 0.

        Returns
        -------
        reflections
            Dimension ``reflection``; `y`, `x` (pixels; pixel centres at integers), `h`, `k` (indices in the basis of
            the entry), `intensity` (expected counts in the disk). Attributes: `disk_radius`, `centre_y`, `centre_x`
            (pixels) and `class`. Empty, with class -1, where no crystal was fitted.

        Raises
        ------
        InputError
            If there is no such position, or the result is of a version that did not store the transform.

        Examples
        --------
        Circles where the fit expects disks, over the recorded pattern::

            pattern, disks = maps.strain.pattern("scan.h5", 12, 30), maps.strain.predicted(12, 30)
            plt.imshow(pattern, norm="log")
            for y, x in zip(disks.y, disks.x):
                plt.gca().add_patch(plt.Circle((x, y), disks.disk_radius, fill=False))
        """
        from cyclestrain.result import predicted

        return predicted(self._maps, ry, rx)

    def pattern(self, scan: PathLike | PatternSource | Scan, ry: int, rx: int) -> xr.DataArray:
        """Recorded pattern of one position, dimensions ``(qy, qx)``.

        Parameters
        ----------
        scan
            The scan that was mapped: its file, which is read as it was for the map, an array, or an opened scan. Open
            it once with `cyclestrain.read` to look at many positions.
        ry, rx
            Row and column of the position in the result, counted from 0.

        Raises
        ------
        InputError
            If there is no such position, or the scan is not of the shape that was mapped.
        """
        from cyclestrain.result import recorded_pattern

        return recorded_pattern(self._maps, self._opened(scan), ry, rx)

    def expected(self, scan: PathLike | PatternSource | Scan, ry: int, rx: int) -> xr.DataArray:
        """Counts that the model expects at one position, dimensions ``(qy, qx)``, in the values of the file.

        Parameters
        ----------
        scan, ry, rx
            As for `pattern`.

        Returns
        -------
        counts
            NaN inside the ring that is used, beyond the outermost reflection, at bad pixels, and everywhere if no
            crystal was fitted. What remains of ``pattern - expected`` is what no transform of the entry explains.

        Raises
        ------
        InputError
            As for `pattern`.
        """
        from cyclestrain.result import expected

        return expected(self._maps, self._opened(scan), ry, rx)

    def _opened(self, scan: PathLike | PatternSource | Scan) -> Scan:
        from cyclestrain.io import read

        return read(scan, stored_reading(self._maps)) if isinstance(scan, str | os.PathLike) else read(scan)
