"""The command line: same arguments as the functions, clear errors, exit codes, a fast start."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import cyclestrain as cs
from cyclestrain import api, cli
from cyclestrain.result import save_result
from cyclestrain.settings import ReadOptions
from cyclestrain.simulation import load_truth

READING = list(cs.ReadSettings.model_fields)
SMALL = ["--scan", "2", "3", "--detector", "32", "32"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    file = tmp_path / "scan.h5"
    assert cli.main(["simulate", "uniform", *SMALL, "--seed", "3", "-o", str(file)]) == 0
    return file


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result file as `map` writes it, with made-up values."""
    rng = np.random.default_rng(0)
    maps = {}
    for name in ("exx", "eyy", "exy", "rotation"):
        maps[name] = (("ry", "rx"), rng.normal(0, 5e-3, (8, 9)))
        maps[f"{name}_raw"] = (("ry", "rx"), rng.normal(0, 5e-3, (8, 9)))
        maps[f"{name}_sigma"] = maps[f"{name}_raw_sigma"] = (("ry", "rx"), np.full((8, 9), 1e-3))
    file = tmp_path / "strain.nc"
    save_result(xr.Dataset(maps, attrs={"axes": "detector"}), file)
    return file


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the error stream."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main([command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", ["demo", "simulate", "fit", "map", "show", "export", "info", "benchmark"])
def test_every_argument_of_a_function_is_an_option_of_its_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(command, capsys)
    for name, parameter in inspect.signature(getattr(api, command)).parameters.items():
        if name in ("progress", "reading", "client") or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        positional = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name != "output"
        shown = name.upper() if positional else "--" + {"scan_shape": "scan"}.get(name, name).replace("_", "-")
        assert shown in text
        if name == "options" and command == "show":
            continue
    if "reading" in inspect.signature(getattr(api, command)).parameters:
        options = {"scan" if name == "scan_shape" else name.replace("_", "-") for name in READING}
        assert {f"--{option}" for option in options} <= set(text.split())


