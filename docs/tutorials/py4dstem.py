"""
From py4DSTEM to cyclestrain and back
=====================================

A py4DSTEM file or ``DataCube`` in, a py4DSTEM ``StrainMap`` out, and what differs in axes and signs.

py4DSTEM needs NumPy older than cyclestrain's, so the two live in separate environments; files are how they meet.
"""

import tempfile
from pathlib import Path

import h5py

import cyclestrain as cs

folder = Path(tempfile.mkdtemp())
simulated = cs.simulate("ripple", scan=(24, 24), background=0.2, seed=8)

# %%
# In: a file that ``py4DSTEM.save`` wrote is read as it is, with its calibration. So is a
# ``DataCube`` in memory, where both are installed: ``cs.map(datacube)``.

maps = cs.map(simulated.scan)

# %%
# Back: the maps as a ``RealSlice`` with the slices of py4DSTEM's own strain maps.

cs.export(maps, folder / "strain.emd")
with h5py.File(folder / "strain.emd") as file:
    file.visititems(lambda name, item: print(name, getattr(item, "shape", "")))

# %%
# There: ``py4DSTEM.read("strain.emd")``.
#
# What differs
# ------------
#
# ==================  =============================  ===========================
# \                   py4DSTEM                       cyclestrain
# ==================  =============================  ===========================
# x                   first axis, down               column, right
# ``e_xx``            along rows                     ``eyy``
# ``e_yy``            along columns                  ``exx``
# strain              infinitesimal, ``1 - beta``    finite, ``V - I``, ``F = V R``
# blank               0 where ``mask`` is 0          NaN
# ==================  =============================  ===========================
#
# What you no longer choose: a probe template, its edge filter, correlation power, minimum
# intensity and spacing of peaks, basis vectors, index limits. What you gain is an uncertainty for
# each number.
