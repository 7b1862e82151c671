"""Results in the formats of other programs."""

from cyclestrain.result.exports.export import export_maps

__all__ = ["export_maps"]
