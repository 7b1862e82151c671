"""Environments of the tools we compare with, one each because their dependencies clash with ours and each other.

    python benchmarks/peers/environments.py py4dstem hyperspy

makes what is missing in `benchmarks/peers/.venv-NAME` (or in the folder that CYCLESTRAIN_PEERS names) and prints the
Python of each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def environment(name: str, *requirements: str) -> Path:
    """Python of the environment `name`, made with these requirements where it is missing or made from others."""
    base = os.environ.get("CYCLESTRAIN_PEERS")
    folder = Path(base) / name if base else HERE / f".venv-{name}"
    python, made_from = folder / "bin" / "python", folder / "made-from.txt"
    wanted = "\n".join(requirements)
    if not (python.exists() and made_from.is_file() and made_from.read_text() == wanted):
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
        subprocess.run(install, check=True)
        made_from.write_text(wanted)
    return python


def py4dstem() -> Path:
    """py4DSTEM, which needs NumPy 1."""
    return environment("py4dstem", "py4DSTEM==0.14.18", "numpy<2")


def hyperspy() -> Path:
    """HyperSpy with its Zarr files, whose reader needs Zarr 2."""
    return environment("hyperspy", "hyperspy==2.5.*", "zarr<3", "numcodecs<0.16")


def quantem() -> Path:
    """quantem; torch alone is large, so the build for the processor is taken where pip's index offers it."""
    return environment("quantem", "quantem==0.1.10")


PEERS = {"py4dstem": py4dstem, "hyperspy": hyperspy, "quantem": quantem}

if __name__ == "__main__":
    for peer in sys.argv[1:] or PEERS:
        print(PEERS[peer]())
