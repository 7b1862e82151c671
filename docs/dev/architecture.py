"""Draw the rooms of the package from its imports, and write the page that explains them.

    python docs/dev/architecture.py

writes `architecture.md` and `architecture.svg` beside this file. What a room is for comes from the docstring of its
folder, what it uses from the imports: a test holds the page against both, so that it cannot rot.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "src" / "cyclestrain"
WIDTH, GAP, FLOOR = 1.5, 0.22, 0.88
"""Width of a box, gap between boxes and height of a floor, inches."""


@dataclass(frozen=True)
class Room:
    """A folder of the package, or a file beside the folders.

    Attributes
    ----------
    name
        Of the folder or file.
    doc
        Its docstring.
    uses
        Names of the rooms it imports from.
    """

    name: str
    doc: str
    uses: frozenset[str]

    @classmethod
    def of(cls, path: Path) -> Room:
        """Read a folder or a file."""
        face = path / "__init__.py" if path.is_dir() else path
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        texts = [file.read_text(encoding="utf-8") for file in files]
        uses = frozenset(name for text in texts for name in imported(ast.parse(text))) - {path.stem}
        doc = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
        return cls(path.stem, doc, uses)


def imported(tree: ast.AST) -> Iterator[str]:
    """Rooms that a module imports from, anywhere in it, what only type checkers see left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cyclestrain."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "cyclestrain":
            yield from (alias.name for alias in node.names)
        yield from imported(node)


def rooms() -> dict[str, Room]:
    """All rooms by name."""
    paths = [path for path in sorted(PACKAGE.iterdir()) if path.is_dir() or path.suffix == ".py"]
    return {
        path.stem: Room.of(path)
        for path in paths
        if path.stem != "__init__" and (path.is_file() or (path / "__init__.py").is_file())
    }


def floors(house: dict[str, Room]) -> dict[str, int]:
    """Floor of every room: above all that it uses, the ground is 0."""
    found: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((floor(used) for used in house[name].uses if used in house), default=-1)
        return found[name]

    for name in house:
        floor(name)
    return found


def below(house: dict[str, Room], name: str) -> set[str]:
    """All rooms that a room rests on, by whatever way."""
    return {deep for used in house[name].uses for deep in ({used} | below(house, used))}


def arrows(house: dict[str, Room]) -> list[tuple[str, str]]:
    """Arrows to draw: not those to the ground, which all use, nor those that a way over other rooms stands for."""
    level, out = floors(house), []
    for name, room in house.items():
        implied = {deep for used in room.uses for deep in below(house, used)}
        out += [(name, used) for used in sorted(room.uses - implied) if level[used] > 0]
    return out


def columns(house: dict[str, Room]) -> dict[str, float]:
    """Where each room stands on its floor, in boxes from the middle: near the rooms that use it."""
    level, users = floors(house), {name: [a for a, b in arrows(house) if b == name] for name in house}
    place: dict[str, float] = {}
    for floor in range(max(level.values()), -1, -1):
        row = [name for name in house if level[name] == floor]
        wish = {n: sum(place[u] for u in users[n]) / len(users[n]) if users[n] else 0.0 for n in row}
        row.sort(key=lambda name: (wish[name], name))
        lean = 0.55 * (-1) ** floor if len(row) == 1 and 0 < floor < max(level.values()) - 1 else 0.0
        place |= {name: k - (len(row) - 1) / 2 + lean for k, name in enumerate(row)}
    return place


