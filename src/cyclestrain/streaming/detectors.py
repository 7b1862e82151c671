"""Detectors that LiberTEM-live listens to, as sources of a live map: its workers record and fit, here is gathered."""

from __future__ import annotations

import _thread
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cyclestrain.data import IntArray, Scan
from cyclestrain.errors import InputError, first_line
from cyclestrain.learning import Knowledge
from cyclestrain.machine import usable_cores
from cyclestrain.streaming.fit_udf import FitUDF
from cyclestrain.streaming.following import Heard
from cyclestrain.streaming.recording import FITTED, LEFT, Record

__all__ = ["Address", "Detector", "check_reachable", "connected", "parse_address"]

T = TypeVar("T")

PARTITION = 64
"""Patterns that a worker fits at a time: at 2,000 per second they come in 32 ms."""
CLOSING = 10.0
"""Longest time, seconds, to wait for threads and processes when a scan has ended."""
ANSWER = 5.0
"""Longest time, seconds, for a detector to answer at all."""
PORTS = {"dectris": (9999, 80), "merlin": (6342, 6341)}
"""Usual ports of data and control."""


@dataclass(frozen=True)
class Address:
    """Where a detector sends from: kind (``dectris`` or ``merlin``), host, and ports of its data and its control."""

    kind: str
    host: str
    data: int
    control: int

    def __str__(self) -> str:
        return f"{self.kind} at {self.host}:{self.data}"


def parse_address(kind: str, text: str) -> Address:
    """Address of a detector from ``HOST``, ``HOST:DATA`` or ``HOST:DATA:CONTROL``.

    Parameters
    ----------
    kind
        ``dectris`` or ``merlin``.
    text
        The address.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> parse_address("merlin", "10.0.0.5")
    Address(kind='merlin', host='10.0.0.5', data=6342, control=6341)
    """
    host, *ports = text.split(":")
    if not host or len(ports) > 2 or not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise InputError(
            f"--{kind} takes HOST:PORT of the data, or HOST:PORT:PORT with that of the control, not {text}"
        )
    data, control = [*map(int, ports), *PORTS[kind][len(ports) :]]
    return Address(kind, host, data, control)


def check_reachable(address: Address) -> None:
    """Make sure that the control of a detector answers, before anything is started.

    Parameters
    ----------
    address
        Where it is.

    Raises
    ------
    InputError
        If it does not.
    """
    try:
        socket.create_connection((address.host, address.control), ANSWER).close()
    except OSError as error:
        raise _silent(address, f"{first_line(error)} on the port of its control, {address.control}") from error


def _silent(address: Address, reason: str) -> InputError:
    return InputError(
        f"no {address} answers ({reason}); check address and ports, --{address.kind} HOST:DATA:CONTROL, and that its "
        "software runs"
    )


