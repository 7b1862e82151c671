"""Explanations of the exported values: written into every file and, word for word, into docs/export.md."""

from __future__ import annotations

__all__ = ["NOTES", "SHARED"]

SHARED = (
    "exx, eyy and exy are real-space strains relative to the reference that the attribute reference names; positive "
    "exx and eyy are tension, exy is the tensor shear, half of the engineering angle.",
    "x is the column and y the row, y down; the strain axes are those of the detector unless the attribute axes says "
    "scan or crystal.",
    "rotation is in radians, positive from +x (column) to +y (row), which is clockwise on the screen.",
    "A _sigma is one standard deviation in the unit of its map.",
)
"""Sentences that hold for every format except py4DSTEM, whose names and axes differ."""

_BLANK = "Positions without a valid result are NaN; valid tells them apart, 1 or 0."

NOTES: dict[str, tuple[str, ...]] = {
    "hspy": (
        *SHARED,
        _BLANK,
        "One Signal2D: the navigation axis counts the maps, named in metadata.cyclestrain.channels, and the signal "
        "axes are y and x of the scan.",
    ),
    "py4dstem": (
        "py4DSTEM calls the first axis x (row, down) and the second y (column, right): its e_xx is our eyy, its e_yy "
        "is our exx, and e_xy is our exy.",
        "theta is in radians and positive from y (column) to x (row), the sign of get_strain_from_reference_g1g2, "
        "which makes it our rotation unchanged.",
        "py4DSTEM computes infinitesimal strain, 1 - beta; ours is finite, V - I of F = V R: they agree to second "
        "order in strain and rotation.",
        "e_xx, e_yy and e_xy are strains of the real-space lattice, positive in tension, in the axes of the detector "
        "unless the attribute axes says scan or crystal; get_rotated_strain_map turns them further.",
        "mask is 1 where the result is valid; the other slices are 0 elsewhere.",
    ),
    "tiff": (
        *SHARED,
        _BLANK,
        "A stack of 32-bit images, one map per slice, labelled; ImageJ reads the probe step as pixel size.",
    ),
    "csv": (
        *SHARED,
        _BLANK,
        "One line per position, rows one after the other; row and column count from 0, y and x are distances; lines "
        "that start with # are comments.",
    ),
    "mat": (
        *SHARED,
        _BLANK,
        "One struct, strain, whose matrices have the rows and columns of the scan: strain.exx(row, column), both "
        "from 1.",
    ),
}
"""Sentences by name of the format; ``zspy`` shares those of ``hspy``."""
NOTES["zspy"] = NOTES["hspy"]
