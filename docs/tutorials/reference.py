"""
Choosing a reference
====================

Strain is relative to something. What "zero" is changes every number of the map, so choose it knowingly.
"""

import tempfile
from pathlib import Path

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("dislocation", folder / "scan.h5", scan=(32, 32), background=0.3, seed=5)
maps = cs.map(folder / "scan.h5", folder / "strain.nc", ellipse=(1, 0))
print(maps.attrs["reference"])

# %%
# By default the largest coherent area of each class is the reference, outlined in the figure.
# That is a sensible start and rarely what you want to publish: near a defect nothing is
# unstrained.

cs.show(maps)

# %%
# A region of your own
# --------------------
# Rows and columns as a Python slice. The strain is computed again from the transforms that the
# result holds; nothing is fitted again.

far = maps.strain.relative_to("0:8,0:32")
cs.show(far)

# %%
# On the command line: ``cyclestrain map scan.h5 --reference 0:8,0:32``. A map of its own keeps
# the choice with the result.
#
# The lattice itself
# ------------------
# A lattice with a 3-, 4- or 6-fold axis knows its unstrained shape. With ``reference="ideal"``
# the deviatoric strain,
# ``exx - eyy`` and ``exy``, is absolute, given the ellipse of the detector; only the dilation is relative to the mean
# of the scan.

ideal = cs.map(folder / "scan.h5", reference="ideal", ellipse=(1, 0))
print(f"mean of exx - eyy: {float((ideal.exx - ideal.eyy).mean()):.1e}")

# %%
# Several phases
# --------------
# Each class has its own reference. A layer can be measured relative to the lattice of its
# substrate with
# ``reference="class 0"``, where the two lattices correspond. A class without a reference has the doubt
# ``no_reference`` and is drawn hatched, unlike vacuum.
