"""What is learned from a sample of a scan: templates and the dictionary.

The functions take a sample and its calibration, or a material to transfer, and return `Knowledge`. NumPy and Numba
only.
"""

from cyclestrain.learning.beam_image import probe_of
from cyclestrain.learning.knowledge import Knowledge, Material, centre_prior, describe
from cyclestrain.learning.learn import learn
from cyclestrain.learning.material_file import ModelFile
from cyclestrain.learning.transfer import transfer

__all__ = ["Knowledge", "Material", "ModelFile", "centre_prior", "describe", "learn", "probe_of", "transfer"]
