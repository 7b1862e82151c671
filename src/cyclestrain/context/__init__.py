"""Estimates that neighbours of the same crystal share: fields smoothed with edges kept.

The functions take the transform of every position with its covariance and return a better one with its own covariance.
What is local is worked on in tiles with halos, here or on the workers of a cluster; what the whole field tells
(labelling, scatter, noise) is found in one place.
"""

from cyclestrain.context.excess import least_scatter
from cyclestrain.context.smoothing import smooth

__all__ = ["least_scatter", "smooth"]
