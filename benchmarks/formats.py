"""The table of docs/formats.md: what is read, lazily or not, with which calibration, and tested with which file.

    python benchmarks/formats.py > docs/formats.md               # half an hour
    python benchmarks/formats.py --damaged 0                     # without reading damaged versions of every file

Files of instruments are looked for in ../shared/data and, those of RosettaSciIO's own tests, in the folder that the
environment variable ROSETTASCIIO_DATA names (rsciio/tests/data of a copy of its repository); where absent, their rows
say so. One of each format that we or RosettaSciIO can write is written. Formats that RosettaSciIO lists and no file was
at hand for are named as untested.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cyclestrain.errors import InputError
from cyclestrain.io import loaded, read
from cyclestrain.io.vendor import _NOT_USED
from fuzz.harness import Verdict, inputs, try_all
from fuzz.samples import DATA, FURTHER, MEASURED, OWN, ROSETTASCIIO, Sample, available

FORMATS = {
    "001_4x2_6bit.mib": ("Merlin (Medipix)", "QuantumDetector"),
    "test1.blo": ("NanoMEGAS blockfile", "Blockfile"),
    "ba50_dd020.dm3": ("Digital Micrograph 3 (DM4 by the same reader)", "DigitalMicrograph"),
    "16x16-diffraction_imagel_5x5x256x256_EDS.emi": ("FEI TIA `.emi`", "TIA"),
    "16x16-diffraction_imagel_5x5x256x256_EDS_2.ser": ("FEI TIA `.ser`", "TIA"),
    "20241021_00405_movie.mrc": ("MRC (Direct Electron, with its info file)", "MRC"),
    "Si100_4D.emd": ("Prismatic EMD", ""),
    "fpd_file_test.hdf5": ("Merlin fpd (HDF5)", ""),
    "panta_rhei_sample.prz": ("CEOS PantaRhei", "PantaRhei"),
    "real_py4dstem.h5": ("py4DSTEM, EMD 1.0", ""),
    "test_00_master.h5": ("Dectris (Arina) master file", "Arina"),
    "test_tvips_2233_000.tvips": ("TVIPS", "TVIPS"),
    "test_tvips_2345_split_000.tvips": ("TVIPS, split series", "TVIPS"),
    "empad xml": ("EMPAD map, raw beside it", "EMPAD"),
    "empad stack": ("EMPAD series, raw beside it", "EMPAD"),
    "npy": ("NumPy `.npy`", ""),
    "npz": ("NumPy `.npz`, stored", ""),
    "npz packed": ("NumPy `.npz`, compressed", ""),
    "hdf5": ("HDF5 of any layout, NeXus among them", "NeXus"),
    "hdf5 bitshuffle": ("HDF5, bitshuffle/LZ4", ""),
    "matlab": ("MATLAB v7.3", ""),
    "zarr 3 header": ("Zarr 3", ""),
    "zarr 2 header": ("Zarr 2", ""),
    "zarr zip": ("Zarr in a zip file", ""),
    "tiff": ("TIFF stack", "TIFF"),
    "tiff packed": ("TIFF stack, compressed", "TIFF"),
    "frames": ("folder of frames, any of these formats", ""),
    "counted": ("electron-counted HDF5 of stempy (4D Camera)", ""),
    "raw_csr": ("sparse scan of LiberTEM, `raw_csr`", ""),
    "npz sparse": ("sparse matrix of SciPy, compressed", ""),
    "npz sparse stored": ("sparse matrix of SciPy, stored", ""),
    "test-1.dm4": ("Digital Micrograph 4, image stack", "DigitalMicrograph"),
    "fei_example_tem_stack.emd": ("Velox EMD, image stack", "EMD"),
    "py4DSTEM_size2x3x4x5.h5": ("py4DSTEM, EMD 0.x", ""),
    "topspin_test_A.app5": ("NanoMEGAS Topspin", "Topspin"),
    "simple_signal.nxs": ("NeXus, written by HyperSpy", "NeXus"),
    "test_TEM.bcf": ("Bruker composite, the image in it", "Bruker"),
    "focus_mode.img": ("Hamamatsu, one image", "Hamamatsu"),
    "View000_0000000.img": ("JEOL, one image", "JEOL"),
    "test_surface.sur": ("DigitalSurf, one image", "DigitalSurf"),
    "ripple written": ("Ripple", "Ripple"),
    "semper written": ("Semper", "Semper"),
    "blockfile written": ("NanoMEGAS blockfile", "Blockfile"),
    "emd written": ("EMD written by HyperSpy", "EMD"),
    "tvips written": ("TVIPS", "TVIPS"),
    "nexus written": ("NeXus, `NXdata` with axes", "NeXus"),
}
NOT_PATTERNS = frozenset({"DENS", "EDAX", "Phenom", "Quadstar", "Renishaw", "TriVista"})
"""What they hold are spectra, logs and photographs."""
DEPTH = "4DSTEM_simulation/data/datacubes/CBED_array_depth0001/datacube"
OPTIONS: dict[str, dict[str, Any]] = {
    "Si100_4D.emd": {"dataset": DEPTH},
    "test_tvips_2233_000.tvips": {"scan_shape": (2, 2)},
    "test_tvips_2345_split_000.tvips": {"scan_shape": (2, 3)},
    "empad stack": {"scan_shape": (2, 5)},
    "tiff": {"scan_shape": (2, 2)},
    "tiff packed": {"scan_shape": (2, 2)},
    "frames": {"scan_shape": (1, 3)},
    "npz sparse": {"shape": (3, 4, 20, 24)},
    "npz sparse stored": {"shape": (3, 4, 20, 24)},
    "test-1.dm4": {"scan_shape": (1, 2)},
    "fei_example_tem_stack.emd": {"scan_shape": (1, 2)},
    "simple_signal.nxs": {"scan_shape": (3, 5)},
    "ripple written": {"scan_shape": (2, 2)},
    "semper written": {"scan_shape": (2, 2)},
    "tvips written": {"scan_shape": (3, 4)},
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    format: str
    read: str
    lazy: str
    calibration: str
    tested: str
    damaged: str = ""


def is_lazy(source: Any) -> bool:
    """Whether no view leads to an array that is held in memory."""
    while hasattr(source, "base") and not isinstance(source, np.ndarray):
        source = source.base
    return not isinstance(source, np.ndarray)


def row(sample: Sample, home: Path) -> Row:
    """Make the sample's file, read it and say what came."""
    title, _ = FORMATS[sample.name]
    measured, folder = sample in MEASURED + FURTHER, ROSETTASCIIO if sample in FURTHER else DATA
    if measured and not folder.is_dir():
        return Row(title, "", "", "", "untested: no file here")
    sample.make(home)
    file = f"`{sample.opened}`" + ("" if measured else ", written by the test")
    try:
        scan = read(home / sample.opened, **OPTIONS.get(sample.name, {}))
        scan.source[0, 0]
    except InputError as error:
        return Row(title, f"no: {error}".replace(str(home), "").replace("|", "/"), "", "", file)
    steps = {"probe step": scan.real_step, "detector pixel": scan.reciprocal_step}
    found = [f"{name} {step.value:.4g} {step.unit}" for name, step in steps.items() if step is not None]
    shape = "x".join(str(size) for size in scan.shape)
    return Row(title, f"{shape} {scan.source.dtype}", "yes" if is_lazy(scan.source) else "no", ", ".join(found), file)


