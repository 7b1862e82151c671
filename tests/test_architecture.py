"""The house keeps its plan: the page is true, torch stays in its room, files and functions stay short."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cyclestrain"
MANY_PARAMETERS = {"explore", "fit", "live", "map", "refine", "simulate", "tilt"}
"""Functions that take more than eight parameters: each is a choice of the person who calls it."""

pytestmark = pytest.mark.skipif(not PACKAGE.is_dir(), reason="the sources are not beside the tests")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "dev" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["architecture"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_of_rooms_is_that_of_the_code(drawing: ModuleType) -> None:
    written = (ROOT / "docs" / "dev" / "architecture.md").read_text(encoding="utf-8")
    assert written == drawing.page(drawing.rooms()), "run python docs/dev/architecture.py"


def test_every_room_says_what_it_is_for(drawing: ModuleType) -> None:
    assert all(len(room.doc) > 40 for room in drawing.rooms().values() if room.name != "version")


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.name}", node


def test_files_and_functions_stay_short() -> None:
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert not {path: n for path, n in lines.items() if n > 450}
    long = {name: node.end_lineno - node.lineno + 1 for name, node in functions() if node.end_lineno}
    assert not {name: n for name, n in long.items() if n > 80}


def test_functions_take_few_parameters() -> None:
    def count(node: ast.FunctionDef) -> int:
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        own = [argument for argument in given if argument.arg not in ("self", "cls")]
        return len(own) + (node.args.vararg is not None) + (node.args.kwarg is not None)

    many = {name for name, node in functions() if count(node) > 8}
    assert {name.split(":")[1] for name in many} <= MANY_PARAMETERS


MAP = """
import sys
import cyclestrain as cs
assert "torch" not in sys.modules
made = cs.simulate("uniform", scan=(6, 6), detector=(64, 64), radius=3.0, background=0.1, seed=1)
maps = cs.map(made.scan, sys.argv[1])
assert int(maps.valid.sum()) > 20
cs.info(sys.argv[1])
print("torch" in sys.modules)
"""


def test_the_default_map_never_loads_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAP, str(tmp_path / "strain.nc")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["False"]


def programs() -> Iterator[tuple[str, str]]:
    """Names that programs beside the package import of it: file, and module with name."""
    for path in (each for folder in ("benchmarks", "docs", "examples") for each in (ROOT / folder).rglob("*.py")):
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue  # environments of the peers
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cyclestrain":
                yield from ((str(path.relative_to(ROOT)), f"{node.module}:{alias.name}") for alias in node.names)


def is_there(name: str) -> bool:
    module, _, attribute = name.partition(":")
    with suppress(ModuleNotFoundError):  # a module rather than a name in one
        importlib.import_module(f"{module}.{attribute}")
    return hasattr(importlib.import_module(module), attribute)


def test_programs_import_what_is_there() -> None:
    found = list(programs())
    assert len(found) > 100
    assert not [each for each in found if not is_there(each[1])]
