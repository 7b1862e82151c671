"""The page: figures and sentences put into one HTML file that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from cyclestrain.data import Scan
from cyclestrain.figures import dictionary_figure, examples_figure, strain_figure, uncertainty_figure
from cyclestrain.reporting.examples import examples
from cyclestrain.reporting.words import CITATIONS, choices, doubts, methods, settings_given, summary, uncertainty_holds

__all__ = ["report_page"]

DPI = 220
"""Dots per inch of the figures: sharp on paper at the width of a page."""


def report_page(maps: xr.Dataset, dictionary: xr.Dataset | None, scan: Scan | None, repeat: str = "") -> str:
    """Write a result as one page of HTML.

    Parameters
    ----------
    maps
        A result.
    dictionary
        Its group ``dictionary``; None leaves the entries out.
    scan
        The scan it was made from, for single patterns with their fits; None leaves them out, with a sentence.
    repeat
        The command that makes the result again.

    Returns
    -------
    html
        The page, with every figure inside.
    """
    reflections = [] if dictionary is None else list(_counts_of_reflections(dictionary))
    version = str(maps.attrs.get("cyclestrain_version", ""))
    template = Environment(
        loader=PackageLoader("cyclestrain.reporting", "templates"), autoescape=True, undefined=StrictUndefined
    ).get_template("report.html.jinja")
    return template.render(
        title=maps.attrs.get("name", "scan"),
        version=version,
        made=_made(maps),
        summary=summary(maps),
        strain=_embedded(strain_figure(maps)),
        uncertainty=_embedded(uncertainty_figure(maps)),
        dictionary=None if dictionary is None else _embedded(dictionary_figure(dictionary)),
        tables=[] if dictionary is None else list(_tables(dictionary)),
        examples=None if scan is None else _embedded(examples_figure(list(examples(maps, scan)))),
        doubts=doubts(maps),
        uncertainty_holds=uncertainty_holds(maps),
        n_positions=maps["valid"].size,
        choices=choices(maps),
        settings=settings_given(maps),
        versions=json.loads(maps.attrs.get("versions", "{}")),
        methods=methods(maps, reflections),
        citations=[text.format(version=version) for text in CITATIONS],
        repeat=repeat,
    )


def _made(maps: xr.Dataset) -> list[tuple[str, str]]:
    """What the result was made from, and when."""
    attributes = maps.attrs
    step = f"{float(attributes['real_step']):.4g} {attributes['real_step_unit']}" if "real_step" in attributes else ""
    pixel = ""
    if "reciprocal_step" in attributes:
        pixel = f"{float(attributes['reciprocal_step']):.4g} {attributes['reciprocal_step_unit']}"
    rows = [
        ("scan", str(attributes.get("input_path") or "an array in memory")),
        ("positions", f"{maps.sizes['ry']} x {maps.sizes['rx']} (rows x columns)"),
        ("detector", f"{maps.sizes['qy']} x {maps.sizes['qx']} pixels" if "qy" in maps.sizes else ""),
        ("probe step", step),
        ("detector pixel", pixel),
        ("model", str(attributes.get("model", ""))),
        ("mapped", str(attributes.get("created", ""))),
        ("fingerprint of the scan", str(attributes.get("input_fingerprint", ""))),
    ]
    return [(name, value) for name, value in rows if value]


def _counts_of_reflections(dictionary: xr.Dataset) -> Iterator[int]:
    for entry in range(dictionary.sizes["class"]):
        yield int(np.isfinite(dictionary["reflection_y"].values[entry]).sum())


def _tables(dictionary: xr.Dataset) -> Iterator[list[dict[str, Any]]]:
    """The reflections of each entry, the shortest first: indices, place, length and intensity."""
    for entry in range(dictionary.sizes["class"]):
        own = dictionary.isel({"class": entry})
        y, x, h, k, counts = (
            own[f"reflection_{name}"].values.astype(float) for name in ("y", "x", "h", "k", "intensity")
        )
        length = np.hypot(y, x)
        order = [g for g in np.argsort(length, kind="stable") if np.isfinite(length[g])]
        yield [
            {
                "hk": f"{h[g]:.0f} {k[g]:.0f}" if np.isfinite(h[g]) else "off the lattice",
                "y": y[g],
                "x": x[g],
                "length": length[g],
                "counts": counts[g],
            }
            for g in order
        ]


def _embedded(figure: Figure) -> str:
    """A figure as the address of an image that holds its own data."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={})
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
