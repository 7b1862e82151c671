"""Log of a training: every term of the loss, the held-out deviance and the radius of the masks, by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Epoch", "TrainingLog"]

_ABOUT = {
    "held_out": ("held-out deviance", "per pixel"),
    "mask_radius": ("mask radius", "px"),
    "inverse": ("inverse direction", "nats per pattern"),
    "forward": ("forward direction", "nats per pattern"),
    "cycle": ("cycle", "nats per pattern"),
    "choice": ("choice of class", "nats per pattern"),
    "sparsity": ("L1 norm of the dictionary", "counts"),
    "strain": ("strain beyond its limit", "1"),
    "shear": ("shear beyond its limit", "1"),
}
"""Long name and unit of every value that is logged."""
_TOLD = ("inverse", "forward", "cycle", "choice")
"""Terms in the table, which fits into 80 columns; all are in the file and in the figure."""


@dataclass(frozen=True)
class Epoch:
    """Log of one epoch.

    Attributes
    ----------
    terms
        Mean of every term of the loss, nats per pattern.
    held_out
        Deviance per pixel of the held-out patterns.
    mask_radius
        Radius of the masks around the reflections, pixels.
    """

    terms: dict[str, float]
    held_out: float
    mask_radius: float


@dataclass(frozen=True)
class TrainingLog:
    """Log of all epochs of a training.

    Attributes
    ----------
    epochs
        Logs in the order of the epochs.
    best
        Index of the epoch whose weights were kept.
    """

    epochs: tuple[Epoch, ...]
    best: int

    @property
    def kept(self) -> Epoch:
        """The epoch whose weights were kept."""
        return self.epochs[self.best]

    @property
    def key(self) -> str:
        """Sentence that says what the columns of the table are."""
        terms = [name for name in self.epochs[0].terms if name in _TOLD]
        names = [name if _ABOUT[name][0] == name else f"{name} ({_ABOUT[name][0]})" for name in terms]
        return (
            "every epoch: deviance per pixel of patterns held out (the epoch with the least is kept), radius of "
            f"the masks, and of the loss, in nats per pattern, {', '.join(names)}"
        )

    @property
    def heading(self) -> str:
        """First line of the table, with the names of the columns."""
        names = "".join(f"{name:>{_width(name)}}" for name in self.epochs[0].terms if name in _TOLD)
        return f"epoch  held-out  mask px{names}"

    def dataset(self) -> xr.Dataset:
        """All logged values over the epochs, which are counted from 1."""
        import xarray as xr

        columns: dict[str, list[float]] = {
            name: [getattr(epoch, name) for epoch in self.epochs] for name in ("held_out", "mask_radius")
        }
        columns |= {name: [epoch.terms[name] for epoch in self.epochs] for name in self.kept.terms}
        named = {name: dict(zip(("long_name", "units"), _ABOUT[name], strict=True)) for name in columns}
        return xr.Dataset(
            {name: (("epoch",), values, named[name]) for name, values in columns.items()},
            coords={"epoch": range(1, len(self.epochs) + 1)},
            attrs={"kept": self.best + 1},
        )

    def row(self, index: int) -> str:
        """Line of the table for the epoch `index`."""
        epoch = self.epochs[index]
        terms = "".join(f"{value:>{_width(name)}.4g}" for name, value in epoch.terms.items() if name in _TOLD)
        return f"{index + 1:>5}  {epoch.held_out:>8.4f}  {epoch.mask_radius:>7.2f}{terms}"

    def table(self) -> list[str]:
        """Lines of the table; the epoch that was kept is marked."""
        rows = (self.row(i) + (" kept" if i == self.best else "") for i in range(len(self.epochs)))
        return [self.heading, *rows]


def _width(name: str) -> int:
    return max(len(name), len("-1.234e+05")) + 1
