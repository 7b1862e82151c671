"""
Reading sigma and doubt
=======================

Every number has an uncertainty (``exx_sigma``) and a list of reasons why it might be wrong beyond it (``doubt``). What
each of them contains, and what neither can know.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("features", folder / "scan.h5", scan=(32, 32), background=0.5, seed=2)
maps = cs.map(folder / "scan.h5", folder / "strain.nc", ellipse=(1, 0))

# %%
# Each pattern alone, and with its neighbours
# -------------------------------------------
# ``exx_raw`` is what one pattern says, as precise as its counts allow. ``exx`` shares information among neighbours of
# the same crystal, as far as they agree. Both have a sigma.

figure, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
limit = float(np.nanpercentile(np.abs(maps.exx.where(maps.valid)), 99))
for axis, name in zip(axes, ("exx_raw", "exx"), strict=True):
    image = axis.imshow(maps[name].where(maps.valid), vmin=-limit, vmax=limit, cmap="RdBu_r")
    axis.set_title(f"{name}, median sigma {float(maps[f'{name}_sigma'].where(maps.valid).median()):.1e}")
figure.colorbar(image, ax=axes, label="strain")
plt.show()

# %%
# Does sigma tell the truth? Here, where the strain is known, it can be asked: error over sigma
# should be a normal distribution of width one.

from cyclestrain.evaluation import relative_truth

truth = relative_truth(maps, simulated.truth)
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
bins = np.linspace(-5, 5, 51)
for name in ("exx_raw", "exx"):
    z = ((maps[name] - truth[name.removesuffix("_raw")]) / maps[f"{name}_sigma"]).values[maps.valid.values]
    axis.hist(z, bins, histtype="step", density=True, label=f"{name}: width {z.std():.2f}")
axis.plot(bins, np.exp(-(bins**2) / 2) / np.sqrt(2 * np.pi), "k:", label="normal, width 1")
axis.set(xlabel="error / sigma", ylabel="density")
axis.legend()
plt.show()

# %%
# What sigma does not know
# ------------------------
# Sigma holds counting statistics, shares of overlapping crystals, scatter that neighbours show
# beyond their noise, and what is not known of an elliptic distortion. It does not hold what all
# positions share: a wrong camera length, contrast inside thick crystals' disks beyond what their
# neighbours disagree on. What else may be wrong is in ``doubt``:

flags = dict(zip(maps.doubt.attrs["flag_meanings"].split(), maps.doubt.attrs["flag_masks"], strict=True))
for name, bit in flags.items():
    count = int(((maps.doubt & int(bit)) != 0).sum())
    print(f"{name:18s}{count:5d} positions")

# %%
# ``valid`` is the short answer: the estimate is meant to be used. ``doubt`` may be set where
# ``valid`` is true; then the number is usable, and the reason to look twice is named. The sentences
# of ``cyclestrain info strain.nc`` say the same:

print(cs.info(folder / "strain.nc"))
