"""Commands for people with pictures: encode, decode, info."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lichen.batch.waiting import awaited
from lichen.cli.app import (
    DEFAULT_MAX_PIXELS,
    EXIT_INPUT,
    EXIT_STOPPED,
    EXIT_USAGE,
    Device,
    Force,
    Inputs,
    Json,
    MaxMemory,
    MaxPixels,
    Output,
    Recursive,
    SkipExisting,
    Threads,
    Tuned,
    Weights,
    app,
    console,
    set_threads,
)
from lichen.cli.imports import without_tracing
from lichen.errors import BadInput, UsageError
from lichen.options import Tune

FINISH_SECONDS = 0.3  # after Ctrl-C, for what is at work


def parse_size(text: str) -> int:
    """`40kB`, `1.5 MB`, `40000`: bytes, in thousands. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?", text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a size; write 40kB, 1.5MB or 40000")
    if len(match[1]) > 15:
        raise UsageError(f"{text!r} is too large a size")
    return int(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}[match[2]])


def _memory(text: str | None) -> int | None:
    return parse_size(text) if text is not None else None


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """`x,y,width,height` in pixels. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,8}),(\d{1,8}),(\d{1,8}),(\d{1,8})", text.replace(" ", ""))
    if not match:
        raise UsageError(f"{text!r} is not a crop; write x,y,width,height in pixels, e.g. 100,50,640,480")
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


@dataclass(frozen=True)
class _How:
    """How tasks are worked on; `threads` 0: as many as PyTorch takes; `memory_bytes` None: no picture is refused."""

    skip_existing: bool
    threads: int
    device: str
    memory_bytes: int | None

    def steps(self, tasks: list[Any], prepare: Callable[[Any], Any], stop: Event) -> Iterator[Any]:
        """What becomes of them. `prepare` gives the work, for which it is given the budget."""
        import torch

        from lichen.batch import jobs
        from lichen.runtime.memory import MemoryBudget

        set_threads(self.threads)
        work = prepare(MemoryBudget.of(self.memory_bytes))
        shared = torch.get_num_threads() if self.device == "cpu" else 1  # a graphics card's memory is not foreseen
        at_once, each = jobs.choose_workers(tasks, work, shared)
        if at_once > 1:
            set_threads(each)
        yield from jobs.run(tasks, work, self.skip_existing, at_once, stop)


def _run_jobs(tasks: list[Any], prepare: Callable[[Any], Any], line: Callable[[Any], str], how: _How) -> None:
    """Run the tasks with a progress bar and a line each; exit 3 when any failed, 130 when stopped.

    The work has a thread of its own: in ours Ctrl-C would be felt between two steps of Python only, and one
    may take long (a large picture as WebP is one). What is nearly done when it comes is finished. The codec is loaded
    there too: each thread that computes has helpers of OpenMP's, and these wake slowly where there are too many.
    """
    count, stop = Counter[str](), Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=len(tasks) < 2) as progress:
        bar = progress.add_task("", total=len(tasks))
        worker, steps = ThreadPoolExecutor(1), how.steps(tasks, prepare, stop)
        at_work, told = worker.submit(next, steps, None), None
        try:
            while done := awaited(at_work):
                told = done
                _print_done(done, line, count)
                progress.advance(bar)
                at_work = worker.submit(next, steps, None)
        except KeyboardInterrupt:
            stop.set()
            until = time.monotonic() + FINISH_SECONDS
            while wait([at_work], max(until - time.monotonic(), 0)).done and (done := at_work.result()):
                if done is not told:
                    _print_done(done, line, count)
                at_work = worker.submit(next, steps, None)
            left = len(tasks) - count["done"] - count["failed"] - count["skipped"]
            console.print(f"stopped: {_summary(count)}, {left} left; to go on, add --skip-existing", markup=False)
            raise typer.Exit(EXIT_STOPPED) from None
    if len(tasks) > 1:
        console.print(f"{_summary(count)}; {count['in']} bytes became {count['out']}", markup=False)
    if count["failed"]:
        raise typer.Exit(EXIT_USAGE if count["failed"] == count["misused"] else EXIT_INPUT)


def _print_done(done: Any, line: Callable[[Any], str], count: Counter[str]) -> None:
    count[_outcome(done)] += 1
    count["misused"] += isinstance(done.error, UsageError)
    count["in"] += done.size_in_bytes
    count["out"] += done.size_out_bytes
    for notice in done.notices:
        console.print(f"{done.task.source}: note: {notice}", markup=False)
    if done.error is not None:
        console.print(f"lichen: {done.error}", markup=False)
    elif not done.skipped:
        console.print(line(done), markup=False)


def _outcome(done: Any) -> str:
    return "failed" if done.error is not None else "skipped" if done.skipped else "done"


def _summary(count: Counter[str]) -> str:
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    return f"{count['done']} done{skipped}, {count['failed']} failed"


def _encoded(done: Any) -> str:
    bpp = 8 * done.size_out_bytes / (done.width * done.height)
    text = f"{done.task.source} -> {done.task.target}: {done.size_in_bytes} -> {done.size_out_bytes} bytes"
    text += f" ({done.size_in_bytes / done.size_out_bytes:.1f}x smaller, {bpp:.3f} bpp)"
    if done.size_out_bytes >= done.size_in_bytes:
        text += "  [the source was already smaller: lower --quality, or keep it]"
    return text


def _decoded(done: Any) -> str:
    return f"{done.task.source} -> {done.task.target}: {done.width} x {done.height}"


@app.command()
def encode(
    inputs: Inputs,
    output: Output = None,
    quality: Annotated[float, typer.Option("-q", "--quality", min=0, max=100, help="0 ... 100.")] = 50,
    tune: Tuned = Tune.PSNR,
    target_bpp: Annotated[float | None, typer.Option(help="Best quality of at most this many bits per pixel.")] = None,
    target_size: Annotated[str | None, typer.Option(help="Best quality of at most this size, e.g. 40kB.")] = None,
    target_psnr: Annotated[float | None, typer.Option(help="Smallest file of at least this PSNR, in dB.")] = None,
    refine: Annotated[int, typer.Option(min=0, help="Search so many steps for smaller files; try 30.")] = 0,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Faster, and files some percent larger.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop ICC profile, EXIF and XMP.")] = False,
    recursive: Recursive = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    model: Annotated[str, typer.Option(help="Row of the zoo to encode with.")] = "lichen",
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    max_memory: MaxMemory = None,
) -> None:
    """Make `.lic` files of pictures.

    Examples: `lichen encode photo.jpg` · `lichen encode photo.png -o small.lic --target-size 40kB` ·
    `lichen encode holidays/ -r -o compressed/ -q 40` · `cat a.png | lichen encode - > a.lic` ·
    `lichen encode photo.png --tune ms-ssim` · `lichen encode photo.png --refine 30` (slow to encode, and smaller)
    """
    without_tracing(device, refine)
    from lichen.batch import jobs
    from lichen.codec import Codec

    targets = _targets(target_size, target_bpp, target_psnr)
    tasks = jobs.plan(inputs, output, jobs.LIC, jobs.picture_endings(), recursive)
    how = _How(skip_existing, threads, device, _memory(max_memory))

    def prepare(budget: Any) -> jobs.Encode:
        codec = Codec(model, weights, device, max_pixels, how.memory_bytes, tune)
        return jobs.Encode(codec, budget, quality, *targets, refine, strip, force, max_pixels, not no_filter)

    _run_jobs(tasks, prepare, _encoded, how)


def _targets(
    size: str | None, bpp: float | None, psnr_db: float | None
) -> tuple[int | None, float | None, float | None]:
    """A size in bytes, a rate or a PSNR. Raises `UsageError` for more than one."""
    targets = parse_size(size) if size is not None else None, bpp, psnr_db
    given = [target for target in targets if target is not None]
    if len(given) > 1 or not all(0 < target < 1e15 for target in given):
        raise UsageError("give one target, and a positive one")
    return targets


def _asked(crop: str | None, count: int | None, partial: bool, zero_fill: bool, thumbnail: bool) -> tuple[Any, Any]:
    """The crop, and what --groups, --partial and --zero-fill ask for; None: the whole picture, the whole file."""
    from lichen.options import FirstGroups

    if thumbnail and crop is not None:
        raise UsageError("a thumbnail is of the whole picture: give --thumbnail or --crop")
    wanted = partial or count is not None
    if (partial and count is not None) or (zero_fill and not wanted):
        raise UsageError("give --groups or --partial, not both; --zero-fill goes with one of them")
    part = parse_crop(crop) if crop is not None else None
    return part, FirstGroups(count, not zero_fill) if wanted else None


def _ending(text: str) -> str:
    """`png` or `.png` as the latter. Raises `UsageError` for a format that cannot be written, before anything is."""
    from lichen.image.rendering import writable_format

    ending = text if not text or text.startswith(".") else f".{text}"
    writable_format(ending)
    return ending


@app.command()
def decode(
    inputs: Inputs,
    output: Output = None,
    to: Annotated[str, typer.Option(help="Ending of the results where --output does not say.")] = ".png",
    crop: Annotated[str | None, typer.Option(help="Only this part: x,y,width,height in pixels.")] = None,
    groups: Annotated[int | None, typer.Option(min=1, help="Only the first channel groups (ELIC, ChARM).")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Of a cut file, the channel groups that arrived.")] = False,
    thumbnail: Annotated[bool, typer.Option("--thumbnail", help="Small, by weights that have the part.")] = False,
    zero_fill: Annotated[bool, typer.Option("--zero-fill", help="0 for groups left out, not their means.")] = False,
    recursive: Recursive = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    weights: Weights = None,
    device: Device = "cpu",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    max_memory: MaxMemory = None,
) -> None:
    """Make pictures of `.lic` files, in the format that the output's ending names.

    Examples: `lichen decode small.lic` · `lichen decode small.lic -o photo.jpg` ·
    `lichen decode compressed/ -r -o pictures/ --to .webp` · `lichen decode - < a.lic > a.png` ·
    `lichen decode map.lic --crop 4000,2000,800,600` · `lichen decode cut.lic --partial`
    """
    without_tracing(device)
    from lichen.batch import jobs
    from lichen.codec import Codec

    ending = _ending(to)
    part, first = _asked(crop, groups, partial, zero_fill, thumbnail)
    tasks = jobs.plan(inputs, output, ending, {jobs.LIC}, recursive)
    for task in tasks:
        _ending(ending if task.target == jobs.STANDARD else task.target.suffix)
    how = _How(skip_existing, threads, device, _memory(max_memory))

    def prepare(budget: Any) -> jobs.Decode:
        codec = Codec("lichen", weights, device, max_pixels, how.memory_bytes)
        return jobs.Decode(codec, budget, ending, force, part, first, thumbnail)

    _run_jobs(tasks, prepare, _decoded, how)


@app.command()
def info(inputs: Inputs, as_json: Json = False) -> None:
    """Show what `.lic` files say of themselves, after checking all their checksums.

    Examples: `lichen info a.lic` · `lichen info --json a.lic | jq .bpp`
    """
    without_tracing("cpu")
    from lichen.runtime.describe import describe_file

    described, failed = [], False
    for path in inputs:
        try:
            described.append(describe_file(path))
        except BadInput as error:
            console.print(f"lichen: {error}", markup=False)
            failed = True
    if as_json and described:
        typer.echo(json.dumps(described[0] if len(inputs) == 1 else described, indent=2))
    for facts in [] if as_json else described:
        typer.echo("\n".join(f"{key:>16}  {value}" for key, value in facts.items()))
    if failed:
        raise typer.Exit(EXIT_INPUT)
