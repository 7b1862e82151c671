"""From a sample of a scan to all that is known before patterns are fitted for good.

In go a sample and its calibration (and a material that is known already), out comes `Knowledge`: templates and the
dictionary. NumPy and Numba only.
"""

from cyclestrain.learning.knowledge import Knowledge, Material, centre_prior, describe
from cyclestrain.learning.learn import learn
from cyclestrain.learning.transfer import transfer

__all__ = ["Knowledge", "Material", "centre_prior", "describe", "learn", "transfer"]