class Detector:
    """A scan that a detector sends, recorded and fitted by the workers of LiberTEM while this process gathers.

    Parameters
    ----------
    context, acquisition
        LiberTEM's.
    scan
        The scan, read from `record`.
    record
        Files that take the patterns.
    flip
        Whether rows come in reverse order.
    """

    def __init__(self, context: Any, acquisition: Any, scan: Scan, record: Record, flip: bool) -> None:
        self.scan, self._record = scan, record
        self._context, self._acquisition = context, acquisition
        self._udf = FitUDF(None, record, flip)
        self._lock = threading.Lock()
        self._counted = 0
        self._told = np.zeros(scan.n_positions, bool)
        self._new: Knowledge | None = None
        self._running, self._ended = False, ""
        handler = acquisition.get_task_comm_handler()
        self._connection = _Counted(handler.get_conn_impl())
        handler.get_conn_impl = lambda: self._connection
        acquisition.get_task_comm_handler = lambda: handler

    def use(self, knowledge: Knowledge) -> None:
        """Let the workers fit with this knowledge from the next partition on."""
        with self._lock:
            self._new = knowledge

    def listen(self) -> Heard:
        """What came and what the workers fitted."""
        with self._lock:
            ended = self._ended
        before, self._counted = self._counted, min(self._connection.count, self.scan.n_positions)
        state = np.where(self._told, 0, self._record.state())
        left, fitted = np.flatnonzero(state == LEFT), np.flatnonzero(state == FITTED)
        self._told[left] = self._told[fitted] = True
        fits = (self._record.read_fits(fitted),) if len(fitted) else ()
        return Heard(np.arange(before, self._counted), left, fits, ended)

    def rest(self) -> IntArray:
        """Positions that the workers recorded and did not tell of, when the scan has ended."""
        end = time.monotonic() + CLOSING
        while not self._record.state()[: self._counted].all() and time.monotonic() < end:
            time.sleep(0.05)
        return np.flatnonzero((self._record.state()[: self._counted] > 0) & ~self._told[: self._counted])

    def drive(self, work: Callable[[], T]) -> T:
        """Listen until the scan ends, while `work` is done in another thread.

        Only in the thread that gets Ctrl+C can waiting for a detector that fell silent be broken off: this is that one.
        """
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(self._until, work)
            self._running = True
            try:
                self._run()
            finally:
                self._idle()
            return working.result()

    def _until(self, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            with self._lock:
                if self._running:
                    _thread.interrupt_main()

    def _idle(self) -> None:
        """From here on no interruption comes from the other thread; one that is on its way ends here."""
        try:
            with self._lock:
                self._running = False
            time.sleep(0)
        except KeyboardInterrupt:
            self._running = False

    def _run(self) -> None:
        lost, ended = self._connection, "the detector sent all"
        try:
            results = self._context.run_udf_iter(dataset=self._acquisition, udf=self._udf, sync=True)
            for _ in results:
                with self._lock:
                    new, self._new = self._new, None
                if new is not None:
                    results.update_parameters_experimental([{"knowledge": new}])
        except KeyboardInterrupt:
            ended = "interrupted"
        except Exception as error:  # a scan that ends early, or a worker that fails
            ended = lost.why or f"listening ended ({first_line(error)})"
        with self._lock:
            self._ended = ended


class _Counted:
    """A connection to a detector that counts the patterns it hands out, and ends where it is lost or interrupted.

    Parameters
    ----------
    connection
        LiberTEM-live's.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.count, self.why = 0, ""

    def get_socket_path(self) -> str:
        """Where workers find the patterns."""
        return str(self._connection.get_socket_path())

    def get_next_stack(self, max_size: int) -> Any:
        """The next patterns, None where no more come."""
        try:
            stack = self._connection.get_next_stack(max_size=max_size)
        except KeyboardInterrupt:
            self.why = "interrupted"
            return None
        except Exception as error:  # a connection that is lost shows as anything
            told = first_line(error)
            self.why = "interrupted" if "KeyboardInterrupt" in told else f"the detector stopped sending ({told})"
            return None
        if stack is None:
            self.why = self.why or "the detector ended the scan early"
        else:
            self.count += len(stack)
        return stack


@contextmanager
def connected(
    address: Address, scan_shape: tuple[int, int] | None, record: tuple[Path, Path], *, timeout: float
) -> Iterator[Detector]:
    """Connect to a detector, wait until it starts a scan, and listen to it until the ``with`` block ends.

    Parameters
    ----------
    address
        Where it sends from.
    scan_shape
        Shape of the scan, ``(ry, rx)``; None where the detector says it.
    record
        File of the patterns and folder of what else is recorded, see `Record.made`.
    timeout
        Longest time to wait for the scan to start, seconds.

    Raises
    ------
    InputError
        If the detector cannot be reached, starts no scan in time, or another one than is asked for.
    OutputError
        If the drive has no room for the patterns.
    """
    with _context() as context, _connection(context, address) as connection:
        pending = _wait(connection, address, timeout)
        try:
            acquisition = context.make_acquisition(conn=connection, nav_shape=scan_shape, pending_aq=pending,
                                                   frames_per_partition=PARTITION)  # fmt: skip
        except Exception as error:
            raise InputError(
                f"the {address} does not say the shape of its scan ({first_line(error)}); give its rows and columns "
                "with --scan"
            ) from error
        shape = tuple(int(size) for size in acquisition.shape)
        if len(shape) != 4 or pending.nimages not in (0, shape[0] * shape[1]):
            raise InputError(
                f"the {address} sends {pending.nimages} patterns, which do not make a scan of {shape[0]}x{shape[1]}; "
                "give its rows and columns with --scan"
            )
        made = Record.made(*record, shape, np.dtype(acquisition.dtype))
        scan = Scan(made, name=address.kind)
        yield Detector(context, acquisition, scan, made, flip=address.kind == "merlin")


@contextmanager
def _context() -> Iterator[Any]:
    """LiberTEM with a worker for every core, which leave Ctrl+C to this process."""
    from libertem.executor.pipelined import PipelinedExecutor
    from libertem_live.api import LiveContext

    logging.getLogger("libertem").setLevel(logging.ERROR)
    logging.getLogger("libertem_live").setLevel(logging.ERROR)
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if here else None
    try:
        spec = PipelinedExecutor.make_spec(cpus=range(usable_cores()), cudas=[])
        executor = PipelinedExecutor(spec=spec, pin_workers=False, startup_timeout=120.0, cleanup_timeout=1.0)
    finally:
        if here:
            signal.signal(signal.SIGINT, before)
    try:
        executor.run_each_worker(warm)
        yield LiveContext(executor=executor)
    finally:
        with suppress(Exception):  # workers that wait for patterns that never come are ended
            executor.close()


def warm() -> None:
    """Import what a worker needs: before the scan starts, not while it runs."""
    import cyclestrain.streaming.fit_udf  # noqa: F401


@contextmanager
def _connection(context: Any, address: Address) -> Iterator[Any]:
    builder = context.make_connection(address.kind)
    try:
        connection = builder.open(
            api_host=address.host, api_port=address.control, data_host=address.host, data_port=address.data
        )
    except Exception as error:  # LiberTEM-live has no one way to say so
        raise _silent(address, first_line(error)) from error
    try:
        yield connection
    finally:
        closing = threading.Thread(target=_close, args=(connection,), daemon=True)
        closing.start()
        closing.join(CLOSING)


def _close(connection: Any) -> None:
    with suppress(Exception):
        connection.close()


def _wait(connection: Any, address: Address, timeout: float) -> Any:
    """The scan that the detector has started, looked for twice a second so that Ctrl+C is heard."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            pending = _started(connection, address)
        except Exception as error:
            raise InputError(f"the {address} was lost while waiting for a scan ({first_line(error)})") from error
        if pending is not None:
            return pending
    raise InputError(f"the {address} started no scan in {timeout:g} s; start it, or wait longer with --timeout")


def _started(connection: Any, address: Address) -> Any:
    """The scan that has started, None after half a second without one."""
    if address.kind != "merlin":
        return connection.wait_for_acquisition(timeout=0.5)
    from libertem_live.detectors.merlin.connection import MerlinPendingAcquisition

    # its own method connects anew at every call, and what was sent in between would be lost
    header = connection.get_conn_impl().wait_for_arm(timeout=0.5)
    return None if header is None else MerlinPendingAcquisition(header=header)
