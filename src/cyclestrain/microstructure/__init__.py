"""What the maps of a result say of the crystals: grains and the relations between them, dislocations and their walls.

The functions take a result and return tables and maps of what is in it; no pattern is looked at again.
"""

from cyclestrain.microstructure.coincidence import Coincidence, coincidence
from cyclestrain.microstructure.cores import Core, find_cores
from cyclestrain.microstructure.defects import Defects, find_defects
from cyclestrain.microstructure.grains import Boundary, Grain, Grains, find_grains
from cyclestrain.microstructure.lattice_field import LatticeField, lattice_field
from cyclestrain.microstructure.walls import Wall, find_walls

__all__ = [
    "Boundary",
    "Coincidence",
    "Core",
    "Defects",
    "Grain",
    "Grains",
    "LatticeField",
    "Wall",
    "coincidence",
    "find_cores",
    "find_defects",
    "find_grains",
    "find_walls",
    "lattice_field",
]
