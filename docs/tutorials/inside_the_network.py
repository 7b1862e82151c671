"""
Inside the network
==================

One pattern on its way through encoder, K-sparse choice, spatial transform and decoder, and both directions of the
cycle, drawn from the network itself. (A map needs none of this: see the first tutorial.)
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs
from cyclestrain.figures import network_figure
from cyclestrain.network import TrainingSettings, anatomy, course_of, follow, train
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress

file = Path(tempfile.mkdtemp()) / "scan.h5"
small = {"detector": (96, 96), "spacing": 16.0, "radius": 3.0, "grain_size": 50.0}
cs.simulate("polycrystal", file, scan=(16, 16), background=0.4, seed=3, **small)
settings = cs.FitSettings(ring=(8, 40))
scan, knowledge = prepare(cs.read(file), settings, SilentProgress())
course = course_of(scan, knowledge, settings)
network = train(course, knowledge.dictionary, settings=TrainingSettings(epochs=4)).network

# %%
# The modules and the shapes of what comes out of them, found by walking through the network:

network_figure(anatomy(network))

# %%
# A pattern, and what the encoder sees of it
# ------------------------------------------
# Left: counts, and where the first look expects the reflections (circles) and the last one finds them (crosses).
# Right: three windows of the first look, in units of their noise.

seen = follow(network, course.patterns[0], course.good, course.theta[0], course.centre[0])
figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), layout="constrained", width_ratios=(2, 1, 1, 1))
axes[0].imshow(course.patterns[0], cmap="gray", vmax=np.quantile(course.patterns[0], 0.99))
axes[0].plot(*seen.expected[0].T[::-1], "o", mfc="none", color="tab:orange", label="expected")
axes[0].plot(*seen.expected[-1].T[::-1], "x", color="tab:cyan", label="found")
axes[0].legend(fontsize=6)
for axis, window in zip(axes[1:], seen.views.windows[0], strict=False):
    axis.imshow(window, cmap="gray", vmin=-3, vmax=6)
    axis.set_title("window / sigma", fontsize=8)
plt.show()

# %%
# The K-sparse layer keeps the most active of all classes and vacuum (last); the decoder gets a one at its place.

print("activities:", np.round(seen.encoding.logits[0].numpy(), 1))
print("kept:      ", seen.encoding.one_hot[0].numpy())

# %%
# Both directions of the transform
# --------------------------------
# Inverse: the entry's disk drawn at the pattern's own pixels. Forward: the pattern's window shifted into the frame of
# the entry. The mean over the reflections is shown.

images = {
    "counts": seen.counts, "entry drawn there (inverse)": seen.drawn,
    "counts shifted (forward)": seen.shifted, "entry, interpolated alike": seen.entry,
}  # fmt: skip
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
top = max(image.mean(0).max() for image in images.values())
for axis, (title, image) in zip(axes, images.items(), strict=True):
    shown = axis.imshow(image.mean(0), cmap="gray", vmin=0, vmax=top)
    axis.set_title(title, fontsize=8)
figure.colorbar(shown, ax=axes, label="counts")
plt.show()
