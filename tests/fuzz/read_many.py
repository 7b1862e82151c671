"""Child process: reads the files named on its input, one line each, under limits that end it when they are broken.

For every file it says ``START name`` and then ``read``, ``refused`` or ``WRONG why``. A file that hangs or crashes
the process is the one without an answer.
"""

from __future__ import annotations

import re
import resource
import signal
import sys
import warnings
from typing import Any

from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.io import loaded as limits
from cyclestrain.io import read


def opened(path: str) -> Scan:
    """Open a file as its refusals propose: a stack of patterns with a scan shape, the first of several arrays."""
    options: dict[str, Any] = {}
    while True:
        try:
            return read(path, **options)
        except InputError as error:
            shape = re.search(r"without a scan shape; .*?--scan (\d+) (\d+)", str(error))
            pixels = re.search(r"how many rows and columns these are; .*?--shape (\d+) (\d+)", str(error))
            several = re.search(r"could be the scan: (.+?) \(\d+", str(error))
            if shape is not None and "scan_shape" not in options:
                options["scan_shape"] = (int(shape[1]), int(shape[2]))
            elif pixels is not None and "shape" not in options:
                options["shape"] = (20, 24)
            elif several is not None and "dataset" not in options:
                options["dataset"] = several[1]
            else:
                raise


def look(path: str) -> str:
    try:
        if path.endswith(".safetensors"):
            from cyclestrain.network import load_model

            load_model(path)
            return "read"
        scan = opened(path)
        first = scan.source[0, 0]
        last = scan.source[scan.shape[0] - 1, scan.shape[1] - 1]
    except InputError as error:
        return "refused" if "\n" not in str(error) and len(str(error)) < 2000 else f"WRONG message {str(error)[:200]!r}"
    except BaseException as error:  # the harness reports whatever came
        return f"WRONG {type(error).__name__}: {str(error)[:200]!r}"
    if first.shape != scan.detector_shape or last.shape != scan.detector_shape:
        return f"WRONG shape {first.shape}, {last.shape} of {scan.shape}"
    return "read"


def main(seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    limits.SMALLEST_DETECTOR = 1  # several samples are of toy size
    for line in iter(sys.stdin.readline, ""):  # each answered before the next is there
        path = line.rstrip("\n")
        print(f"START {path}", flush=True)
        signal.alarm(seconds)  # its default action ends the process, whatever C code is running
        answer = look(path)
        signal.alarm(0)
        print(answer, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
