"""
Thick crystals
==============

In a thick crystal electrons scatter many times: the inside of each disk is full of contrast that changes with thickness
and tilt. The edge of the disk still tells where it is.

Needs the extra: ``pip install cyclestrain[multislice]``.
"""

import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs
from cyclestrain.simulation.thick import SETS

# %%
# A multislice simulation of strained Si/SiGe layers along [110], bent, on a peaked background. It
# shares nothing with the model that fits it.

layers = SETS["SiGe multilayer [110]"]
scan = layers.record(layers.make((16, 16)), background=0.25, seed=1)
plt.imshow(np.log1p(scan.scan.source[8, 8]), cmap="gray")
plt.axis("off")
plt.show()

# %%
# It is mapped as any other scan.

maps = cs.map(scan.scan)
cs.show(maps)

# %%
# How far from the truth?

from cyclestrain.evaluation import relative_truth

truth = relative_truth(maps, scan.truth)
good = maps.valid.values
for name in ("exx", "eyy"):
    error = (maps[name] - truth[name]).values[good]
    z = error / maps[f"{name}_sigma"].values[good]
    print(f"{name}: mean absolute error {np.abs(error).mean():.1e}, error over sigma {z.std():.1f}")

# %%
# What to do where it is not enough: a smaller convergence angle (smaller disks hold less
# contrast), precession, or a patterned aperture; and a look at ``doubt``.
# :doc:`/benchmark/dynamical` has errors for fourteen materials, zones and thicknesses.