def draw(house: dict[str, Room], path: Path) -> None:
    """Draw the rooms floor by floor, arrows from those that use to those that are used."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import FancyBboxPatch

    mpl.rcParams |= {"svg.hashsalt": "cyclestrain", "font.family": "DejaVu Sans", "svg.fonttype": "path"}
    level, column = floors(house), columns(house)
    height, side = max(level.values()) + 1, max(abs(x) for x in column.values()) + 0.5
    width = 2 * side * (WIDTH + GAP) + GAP
    figure, axes = plt.subplots(figsize=(width, height * FLOOR + 0.1))
    figure.subplots_adjust(0, 0, 1, 1)
    place = {name: (width / 2 + column[name] * (WIDTH + GAP), (level[name] + 0.5) * FLOOR) for name in house}
    for above, under in arrows(house):
        (x0, y0), (x1, y1) = place[above], place[under]
        arrow = {"arrowstyle": "-|>,head_length=0.35,head_width=0.18", "color": "#8a9199", "lw": 0.9, "shrinkA": 0}
        axes.annotate("", (x1, y1 + 0.22), (x0, y0 - 0.22), arrowprops={**arrow, "shrinkB": 0}, zorder=1)
    for name, (x, y) in place.items():
        colour = "#f4f1e8" if (PACKAGE / f"{name}.py").is_file() else "#dfe9f3"
        box = FancyBboxPatch((x - WIDTH / 2, y - 0.22), WIDTH, 0.44, boxstyle="round,pad=0,rounding_size=0.08")
        box.set(facecolor=colour, edgecolor="#3b4754", linewidth=0.9, zorder=2)
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=11, weight="bold", color="#1d252d", zorder=3)
    axes.set(xlim=(0, width), ylim=(0, height * FLOOR))
    axes.set_axis_off()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def page(house: dict[str, Room]) -> str:
    """The page: the picture, the way of the data, a paragraph for every room from the top floor down."""
    level = floors(house)
    order = sorted(house, key=lambda name: (-level[name], name))
    parts = [INTRODUCTION, "## The rooms\n"]
    for name in order:
        room = house[name]
        title = f"`{name}/`" if (PACKAGE / name).is_dir() else f"`{name}.py`"
        uses = ", ".join(f"`{used}`" for used in sorted(room.uses, key=lambda used: (-level[used], used)))
        parts.append(f"**{title}** {room.doc.strip()}\n\nUses: {uses or 'nothing of the package'}.\n")
    return "\n".join(parts)


INTRODUCTION = """\
# Architecture

<!-- Written by `python docs/dev/architecture.py` from the docstrings of the rooms and the imports between them. -->

![The rooms, each above all that it uses](architecture.svg)

*Every room stands above all that it uses. Arrows to the ground, which all use, and those that follow from others are
left out. Blue: folders, sand: files.*

A folder per stage of the data's way: a scan is read (`io`), calibrated (`calibration`), looked at (`orientation`),
learned from (`learning`), fitted pattern by pattern (`estimation`, with the model of one pattern in `pattern`), taken
apart where crystals meet (`boundaries`), smoothed with edges kept (`context`), made into strain (`strain`) and into a
result (`result`). `pipeline.py` is that way on one page. The network of the method (`network`) is beside it: the only
room that imports torch, loaded when it is asked for.

Three rules hold the house together, each checked by `make test`:

- **Imports flow down only**, room by room (`lint-imports`; the order is in `pyproject.toml`).
- **The simulator never sees the model** that it judges.
- **What is done to a block of patterns is a pure function**: patterns, what was learned, options in, a frozen
  `estimation.BlockFit` out. Nothing is written into a shared store from inside, so threads, a cluster or a live
  stream can run the same function, in any order and with the same bits (`tests/estimation/test_block.py`).

Where something new belongs: what needs no measurement goes to `data`; what is known before any crystal is looked for
to `calibration`; what one pattern says to `pattern`; what many patterns say before they are fitted to `learning`;
what neighbours say to `estimation` (starts), `boundaries` (several crystals) or `context` (one crystal); what a figure
and a window both show, as arrays and words, to `display`. A folder may not have the name of a public function, which
importing it would hide: hence `figures` and `simulation`.
"""


def main() -> None:
    """Write the page and its picture."""
    house = rooms()
    draw(house, HERE / "architecture.svg")
    (HERE / "architecture.md").write_text(page(house), encoding="utf-8")
    print(f"{len(house)} rooms, {sum(len(room.uses) for room in house.values())} arrows: {HERE / 'architecture.md'}")


if __name__ == "__main__":
    main()
