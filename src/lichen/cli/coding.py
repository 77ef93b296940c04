"""Commands for people with pictures: encode, decode, info."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from lichen.cli.app import (
    DEFAULT_MAX_PIXELS,
    EXIT_INPUT,
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
    say,
)
from lichen.cli.imports import without_tracing
from lichen.cli.progress import Bar, with_progress
from lichen.errors import BadInput, UsageError
from lichen.options import Crop, DecodeOptions, EncodeOptions, FirstGroups, Tune

if TYPE_CHECKING:
    from lichen.batch.budget import MemoryBudget
    from lichen.batch.runner import JobOptions
    from lichen.batch.tasks import Done, Task
    from lichen.batch.work import Work
    from lichen.codec import Codec


def parse_size(text: str) -> int:
    """`40kB`, `1.5 MB`, `40000`: bytes, in thousands. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)b?", text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a size; write 40kB, 1.5MB or 40000")
    if len(match[1]) > 15:
        raise UsageError(f"{text!r} is too large a size")
    return int(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}[match[2]])


def refuse_quality_and_target(quality: float | None, *targets: float | str | None) -> None:
    """Raises `UsageError` for both: one of them would be ignored."""
    if quality is not None and any(target is not None for target in targets):
        raise UsageError("give `quality` or a target, not both")


def _memory(text: str | None) -> int | None:
    return parse_size(text) if text is not None else None


