"""What neighbours of the same crystal know together: fields smoothed with edges kept.

In goes the transform of every position with its covariance, out comes a better one with its own covariance.
"""

from cyclestrain.context.smoothing import smooth

__all__ = ["smooth"]
