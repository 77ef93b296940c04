"""Ray's clusters: reached or started for a job, and how much of one an actor gets."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lichen.errors import ClusterError, UsageError

LOCAL = "local"  # a cluster of this machine alone, that ends with the job
READ_BYTES = 150_000_000  # of memory for reading, beside each processor's actor: a block of Ray Data's
_KNOWN = re.compile(r"auto|local|[\w.-]+:\d{1,5}|\[[\da-fA-F:.]+\]:\d{1,5}")


@dataclass(frozen=True)
class Machine:
    """What one has for actors: processors, and memory in bytes, that for reading left out."""

    processors: float
    memory_bytes: float


@dataclass(frozen=True)
class Shape:
    """The machines of a cluster that have processors, and with how many threads an actor computes."""

    machines: tuple[Machine, ...]
    threads: int

    @property
    def share_bytes(self) -> int:
        """The memory of an actor where as many work as there are processors, so that no machine has too many."""
        return min(int(m.memory_bytes / m.processors * self.threads) for m in self.machines)

    @property
    def largest_bytes(self) -> int:
        """The most that an actor can have."""
        return int(max(m.memory_bytes for m in self.machines))

    def threads_with(self, memory_bytes: int) -> int:
        """The threads of an actor that has so much memory: more for more of a machine."""
        fitting = [m.processors for m in self.machines if m.memory_bytes >= memory_bytes]
        return max(self.threads, min(self.threads * memory_bytes // self.share_bytes, int(min(fitting))))

    def actors(self, memory_bytes: int) -> int:
        """How many with so much memory work at once."""
        threads = self.threads_with(memory_bytes)
        return int(sum(min(m.processors // threads, m.memory_bytes // memory_bytes) for m in self.machines))


def is_address(text: str) -> bool:
    """Whether a text can be a cluster's address."""
    return _KNOWN.fullmatch(text) is not None


def check_address(address: str) -> str:
    """An address of a cluster. Raises `UsageError` for what cannot be one."""
    if not is_address(address):
        raise UsageError(f"{address!r} is no cluster's address: give auto or HOST:PORT")
    return address


@contextlib.contextmanager
def connected(address: str, threads: int) -> Iterator[Shape]:
    """While the cluster at this address is used by this process, or the one that it is connected to already.

    Raises `ClusterError` where none is reached, or none of its machines has so many processors; `UsageError` for an
    address that is none, `ModuleNotFoundError` where Ray is not installed.
    """
    check_address(address)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # before Ray is loaded; its log files have all
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that is started here nothing is reported
    import ray

    own = not ray.is_initialized()
    if own:
        _begin(address)
    try:
        yield _shape(threads)
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()
        raise ClusterError(
            f"Ray: {said[-1] if said else type(error).__name__}; look at the cluster, then go on"
        ) from error
    finally:
        if own:
            ray.shutdown()


def _begin(address: str) -> None:
    import ray

    dashboard = False if address == LOCAL else None  # None: as the cluster has it
    try:
        with _without_stderr():  # on which Ray says that it says nothing
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=dashboard)
    except (OSError, RuntimeError, ValueError, TimeoutError) as error:  # `ConnectionError` is of the first kind
        reason = str(error).strip().partition("\n")[0]
        raise ClusterError(f"no cluster of Ray at {address} ({reason}); start one with `ray start --head`") from error
    import ray.data  # its own handler of messages is made when it is loaded

    for handler in logging.getLogger("ray.data").handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """While what libraries print to the process's standard error is dropped."""
    with contextlib.ExitStack() as stack, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - it is no file
        with contextlib.suppress(OSError):  # it is closed
            kept = os.dup(2)
            os.dup2(nowhere.fileno(), 2)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 2)
        yield


def _shape(threads: int) -> Shape:
    import ray

    having = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [Machine(r["CPU"], r.get("memory", 0) - r["CPU"] * READ_BYTES) for r in having if "CPU" in r]
    machines = tuple(machine for machine in found if machine.processors >= threads and machine.memory_bytes > 0)
    if not machines:
        raise ClusterError(
            f"no machine of the cluster has {threads} processors, and memory; start one, or ask for less"
        )
    return Shape(machines, threads)
