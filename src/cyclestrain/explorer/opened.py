"""What all windows on one result share: the maps, the scan with its patterns, virtual images, a second result."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, FloatArray, Quantity, Scan
from cyclestrain.display.fields import scan_step
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.explorer.brightness import reach_of
from cyclestrain.explorer.detectors import Disk, Ring, VirtualImages
from cyclestrain.result import Predicted, Predictions, expected, measured_reflections, pixel_noise, virtual_dark_field

__all__ = ["Opened", "Pattern"]

KEPT = 64
"""Number of patterns that are kept in memory."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Pattern:
    """What is drawn of one position.

    Attributes
    ----------
    counts
        The recorded pattern, shape ``(qy, qx)``, in the type of the file; None where it cannot be read.
    reflections
        Fitted reflections, see `cyclestrain.result.Predicted`; None where none are known.
    trouble
        Why something is missing, empty if nothing is.
    """

    counts: np.ndarray | None
    reflections: Predicted | None
    trouble: str = ""


@dataclass
class Opened:
    """A result with its scan.

    Attributes
    ----------
    maps
        The result.
    name
        Of its file, or what it is called where it is of no file.
    in_file
        Whether it is of a file.
    growing
        Whether the scan is being recorded.
    came
        Positions whose patterns have come, shape ``(ry, rx)``; None for all.
    words
        While the scan is recorded, where it stands, in one line.
    version
        Counts how often the result has become another.
    groups
        Reads the data sets stored beside the maps, such as the dictionary.
    scan
        The scan, None where there is none.
    trouble
        Why there is none.
    intensities
        Intensities of the reflections, read where they are used; None where there are none.
    other, other_name
        A second result to compare with; None where there is none.
    """

    maps: xr.Dataset
    name: str = "result"
    groups: Callable[[], dict[str, xr.Dataset]] = dict
    scan: Scan | None = None
    trouble: str = ""
    other: xr.Dataset | None = None
    other_name: str = ""
    in_file: bool = True
    intensities: xr.Dataset | None = None
    growing: bool = False
    came: BoolArray | None = None
    words: str = ""
    version: int = field(default=0, init=False)
    _kept: OrderedDict[tuple[str, tuple[int, int]], Any] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        self._predictions = Predictions(self.maps)
        self.virtual = None if self.scan is None else VirtualImages(self.scan, self.centre, self._places, self.came)

    def grow(self, maps: xr.Dataset, came: BoolArray) -> None:
        """Take the result of more of the scan; who looks at it sees that by its `version`.

        Parameters
        ----------
        maps
            The result of what has come.
        came
            Positions whose patterns have come, shape ``(ry, rx)``.
        """
        self.maps, self.came = maps, came
        if self.virtual is not None:
            self.virtual.centre, self.virtual.came = self.centre, came
        self._fits_changed()

    def end(self, maps: xr.Dataset, groups: dict[str, xr.Dataset], scan: Scan | None) -> None:
        """Take the last result, which is looked at like any other from here on.

        Parameters
        ----------
        maps, groups
            The result, and the data sets beside the maps.
        scan
            What can be read of the scan.
        """
        self.growing, self.words, self.groups = False, "", lambda: groups
        self.intensities = groups.get("intensities")
        self.maps, self.scan, self.came = maps, scan, None if self.came is None or self.came.all() else self.came
        self.virtual = None if scan is None else VirtualImages(scan, self.centre, self._places, self.came)
        self._fits_changed()

    def _fits_changed(self) -> None:
        """Forget what followed from the result before; the patterns stay."""
        self._predictions = Predictions(self.maps)
        with self._lock:
            for key in [key for key in self._kept if key[0] != "counts"]:
                del self._kept[key]
        self.version += 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        return self.maps.sizes["ry"], self.maps.sizes["rx"]

    @property
    def step(self) -> Quantity:
        """Distance between neighbouring positions."""
        return scan_step(self.maps)

    @property
    def calibration(self) -> dict[str, Any]:
        """What was measured of the detector, empty if the result does not say."""
        try:
            found = json.loads(self.maps.attrs.get("calibration", "{}"))
        except (TypeError, json.JSONDecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def centre(self) -> FloatArray:
        """Beam centre ``(y, x)`` of every position, shape ``(ry, rx, 2)``; the middle of the detector if unknown."""
        if "centre_y" in self.maps and "centre_x" in self.maps:
            return np.stack([self.maps["centre_y"].values, self.maps["centre_x"].values], -1).astype(float)
        middle = (np.array(self.scan.detector_shape) - 1) / 2 if self.scan is not None else np.zeros(2)
        return np.broadcast_to(middle, (*self.shape, 2))

    @property
    def reflections(self) -> list[tuple[int, int]]:
        """Indices of the reflections whose intensities are known, see `cyclestrain.result.measured_reflections`."""
        return [] if self.intensities is None else measured_reflections(self.intensities)

    def intensity(self, indices: tuple[int, int]) -> xr.Dataset:
        """Intensity of a reflection over the scan, see `cyclestrain.result.virtual_dark_field`.

        Parameters
        ----------
        indices
            Its indices, one of `reflections`.
        """
        assert self.intensities is not None
        of = self.intensities
        return self._once("intensity", indices, lambda hk: virtual_dark_field(of, *hk).load())

    @property
    def bright_field(self) -> Disk:
        """The direct beam."""
        return Disk(0.0, 0.0, round(float(self.calibration.get("disk_radius", 4.0)) + 1, 1))

    @property
    def dark_field(self) -> Ring:
        """The ring that was used for the map."""
        inner, outer = self.calibration.get("ring", (10.0, 100.0))
        return Ring(round(float(inner), 1), round(float(outer), 1))

    def pattern(self, at: tuple[int, int]) -> Pattern:
        """The pattern of a position with its fit; what cannot be had is explained in it, never raised.

        Parameters
        ----------
        at
            Row and column.
        """
        troubles, counts, reflections = [], None, None
        if self.scan is None:
            troubles.append(self.trouble)
        elif not self._is_there(at):
            troubles.append(f"the pattern of row {at[0]}, column {at[1]} has not come yet")
        else:
            try:
                counts = self._once("counts", at, self._read)
            except (CyclestrainError, OSError, RuntimeError, ValueError, KeyError) as error:
                troubles.append(f"the pattern of row {at[0]}, column {at[1]} cannot be read: {error}")
        try:
            reflections = self._once("reflections", at, lambda at: self._predictions.at(*at))
        except InputError as error:
            troubles.append(str(error))
        return Pattern(counts, reflections, "; ".join(part for part in troubles if part))

    def reach(
        self, at: tuple[int, int], counts: np.ndarray, share: tuple[float, float] = (0.0, 1.0)
    ) -> tuple[float, float]:
        """Counts at the ends of the colours of a pattern; the direct beam is let shine.

        Parameters
        ----------
        at
            Row and column.
        counts
            The pattern.
        share
            Position of both ends between the darkest and the brightest colour that suits the pattern.
        """
        y, x = (float(v) for v in self.centre[at])
        return reach_of(counts, (y, x, 2 * self.bright_field.radius), share)

    def residual(self, at: tuple[int, int]) -> FloatArray:
        """Counts minus what the model expects, in Poisson deviations of that, shape ``(qy, qx)``, NaN where unused.

        Parameters
        ----------
        at
            Row and column.

        Raises
        ------
        InputError
            If there is no scan, or the result does not hold its fit.
        """
        if self.scan is None:
            raise InputError(self.trouble or "there is no scan to compare with; give it after the result")
        if not self._is_there(at):
            raise InputError(f"the pattern of row {at[0]}, column {at[1]} has not come yet")
        return self._once("residual", at, self._residual)

    def _is_there(self, at: tuple[int, int]) -> bool:
        """Whether the pattern of a position has come."""
        return self.came is None or bool(self.came[at])

    def _residual(self, at: tuple[int, int]) -> FloatArray:
        assert self.scan is not None
        model = expected(self.maps, self.scan, *at).values
        counts = np.asarray(self._once("counts", at, self._read), float)
        return (counts - model) / pixel_noise(self.maps, model)

    def _read(self, at: tuple[int, int]) -> np.ndarray:
        assert self.scan is not None
        row, column = at
        return self.scan.part(slice(row, row + 1), slice(column, column + 1)).patterns[0]

    def _once(self, what: str, at: tuple[int, int], make: Callable[[tuple[int, int]], Made]) -> Made:
        """Something of a position, made where it is not kept; the longest unused is let go."""
        key = (what, at)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make(at)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > 3 * KEPT:
                self._kept.popitem(last=False)
        return made

    def _places(self, entry: int) -> FloatArray:
        """Detector positions of the reflections of an entry, NaN where a position is not of its class."""
        if "affine" not in self.maps:
            raise InputError("this result does not hold where its reflections lie; map the scan again")
        if not 0 <= entry < self.maps.sizes["entry"]:
            raise InputError(f"there is no class {entry}; the result has {self.maps.sizes['entry']}, counted from 0")
        own = self.maps.isel(entry=entry)
        g = np.stack([own["reflection_y"].values, own["reflection_x"].values], -1)
        g = g[np.isfinite(g).all(1)]
        places = self.centre[:, :, None] + np.einsum("...ij,kj->...ki", self.maps["affine"].values, g)
        return np.where((self.maps["class"].values == entry)[..., None, None], places, np.nan)


def _check(opened: Opened) -> None:
    """Make sure that scan and second result fit the maps.

    Raises
    ------
    InputError
        If they do not.
    """
    if set(opened.maps.sizes) < {"ry", "rx"}:
        raise InputError("the result has no maps over (ry, rx); give a result that `cyclestrain map` wrote")
    if opened.scan is not None and opened.scan.scan_shape != opened.shape:
        raise InputError(
            f"the result has {opened.shape[0]} x {opened.shape[1]} positions, {opened.scan.name} has "
            f"{opened.scan.scan_shape[0]} x {opened.scan.scan_shape[1]}; give the scan that was mapped, read with the "
            "same options"
        )
    if opened.other is not None and (opened.other.sizes["ry"], opened.other.sizes["rx"]) != opened.shape:
        raise InputError(
            f"{Path(opened.other_name).name} has another number of positions than {Path(opened.name).name}; only "
            "results of the same scan can be compared side by side"
        )
