"""Description of a file and of the assumptions about it, as data that `cyclestrain info` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import Doubt, Quantity, Scan
from cyclestrain.io import sample_patterns

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ScanDescription", "describe", "describe_result"]


@dataclass(frozen=True)
class ScanDescription:
    """A scan in a few numbers; values are measured on at most 64 evenly spread patterns.

    Attributes
    ----------
    name, path, shape, dtype, n_bytes
        As in `cyclestrain.data.Scan`, and the size of all patterns, uncompressed.
    real_step, reciprocal_step, scan_rotation
        As in `cyclestrain.data.Scan`, rotation in radians.
    counts_per_pattern
        Median of the sums of the patterns, in units of the file.
    value_step
        Spacing of the values, the guess for the reading of one electron; None where values are not evenly spaced.
    lowest, highest, n_nan, negative_share
        Finite range, number of NaN or infinite values in the sample, share of values below zero.
    n_sampled
        Number of patterns that were read.
    assumptions
        Assumptions that a map of this scan makes, one sentence each.
    """

    name: str
    path: str
    shape: tuple[int, int, int, int]
    dtype: str
    n_bytes: int
    real_step: Quantity | None
    reciprocal_step: Quantity | None
    scan_rotation: float
    counts_per_pattern: float
    value_step: float | None
    lowest: float
    highest: float
    n_nan: int
    negative_share: float
    n_sampled: int
    assumptions: tuple[str, ...]

    @property
    def electrons_per_pattern(self) -> float:
        """Estimated electrons per pattern: the counts in steps of `value_step`."""
        return self.counts_per_pattern / (self.value_step or 1.0)

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of each line to print, without the assumptions."""
        ry, rx, qy, qx = self.shape
        step = "none seen" if self.value_step is None else f"{self.value_step:g}"
        return [
            ("name", self.name),
            ("file", self.path or "in memory"),
            ("scan", f"{ry} x {rx} positions (rows x columns)"),
            ("detector", f"{qy} x {qx} pixels (rows x columns)"),
            ("type", self.dtype),
            ("size", _size(self.n_bytes)),
            ("probe step", _quantity(self.real_step)),
            ("detector pixel", _quantity(self.reciprocal_step)),
            ("scan rotation", f"{math.degrees(self.scan_rotation):g} deg"),
            ("counts per pattern", f"{self.counts_per_pattern:.4g} (median of {self.n_sampled})"),
            ("value step", step),
            ("values", f"{self.lowest:g} to {self.highest:g}"),
            ("NaN or infinite", f"{self.n_nan} values in {self.n_sampled} patterns"),
            ("negative", f"{100 * self.negative_share:.3g} % of the values"),
        ]


