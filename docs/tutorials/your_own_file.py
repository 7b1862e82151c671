"""
Your own file
=============

What to check before mapping, and what to do when a file does not say everything.

Most vendors' files are read as they are (:doc:`/formats` lists them, with how each was tested). Here a few are made, so
that this page can run.
"""

import json
import tempfile
from pathlib import Path

import h5py
import numpy as np

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("polycrystal", scan=(16, 16), detector=(128, 128), background=0.2, seed=3, radius=3.0)
patterns = np.asarray(simulated.scan.source)

# %%
# Ask what is in it
# -----------------
# ``info`` costs seconds: it reads a few patterns. Look at the shape (scan first, detector last), the steps, and the
# sentences at the end, which say what will be assumed.

with h5py.File(folder / "mine.h5", "w") as file:
    file["entry/data/detector"] = patterns
    file["entry/preview"] = patterns.sum((2, 3))
print(cs.info(folder / "mine.h5"))

# %%
# A stack of frames without a scan shape
# --------------------------------------
# Many detectors write frames one after the other. Where the number of frames is not a square, or
# the scan had flyback frames, the shape has to be given: ``--scan-shape 16 16`` on the command
# line.

with h5py.File(folder / "stack.h5", "w") as file:
    file["frames"] = patterns.reshape(256, 128, 128)[:240]
try:
    cs.read(folder / "stack.h5")
except cs.InputError as error:
    print(error)

scan = cs.read(folder / "stack.h5", scan_shape=(15, 16))
print(scan.shape)

# %%
# Raw binary
# ----------
# A file without any header needs everything: shape, type, and how many bytes to skip.

patterns.tofile(folder / "mine.raw")
raw = cs.read(folder / "mine.raw", shape=patterns.shape, dtype=str(patterns.dtype))
print(np.array_equal(raw.source[3, 5], patterns[3, 5]))

# %%
# An array in memory
# ------------------
# Anything that slices to NumPy arrays of counts will do: NumPy, dask, Zarr, h5py.

maps = cs.map(patterns)
print(f"{int(maps.valid.sum())} of {maps.valid.size} positions valid")

# %%
# Counts, not intensities
# -----------------------
# Uncertainties come from counting statistics. Patterns that were scaled, filtered or
# background-subtracted have lost them; give the file that the detector wrote. A constant gain, as
# of a scintillator camera, and light that it spreads over neighbouring pixels are measured from
# the scan itself: variance over mean of a pixel, and by how much more than that of independent
# pixels the noise moves disks and changes their brightness.

calibration = json.loads(maps.attrs["calibration"])
print(calibration["noise_scale"], calibration["grain"])
