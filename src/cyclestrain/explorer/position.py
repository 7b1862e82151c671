"""What is known at one position: its numbers with their uncertainty, its doubts in words, and which is the worst."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from cyclestrain.data import Doubt, FloatArray, IntArray
from cyclestrain.display.ranges import MINUS
from cyclestrain.explorer.quantities import QUANTITIES, Estimate, Shown, available, shown

__all__ = ["Number", "Positions", "worst_first"]

_TABLE = (
    "exx", "eyy", "exy", "rotation", "dilation", "shear", "largest", "smallest",
    "class", "class_confidence", "misfit", "gain", "share", "centre_y", "centre_x",
)  # fmt: skip
SERIOUS = Doubt.MISFIT | Doubt.OTHER_STRUCTURE | Doubt.MIXTURE | Doubt.STRAIN_RANGE | Doubt.BRANCH | Doubt.ENTRY
"""Doubts about the number itself; the others say that it rests on little."""
REMARKABLE = 3.0
"""Robust standard deviations from the median beyond which a number is remarked on."""


@dataclass(frozen=True)
class Number:
    """A quantity at a position, in the unit of plots; NaN where there is none."""

    name: str
    title: str
    value: float
    sigma: float
    unit: str

    @property
    def text(self) -> str:
        """Value with as many digits as its uncertainty has, four where it has none.

        Examples
        --------
        >>> Number("exx", "strain εxx", 1.23456, 0.0123, "%").text
        '1.235'
        >>> Number("exx", "strain εxx", -0.001, 0.1, "%").text
        '0.00'
        """
        if not np.isfinite(self.value):
            return "–"
        if self.name == "class":
            return f"{self.value:.0f}"
        text = f"{self.value:.{_decimals(self.sigma, self.value)}f}"
        return (text.lstrip("-") if float(text) == 0 else text).replace("-", MINUS)

    @property
    def sigma_text(self) -> str:
        """The uncertainty with two digits, empty where there is none."""
        if not np.isfinite(self.sigma):
            return ""
        return f"{self.sigma:.{_decimals(self.sigma, self.value)}f}"


def _decimals(sigma: float, value: float) -> int:
    if np.isfinite(sigma) and sigma > 0:
        return int(np.clip(1 - np.floor(np.log10(sigma)), 0, 6))
    return int(np.clip(3 - np.floor(np.log10(max(abs(value), 1e-3))), 0, 4))


class Positions:
    """What is known at every position of a result, ready to be asked for while the mouse moves.

    Parameters
    ----------
    maps
        A result.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    """

    def __init__(self, maps: xr.Dataset, estimate: Estimate = "") -> None:
        self._tables = {name: shown(maps, name, estimate) for name in _TABLE if name in available(maps)}
        flags = {name: maps[name].values.astype(np.int64) for name in ("sample", "valid", "doubt") if name in maps}
        self._flags = flags
        self._remarkable = [
            (found, away, what)
            for name, what in (("misfit", "misfit"), ("exx_sigma", "uncertainty of strain"))
            if name in available(maps)
            for found in [shown(maps, name)]
            for away in [standing(np.log(found.values) if name == "exx_sigma" else found.values)]
        ]

    def numbers(self, at: tuple[int, int]) -> list[Number]:
        """Every number at a position, row and column; NaN where the maps are blank."""
        return [
            Number(
                name,
                QUANTITIES[name].title,
                float(found.values[at]),
                np.nan if found.sigma is None else float(found.sigma[at]),
                QUANTITIES[name].unit,
            )
            for name, found in self._tables.items()
        ]

    def reasons(self, at: tuple[int, int]) -> list[str]:
        """Sentences that say why the numbers of a position may be wrong; empty if nothing is odd about it."""
        if not self._holds("sample", at):
            return ["no crystal was found here"]
        found = []
        if not self._holds("valid", at):
            found.append("the estimate is not valid and is left blank in the maps")
        if "doubt" in self._flags:
            found += [flag.meaning for flag in Doubt if self._flags["doubt"][at] & flag.value]
        return found + [text for of in self._remarkable if (text := _remark(*of, at))]

    def _holds(self, name: str, at: tuple[int, int]) -> bool:
        """Whether a flag is set at a position; a result that does not have it has it everywhere."""
        return name not in self._flags or bool(self._flags[name][at])


def _remark(of: Shown, away: FloatArray, what: str, at: tuple[int, int]) -> str:
    """That a value is far above the usual; empty where it is not."""
    if not (np.isfinite(away[at]) and away[at] > REMARKABLE):
        return ""
    usual, unit = float(np.nanmedian(of.values)), f" {of.unit}" if of.unit else ""
    return f"the {what} is {of.values[at]:.3g}{unit}, the median {usual:.3g}{unit}: {away[at]:.1f} robust σ above it"


def worst_first(maps: xr.Dataset) -> IntArray:
    """Positions of the sample ``(ry, rx)``, the least believable first, shape ``(n, 2)``.

    The order is that of the badness: how far the misfit and the uncertainty of strain lie above the usual, in robust
    standard deviations, and two more for every serious doubt.

    Parameters
    ----------
    maps
        A result.
    """
    bad = badness(maps)
    order = np.argsort(-bad, axis=None, kind="stable")
    order = order[np.isfinite(bad.ravel()[order])]
    return np.stack(np.unravel_index(order, bad.shape), 1)


def badness(maps: xr.Dataset) -> FloatArray:
    """How little each position is to be believed, NaN outside the sample, see `worst_first`; shape ``(ry, rx)``."""
    sample = maps["sample"].values.astype(bool) if "sample" in maps else np.ones((maps.sizes["ry"], maps.sizes["rx"]))
    total = np.zeros(sample.shape)
    if "log_likelihood" in maps:
        total = np.fmax(total, standing(shown(maps, "misfit").values))
    if "exx_sigma" in maps:
        total = np.fmax(total, standing(np.log(shown(maps, "exx_sigma").values)))
    if "doubt" in maps:
        serious = maps["doubt"].values.astype(np.int64) & int(SERIOUS)
        total = total + 2.0 * sum((serious & flag.value) != 0 for flag in Doubt)
    return np.where(sample.astype(bool), total, np.nan)


def standing(values: FloatArray) -> FloatArray:
    """Distance of every value from the median in robust standard deviations (1.4826 times the median deviation)."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.full(values.shape, np.nan)
    middle = np.median(finite)
    width = 1.4826 * np.median(np.abs(finite - middle))
    return (values - middle) / max(float(width), 1e-12)
