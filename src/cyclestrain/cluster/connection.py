"""From ``local:4`` or ``tcp://host:8786`` to a connection with dask's scheduler."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cyclestrain.errors import ClusterError, InputError, first_line
from cyclestrain.machine import usable_cores

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["connected"]

CONNECTING = 20
"""Seconds in which a scheduler has to answer."""
RETURNING = 600
"""Seconds in which a worker of this machine that died may start again; dask gives up its place after 15, too few for a
machine that is busy."""
_LOCAL = re.compile(r"local(?::([0-9]+))?")
_REMOTE = re.compile(r"(tcp|tls|ucx|ws|wss)://\S+:[0-9]+")


def _check(address: str) -> None:
    """Refuse what names no cluster, before any work."""
    found = _LOCAL.fullmatch(address)
    if not (found or _REMOTE.fullmatch(address) or address.endswith(".json")) or (found and found[1] == "0"):
        raise InputError(
            "--cluster is local:N for N workers on this machine, tcp://HOST:PORT of a scheduler, or its file "
            f"NAME.json, not {address!r}"
        )
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(
            '--cluster needs dask.distributed; install it with pip install "cyclestrain[cluster]"'
        ) from error


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler, or start one with its workers on this machine, which end with the ``with`` block.

    Parameters
    ----------
    address
        ``local``, ``local:N``, ``tcp://HOST:PORT``, ``tls://HOST:PORT`` or the scheduler's file ``NAME.json``.

    Raises
    ------
    ClusterError
        If no scheduler answers.
    InputError
        If the address is none of these, or dask.distributed is not installed.
    """
    _check(address)
    local = _LOCAL.fullmatch(address)
    if local:
        with _local(int(local[1] or usable_cores())) as client:
            yield client
        return
    from distributed import Client

    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    try:
        if "scheduler_file" in where and not Path(address).is_file():
            raise FileNotFoundError(f"{address} does not exist")
        client = Client(**where, timeout=CONNECTING, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({first_line(error)}); start it, or check the address"
        ) from error
    with client:
        yield client


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo what starting workers leaves in the environment of this process: one thread for whatever it starts later."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _local(n_workers: int) -> Iterator[Client]:
    """A scheduler and workers of this machine, which share its cores; they listen on 127.0.0.1 alone."""
    import dask
    from distributed import Client, LocalCluster

    cores = usable_cores()
    threads = max(1, min(cores // n_workers, int(os.environ.get("NUMBA_NUM_THREADS") or cores)))
    own = {name: str(threads) for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}
    with (
        _environment_kept(),
        dask.config.set({"distributed.deploy.lost-worker-timeout": f"{RETURNING}s"}),
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=threads,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # for the scheduler's own pages; without one it takes a port of its choice
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
            env=own,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client
