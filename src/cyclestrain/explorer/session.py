"""One person's way through a result: the view, what follows from it, and what changes it. Knows of no browser."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, IntArray
from cyclestrain.display.fields import period_map, reference_mask
from cyclestrain.display.ranges import ColourScale, sequential_scale, steady
from cyclestrain.errors import InputError
from cyclestrain.explorer.opened import Opened
from cyclestrain.explorer.position import Number, Positions, worst_first
from cyclestrain.explorer.profiles import Profile, profile
from cyclestrain.explorer.quantities import Shown, available, in_range, shown
from cyclestrain.explorer.regions import Region
from cyclestrain.explorer.state import View
from cyclestrain.io import mask_text
from cyclestrain.result import relative_to

__all__ = ["OTHER", "VIRTUAL", "Session", "intensity_name"]

VIRTUAL = "virtual"
"""Name of the map that is the image of the virtual detector."""
INTENSITY = "intensity:"
"""What the name of a map begins with if it is the intensity of a reflection, whose indices follow as ``h,k``."""
OTHER = "other:"
"""What the name of a map begins with if it is one of the second result."""
SHARED_BY_NEIGHBOURS = ("exx", "eyy", "exy", "rotation", "dilation", "shear", "largest", "smallest")


def intensity_name(indices: tuple[int, int]) -> str:
    """Name of the map of the intensity of a reflection.

    Examples
    --------
    >>> intensity_name((2, -1))
    'intensity:2,-1'
    """
    return f"{INTENSITY}{indices[0]},{indices[1]}"


class Session:
    """A view on an opened result.

    Parameters
    ----------
    opened
        The result with its scan, shared with other sessions.
    view
        What is looked at first.

    Raises
    ------
    InputError
        If the view does not fit the result.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> exx = xr.DataArray(np.linspace(0, 0.02, 12).reshape(3, 4), dims=("ry", "rx"))
    >>> session = Session(Opened(xr.Dataset({"exx": exx, "eyy": exx, "exy": exx})))
    >>> session.change(at=(2, 3))
    >>> session.numbers()[0].text
    '2.000'
    """

    def __init__(self, opened: Opened, view: View | None = None) -> None:
        self.opened, self.view = opened, View()
        self.maps, self.other = opened.maps, opened.other
        self._held: dict[tuple[str, str], ColourScale] = {}
        self._worst: IntArray | None = None
        self._gathered: dict[tuple[str, bool], Positions] = {}
        self._rank = -1
        first = available(opened.maps)[0]
        start = view or View(map="exx" if "exx" in available(opened.maps) else first, at=self._first_position())
        self.change(**{name: getattr(start, name) for name in View.__dataclass_fields__})

    def _first_position(self) -> tuple[int, int]:
        """The valid position nearest the middle."""
        shape = np.array(self.opened.shape)
        valid = np.argwhere(self.maps["valid"].values.astype(bool)) if "valid" in self.maps else np.zeros((0, 2))
        if not len(valid):
            return int(shape[0] // 2), int(shape[1] // 2)
        near = valid[np.argmin(((valid - shape / 2) ** 2).sum(1))]
        return int(near[0]), int(near[1])

    def change(self, **changes: Any) -> None:
        """Look at something else; where a change is refused, nothing is changed.

        Parameters
        ----------
        **changes
            Fields of `View`.

        Raises
        ------
        InputError
            If there is no such map or position, or the region holds nothing to refer to.
        """
        new = replace(self.view, **changes)
        for name in (new.map, new.beside):
            self._check_map(name)
        if new.map == VIRTUAL or new.beside == VIRTUAL:
            self._check_detector(new)
        if not all(0 <= i < n for i, n in zip(new.at, self.opened.shape, strict=True)):
            raise InputError(f"there is no position {new.at}: the maps have shape {self.opened.shape}")
        if new.line is not None and np.abs([new.line.start, new.line.stop]).max() > 2 * max(self.opened.shape):
            raise InputError(f"the line {new.line} lies far outside the maps, which have shape {self.opened.shape}")
        if new.reference != self.view.reference:
            self.maps, self.other = self._relative_to(new.reference)
            self._worst = None
            self._gathered.clear()
        self.view = new

    def _check_map(self, name: str) -> None:
        if name in ("", VIRTUAL):
            return
        if name.startswith(INTENSITY):
            self._check_reflection(name)
            return
        of = self.opened.other if name.startswith(OTHER) else self.opened.maps
        if of is None:
            raise InputError("there is no second result to show a map of; give one with --beside")
        if name.removeprefix(OTHER) not in available(of):
            raise InputError(f"there is no map {name!r}; choose one of {', '.join(available(of))}")

    def _check_reflection(self, name: str) -> None:
        known = self.opened.reflections
        if not known:
            raise InputError("this result holds no intensities; map the scan again with --intensities")
        if name not in map(intensity_name, known):
            some = ", ".join(map(intensity_name, known[:6]))
            raise InputError(f"there is no {name!r}; this result has {len(known)} reflections, among them {some}")

    def _check_detector(self, view: View) -> None:
        if self.opened.virtual is None:
            raise InputError(f"a virtual image needs the patterns: {self.opened.trouble or 'give the scan as well'}")
        if view.detector is None:
            raise InputError("a virtual image needs a detector; draw one on the pattern")

    def _relative_to(self, region: Region | None) -> tuple[xr.Dataset, xr.Dataset | None]:
        """The result and the second one relative to a region; the second as it is where it does not hold that."""
        opened = self.opened
        if region is None:
            return opened.maps, opened.other
        words = mask_text(region.mask(opened.shape))
        maps, other = relative_to(opened.maps, words), opened.other
        if other is not None:
            with suppress(InputError):
                other = relative_to(other, words)
        return maps, other

    def shown(self, name: str | None = None) -> Shown:
        """A map, by default the one of the view, with the limits of the view.

        Parameters
        ----------
        name
            Name of the map.
        """
        name = self.view.map if name is None else name
        if name == VIRTUAL:
            found = self._virtual()
        elif name.startswith(INTENSITY):
            found = self._intensity(name)
        elif name.startswith(OTHER) and self.other is not None:
            found = shown(self.other, name.removeprefix(OTHER), self.view.estimate)
        else:
            found = shown(self.maps, name, self.view.estimate)
        if self.opened.growing and not found.categories:
            scale = steady(found.scale, self._held.get((name, self.view.estimate)))
            self._held[name, self.view.estimate], found = scale, replace(found, scale=scale)
        same = name.removeprefix(OTHER) == self.view.map.removeprefix(OTHER)
        if same and self.view.limits is not None and not found.categories:
            found = replace(found, scale=ColourScale(*self.view.limits))
        elif name.startswith(OTHER) and same and not found.categories:
            found = replace(found, scale=self.shown().scale)
        return found

    def _intensity(self, name: str) -> Shown:
        h, k = (int(part) for part in name.removeprefix(INTENSITY).split(","))
        field = self.opened.intensity((h, k))
        values, sigma = (np.asarray(field[part].values, float) for part in ("intensity", "intensity_sigma"))
        title = f"intensity of ({h} {k}) (counts)"
        return Shown(title, "counts", values, sigma, sequential_scale(values, from_zero=False))

    def grown(self) -> str:
        """Look at what the result has become; gives why the drawn reference does not hold in it, empty if it does."""
        trouble = ""
        try:
            self.maps, self.other = self._relative_to(self.view.reference)
        except InputError as error:  # nothing of the region has come, or it is not valid yet
            self.maps, self.other, trouble = self.opened.maps, self.opened.other, str(error)
        self._worst = None
        self._gathered.clear()
        return trouble

    def _virtual(self) -> Shown:
        assert self.opened.virtual is not None
        assert self.view.detector is not None
        image, _ = self.opened.virtual.so_far(self.view.detector)
        scale = sequential_scale(image, from_zero=False)
        return Shown(f"{self.view.detector} (counts)", "counts", image, None, scale)

    def picked(self) -> BoolArray:
        """Positions that the class filter and the brush leave, shape ``(ry, rx)``."""
        keep = in_range(self.shown().values, self.view.brush)
        if self.view.classes is not None and "class" in self.maps:
            keep &= np.isin(self.maps["class"].values, self.view.classes)
        return keep

    def reference(self) -> BoolArray:
        """Positions that strain is relative to, shape ``(ry, rx)``."""
        return reference_mask(self.maps)

    def profile(self, name: str | None = None) -> Profile | None:
        """Profile of a map along the line of the view, None where there is no line or the map is one of categories.

        Parameters
        ----------
        name
            Name of the map, by default the one of the view.
        """
        found = self.shown(name)
        if self.view.line is None or found.categories:
            return None
        name = self.view.map if name is None else name
        period = float(period_map(self.maps).max()) if name.removeprefix(OTHER) == "rotation" else None
        alone = self.view.estimate == "raw" or name.removeprefix(OTHER) not in SHARED_BY_NEIGHBOURS
        return profile(found.values, found.sigma, self.view.line, independent=alone, period=period)

    def numbers(self, *, other: bool = False) -> list[Number]:
        """Every number of the position, of the result or of the other."""
        return self._positions(other).numbers(self.view.at)

    def reasons(self) -> list[str]:
        """Why the numbers of the position may be wrong, or missing."""
        came = self.opened.came
        if came is not None and not came[self.view.at]:
            return ["its pattern has not come yet"]
        return self._positions(False).reasons(self.view.at)

    def _positions(self, other: bool) -> Positions:
        """Numbers of all positions, gathered once for each result, estimate and reference."""
        key = (self.view.estimate, other)
        maps = self.other if other else self.maps
        if key not in self._gathered and maps is not None:
            self._gathered[key] = Positions(maps, self.view.estimate)
        return self._gathered[key]

    def beside(self, rows: int, columns: int) -> tuple[int, int]:
        """The position some rows and columns further, inside the scan.

        Parameters
        ----------
        rows, columns
            How far.
        """
        wanted = np.array(self.view.at) + np.array([rows, columns])
        row, column = np.clip(wanted, 0, np.array(self.opened.shape) - 1)
        return int(row), int(column)

    def to_worst(self, step: int = 1) -> int:
        """Go to the least believable position, or the next after the one gone to before; returns its rank from 1.

        Parameters
        ----------
        step
            1 for the next, -1 for the one before.
        """
        if self._worst is None:
            self._worst, self._rank = worst_first(self.maps), -1
        if not len(self._worst):
            return 0
        self._rank = int(np.clip(self._rank + step, 0, len(self._worst) - 1))
        row, column = self._worst[self._rank]
        self.change(at=(int(row), int(column)))
        return self._rank + 1
