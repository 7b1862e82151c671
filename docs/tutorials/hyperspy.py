"""
Inside HyperSpy
===============

A ``Signal2D`` in, with its calibration; maps out as a ``Signal2D``, lazily if you like.
"""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np

import cyclestrain as cs

simulated = cs.simulate("ripple", scan=(24, 24), background=0.2, seed=9)

# %%
# What a HyperSpy user has: a signal whose axes know their steps.

signal = hs.signals.Signal2D(np.asarray(simulated.scan.source))
steps = [("y", 0.8, "nm"), ("x", 0.8, "nm"), ("ky", 0.05, "1/nm"), ("kx", 0.05, "1/nm")]
for axis, (name, scale, units) in zip(signal.axes_manager._axes, steps, strict=True):
    axis.name, axis.scale, axis.units = name, scale, units
print(signal)

# %%
# It is mapped as it is; the steps of the scan come along.

maps = cs.map(signal)
print(maps.attrs["real_step"], maps.attrs["real_step_unit"])

# %%
# And back: the maps along the navigation axis.

strain = maps.strain.to_hyperspy()
print(strain)
strain.inav[0].plot()
plt.show()
