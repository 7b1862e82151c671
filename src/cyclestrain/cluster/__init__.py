"""Blocks of a scan worked on by the workers of a cluster, through dask.distributed, which only this room uses.

What is learned goes to the workers once, each block is a task that reads its own patterns from the file, and only what
was found comes back: the process that asks, and the scheduler, hold no block of patterns. What is local in the field of
all fits is worked on there as well, in tiles with halos (`cyclestrain.data.Spread`). What a task does is given to it
(`cyclestrain.estimation.Work`): nothing here knows what is fitted.
"""

from cyclestrain.cluster.connection import connected
from cyclestrain.cluster.runner import Cluster
from cyclestrain.cluster.worker import Source

__all__ = ["Cluster", "Source", "connected"]
