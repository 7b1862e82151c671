"""The memory and the cores of a container count where they are less than those of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyclestrain.errors import InputError
from cyclestrain.machine import available_memory, batch, most_threads, thread_count, threads, usable_cores

MACHINE = available_memory(Path("/nowhere"))


def system(root: Path, cgroup: str, **limits: str) -> Path:
    """A made-up ``/proc`` and ``/sys``."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for place, text in limits.items():
        path = root / "sys/fs/cgroup" / place.replace("__", "/").replace("max", "memory.max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_of_the_machine() -> None:
    assert os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") == MACHINE


@pytest.mark.parametrize(
    ("cgroup", "limits", "expected"),
    [
        ("0::/\n", {"max": "1073741824\n"}, 2**30),
        ("0::/user/job7\n", {"user__job7__max": "max\n", "user__max": "536870912\n"}, 2**29),
        ("0::/of/the/host\n", {"max": "1073741824\n"}, 2**30),
        ("0::/\n", {"max": "max\n"}, MACHINE),
        ("0::/\n", {"max": str(2**62)}, MACHINE),
        ("5:devices:/x\n4:cpu,memory:/docker/1\n0::/\n", {"memory__docker__1__memory.limit_in_bytes": "1000"}, 1000),
        ("4:memory:/docker/1\n", {"memory__memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("4:memory:/../../x\n0::/..\n", {"max": "4000"}, 4000),
        ("rubbish\n\n0::", {"max": "no number"}, MACHINE),
    ],
)
def test_of_the_container(cgroup: str, limits: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert available_memory(system(tmp_path, cgroup, **limits)) == expected


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == MACHINE


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_cores_that_a_process_is_bound_to() -> None:
    before = os.sched_getaffinity(0)
    assert usable_cores() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("jobs", [1, 2, 10_000])
def test_no_more_threads_than_jobs_or_cores(jobs: int) -> None:
    before = most_threads()
    assert thread_count() == before
    with threads(jobs):
        assert thread_count() == min(jobs, before)
    with pytest.raises(ZeroDivisionError), threads(jobs):
        raise ZeroDivisionError
    assert thread_count() == before


def test_threads_that_a_variable_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert thread_count() == 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "")
    assert thread_count() == usable_cores()


def test_at_least_one_thread() -> None:
    with pytest.raises(InputError, match="--jobs is the number of threads and at least 1, not 0"), threads(0):
        pass


@pytest.mark.parametrize("item_bytes", [1, 2**17, 2**40])
@pytest.mark.parametrize("n_threads", [1, 8, 1000])
def test_batches_give_all_threads_something_and_stay_small(item_bytes: int, n_threads: int) -> None:
    n = batch(item_bytes, n_threads)
    assert min(n_threads, 512) <= n <= 512
    assert n * item_bytes <= 16 * 2**20 or n <= 16 * n_threads