@pytest.mark.parametrize("command", ["fit", "map", "info", "explore"])
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option whose line holds its name and type alone has lost its sentence."""
    rows = [line.strip("│ ").split() for line in help_of(command, capsys).splitlines() if line.startswith("│ --")]
    assert len(rows) > 10
    assert all(len(row) > 3 for row in rows), rows


def test_reading_is_given_at_once_or_one_by_one() -> None:
    array = np.ones((12, 32, 32))
    group = cs.ReadSettings(scan_shape=(3, 4), bin=2)
    assert cs.read(array, group).shape == cs.read(array, scan_shape=(3, 4), bin=2).shape == (3, 4, 16, 16)
    assert cs.read(array, group, bin=1).shape == (3, 4, 32, 32)
    assert cs.info(array, reading=group) == cs.info(array, scan_shape=(3, 4), bin=2)
    for wrong in (lambda: cs.read(array, bim=2), lambda: cs.map(array, bim=2), lambda: cs.info(array, bim=2)):
        with pytest.raises(TypeError, match="bim"):
            wrong()
    with pytest.raises(cs.InputError, match="bin"):
        cs.read(array, bin=0)


def test_options_of_reading_are_the_fields_of_its_settings() -> None:
    assert list(ReadOptions.__annotations__) == READING


def test_options_arrive_at_the_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def record(scan: str, output: str, **options: Any) -> Any:
        seen.update(options, scan=scan, output=output)
        raise cs.InputError("enough")

    monkeypatch.setattr(api, "map", record)
    line = (
        "map a.h5 -o b.nc --reference 0:4,0:4 --axes scan --along 2 1 --scan-rotation 12 --until refine "
        "--centre 3 4.5 --ring 5 60"
    )
    reading = (
        "--shape 4 4 64 64 --dtype >u2 --offset 8 --order F --flyback 1 --scan-roi 0:2,: --detector-roi :,0:9".split()
    )
    reading += "--bin 2 --memory 1.5 --jobs 2 --config old.nc --model m.safetensors".split()
    code = cli.main(
        [*line.split(), *"--classes 2 --dataset /x --scan 64 32 --seed 1 --device cpu --force".split(), *reading]
    )
    assert code == 1
    del seen["progress"]
    assert seen == {
        "scan": "a.h5",
        "output": "b.nc",
        "reference": "0:4,0:4",
        "axes": "scan",
        "along": (2, 1),
        "scan_rotation": 12.0,
        "until": "refine",
        "centre": (3.0, 4.5),
        "ring": (5.0, 60.0),
        "classes": 2,
        "dataset": "/x",
        "scan_shape": (64, 32),
        "shape": (4, 4, 64, 64),
        "dtype": ">u2",
        "offset": 8,
        "order": "F",
        "flyback": 1,
        "scan_roi": "0:2,:",
        "detector_roi": ":,0:9",
        "bin": 2,
        "memory": 1.5,
        "jobs": 2,
        "config": "old.nc",
        "model": "m.safetensors",
        "seed": 1,
        "device": "cpu",
        "force": True,
    }


def test_simulate_takes_the_options_of_the_phantom(tmp_path: Path) -> None:
    file = tmp_path / "wave.h5"
    options = ["--amplitude", "0.02", "--centre-offset", "1", "-2", "--noise-free", "1"]
    assert cli.main(["simulate", "ripple", *SMALL, *options, "-o", str(file)]) == 0
    truth = load_truth(file)
    assert truth.attrs["amplitude"] == 0.02
    np.testing.assert_allclose(truth.centre_x, 15.5 - 2)


def test_simulate_is_the_function_of_the_same_name(scan: Path) -> None:
    made = cs.simulate("uniform", scan=(2, 3), detector=(32, 32), seed=3)
    assert (made.scan.row_band(0, 2) == cs.read(scan).row_band(0, 2)).all()


def test_info_describes_a_scan(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(scan)]) == 0
    text = capsys.readouterr().out
    for expected in ("2 x 3 positions", "32 x 32 pixels", "uint16", "counts per pattern", "electron counts"):
        assert expected in text


def test_info_describes_a_result(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(result)]) == 0
    text = capsys.readouterr().out
    assert "maps of 8 ry x 9 rx" in text
    assert "exx: median" in text


@pytest.mark.parametrize(("name", "head"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_show_writes_the_format_of_the_extension(result: Path, name: str, head: bytes) -> None:
    figure = result.with_name(name)
    assert cli.main(["show", str(result), "-o", str(figure), "--estimate", "raw"]) == 0
    assert figure.read_bytes().startswith(head)


def test_show_writes_every_figure_into_a_folder(result: Path) -> None:
    folder = result.with_name("figures")
    assert cli.main(["show", str(result), "-o", str(folder), "--formats", "svg"]) == 0
    assert {"strain.svg", "strain_raw.svg", "uncertainty.svg"} <= {file.name for file in folder.iterdir()}


def test_show_refuses_an_unknown_format(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", str(result), "-o", str(result.with_name("a.bmp"))]) == 1
    assert "png, svg, pdf" in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["info", "missing.h5"], "missing.h5 does not exist"),
        (["show", "missing.nc"], "missing.nc does not exist"),
        (["map", "missing.h5"], "missing.h5 does not exist"),
        (
            ["map", "missing.h5", "--ellipse", "3", "0"],
            "error: ellipse: input should be less than or equal to 2, got 3",
        ),
        (["map", "missing.h5", "--classes", "0"], "classes: input should be greater than or equal to 1, got 0"),
        (["simulate", "cube"], "no phantom is called 'cube'"),
        (["simulate", "uniform", "--size", "3"], "uniform has no option size"),
        (["simulate", "uniform", "--background", "2"], "background share is between 0 and 1, got 2.0"),
        (["simulate", "-o", "no/such/folder/scan.h5"], "the folder no/such/folder does not exist"),
    ],
)
def test_a_user_error_is_one_sentence_and_exit_code_1(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    assert expected in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_without_force(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = scan.read_bytes()
    assert cli.main(["simulate", "uniform", *SMALL, "-o", str(scan)]) == 1
    assert "--force" in error_of(capsys)
    assert scan.read_bytes() == before
    assert cli.main(["simulate", "uniform", *SMALL, "--seed", "4", "-o", str(scan), "--force"]) == 0
    assert scan.read_bytes() != before


def test_the_measurement_is_never_overwritten(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = scan.read_bytes()
    assert cli.main(["map", str(scan), "-o", str(scan), "--force"]) == 1
    assert "is the scan itself" in error_of(capsys)
    assert scan.read_bytes() == before


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(cs.InputError, match="does not exist"):
        cli.main(["info", "missing.h5", "--debug"])


@pytest.mark.parametrize("arguments", [["info"], ["nope"], ["map", "a", "--bogus"], ["map", "a", "--scan", "3"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2


def too_large(shape: tuple[int, int]) -> MemoryError:
    """What numpy raises where an array of `shape` cannot be made."""
    error = MemoryError(shape)
    error.shape, error.dtype = shape, np.dtype(float)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ValueError("odd"), 1, "error: unexpected ValueError: odd; please report it with what --debug prints"),
        (MemoryError(), 1, "error: not enough memory"),
        (too_large((1000, 1000)), 1, "error: not enough memory"),
        (too_large((10**9, 10**9)), 1, "error: unexpected MemoryError: (1000000000, 1000000000); please report it"),
    ],
)
def test_what_stops_a_run_is_told_in_one_line(
    error: BaseException, code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(api, "info", stop)
    assert cli.main(["info", "scan.h5"]) == code
    assert error_of(capsys).startswith(expected)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == cs.__version__


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "statement",
    ["import cyclestrain", *(f"from cyclestrain.cli import main\nmain(['{c}', '--help'])" for c in ("fit", "map"))],
)
def test_start_up_loads_nothing_heavy(statement: str) -> None:
    heavy = {"torch", "numba", "scipy", "xarray", "matplotlib", "dask", "h5py", "pandas", "numpy"}
    assert not heavy & modules_after(statement)


def test_public_names_are_sorted_and_there() -> None:
    assert cs.__all__ == sorted(cs.__all__)
    assert {name: getattr(cs, name) for name in cs.__all__}
    assert set(cs.__all__) <= set(dir(cs))
    with pytest.raises(AttributeError, match="nothing"):
        _ = cs.nothing


def test_no_room_has_the_name_of_a_function() -> None:
    """Importing a room sets its name on the package, where a function of that name would be lost."""
    rooms = {path.parent.name for path in Path(cs.__file__).parent.glob("*/__init__.py")}
    planned = {"probe", "report", "explore", "defects", "grains", "live", "next_positions"}
    assert not rooms & (set(cs.__all__) | planned)


def test_map_without_a_scan_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["map"]) == 1
    assert "give a scan, or a result to repeat with --config" in error_of(capsys)


@pytest.mark.parametrize("name", ["out.hspy", "out.emd", "out.csv", "out.mat", "out.tif", "out.png", "out.zspy"])
def test_export_writes_what_the_extension_says(result: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = result.with_name(name)
    assert cli.main(["export", str(result), "-o", str(target)]) == 0
    assert target.exists()
    assert cli.main(["export", str(result), "-o", str(target)]) == 1
    assert "--force" in error_of(capsys)
    assert cli.main(["export", str(result), "-o", str(target), "--force", "--estimate", "raw"]) == 0


def test_only_a_model_has_an_encoder(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(result), "-o", str(result.with_name("encoder.onnx"))]) == 1
    assert "only a model has an encoder" in error_of(capsys)


def test_alone_it_shows_the_three_things_people_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert [line.split()[1] for line in text.splitlines() if line.startswith("  cyclestrain")] == [
        "demo",
        "map",
        "show",
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["mpa", "scan.h5"], 'Did you mean "map"'),
        (["map", "scan.h5", "--refrence", "auto"], "Did you mean --reference"),
        (["map", "scan.h5", "--roi", "0:4,0:4"], "--scan-roi (positions) or --detector-roi (pixels)"),
        (["map", "scan.h5", "--center=3"], "--centre here"),
        (["show", "a.nc", "--width", "wide"], '--width takes a number, not "wide"'),
        (["show", "a.nc", "--dpi", "99.5"], '--dpi takes a whole number, not "99.5"'),
        (["map", "scan.h5", "--seed", "1.5"], '--seed takes a whole number, not "1.5"'),
        (["map", "scan.h5", "--scan", "8.5", "8"], '--scan takes a whole number, not "8.5"'),
        (["map", "scan.h5", "--scan-rotation", "left"], '--scan-rotation takes a number or auto, not "left"'),
    ],
)
def test_wrong_usage_says_what_was_meant(typed: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(typed) == 2
    assert expected in error_of(capsys)


def test_help_has_what_people_set_before_what_experts_do(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of("map", capsys)
    order = [text.index(name) for name in ("─ What people set", "─ Reading the file", "─ Expert", "─ Every command")]
    assert order == sorted(order)
    assert order[0] < text.index("--reference") < order[1] < text.index("--scan-roi") < order[2] < text.index("--seed")


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "uniform", *SMALL, "-o", str(tmp_path / "a.h5"), "--quiet"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(arguments) == 1  # an error is told all the same
    assert "--force" in error_of(capsys)


def test_json_is_one_line_for_scripts(scan: Path, result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["--json", "show", str(result), "-o", str(result.with_name("a.png"))]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"output": str(result.with_name("a.png"))}, "")
    assert cli.main(["info", str(scan), "--json"]) == 0
    assert "2 x 3 positions" in json.loads(capsys.readouterr().out)["lines"][2]


def test_a_report_is_told_like_everything_else(
    result: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = result.with_suffix(".html")
    monkeypatch.setattr(api, "report", lambda *_, **__: page)
    assert cli.main(["report", str(result), "-o", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": str(page)}
    assert cli.main(["report", str(result), "-o", str(page), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_scan_that_cyclestrain_wrote_is_no_result_and_not_called_foreign(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(scan), "-o", str(scan.with_suffix(".csv"))]) == 1
    assert "is not a result" in error_of(capsys)


def test_defaults_are_written_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[default: exx eyy exy rotation]" in " ".join(help_of("show", capsys).replace("│", "").split())


def test_who_reads_may_stop(result: Path) -> None:
    code = f"import sys; from cyclestrain.cli import main; sys.exit(main(['info', {str(result)!r}]))"
    line = f'{sys.executable} -c "{code}" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("maps of 8 ry x 9 rx")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: Any) -> None:
    script = cli.app.generate_completion(shell=shell)
    for word in ("simulate", "scan-roi", "reference"):
        assert word in script


@pytest.mark.parametrize("name", ["out.png", "out.csv", "OUT.TIF"])
def test_a_map_is_not_called_a_picture(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["map", "scan.h5", "-o", str(tmp_path / name)]) == 1
    assert ".nc, not as" in error_of(capsys)


class TestShow:
    def test_chosen_maps_in_a_column_of_a_journal(self, result: Path) -> None:
        figure = cs.show(result, maps=("exx", "dilation", "exy_sigma"), width=85, font=6)
        assert figure.get_figwidth() * 25.4 == pytest.approx(85)
        titles = [axes.get_label() for axes in figure.axes if axes.get_label()]
        assert [("xx" in t, "dilation" in t, "sigma" in t) for t in titles[:3]] == [
            (True, False, False), (True, True, False), (False, False, True),
        ]  # fmt: skip

    def test_limits_colours_and_resolution(self, result: Path) -> None:
        target = result.with_name("a.png")
        arguments = "--limit 0.7 --rotation-limit 2 --colours cork --dpi 100 --maps exx rotation".split()
        assert cli.main(["show", str(result), "-o", str(target), *arguments]) == 0
        with Image.open(target) as image:
            assert image.width == int(180 / 25.4 * 100)
        figure = cs.show(result, limit=0.7, rotation_limit=2.0, colours="cork", maps=("exx", "rotation"))
        images = [image for axes in figure.axes for image in axes.get_images()]
        assert [image.get_clim() for image in images] == [(-0.7, 0.7), (-2.0, 2.0)]
        assert {image.get_cmap().name for image in images} == {"cork"}

    def test_a_part(self, result: Path) -> None:
        whole, part = (cs.show(result, crop=crop) for crop in (None, "2:6,1:8"))
        shapes = [figure.axes[1].get_images()[0].get_array().shape for figure in (whole, part)]
        assert shapes == [(8, 9), (4, 7)]

    def test_a_larger_font_makes_room_for_itself(self, result: Path) -> None:
        """The title of a map stays below the text above it, whatever the size of the letters, and so does the width."""
        for font in (7.0, 10.0):
            figure = cs.show(result, maps=("exx", "eyy"), width=180, font=font)
            assert figure.get_figwidth() * 25.4 == pytest.approx(180)
            figure.draw_without_rendering()
            boxes = {text.get_text(): text.get_window_extent() for text in figure.texts}
            (header,) = (box for words, box in boxes.items() if words.startswith("Strain and rotation"))
            assert header.y0 > boxes[r"$\varepsilon_{xx}$ (%)"].y1
            (axes,) = (box for words, box in boxes.items() if words.startswith("strain axes"))
            assert header.x1 < axes.x0

    def test_a_length_has_a_scale_from_zero(self, result: Path) -> None:
        figure = cs.show(result, maps=("exx", "shear"))
        low = {axes.get_label(): axes.images[0].get_clim()[0] for axes in figure.axes if axes.images}
        assert sorted(value < 0 for value in low.values()) == [False, True]

    def test_text_stays_text(self, result: Path) -> None:
        cs.show(result, result.with_name("a.svg"), width=170)
        cs.show(result, result.with_name("a.pdf"), width=85)
        assert "<text" in result.with_name("a.svg").read_text()
        assert b"/Type3" not in result.with_name("a.pdf").read_bytes()

    def test_noise_is_not_drawn_as_structure(self, result: Path) -> None:
        maps = cs.load(result)
        quiet = maps.assign(exx=0 * maps.exx, eyy=0 * maps.eyy, exy=0 * maps.exy, rotation=0 * maps.rotation)
        quiet = quiet.assign({f"{name}_sigma": 0 * maps.exx + 2e-3 for name in ("exx", "eyy", "exy", "rotation")})
        images = [image for axes in cs.show(quiet).axes for image in axes.get_images()]
        assert all(image.get_clim()[1] >= 0.4 for image in images[:3])  # percent, twice sigma
        assert images[3].get_clim()[1] >= np.degrees(4e-3) * (1 - 1e-9)

    def test_the_truth_of_a_simulation(self, scan: Path) -> None:
        truth, figure = load_truth(scan), cs.show(scan)
        image = next(axes.get_images()[0] for axes in figure.axes if axes.get_images())
        np.testing.assert_allclose(image.get_array(), 100 * truth["exx"], atol=1e-9)
        assert any("simulated truth" in text.get_text() for text in figure.texts)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (["--maps", "exz"], "there is no map 'exz'"),
            (["--colours", "vikk"], "did you mean vik"),
            (["--crop", "0:99,0:1"], "does not lie inside 8 rows"),
            (["--width", "5"], "width"),
        ],
    )
    def test_what_cannot_be_is_said(self, result: Path, options: list[str], expected: str, capsys: Any) -> None:
        assert cli.main(["show", str(result), "-o", str(result.with_name("a.png")), *options]) == 1
        assert expected in error_of(capsys)
        assert not result.with_name("a.png").exists()


def test_info_prints_as_lines_in_a_session(scan: Path) -> None:
    assert repr(cs.info(scan)) == str(cs.info(scan))
    assert "\n" in repr(cs.info(scan))