def raw(home: Path) -> Row:
    """The row of a raw binary file."""
    array = np.arange(4 * 5 * 20 * 24, dtype=">u2").reshape(4, 5, 20, 24)
    array.tofile(home / "s.raw")
    scan = read(home / "s.raw", shape=array.shape, dtype=">u2")
    same = np.array_equal(scan.source[3], array[3])
    title = "raw binary, `--shape --dtype --offset --order`"
    return Row(title, "4x5x20x24 uint16" if same else "no", "yes", "", "`s.raw`, written by the test")


def hyperspy(home: Path, suffix: str) -> Row:
    """The row of a HyperSpy file: a result exported and read back as patterns has no use, so a scan is written."""
    import h5py
    import zarr

    path, array = home / f"s{suffix}", np.ones((2, 3, 20, 24), np.uint16)
    root: Any = h5py.File(path, "w") if suffix == ".hspy" else zarr.open_group(str(path), mode="w", zarr_format=2)
    group = root.create_group("Experiments/s")
    for index, unit in enumerate(("nm", "nm", "1/nm", "1/nm")):
        axis = {"name": f"axis{index}", "scale": 0.5, "units": unit, "navigate": index < 2}
        group.create_group(f"axis-{index}").attrs.update(axis)
    group.create_array("data", data=array) if suffix == ".zspy" else group.create_dataset("data", data=array)
    if suffix == ".hspy":
        root.close()
    sample = Sample(suffix, lambda folder: None, path.name, path.name)
    FORMATS[suffix] = (f"HyperSpy `{suffix}`", "")
    return row(sample, home)


def untested() -> Iterator[Row]:
    """Formats that RosettaSciIO reads and none of the files above is of."""
    import rsciio

    known = {name for _, name in FORMATS.values()} | _NOT_USED | {"EMPAD", "Arina", "HSPY", "ZSPY"}
    for plugin in sorted(rsciio.IO_PLUGINS, key=lambda plugin: plugin["name"].lower()):
        if plugin["name"] not in known | NOT_PATTERNS:
            extensions = ", ".join(sorted({f"`.{extension}`" for extension in plugin["file_extensions"]})[:6])
            yield Row(f"{plugin['name']} ({extensions})", "by RosettaSciIO", "if its reader is", "", "untested")
    yield Row(", ".join(sorted(NOT_PATTERNS)), "by RosettaSciIO: spectra, logs, photographs", "", "", "untested")


def campaign(n: int, kept: Path | None) -> Iterator[tuple[str, Verdict]]:
    """What `n` damaged versions of every sample came to, by the name of the sample; outcomes in `kept` are believed."""
    known = json.loads(kept.read_text()) if kept and kept.exists() else {}
    for seed, sample in enumerate(available()):
        if sum(known.get(sample.name, {}).values()) != n:
            with tempfile.TemporaryDirectory() as folder:
                verdict = try_all(inputs(sample, Path(folder), n, seed)[1:])
            print(f"{sample.name}: {dict(verdict.counts)}", *verdict.wrong, sep="\n  ", file=sys.stderr, flush=True)
            yield sample.name, verdict
            if verdict.wrong:
                continue
            known[sample.name] = dict(verdict.counts)
            if kept:
                kept.write_text(json.dumps(known))
        else:
            yield sample.name, Verdict(Counter(known[sample.name]))


def table(damaged: dict[str, Counter[str]]) -> Iterator[Row]:
    """All rows; `damaged` are the outcomes of reading damaged versions, by the name of the sample."""
    loaded.SMALLEST_DETECTOR = 1  # several sample files are of toy size
    makers: list[Callable[[Path], Row]] = [
        lambda home, sample=sample: replace(row(sample, home), damaged=outcome(damaged.get(sample.name)))
        for sample in (*MEASURED, *FURTHER, *OWN)
        if sample.name in FORMATS
        and (sample.damaged.endswith(sample.opened) or sample in OWN or "empad" in sample.name)
    ]
    makers += [raw, lambda home: hyperspy(home, ".hspy"), lambda home: hyperspy(home, ".zspy")]
    for make in makers:
        with tempfile.TemporaryDirectory() as home:
            yield make(Path(home))
    yield from untested()


def outcome(counts: Counter[str] | None) -> str:
    """Cell of the table."""
    return "" if counts is None else f"{counts.total()}: {counts['refused']} refused, {counts['read']} read"


HEAD = """# Formats

Written by `python benchmarks/formats.py > docs/formats.md`, which reads every file named here. *Lazy* means that
patterns stay on disk until they are used; what is not lazy is read whole, up to a size that is refused. The calibration
is what that very file states. Measured files are those of the tests of RosettaSciIO (looked for in the folder that the
variable `ROSETTASCIIO_DATA` names, `rsciio/tests/data` of a copy of its repository) and others; they are not part of
this repository. `cyclestrain info FILE` says the same about yours. *Damaged* are versions of the file that were cut,
flipped, overwritten, holed or shifted somewhere: each was refused with a sentence or read (the damage lies within a
pattern, or where nobody looks), in time and within 3 GiB of address space. Compressed HDF5
(bitshuffle, LZ4, Blosc: Dectris, Arina), Zarr and blockfiles need `pip install 'cyclestrain[formats]'`, and say so.

| format | read as | lazy | calibration found | tested with | damaged |
|---|---|---|---|---|---|"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--damaged", type=int, default=400, metavar="N", help="damaged versions of every file")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="outcomes, with which a stopped campaign goes on")
    options = parser.parse_args()
    verdicts = dict(campaign(options.damaged, options.keep)) if options.damaged else {}
    print(HEAD)
    for line in table({name: verdict.counts for name, verdict in verdicts.items()}):
        print(f"| {' | '.join(vars(line).values())} |")
    total = sum((verdict.counts for verdict in verdicts.values()), Counter())
    wrong = sum(len(verdict.wrong) for verdict in verdicts.values())
    if verdicts:
        print(f"\nOf {total.total()} damaged files in all, {wrong or 'none'} hung, crashed or came to anything else.")
    print(
        """
Scans stored as events are read position by position, and only what is read becomes dense:

- stempy's electron counts: HDF5 with `electron_events/frames` and `electron_events/scan_positions`, versions 1 to 3;
  several frames of a position are summed. A file that does not state the detector is read as one of the 4D Camera,
  576x576.
- LiberTEM's `raw_csr`: give the header, `cyclestrain map scan.toml`; the three files that it names lie beside it.
- A matrix of compressed sparse rows, one row per position and one column per pixel, from `scipy.sparse.save_npz`:
  `cyclestrain map scan.npz --shape 64 64 256 256` (scan and detector), or `scan_shape` and `detector_shape` as further
  arrays in the file. Not compressed (`compressed=False`), its events stay on disk.
- In Python, sparse arrays of SciPy, `cyclestrain.map(matrix, shape=(64, 64, 256, 256))`, and of the package `sparse`
  (COO, GCXS).

Whole numbers of more than 16 bits are handed out in 16 bits where all of them fit. Lists of events with their times
(Timepix `.tpx3`) have no reader here: sum them position by position first."""
    )
