"""Estimates that neighbours of the same crystal share: fields smoothed with edges kept.

The functions take the transform of every position with its covariance and return a better one with its own covariance.
"""

from cyclestrain.context.smoothing import smooth

__all__ = ["smooth"]
