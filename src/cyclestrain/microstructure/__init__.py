"""What the maps of a result say of the crystals: grains and the relations between them, dislocations and their walls.

The functions take a result and return tables and maps of what is in it; no pattern is looked at again.
"""

from cyclestrain.microstructure.coincidence import Coincidence, coincidence
from cyclestrain.microstructure.grains import Boundary, Grain, Grains, find_grains
from cyclestrain.microstructure.tables import write_table

__all__ = ["Boundary", "Coincidence", "Grain", "Grains", "coincidence", "find_grains", "write_table"]
