"""Commands for people with pictures: encode, decode, info."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from lichen.cli.app import (
    DEFAULT_MAX_PIXELS,
    EXIT_INPUT,
    Device,
    DryRun,
    Engine,
    Force,
    Inputs,
    Json,
    JsonLines,
    ManifestFile,
    MaxMemory,
    MaxPixels,
    OnRay,
    OptionalInputs,
    Output,
    Quiet,
    Recursive,
    SkipExisting,
    Threads,
    Tuned,
    Weights,
    app,
    parse_size,
    say,
)
from lichen.cli.files import Files, codec_to_decode, codec_to_encode, job_options, run_files
from lichen.cli.job import Shown
from lichen.errors import BadInput, UsageError
from lichen.options import Crop, DecodeOptions, EncodeOptions, EngineName, FirstGroups, Tune

if TYPE_CHECKING:
    from lichen.batch.budget import MemoryBudget
    from lichen.batch.rows import Row
    from lichen.batch.tasks import Naming
    from lichen.batch.work import Decode, Encode
    from lichen.codec import Codec


def refuse_quality_and_target(quality: float | None, *targets: float | str | None) -> None:
    """Raises `UsageError` for both: one of them would be ignored."""
    if quality is not None and any(target is not None for target in targets):
        raise UsageError("give `quality` or a target, not both")


def parse_crop(text: str) -> Crop:
    """`x,y,width,height` in pixels. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,8}),(\d{1,8}),(\d{1,8}),(\d{1,8})", text.replace(" ", ""))
    if not match:
        raise UsageError(f"{text!r} is not a crop; write x,y,width,height in pixels, e.g. 100,50,640,480")
    x, y, width, height = map(int, match.groups())
    return x, y, width, height


def _encoded(row: Row) -> str:
    bpp, quality = 8 * row.size_out_bytes / (row.width * row.height), row.psnr_db
    text = f"{row.source} -> {row.target}: {row.size_in_bytes} -> {row.size_out_bytes} bytes"
    text += f" ({row.size_in_bytes / row.size_out_bytes:.1f}x smaller, {bpp:.3f} bpp"
    text += ")" if quality is None else f", {quality:.2f} dB)"
    if row.size_out_bytes >= row.size_in_bytes:
        text += "  [the source was already smaller: lower --quality, or keep it]"
    return text


def _decoded(row: Row) -> str:
    return f"{row.source} -> {row.target}: {row.width} x {row.height}"


Quality = Annotated[
    float | None,
    typer.Option("-q", "--quality", min=0, max=100, help="0 ... 100; 50 if no target is given.", show_default=False),
]

Effort = Annotated[
    int | None,
    typer.Option(min=0, max=3, help="0 is fastest, 3 gives the smallest files; 2 if not given.", show_default=False),
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
    effort: Effort = None,
    refine: Annotated[int, typer.Option(min=0, help="Search so many steps for smaller files; try 30.")] = 0,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Faster, and files some percent larger.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Drop ICC profile, EXIF and XMP.")] = False,
    psnr: Annotated[bool, typer.Option("--psnr", help="Decode each file again and say its PSNR.")] = False,
    recursive: Recursive = False,
    keep_ending: Annotated[bool, typer.Option("--keep-ending", help="a.jpg becomes a.jpg.lic, not a.lic.")] = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: JsonLines = False,
    manifest: ManifestFile = None,
    ray: OnRay = None,
    model: Annotated[str, typer.Option(help="Row of the zoo to encode with.")] = "lichen",
    weights: Weights = None,
    device: Device = "cpu",
    engine: Engine = EngineName.AUTO,
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    max_memory: MaxMemory = None,
) -> None:
    """Make `.lic` files of pictures.

    Examples: `cat a.png | lichen encode - > a.lic` · `lichen encode s3://bucket/photos -r -o s3://bucket/lic --ray`
    """
    targets = target_size, target_bpp, target_psnr
    options = _encode_options(quality, targets, (effort, refine), filtered=not no_filter, strip=strip)
    how = job_options(threads, device, max_memory, skip_existing, force=force)
    codec = codec_to_encode(model, weights, max_pixels, how, tune=tune, engine=engine)
    files = Files(inputs, output, _naming().to_encode(keep_ending), recursive, cluster=ray, manifest=manifest)
    run_files(files, codec, _encoder(options, force, psnr), how, shown=Shown(_encoded, quiet, as_json, dry_run))


