"""
Phases and vacuum
=================

A scan with two materials and a hole: classes are found without labels.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("two_phase", folder / "scan.h5", scan=(32, 32), background=0.3, seed=4)
maps = cs.map(folder / "scan.h5", folder / "strain.nc")

# %%
# ``class`` numbers the entries of the learned dictionary; ``sample`` tells crystal from vacuum;
# ``share`` is the part of the probe in the dominant crystal.

figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for axis, name in zip(axes, ("class", "sample", "share"), strict=True):
    image = axis.imshow(maps[name].where(maps["sample"]) if name != "sample" else maps[name])
    axis.set_title(name)
    figure.colorbar(image, ax=axis, shrink=0.8)
plt.show()

# %%
# The dictionary: one averaged pattern of each class, sharper than any pattern of the scan.
# ``cyclestrain show strain.nc
# -o figures/`` draws it with every other figure.

figures = cs.show(folder / "strain.nc", folder / "figures")
print(sorted(path.name for path in (folder / "figures").iterdir()))

# %%
# Each class has a strain of its own zero: the two phases are not compared with each other unless
# you say so (``reference="class 0"``, where the lattices correspond).

for k in np.unique(maps["class"].values[maps.valid.values]):
    inside = maps.where(maps.valid & (maps["class"] == k))
    print(f"class {int(k)}: {int(inside.exx.count())} positions, exx {float(inside.exx.std()):.1e} rms")
