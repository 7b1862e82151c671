"""Provenance of a result: what it was made from, and how to make it again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from cyclestrain.data import Calibration, Scan
from cyclestrain.pattern import Dictionary
from cyclestrain.settings import LearnSettings, MapSettings

__all__ = ["CONVENTIONS", "origin", "provenance"]

CONVENTIONS = (
    "arrays (ry, rx); F_rel = F F_ref^-1 = V R(theta), strain = V - I; angles positive from +x (column) to +y (row)"
)
"""Conventions in one line, stored in every result."""


def origin(scan: Scan, settings: LearnSettings, fingerprint: str) -> dict[str, str]:
    """Scan, settings, versions and date of a run, as text.

    Parameters
    ----------
    scan, settings
        Scan and settings of the run.
    fingerprint
        Fingerprint of the scan, see `cyclestrain.io.fingerprint`.
    """
    names = [name for name in ("cyclestrain", "numpy", "torch", "numba", "xarray") if find_spec(name)]
    return {
        "name": _storable(scan.name),
        "settings": settings.model_dump_json(),
        "input_path": _storable(scan.path),
        "input_fingerprint": fingerprint,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps({name: version(name) for name in names}),
    }


def _storable(name: str) -> str:
    """Text that UTF-8 can write: bytes of a file name that are none are spelled out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def provenance(
    scan: Scan, settings: MapSettings, calibration: Calibration, dictionary: Dictionary, fingerprint: str
) -> dict[str, Any]:
    """Attributes of a result with its origin, conventions, calibration and automatic choices.

    Parameters
    ----------
    scan, settings, calibration, dictionary
        Scan and settings of the run, and what was learned.
    fingerprint
        Fingerprint of the scan, see `cyclestrain.io.fingerprint`.
    """
    out: dict[str, Any] = {
        "conventions": CONVENTIONS,
        "axes": settings.axes,
        "along": list(settings.along),
        "symmetry": [e.symmetry for e in dictionary.entries],
        "calibration": json.dumps(
            {
                "centre_y": float(calibration.centre[..., 0].mean()),
                "centre_x": float(calibration.centre[..., 1].mean()),
                "centre_sigma": calibration.centre_sigma,
                "disk_radius": calibration.disk_radius,
                "ring": calibration.ring,
                "pedestal": calibration.pedestal,
                "bad_pixels": int((~calibration.good).sum()),
                "noise_scale": dictionary.noise_scale,
                "grain": [calibration.grain.edge, calibration.grain.area],
            }
        ),
        "choices": "\n".join(calibration.choices),
    }
    if scan.real_step:
        out |= {"real_step": scan.real_step.value, "real_step_unit": scan.real_step.unit}
    if scan.reciprocal_step:
        out |= {"reciprocal_step": scan.reciprocal_step.value, "reciprocal_step_unit": scan.reciprocal_step.unit}
        if scan.reciprocal_step.sigma is not None:
            out["reciprocal_step_sigma"] = scan.reciprocal_step.sigma
    out |= {"pixel_ratio": scan.pixel_ratio, "scan_origin": list(scan.origin)}
    return origin(scan, settings, fingerprint) | out
