"""What is shipped: one version everywhere, a recipe with the same requirements, extras that something imports."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import cyclestrain as cs

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
RENAMED = {"dask": "dask-core", "matplotlib": "matplotlib-base", "torch": "pytorch", "xxhash": "python-xxhash"}
"""Names of packages on conda-forge where they are others than on PyPI."""

pytestmark = pytest.mark.skipif(
    not (PROJECT.is_file() and (ROOT / "recipe").is_dir()), reason="the project file is not beside the tests"
)


def requirements(section: list[str]) -> dict[str, str]:
    """Name and range of each requirement."""
    found = (re.match(r"([A-Za-z0-9_-]+)(?:\[.*\])?(.*)", text) for text in section)
    return {match[1].lower(): match[2].strip() for match in found if match}


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def test_one_version_everywhere() -> None:
    for name, pattern in (("recipe/meta.yaml", r'version = "([^"]+)"'), ("CITATION.cff", r"(?m)^version: (.+)$")):
        (found,) = re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"))
        assert found == cs.__version__, name


def test_the_recipe_requires_what_the_project_does(project: dict[str, object]) -> None:
    recipe = (ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8")
    run = recipe.partition("  run:\n")[2].partition("  run_constrained:\n")[0]
    stated = dict(re.findall(r"- (\S+) (\S+)", run))
    assert stated.pop("python") == project["requires-python"]
    wanted = requirements(project["dependencies"])  # type: ignore[arg-type]
    assert stated == {RENAMED.get(name, name): bounds for name, bounds in wanted.items()}


def test_what_is_pinned_runs_on_the_oldest_python(project: dict[str, object]) -> None:
    """One pin that does not, however deep in an extra, keeps pip busy without end."""
    oldest = re.sub(r"^>=", "", str(project["requires-python"])) + ".0"
    pins = re.findall(r"(?m)^([^#=\s]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    ranges = {}
    for name in pins:
        try:
            ranges[name] = ",".join(metadata(name).get_all("Requires-Python") or [])
        except PackageNotFoundError:  # of an extra that is not installed
            continue
    assert len(ranges) > 50
    assert not {name: text for name, text in ranges.items() if oldest not in SpecifierSet(text)}


def test_the_default_is_free_of_torch_and_of_packages_of_single_readers(project: dict[str, object]) -> None:
    wanted = requirements(project["dependencies"])  # type: ignore[arg-type]
    assert not {"torch", "safetensors", "scikit-image", "hdf5plugin", "zarr"} & wanted.keys()


def test_every_extra_is_there_for_something(project: dict[str, object]) -> None:
    """What an extra installs is imported somewhere, or runs the tests and the documentation."""
    sources = " ".join(path.read_text(encoding="utf-8") for path in Path(cs.__file__).parent.rglob("*.py"))
    readers = {"scikit-image", "onnxscript"}  # imported by rosettasciio and torch
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    for extra in extras.keys() - {"dev", "docs", "app"}:
        for name in requirements(extras[extra]).keys() - readers - {"cyclestrain"}:
            module = name.replace("-", "_")
            assert f"import {module}" in sources or f"from {module}" in sources, f"{extra}: {name}"
