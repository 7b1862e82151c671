"""The code on the pages of the documentation runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.skipif(not DOCS.is_dir(), reason="the installed package comes without its documentation")
def test_the_stages_run_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "stages.md").read_text(encoding="utf-8"), re.S | re.M)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/stages.md", "exec"), names)
    assert names["strained"].best.exx.shape == (8, 9)
    assert "6 fold" in capsys.readouterr().out
