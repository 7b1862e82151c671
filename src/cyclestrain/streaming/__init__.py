"""Maps that grow while a scan is recorded: from a detector through LiberTEM-live, or from a file still being written.

The functions take patterns as they come and a fitted model, and return the normal result of what has come so far.
LiberTEM is imported where a detector is listened to, and by `cyclestrain.streaming.fit_udf` alone.
"""

from cyclestrain.streaming.following import Course, Heard, Source, follow
from cyclestrain.streaming.growing import GrowingFile
from cyclestrain.streaming.helpers import Helpers, Here, one_thread, processes
from cyclestrain.streaming.so_far import fit_block, learn_so_far, map_so_far
from cyclestrain.streaming.terminal import View, shown_view
from cyclestrain.streaming.window import LiveWindow, live_window

__all__ = [
    "Course",
    "GrowingFile",
    "Heard",
    "Helpers",
    "Here",
    "LiveWindow",
    "Source",
    "View",
    "fit_block",
    "follow",
    "learn_so_far",
    "live_window",
    "map_so_far",
    "one_thread",
    "processes",
    "shown_view",
]
