"""Detectors that LiberTEM-live simulates, on this machine alone, and the files that they send."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

os.environ.setdefault("TQDM_DISABLE", "1")  # the simulator draws a bar
HERE = "127.0.0.1"


def merlin_frame(index: int, pattern: NDArray[Any]) -> bytes:
    """A frame as Merlin writes it, rows from the bottom up as RosettaSciIO has it."""
    qy, qx = pattern.shape
    head = f"MQ1,{index + 1:06},00384,01,{qx:04},{qy:04},U16,   1x1,01,2026-01-01 12:00:00.000000,0.000500,0,0,0"
    head += ",4.0E+1,5.1E+2,0E+0,0E+0,0E+0,0E+0,0E+0,0E+0,3RX" + ",000" * 27
    head += ",MQ1A,2026-01-01T12:00:00.000000000Z,500000ns,12,"
    return head.encode().ljust(384, b"\0") + pattern[::-1].astype(">u2").tobytes()


def write_merlin(path: Path, patterns: NDArray[Any]) -> None:
    """A scan ``(ry, rx, qy, qx)`` as a ``.mib`` with its ``.hdr``."""
    ry, rx = patterns.shape[:2]
    frames = patterns.reshape(-1, *patterns.shape[2:])
    path.write_bytes(b"".join(merlin_frame(index, frame) for index, frame in enumerate(frames)))
    header = {
        "Time and Date Stamp (day, mnth, yr, hr, min, s)": "01/01/2026 12:00:00",
        "Counter Depth (number)": "12",
        "Frames in Acquisition (Number)": ry * rx,
        "Frames per Trigger (Number)": rx,
        "ScanX": rx,
        "ScanY": ry,
    }
    lines = ["HDR,\t", *(f"{name}:\t{value}" for name, value in header.items()), "End\t"]
    path.with_suffix(".hdr").write_text("\r\n".join(lines), newline="")


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server((HERE, 0)) for _ in range(n)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def merlin(path: Path, scan: tuple[int, int], dwell_us: int | None = None, **options: Any) -> Iterator[str]:
    """A Merlin that sends a file to whoever connects, once; its address as ``HOST:DATA:CONTROL``."""
    from libertem_live.detectors.common import UndeadException
    from libertem_live.detectors.merlin.sim import CameraSim

    data, control, trigger = free_ports(3)
    named = path if options.get("continuous") else path.with_suffix(".hdr")  # which states the length of one scan
    simulator = CameraSim(
        path=str(named), nav_shape=scan, host=HERE, data_port=data, control_port=control,
        trigger_port=trigger, dwelltime=dwell_us, wait_trigger=True, **options,
    )  # fmt: skip
    simulator.start()
    simulator.wait_for_listen()
    simulator.acquisition_event.set()  # one scan, as soon as somebody listens
    simulator.trigger_event.set()
    try:
        yield f"{HERE}:{data}:{control}"
    finally:
        try:
            simulator.stop()
        except UndeadException:
            pass  # its threads are daemons


def write_dectris(path: Path, patterns: NDArray[Any]) -> None:
    """What a Dectris sends for a scan ``(ry, rx, qy, qx)`` of 16 bit, bitshuffled and compressed with LZ4."""
    import h5py
    import hdf5plugin

    frames = patterns.reshape(-1, *patterns.shape[2:]).astype("<u2")
    n, (qy, qx) = len(frames), frames.shape[1:]
    with h5py.File("chunks", "w", driver="core", backing_store=False) as file:
        stored = file.create_dataset(
            "data", data=frames, chunks=(1, qy, qx), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        packed = [stored.id.read_direct_chunk((index, 0, 0))[1] for index in range(n)]
    config = {
        "bit_depth_image": 16, "bit_depth_readout": 16, "compression": "bslz4", "count_time": 0.0005,
        "frame_time": 0.0005, "nimages": 1, "ntrigger": n, "trigger_mode": "exte", "roi_mode": "disabled",
        "x_pixels_in_detector": qx, "y_pixels_in_detector": qy, "pixel_mask_applied": False,
        "countrate_correction_applied": False, "flatfield_correction_applied": False,
        "virtual_pixel_correction_applied": False, "mask_to_zero": False, "auto_summation": True,
        "beam_center_x": 0.0, "beam_center_y": 0.0, "countrate_correction_count_cutoff": 65535,
        "data_collection_date": "2026-01-01T12:00:00", "description": "simulated", "detector_number": "0",
        "detector_readout_time": 1e-8, "eiger_fw_version": "1.8.0", "element": "", "software_version": "1.8.0",
        "sensor_material": "Si", "sensor_thickness": 4.5e-4, "number_of_excluded_pixels": 0, "photon_energy": 1e5,
        "incident_energy": 1e5, "threshold_energy": 5e4, "x_pixel_size": 7.5e-5, "y_pixel_size": 7.5e-5,
        "wavelength": 0.01, "frame_count_time": 0.0005,
    }  # fmt: skip

    def message(content: bytes | dict[str, Any]) -> bytes:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        return struct.pack("<q", len(raw)) + raw

    with path.open("wb") as stream:
        stream.write(message({"header_detail": "basic", "htype": "dheader-1.0", "series": 1}))
        stream.write(message(config))
        for index, content in enumerate(packed):
            stream.write(message({"frame": index, "hash": "0" * 32, "htype": "dimage-1.0", "series": 1}))
            about = {"encoding": "bs16-lz4<", "htype": "dimage_d-1.0", "shape": [qx, qy], "size": len(content)}
            stream.write(message(about | {"type": "uint16"}))
            stream.write(message(content))
            times = {"htype": "dconfig-1.0", "real_time": 500000, "start_time": index * 500000}
            stream.write(message(times | {"stop_time": (index + 1) * 500000}))
        stream.write(message({"htype": "dseries_end-1.0", "series": 1}))


@contextmanager
def dectris(path: Path, dwell_us: int | None = None) -> Iterator[tuple[str, Any]]:
    """A Dectris that sends a recorded series when it is armed: its address, and what arms it."""
    import requests
    from libertem_live.detectors.dectris.sim import DectrisSim

    simulator = DectrisSim(port=0, zmqport=0, path=str(path), dwelltime=dwell_us, verbose=False)
    simulator.start()
    simulator.wait_for_listen()

    def arm() -> None:
        requests.put(f"http://{HERE}:{simulator.port}/detector/api/1.8.0/command/arm", timeout=10)

    try:
        yield f"{HERE}:{simulator.zmqport}:{simulator.port}", arm
    finally:
        simulator.stop()
