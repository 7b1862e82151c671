"""What a window costs to open: it loads nothing that it does not use."""

from __future__ import annotations

import subprocess
import sys

from explorer.conftest import Small

WINDOW = """
import sys
from cyclestrain.api.exploring import open_files
from cyclestrain.explorer.serving import make_server, window_of
from bokeh.document import Document
opened = open_files(sys.argv[1], sys.argv[2], None, {})
make_server(lambda document: None)
document = Document()
window_of(document, opened)
print(len(document.roots), *sorted({"dask.array", "matplotlib", "panel", "torch"} & sys.modules.keys()))
"""


def test_a_window_loads_no_matplotlib(small: Small) -> None:
    command = [sys.executable, "-c", WINDOW, str(small.result), str(small.scan)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["1"]
