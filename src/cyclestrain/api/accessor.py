"""``maps.strain``: what a result can do, as an accessor of `xarray.Dataset`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from cyclestrain.api.arguments import PathLike, scan_of
from cyclestrain.api.inspection import show
from cyclestrain.api.words import Reference, reference_words
from cyclestrain.data import as_html, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cyclestrain.data import PatternSource, Scan

__all__ = ["StrainAccessor"]


@xr.register_dataset_accessor("strain")  # type: ignore[no-untyped-call]
class StrainAccessor:
    """What a result can do: ``maps.strain.predicted(12, 30)``.

    Known after `cyclestrain.map` or `cyclestrain.load`; it works on the data set that they return, on parts of it that
    were cut with ``isel``, and on what `xarray.open_dataset` reads from a result file.
    """

    def __init__(self, maps: xr.Dataset) -> None:
        self._maps = maps

    @property
    def _rows(self) -> list[tuple[str, str]]:
        """What is worth knowing of a result at a glance."""
        from cyclestrain.result import describe_result

        wanted = ("maps of", "valid", "doubt", "exx", "eyy", "exy", "rotation", "reference", "axes")
        lines = [line for line in describe_result(self._maps) if line.startswith(wanted)]
        parts = [line.partition(": ") for line in lines if "_raw" not in line.partition(":")[0]]
        return [(label, text) for label, _, text in parts if not label.startswith("reference_")]

    def __repr__(self) -> str:
        return as_text(f"Strain of {self._maps.attrs.get('name', 'a scan')!r}", self._rows)

    def _repr_html_(self) -> str:
        return as_html(f"Strain of {self._maps.attrs.get('name', 'a scan')}", self._rows)

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

        return recorded_pattern(self._maps, scan_of(self._maps, scan), ry, rx)

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

        return expected(self._maps, scan_of(self._maps, scan), ry, rx)

    def relative_to(self, reference: Reference) -> xr.Dataset:
        """The maps with strain and rotation relative to another reference; nothing is fitted again.

        Parameters
        ----------
        reference
            The region as a mask of shape ``(ry, rx)``, a pair of slices or ``"ry0:ry1,rx0:rx1"``, or any other word of
            ``cyclestrain map --reference``: ``"auto"``, ``"ideal"``, ``"class 0"``, and ``"known"`` if the scan was
            mapped with known lattices.

        Returns
        -------
        maps
            What ``cs.map(scan, reference=reference)`` would have given.

        Raises
        ------
        InputError
            If the result does not hold that reference, is a part of a result, or of a version that did not store the
            transforms.
        """
        from cyclestrain.result import relative_to

        return relative_to(self._maps, reference_words(reference))

    def profile(
        self,
        start: tuple[float, float],
        stop: tuple[float, float],
        width: float = 1.0,
        estimate: Literal["", "raw"] = "",
    ) -> xr.Dataset:
        """Strain and rotation along a line, averaged across it, with their uncertainties.

        Parameters
        ----------
        start, stop
            First and last position ``(ry, rx)`` of the line, counted from 0.
        width
            Width across the line within which positions are averaged, positions.
        estimate
            ``""`` for the best estimate, ``raw`` for each pattern alone.

        Returns
        -------
        profile
            Dimension ``distance``; `exx`, `exx_sigma`, ... and `n`, the number of positions in each mean. The sigma of
            the best estimate is not divided by their root, since neighbours lean on the same patterns.

        Raises
        ------
        InputError
            If the line has no length, or no valid position lies on it.

        Examples
        --------
        A line across an interface with its band::

            line = maps.strain.profile((10, 0), (10, 40), width=5)
            plt.fill_between(line.distance, line.exx - line.exx_sigma, line.exx + line.exx_sigma, alpha=0.3)
            line.exx.plot()
        """
        from cyclestrain.result import profile

        return profile(self._maps, start, stop, width, estimate)

    def principal(self, estimate: Literal["", "raw"] = "") -> xr.Dataset:
        """Principal strains, their direction, dilation and largest shear of every position, with uncertainties.

        Parameters
        ----------
        estimate
            ``""`` for the best estimate, ``raw`` for each pattern alone.

        Returns
        -------
        principal
            `largest`, `smallest`, `dilation` (exx + eyy), `shear` (half of the difference of the principal strains),
            `angle` of the largest one from +x towards +y, radians; each with `_sigma`.
        """
        from cyclestrain.result import principal

        return principal(self._maps, estimate)

    def rotation_gradient(self, estimate: Literal["", "raw"] = "") -> xr.Dataset:
        """How fast the lattice turns along the scan, the curvature of its planes, with uncertainties.

        Parameters
        ----------
        estimate
            ``""`` for the best estimate, ``raw`` for each pattern alone.

        Returns
        -------
        gradient
            `along_y` and `along_x`, radians per unit of the probe step; each with `_sigma`, which for the best estimate
            is an upper bound. Blank where no neighbour is of the same class.
        """
        from cyclestrain.result import curvature

        return curvature(self._maps, estimate)

    def show(self, output: PathLike | None = None, **options: Any) -> Figure:
        """Draw the maps; notebooks show the figure that is returned.

        Parameters
        ----------
        output, **options
            As for `cyclestrain.show`.
        """
        return show(self._maps, output, **options)

    def to_hyperspy(self, estimate: Literal["", "raw"] = "") -> Any:
        """The maps as a HyperSpy signal, needs the extra ``hyperspy``.

        Parameters
        ----------
        estimate
            ``""`` for the best estimate, ``raw`` for each pattern alone.

        Returns
        -------
        signal
            `hyperspy.signals.Signal2D`: its navigation axis counts the maps, which ``metadata.cyclestrain.channels``
            names; its signal axes are y and x of the scan, calibrated.

        Raises
        ------
        InputError
            If HyperSpy is not installed.
        """
        from cyclestrain.result import hyperspy_signal

        return hyperspy_signal(self._maps, estimate)
