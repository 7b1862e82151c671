"""
A first map in five minutes
===========================

A scan too noisy for disk detection, from patterns to a strain map with error bars. Nothing is tuned.

The scan is simulated, so that the map can be compared with the truth: a polycrystal, 100,000 electrons in each pattern,
40 % of them in a smooth background. Use the path of your own file instead, of any vendor.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("polycrystal", folder / "scan.h5", scan=(32, 32), background=0.4, seed=7)

# %%
# One pattern. The disks are there, but a single one holds few counts above the background.

scan = cs.read(folder / "scan.h5")
pattern = scan.source[16, 16]
plt.imshow(np.sqrt(pattern), cmap="gray_r", vmax=4)
plt.title("one pattern, square root of counts")
plt.axis("off")
plt.show()

# %%
# ``info`` tells what the file holds and what will be assumed about it.

print(cs.info(folder / "scan.h5"))

# %%
# The map
# -------
# On the command line this is ``cyclestrain map scan.h5 -o strain.nc``.

maps = cs.map(folder / "scan.h5", folder / "strain.nc")
cs.show(maps)

# %%
# Blank means: no valid result. It never means zero. What was found, chosen and doubted, in words:

print(cs.info(folder / "strain.nc"))

# %%
# Can it be trusted?
# ------------------
# Here the truth is known. Errors divided by the uncertainty that the map states should have a
# standard deviation near one. It is smaller here: what a few grains cannot tell about an elliptic
# distortion of the detector is part of sigma, and this simulated detector has none. Who knows
# that theirs is round says so: ``ellipse=(1, 0)``.

known = cs.map(folder / "scan.h5", ellipse=(1, 0))
from cyclestrain.evaluation import relative_truth

truth = relative_truth(known, simulated.truth)
good = known.valid.values
for name in ("exx", "eyy", "exy"):
    error = (known[name] - truth[name]).values[good]
    z = error / known[f"{name}_sigma"].values[good]
    print(f"{name}: mean absolute error {np.abs(error).mean():.1e}, error over sigma {z.std():.2f}")
