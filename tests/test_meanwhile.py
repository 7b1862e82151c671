"""What a run needs later is loaded in a thread, which ends by itself and says nothing."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, threading
from cyclestrain.api.meanwhile import load_meanwhile
load_meanwhile()
load_meanwhile()
others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
for thread in others:
    thread.join()
print(len(others), "h5netcdf" in sys.modules, "dask.array" in sys.modules)
"""


def test_what_writing_needs_is_loaded_once() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1 True True\n", "")