def _size(n_bytes: int) -> str:
    power = min(4, max(0, (n_bytes.bit_length() - 1) // 10))
    return f"{n_bytes / 2 ** (10 * power):.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def _quantity(quantity: Quantity | None) -> str:
    return "unknown" if quantity is None else f"{quantity.value:.4g} {quantity.unit}"


def _value_step(patterns: NDArray[Any]) -> float | None:
    """Spacing of the ladder on which all values lie: the greatest common divisor, for floats within one part in 1e3."""
    values = np.unique(np.abs(patterns[np.isfinite(patterns)][: 2**22]))
    values = values[values > 0]
    if values.size == 0:
        return None
    if values.dtype.kind in "ui":
        return float(np.gcd.reduce(values))
    ladder = values.astype(np.float64)
    step = float(min(ladder[0], np.diff(ladder).min(initial=np.inf)))
    steps = ladder / step
    return step if steps[-1] < 1e6 and np.abs(steps - steps.round()).max() < 1e-3 else None


def _assumptions(scan: Scan, step: float | None, negative_share: float, lowest: float) -> tuple[str, ...]:
    ry, rx = scan.scan_shape
    said = [f"The file is in scan order: {ry} rows of {rx} positions, rows one after the other, all in one direction."]
    if scan.real_step is None:
        said.append("No probe step was found, so maps are drawn in positions.")
    if scan.reciprocal_step is None:
        said.append("No detector calibration was found; strain is a ratio and does not need it.")
    if scan.scan_rotation == 0:
        said.append("No scan rotation was found: scan axes are taken as detector axes unless --scan-rotation is given.")
    if scan.metadata.get("QR_flip"):
        said.append(
            "The file says that scan and detector are mirror images; its rotation is not used: measure both with "
            "--scan-rotation auto, or give --flip and --scan-rotation."
        )
    if step is None:
        said.append("Values form no ladder of whole counts, so the noise is estimated and not taken as Poisson.")
    elif abs(step - 1) > 1e-6:
        said.append(f"Values come in steps of {step:g}: one electron is taken to read {step:g}.")
    else:
        said.append("Values are taken as electron counts: their noise is Poisson.")
    if negative_share > 0:
        said.append(f"Values below zero (down to {lowest:g}) are taken as read noise around zero.")
    if scan.pixel_ratio != 1:
        said.append(f"Detector pixels are {scan.pixel_ratio:.4g} times as high as wide.")
    parts = ", ".join(
        f"--{name.replace('_', '-')} {scan.metadata[name]}"
        for name in ("flyback", "scan_roi", "detector_roi", "bin")
        if name in scan.metadata
    )
    if parts:
        said.append(f"Only the part chosen with {parts} is read; centre and ring count in the pixels that are left.")
    if "missing" in scan.metadata:
        said.append(f"Incomplete: {scan.metadata['missing']}.")
    if "files" in scan.metadata:
        said.append(f"Patterns are taken from {scan.metadata['files']}, in the order of the numbers in their names.")
    if "matlab_axes" in scan.metadata:
        said.append(
            f"Axes of the MATLAB array were ordered from its content: stored axes {scan.metadata['matlab_axes']}."
        )
    if "reader_notes" in scan.metadata:
        said.append(f"The reader noted: {scan.metadata['reader_notes']}")
    if scan.n_positions == 1:
        said.append("One position only: there is no reference inside the scan to measure strain against.")
    return tuple(said)


@np.errstate(over="ignore", invalid="ignore")  # of values that no detector counts, which are told as they are
def describe(scan: Scan) -> ScanDescription:
    """Describe a scan from its header and at most 64 of its patterns."""
    patterns = sample_patterns(scan)
    finite = np.isfinite(patterns)
    n_nan = int(patterns.size - np.count_nonzero(finite))
    values = patterns if n_nan == 0 else patterns[finite]
    sums = np.nansum(np.where(finite, patterns, 0) if n_nan else patterns, axis=(1, 2), dtype=np.float64)
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)
    negative = float(np.count_nonzero(values < 0)) / max(1, values.size)
    step = _value_step(patterns)
    return ScanDescription(
        scan.name,
        scan.path,
        scan.shape,
        str(np.dtype(scan.source.dtype)),
        scan.n_positions * scan.pattern_bytes,
        scan.real_step,
        scan.reciprocal_step,
        scan.scan_rotation,
        float(np.median(sums)),
        step,
        lowest,
        highest,
        n_nan,
        negative,
        len(patterns),
        _assumptions(scan, step, negative, lowest),
    )


def _share(dataset: xr.Dataset, name: str) -> str:
    return f"{name}: {100 * float(dataset[name].astype(bool).mean()):.1f} % of the positions"


def _doubt_lines(doubt: NDArray[np.int_]) -> list[str]:
    """A line for every reason for doubt that some position has."""
    shares = {flag: float(np.mean((doubt & int(flag)) > 0)) for flag in Doubt}
    return [f"doubt, {100 * share:.1f} % of the positions: {flag.meaning}" for flag, share in shares.items() if share]


def _attribute_lines(attributes: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, value in attributes.items():
        text = str(value)
        if isinstance(value, str) and value[:1] == "{":
            try:
                lines.append(f"{key}:")
                lines.extend(
                    f"  {name}: {_value(item)}" for name, item in json.loads(value).items() if item is not None
                )
                continue
            except (json.JSONDecodeError, AttributeError):
                lines.pop()
        if "\n" in text:
            lines.extend([f"{key}:", *(f"  {line}" for line in text.splitlines())])
        elif text != "[]" and not _unknown(value):
            lines.append(f"{key}: {_value(value)}")
    return lines


def _unknown(value: Any) -> bool:
    """Whether all of a number or an array is NaN."""
    return not isinstance(value, str) and np.asarray(value).dtype.kind == "f" and bool(np.isnan(value).all())


def _value(value: Any) -> str:
    """A value with no more digits than mean something."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(name: Hashable, variable: xr.DataArray, value: float) -> str:
    """A value in the unit that people read: strain in percent, angles in degrees."""
    unit = variable.attrs.get("units", "")
    if unit == "rad":
        return f"{math.degrees(value):.4g} deg"
    if str(name)[:3] in ("exx", "eyy", "exy"):
        return f"{100 * value:.4g} %"
    return f"{value:.4g} {unit if unit != '1' else ''}".rstrip()


def describe_result(dataset: xr.Dataset) -> list[str]:
    """Text lines about a result: its maps and shares, then settings, versions, calibration and reference."""
    shape = " x ".join(f"{dataset.sizes[dim]} {dim}" for dim in ("ry", "rx") if dim in dataset.sizes)
    lines = [f"maps of {shape}"]
    lines.extend(_share(dataset, name) for name in ("valid", "sample") if name in dataset)
    if "doubt" in dataset:
        lines.extend(_doubt_lines(dataset["doubt"].values.astype(int)))
    good = dataset["valid"].astype(bool) if "valid" in dataset else None
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind != "f" or variable.dims != ("ry", "rx"):
            continue
        values = variable.where(good) if good is not None else variable
        if not bool(np.isfinite(values).any()):
            lines.append(f"{name}: undefined everywhere")
            continue
        lines.append(f"{name}: median {_shown(name, variable, float(values.median()))}")
    return lines + _attribute_lines(dataset.attrs)
