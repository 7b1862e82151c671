from __future__ import annotations

import subprocess
import sys

SERVER = """
import sys
import cyclestrain.api.exploring, cyclestrain.explorer.serving, cyclestrain.explorer.views.window
print(*sorted({"matplotlib", "torch"} & sys.modules.keys()))
"""


def test_a_window_needs_no_matplotlib() -> None:
    done = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == []
