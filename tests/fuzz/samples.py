"""Intact files to damage: those of instruments, where they are at hand, and one of each kind that we can write."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import tifffile
import zarr

from event_files import write_counted, write_npz, write_raw_csr

DATA = Path(__file__).parents[3] / "shared" / "data"
ROSETTASCIIO = Path(os.environ.get("ROSETTASCIIO_DATA", "no folder given"))
"""The folder ``rsciio/tests/data`` of a copy of RosettaSciIO's repository."""
_Y, _X = np.mgrid[-10:10, -12:12]
PATTERNS = np.random.default_rng(1).poisson(5 + 300 * np.exp(-(_Y**2 + _X**2) / 18), (3, 4, 20, 24)).astype(np.uint16)


@dataclass(frozen=True)
class Sample:
    """How to put a file, with those it belongs with, into a folder; the member to open and the member to damage."""

    name: str
    make: Callable[[Path], None]
    opened: str
    damaged: str


def _hdf5(path: Path, **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a/data", data=PATTERNS, **options)


def _zarr_zip(path: Path) -> None:
    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, data=PATTERNS, chunks=(1, 4, 20, 24))


def _fortran(path: Path) -> None:
    np.save(path, np.asfortranarray(PATTERNS))


def _matlab(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["data"] = PATTERNS.T
        file["data"].attrs["MATLAB_class"] = np.bytes_("uint16")
    with path.open("rb+") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def _frames(folder: Path) -> None:
    (folder / "frames").mkdir()
    for number in range(3):
        np.save(folder / "frames" / f"f{number}.npy", PATTERNS[0, number])


OWN = (
    Sample("npy", lambda f: np.save(f / "s.npy", PATTERNS), "s.npy", "s.npy"),
    Sample("npy Fortran", lambda f: _fortran(f / "s.npy"), "s.npy", "s.npy"),
    Sample("npz", lambda f: np.savez(f / "s.npz", a=PATTERNS), "s.npz", "s.npz"),
    Sample("npz packed", lambda f: np.savez_compressed(f / "s.npz", a=PATTERNS), "s.npz", "s.npz"),
    Sample("hdf5", lambda f: _hdf5(f / "s.h5"), "s.h5", "s.h5"),
    Sample("hdf5 gzip", lambda f: _hdf5(f / "s.h5", chunks=(1, 1, 20, 24), compression="gzip"), "s.h5", "s.h5"),
    Sample(
        "hdf5 bitshuffle", lambda f: _hdf5(f / "s.h5", chunks=(1, 1, 20, 24), **hdf5plugin.Bitshuffle()), "s.h5", "s.h5"
    ),
    Sample("matlab", lambda f: _matlab(f / "s.mat"), "s.mat", "s.mat"),
    Sample("zarr 3 header", lambda f: zarr.save_array(f / "s.zarr", PATTERNS), "s.zarr", "s.zarr/zarr.json"),
    Sample(
        "zarr 2 header", lambda f: zarr.save_array(f / "s.zarr", PATTERNS, zarr_format=2), "s.zarr", "s.zarr/.zarray"
    ),
    Sample(
        "zarr 2 chunk", lambda f: zarr.save_array(f / "s.zarr", PATTERNS, zarr_format=2), "s.zarr", "s.zarr/0.0.0.0"
    ),
    Sample("zarr zip", lambda f: _zarr_zip(f / "s.zip"), "s.zip", "s.zip"),
    Sample("tiff", lambda f: tifffile.imwrite(f / "s.tif", PATTERNS[0], photometric="minisblack"), "s.tif", "s.tif"),
    Sample(
        "tiff packed",
        lambda f: tifffile.imwrite(f / "s.tif", PATTERNS[0], photometric="minisblack", compression="zlib"),
        "s.tif",
        "s.tif",
    ),
    Sample("frames", _frames, "frames", "frames/f2.npy"),
)


def signal(array: np.ndarray) -> dict[str, Any]:
    """`array`, its last two axes those of the detector, as the writers of RosettaSciIO take it."""
    names, steps, units = ("y", "x", "ky", "kx"), (0.5, 0.5, 0.25, 0.25), ("nm", "nm", "1/nm", "1/nm")
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": names[4 - array.ndim + index],
            "size": size,
            "scale": steps[4 - array.ndim + index],
            "offset": 0.0,
            "units": units[4 - array.ndim + index],
            "navigate": index < array.ndim - 2,
            "index_in_array": index,
            "is_binned": False,
        }
        for index, size in enumerate(array.shape)
    ]
    metadata = {"General": {"title": "s"}, "Signal": {"signal_type": "electron_diffraction"}}
    microscope = {"TEM": {"beam_energy": 200.0, "camera_length": 100.0}}
    return {
        "data": array,
        "axes": axes,
        "metadata": metadata | {"Acquisition_instrument": microscope},
        "original_metadata": {},
        "attributes": {"_lazy": False},
        "models": {},
    }


@dataclass(frozen=True)
class Written:
    """How RosettaSciIO writes a format, and what is in the file.

    Attributes
    ----------
    writer
        Name of its reader and writer.
    file
        Name of the file that then has to be opened.
    array
        What is written.
    steps
        Whether the format tells the steps of the scan and of the detector.
    """

    writer: str
    file: str
    array: np.ndarray
    steps: tuple[bool, bool]

    def write(self, folder: Path) -> None:
        """Write the file."""
        name = self.file.replace("_000", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module(f"rsciio.{self.writer}").file_writer(str(folder / name), signal(self.array))

    @property
    def sample(self) -> Sample:
        """The file as others are."""
        return Sample(f"{self.writer} written", self.write, self.file, self.file)


WRITTEN = (
    Written("ripple", "s.rpl", PATTERNS[0], (True, True)),
    Written("semper", "s.unf", PATTERNS[0].astype(np.float32), (True, False)),
    Written("blockfile", "s.blo", PATTERNS[..., 2:22].clip(0, 255).astype(np.uint8), (True, False)),
    Written("emd", "s.emd", PATTERNS, (True, True)),
    Written("tvips", "s_000.tvips", PATTERNS, (False, False)),
    Written("nexus", "s.nxs", PATTERNS, (True, True)),
)
OWN += tuple(written.sample for written in WRITTEN)
EVENTS = (
    Sample("counted", lambda f: write_counted(f / "s.h5", PATTERNS), "s.h5", "s.h5"),
    Sample("raw_csr", lambda f: write_raw_csr(f, PATTERNS), "s.toml", "s.toml"),
    Sample("raw_csr rows", lambda f: write_raw_csr(f, PATTERNS), "s.toml", "indptr.raw"),
    Sample("raw_csr pixels", lambda f: write_raw_csr(f, PATTERNS), "s.toml", "indices.raw"),
    Sample("npz sparse", lambda f: write_npz(f / "s.npz", PATTERNS), "s.npz", "s.npz"),
    Sample("npz sparse stored", lambda f: write_npz(f / "s.npz", PATTERNS, compressed=False), "s.npz", "s.npz"),
)
OWN += EVENTS


def _empad(folder: Path, name: str, raw: str, shape: tuple[int, ...]) -> None:
    shutil.copy(DATA / "formats" / name, folder / name)
    np.random.default_rng(0).poisson(3, shape).astype(np.float32).tofile(folder / raw)


def _copied(*names: str, origin: Path = DATA) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            shutil.copy(origin / name, folder / Path(name).name)

    return make


def _measured(opened: str, *beside: str, damage: str | None = None) -> Sample:
    victim = damage or opened
    return Sample(Path(victim).name, _copied(opened, *beside), Path(opened).name, Path(victim).name)


F = "formats/"
EMI = F + "16x16-diffraction_imagel_5x5x256x256_EDS"
SPLIT = [F + f"test_tvips_2345_split_00{part}.tvips" for part in range(3)]
ARINA = (F + "test_00_data_000001.h5", F + "test_00.h5")
MEASURED = (
    _measured(F + "001_4x2_6bit.mib", F + "001_4x2_6bit.hdr"),
    _measured(F + "001_4x2_6bit.mib", F + "001_4x2_6bit.hdr", damage="001_4x2_6bit.hdr"),
    _measured("real/merlin_test_CL30cm.mib", "real/merlin_test_CL30cm.hdr"),
    _measured("real/test1.blo"),
    _measured("real/ba50_dd020.dm3"),
    _measured(F + "test_diffraction_pattern.dm3"),
    _measured("real/qem_dp-spots.npy"),
    _measured(EMI + ".emi", EMI + "_1.ser", EMI + "_2.ser"),
    _measured(EMI + "_2.ser"),
    _measured(F + "20241021_00405_movie.mrc", F + "20241021_00405_info.txt"),
    _measured(F + "20241021_00405_movie.mrc", F + "20241021_00405_info.txt", damage="20241021_00405_info.txt"),
    _measured(F + "Si100_4D.emd"),
    _measured(F + "fpd_file_test.hdf5"),
    _measured(F + "panta_rhei_sample.prz"),
    _measured(F + "real_py4dstem.h5"),
    _measured(F + "test_00_master.h5", *ARINA),
    _measured(F + "test_00_master.h5", *ARINA, damage="test_00_data_000001.h5"),
    _measured(F + "test_tvips_2233_000.tvips"),
    _measured(SPLIT[0], *SPLIT[1:]),
    Sample(
        "empad xml", lambda f: _empad(f, "map4x4.xml", "scan_x4_y4.raw", (4, 4, 130, 128)), "map4x4.xml", "map4x4.xml"
    ),
    Sample(
        "empad raw",
        lambda f: _empad(f, "map4x4.xml", "scan_x4_y4.raw", (4, 4, 130, 128)),
        "map4x4.xml",
        "scan_x4_y4.raw",
    ),
    Sample(
        "empad stack",
        lambda f: _empad(f, "stack_images.xml", "series_x10.raw", (10, 130, 128)),
        "stack_images.xml",
        "stack_images.xml",
    ),
)


def _further(opened: str) -> Sample:
    name = Path(opened).name
    return Sample(name, _copied(opened, origin=ROSETTASCIIO), name, name)


FURTHER = tuple(
    map(
        _further,
        (
            "digitalmicrograph/3D/test-1.dm4",
            "emd/fei_example_tem_stack.emd",
            "emd/py4DSTEM_size2x3x4x5.h5",
            "topspin/topspin_test_A.app5",
            "nexus/simple_signal.nxs",
            "bruker/test_TEM.bcf",
            "hamamatsu/focus_mode.img",
            "jeol/Sample/00_View000/View000_0000000.img",
            "digitalsurf/test_surface.sur",
        ),
    )
)
"""Samples of RosettaSciIO's own tests, where they are at hand."""


def available() -> tuple[Sample, ...]:
    """All samples that can be had here."""
    return (*(MEASURED if DATA.is_dir() else ()), *(FURTHER if ROSETTASCIIO.is_dir() else ()), *OWN)
