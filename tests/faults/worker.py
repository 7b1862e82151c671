"""Runs programs in forked children, each with a fault armed: asked on the standard input, a line of JSON each."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cyclestrain import cli, data
from cyclestrain.calibration import subset
from cyclestrain.errors import CyclestrainError
from cyclestrain.files import check_writable, write_whole
from cyclestrain.storage import run_folder

SHIM = ctypes.CDLL(None)
SECONDS = 120


def small_blocks() -> None:
    """Scans are read row by row and sampled in part, as large ones are."""
    subset.SAMPLE_BYTES = 50 * 96 * 96 * 2
    spans = data.Scan._spans
    data.Scan._spans = lambda self, n: spans(self, self.scan_shape[1] * self.pattern_bytes)


def command_line(arguments: list[str]) -> int:
    """A command of cyclestrain."""
    small_blocks()
    return cli.main(arguments)


def blocks(arguments: list[str]) -> int:
    """Work in blocks with a run folder and an output, without any physics: every operation of a map on the drive."""
    output = Path(arguments[0])
    try:
        check_writable(output, force=True)
        with run_folder(output, "key", note=lambda text: print(text, file=sys.stderr)) as run:
            known = run.load("knowledge", ())
            if known is None:
                known = {"x": np.arange(3.0)}
                run.save("knowledge", known)
            result = {"y": np.zeros(8)}
            done = run.restore(result)
            for first in range(0, 8, 2):
                if not done[first]:
                    result["y"][first : first + 2] = np.sin(known["x"][1] + np.arange(first, first + 2))
                    run.save_block(first, {"y": result["y"][first : first + 2]})
            with write_whole(output, force=True) as temporary, temporary.open("wb") as stream:
                np.save(stream, result["y"])
    except CyclestrainError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


PROGRAMS: dict[str, Callable[[list[str]], int]] = {"cyclestrain": command_line, "blocks": blocks}


def child(asked: list, said: int, seen: int) -> None:
    program, arguments, folder, operation, kind, n = asked
    os.dup2(said, 2)
    os.dup2(said, 1)
    signal.alarm(SECONDS)
    code = 70
    try:
        SHIM.fault_arm(folder.encode(), operation, kind, ctypes.c_long(n))
        code = PROGRAMS[program](arguments)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(seen, str(SHIM.fault_seen()).encode())
    os._exit(code)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as seen:
            process = os.fork()
            if process == 0:
                child(asked, said.fileno(), seen.fileno())
            _, status = os.waitpid(process, 0)
            said.seek(0)
            seen.seek(0)
            text = said.read().decode(errors="replace")
            answer = [os.waitstatus_to_exitcode(status), int(seen.read() or b"0"), text]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
