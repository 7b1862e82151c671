"""Results in the files of other tools: HyperSpy, py4DSTEM, ImageJ, MATLAB, spreadsheets.

What each target means by its axes, signs and units is stated in docs/export.md and inside every file.
"""

from cyclestrain.io.exports.export import FORMATS, export_maps, format_of
from cyclestrain.io.exports.notes import NOTES

__all__ = ["FORMATS", "NOTES", "export_maps", "format_of"]
