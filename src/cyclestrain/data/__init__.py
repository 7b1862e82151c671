"""Containers that all stages share: scans, calibrations, fields over the positions, and neighbourhoods of positions.

Holds frozen containers and what follows from their shape alone; nothing here measures anything. Arrays are ``(ry, rx,
qy, qx)``, vectors and matrices are in ``(y, x)`` order.
"""

from cyclestrain.data.arrays import BoolArray, FloatArray, IntArray
from cyclestrain.data.calibration import INDEPENDENT, Calibration, Centres, Grain
from cyclestrain.data.cards import as_html, as_text
from cyclestrain.data.doubt import Doubt
from cyclestrain.data.fields import AffineField, Fields, OperatorTable, StrainMaps
from cyclestrain.data.neighbours import (
    clearest_neighbour,
    count_around,
    local_means,
    mean_of_members,
    neighbour_members,
    neighbour_weights,
    upper_quartile,
    values_around,
    weighted_means,
)
from cyclestrain.data.scan import Block, PatternSource, Quantity, Scan
from cyclestrain.data.tiles import IN_TURN, InTurn, Spread, Tile, tiles_of

__all__ = [
    "INDEPENDENT",
    "IN_TURN",
    "AffineField",
    "Block",
    "BoolArray",
    "Calibration",
    "Centres",
    "Doubt",
    "Fields",
    "FloatArray",
    "Grain",
    "InTurn",
    "IntArray",
    "OperatorTable",
    "PatternSource",
    "Quantity",
    "Scan",
    "Spread",
    "StrainMaps",
    "Tile",
    "as_html",
    "as_text",
    "clearest_neighbour",
    "count_around",
    "local_means",
    "mean_of_members",
    "neighbour_members",
    "neighbour_weights",
    "tiles_of",
    "upper_quartile",
    "values_around",
    "weighted_means",
]