def _naming() -> type[Naming]:
    from lichen.batch.tasks import Naming

    return Naming


def _encoder(options: EncodeOptions, force: bool, measured: bool) -> Callable[[Codec, MemoryBudget], Encode]:
    """What makes the work of a job, of a codec and the memory that there is."""
    from lichen.batch.work import Encode

    return functools.partial(Encode, options=options, force=force, measured=measured)


def _encode_options(
    quality: float | None,
    targets: tuple[str | None, float | None, float | None],
    tried: tuple[int | None, int],
    filtered: bool,
    strip: bool,
) -> EncodeOptions:
    """`targets`: a size, bits per pixel, a PSNR in dB; `tried`: effort, refining steps. Raises `UsageError`."""
    size, bpp, psnr_db = targets
    refuse_quality_and_target(quality, *targets)
    return EncodeOptions(
        quality=EncodeOptions.quality if quality is None else quality,
        target_size_bytes=None if size is None else parse_size(size),
        target_bpp=bpp,
        target_psnr_db=psnr_db,
        effort=tried[0],
        refine_steps=tried[1],
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
    jpeg_quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG outputs.")] = 95,
    recursive: Recursive = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: JsonLines = False,
    manifest: ManifestFile = None,
    ray: OnRay = None,
    weights: Weights = None,
    device: Device = "cpu",
    engine: Engine = EngineName.AUTO,
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    max_memory: MaxMemory = None,
) -> None:
    """Make pictures of `.lic` files, in the format that the output's ending names.

    Examples: `lichen decode small.lic` · `lichen decode small.lic -o photo.jpg` ·
    `lichen decode compressed/ -r -o pictures/ --to .webp` · `lichen decode - < a.lic > a.png` ·
    `lichen decode map.lic --crop 4000,2000,800,600` · `lichen decode cut.lic --partial`
    """
    ending = _ending(to)
    options = _decode_options(crop, groups, partial, zero_fill=zero_fill, thumbnail=thumbnail)
    how = job_options(threads, device, max_memory, skip_existing, force=force)
    codec = codec_to_decode(weights, max_pixels, how, engine)
    found = Files(inputs, output, _naming().to_decode(ending), recursive, cluster=ray, manifest=manifest)
    files, decoder = replace(found, check=_ending), _decoder(options, ending, force, jpeg_quality)
    run_files(files, codec, decoder, how, shown=Shown(_decoded, quiet, as_json, dry_run))


def _decoder(options: DecodeOptions, ending: str, force: bool, jpeg_quality: int) -> Callable[..., Decode]:
    """What makes the work of a job, of a codec and the memory that there is."""
    from lichen.batch.work import Decode

    return functools.partial(Decode, options=options, ending=ending, force=force, jpeg_quality=jpeg_quality)


@app.command()
def info(
    inputs: OptionalInputs = None,
    recursive: Recursive = False,
    as_json: Json = False,
    engines: Annotated[bool, typer.Option("--engines", help="Say what runs models here.")] = False,
) -> None:
    """Show what `.lic` files say of themselves, after checking all their checksums.

    Examples: `lichen info a.lic` · `lichen info --json a.lic | jq .bpp` · `lichen info compressed/ -r` ·
    `lichen info --engines`
    """
    if engines or not inputs:
        _say_engines(engines, as_json)
        return
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


def _say_engines(asked: bool, as_json: bool) -> None:
    """What runs models on this machine. Raises `UsageError` where nobody asked."""
    if not asked:
        raise UsageError("name a file, or ask for --engines")
    from lichen.runtime.describe import describe_engines

    facts = describe_engines()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, said in facts.items():
        typer.echo(f"{name:>11}  {said}")
