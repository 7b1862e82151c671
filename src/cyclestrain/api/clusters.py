"""A cluster that a person names, or a client of theirs, made ready for one scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclestrain.errors import ClusterError, InputError
from cyclestrain.progress import Progress

if TYPE_CHECKING:
    from distributed import Client

    from cyclestrain.cluster import Cluster
    from cyclestrain.data import Scan
    from cyclestrain.settings import MapSettings, ReadSettings

__all__ = ["cluster_for", "connection"]

WAITING = 600
"""Seconds in which a first worker has to come."""


@contextmanager
def connection(cluster: str | None, client: Client | None) -> Iterator[Client | None]:
    """The client of a person, or one of the cluster that they name, or None where neither is given.

    Parameters
    ----------
    cluster
        ``local:N``, the address of a scheduler, or its file.
    client
        A client of dask.distributed, which stays open.

    Raises
    ------
    InputError
        If both are given, or the text names no cluster.
    ClusterError
        If no scheduler answers.
    """
    if cluster is None:
        yield client
        return
    if client is not None:
        raise InputError("give a cluster or a client of one, not both")
    from cyclestrain.cluster import connected

    with connected(cluster) as made:
        yield made


def cluster_for(
    client: Client, scan: Scan, given: Any, reading: ReadSettings, settings: MapSettings, progress: Progress
) -> Cluster:
    """The workers of a client, made sure to have this version and to read a scan.

    Parameters
    ----------
    client
        Connection to a scheduler.
    scan, given, reading
        The scan, what it was opened from, and how.
    settings
        How it is mapped.
    progress
        Receiver of notes.

    Raises
    ------
    InputError
        If the scan is not a file, or the network is to be trained.
    ClusterError
        If a worker cannot do the work, or none comes.
    """
    from cyclestrain.cluster import Cluster, Source
    from cyclestrain.io import contents_of, file_state

    if not isinstance(given, str | os.PathLike):
        raise InputError(
            "workers of a cluster read the scan themselves: give the name of a file that all of them see, not an array "
            "or an opened scan"
        )
    if settings.until == "network":
        raise InputError("the network is trained and applied on one machine; leave out the cluster, or --until network")
    if not client.nthreads():
        progress.note("cluster: waiting for the first worker")
        try:
            client.wait_for_workers(1, timeout=WAITING)
        except TimeoutError as error:
            raise ClusterError(f"no worker came within {WAITING} s; start some and give the command again") from error
    source = Source(str(Path(given).absolute()), reading.model_dump_json(), file_state(scan.path), scan.shape)
    cluster = Cluster(client, source, contents_of(scan))
    n = cluster.check()
    progress.note(f"cluster: {n} workers, {sum(client.nthreads().values())} threads")
    return cluster