def parse_crop(text: str) -> Crop:
    """`x,y,width,height` in pixels. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,8}),(\d{1,8}),(\d{1,8}),(\d{1,8})", text.replace(" ", ""))
    if not match:
        raise UsageError(f"{text!r} is not a crop; write x,y,width,height in pixels, e.g. 100,50,640,480")
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def _run(
    tasks: list[Task],
    codec: Callable[[], Codec],
    work: Callable[[Codec, MemoryBudget], Work],
    how: JobOptions,
    line: Callable[[Done], str],
) -> None:
    """Run the tasks with a progress bar and a line each; exit 3 when any failed, 130 when stopped."""
    from lichen.batch.runner import run_job

    count = Counter[str]()

    def job(report: Callable[[Done], None], stop: Event) -> None:
        for done in run_job(tasks, codec, work, how, stop=stop):
            report(done)

    def tell(bar: Bar, done: Done) -> None:
        _print_done(done, line, count)
        bar.advance()

    def stopped(bar: Bar) -> str:
        return f"{_summary(count)}, {len(tasks) - bar.done} left; to go on, add --skip-existing"

    with_progress(job, tell, stopped, total=len(tasks))
    if len(tasks) > 1:
        say(f"{_summary(count)}; {count['in']} bytes became {count['out']}")
    if count["failed"]:
        raise typer.Exit(EXIT_USAGE if count["failed"] == count["misused"] else EXIT_INPUT)


def _print_done(done: Done, line: Callable[[Done], str], count: Counter[str]) -> None:
    count[_outcome(done)] += 1
    count["misused"] += isinstance(done.error, UsageError)
    count["in"] += done.size_in_bytes
    count["out"] += done.size_out_bytes
    for notice in done.notices:
        say(f"{done.task.source}: note: {notice}")
    if done.error is not None:
        say(f"lichen: {done.error}")
    elif not done.skipped:
        say(line(done))


def _outcome(done: Done) -> str:
    return "failed" if done.error is not None else "skipped" if done.skipped else "done"


def _summary(count: Counter[str]) -> str:
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    return f"{count['done']} done{skipped}, {count['failed']} failed"


def _encoded(done: Done) -> str:
    bpp = 8 * done.size_out_bytes / (done.width * done.height)
    text = f"{done.task.source} -> {done.task.target}: {done.size_in_bytes} -> {done.size_out_bytes} bytes"
    text += f" ({done.size_in_bytes / done.size_out_bytes:.1f}x smaller, {bpp:.3f} bpp)"
    if done.size_out_bytes >= done.size_in_bytes:
        text += "  [the source was already smaller: lower --quality, or keep it]"
    return text


def _decoded(done: Done) -> str:
    return f"{done.task.source} -> {done.task.target}: {done.width} x {done.height}"


Quality = Annotated[
    float | None,
    typer.Option("-q", "--quality", min=0, max=100, help="0 ... 100; 50 if no target is given.", show_default=False),
]


@app.command()
def encode(
    inputs: Inputs,
    output: Output = None,
    quality: Quality = None,
    tune: Tuned = Tune.PSNR,
    target_bpp: Annotated[float | None, typer.Option(help="Best quality of at most this many bits per pixel.")] = None,
    target_size: Annotated[str | None, typer.Option(help="Best quality of at most this size, e.g. 40kB.")] = None,
    target_psnr: Annotated[float | None, typer.Option(help="Smallest file of at least this PSNR, in dB.")] = None,
    refine: Annotated[int, typer.Option(min=0, help="Search so many steps for smaller files; try 30.")] = 0,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Faster, and files some percent larger.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop ICC profile, EXIF and XMP.")] = False,
    recursive: Recursive = False,
    keep_ending: Annotated[bool, typer.Option("--keep-ending", help="a.jpg becomes a.jpg.lic, not a.lic.")] = False,
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
    from lichen.batch import runner, tasks, work
    from lichen.codec import Codec

    targets = None if target_size is None else parse_size(target_size), target_bpp, target_psnr
    options = _encode_options(quality, targets, refine, filtered=not no_filter, strip=strip)
    planned = tasks.plan(inputs, output, tasks.Naming.to_encode(keep_ending), recursive)
    if planned.left_out:
        say(f"lichen: left out, as no pictures that can be read: {planned.remainder()}")
    how = runner.JobOptions(threads, device, _memory(max_memory), skip_existing, force=force)
    codec = functools.partial(Codec, model, weights, device, max_pixels, max_memory_bytes=how.memory_bytes, tune=tune)
    _run(planned.tasks, codec, functools.partial(work.Encode, options=options, force=force), how, line=_encoded)


def _encode_options(
    quality: float | None,
    targets: tuple[int | None, float | None, float | None],
    refine_steps: int,
    filtered: bool,
    strip: bool,
) -> EncodeOptions:
    """`targets`: a size in bytes, bits per pixel, a PSNR in dB. Raises `UsageError`."""
    size_bytes, bpp, psnr_db = targets
    refuse_quality_and_target(quality, *targets)
    return EncodeOptions(
        quality=EncodeOptions.quality if quality is None else quality,
        target_size_bytes=size_bytes,
        target_bpp=bpp,
        target_psnr_db=psnr_db,
        refine_steps=refine_steps,
        filtered=filtered,
        strip=strip,
    )


def _decode_options(
    crop: str | None, count: int | None, partial: bool, zero_fill: bool, thumbnail: bool
) -> DecodeOptions:
    """What of a file is decoded. Raises `UsageError` for what contradicts itself."""
    wanted = partial or count is not None
    if (partial and count is not None) or (zero_fill and not wanted):
        raise UsageError("give --groups or --partial, not both; --zero-fill goes with one of them")
    part = parse_crop(crop) if crop is not None else None
    return DecodeOptions(crop=part, first=FirstGroups(count, not zero_fill) if wanted else None, thumbnail=thumbnail)


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
    from lichen.batch import runner, tasks, work
    from lichen.codec import Codec

    ending = _ending(to)
    options = _decode_options(crop, groups, partial, zero_fill=zero_fill, thumbnail=thumbnail)
    planned = tasks.plan(inputs, output, tasks.Naming.to_decode(ending), recursive).tasks
    for task in planned:
        _ending(task.target.suffix or ending)
    how = runner.JobOptions(threads, device, _memory(max_memory), skip_existing, force=force)
    codec = functools.partial(Codec, "lichen", weights, device, max_pixels, max_memory_bytes=how.memory_bytes)
    decoder = functools.partial(work.Decode, options=options, ending=ending, force=force)
    _run(planned, codec, decoder, how, line=_decoded)


@app.command()
def info(inputs: Inputs, recursive: Recursive = False, as_json: Json = False) -> None:
    """Show what `.lic` files say of themselves, after checking all their checksums.

    Examples: `lichen info a.lic` · `lichen info --json a.lic | jq .bpp` · `lichen info compressed/ -r`
    """
    without_tracing("cpu")
    from lichen.batch.tasks import Naming, plan
    from lichen.runtime.describe import describe_file

    described, failed = [], False
    for task in plan(inputs, None, Naming.to_decode(".png"), recursive).tasks:
        try:
            described.append(describe_file(task.source))
        except BadInput as error:
            say(f"lichen: {error}")
            failed = True
    if as_json and described:
        typer.echo(json.dumps(described if len(inputs) > 1 or inputs[0].is_dir() else described[0], indent=2))
    for facts in [] if as_json else described:
        typer.echo("\n".join(f"{key:>16}  {value}" for key, value in facts.items()))
    if failed:
        raise typer.Exit(EXIT_INPUT)
