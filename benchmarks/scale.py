"""Many pictures: by threads, by Ray on one machine, by Ray on two machines, in turn; what Ray costs for each picture.

    python -m benchmarks.scale [--pictures 96] [--tiny 600] [--rounds 3]

Photographs of 768 x 512 (of scikit-image, mirrored and with grain), then tiny pictures of 64 x 48, which are nearly
all overhead. Each way has two processors: threads and one machine have two, two machines (two nodes on this one) one
each. The ways alternate, and the best round counts. Rates are the slope of a line through the times at which rows come:
start and end, seconds for a job of any size, are stated apart. `work` is what a picture takes within an actor or a
thread; the rest of its time, on as many processors, is overhead: reading, handing over, writing, waiting. It needs a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np

from benchmarks.common import Bar, finish, show, weights_hash
from benchmarks.large_pictures import photograph
from lichen.batch.ray import encode_files
from lichen.batch.rows import Outcome, Row
from lichen.batch.runner import JobOptions, run_job
from lichen.batch.tasks import Naming, plan
from lichen.batch.work import Encode
from lichen.codec import Codec
from lichen.options import EncodeOptions

PROCESSORS = 2
PHOTOGRAPH, TINY = (768, 512), (64, 48)
NODE_BYTES = 4 * 10**9  # of memory, for each processor
OVERHEAD_MAX = 1.25  # times what threads take
Way = Callable[[Path, Path], Iterator[Row]]


@dataclass(frozen=True)
class Timed:
    """A job: pictures a second while it is under way, seconds for its start and end, seconds of work for a picture."""

    rate: float
    start_seconds: float
    work_seconds: float

    @property
    def overhead_seconds(self) -> float:
        """Of one processor, for each picture, beside the work."""
        return PROCESSORS / self.rate - self.work_seconds


def threads(source: Path, target: Path) -> Iterator[Row]:
    """As `lichen encode` does."""
    tasks = plan([source], target, Naming.to_encode()).tasks
    how = JobOptions(threads=PROCESSORS)
    work = lambda codec, budget: Encode(codec, budget, EncodeOptions())  # noqa: E731
    yield from map(Row.of, run_job(tasks, Codec, work, how, stop=Event()))


def on_nodes(processors: list[int]) -> Way:
    """By Ray on a cluster of machines with so many processors each; it is started for the job."""

    def run(source: Path, target: Path) -> Iterator[Row]:
        from ray.cluster_utils import Cluster

        sizes = [{"num_cpus": n, "memory": n * NODE_BYTES, "object_store_memory": 200 * 2**20} for n in processors]
        cluster = Cluster(initialize_head=True, head_node_args=sizes[0])
        for size in sizes[1:]:
            cluster.add_node(**size)
        try:
            yield from encode_files(str(source), str(target), address=cluster.address)
        finally:
            cluster.shutdown()

    return run


WAYS: dict[str, Way] = {"threads": threads, "Ray, one machine": on_nodes([2]), "Ray, two machines": on_nodes([1, 1])}


def timed(way: Way, source: Path, count: int) -> Timed:
    """One job. Raises `RuntimeError` where a picture was not encoded."""
    with tempfile.TemporaryDirectory() as target:
        begun, arrivals, work = time.perf_counter(), [], 0.0
        for row in way(source, Path(target)):
            if row.outcome is not Outcome.DONE:
                raise RuntimeError(row.error)
            arrivals.append(time.perf_counter())
            work += row.seconds
        ended = time.perf_counter()
    rate = float(np.polyfit(np.array(arrivals) - begun, np.arange(count), 1)[0])
    return Timed(rate, ended - begun - count / rate, work / count)


def write_pictures(folder: Path, size: tuple[int, int], count: int) -> None:
    """So many parts of a photograph as PNG files."""
    whole = photograph(2048)
    for i in range(count):
        left, top = 13 * i % (2048 - size[0]), 7 * i % (2048 - size[1])
        whole.crop((left, top, left + size[0], top + size[1])).save(folder / f"{i}.png", compress_level=1)


def best_of(size: tuple[int, int], count: int, rounds: int) -> dict[str, Timed]:
    """The fastest round of each way; the ways take turns."""
    found: dict[str, list[Timed]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), size, count)
        for _ in range(rounds):
            for name, way in WAYS.items():
                found[name].append(timed(way, Path(folder), count))
    return {name: max(jobs, key=lambda job: job.rate) for name, jobs in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--tiny", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    facts, bars = {}, []
    for name, size, count in (("photographs", PHOTOGRAPH, args.pictures), ("tiny", TINY, args.tiny)):
        jobs = best_of(size, count, args.rounds)
        columns = ("way", "pictures/s", "start and end, s", "work, s", "overhead, ms for each")
        lines = [(way, j.rate, j.start_seconds, j.work_seconds, 1000 * j.overhead_seconds) for way, j in jobs.items()]
        show(f"{count} {name}, {size[0]} x {size[1]}", columns, lines)
        facts[name] = {way: {**vars(j), "overhead_seconds": j.overhead_seconds} for way, j in jobs.items()}
        facts[name]["pictures"], facts[name]["size"] = count, list(size)
        if name == "photographs":
            for way in list(WAYS)[1:]:
                bars.append(Bar(f"{way}: time / threads'", jobs["threads"].rate / jobs[way].rate, OVERHEAD_MAX))
    finish("scale", {"weights": weights_hash(), "rounds": args.rounds, **facts}, bars)


if __name__ == "__main__":
    main()
