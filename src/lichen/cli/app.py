"""The application itself, and the options that commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lichen.errors import LichenError, UsageError
from lichen.options import EngineName, Tune
from lichen.version import __version__

EXIT_USAGE, EXIT_INPUT, EXIT_STOPPED = 2, 3, 130

app = typer.Typer(
    help="Smaller pictures by a learned codec, the same bits on every machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_OUTPUTS = {"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}  # names of standard output


def _as_path(text: str) -> Path:
    """`-` is standard input or output, and `./-` a file of that name, which `Path` would take for the same."""
    if "//" in text.partition("://")[2]:
        raise UsageError(f"{text}: an address has single slashes behind its ://")
    path = Path("-" if text in _OUTPUTS else text)
    return path.absolute() if path == Path("-") and text != "-" and text not in _OUTPUTS else path


def given_as(path: Path) -> str:
    """A path as it was given: `s3://bucket/a`, of which `Path` makes `s3:/bucket/a`."""
    return re.sub(r"^([a-z][a-z0-9+.-]+):/(?!/)", r"\1://", str(path))


Inputs = Annotated[
    list[Path],
    typer.Argument(
        help="Files or folders; `-` is standard input.", show_default=False, parser=_as_path, metavar="INPUTS..."
    ),
]
OptionalInputs = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Files or folders; `-` is standard input.", show_default=False, parser=_as_path, metavar="INPUTS..."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="File, or folder for several inputs. Default: beside the input.",
        parser=_as_path,
        metavar="PATH",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would become what, and do nothing.")]
JsonLines = Annotated[bool, typer.Option("--json", help="For programs: a line of JSON for each picture.")]
OnRay = Annotated[
    str | None,
    typer.Option(
        "--ray", help="Work on a Ray cluster: auto or HOST:PORT; alone, one of this machine.", metavar="[auto]"
    ),
]
ManifestFile = Annotated[
    Path | None, typer.Option("--manifest", help="Table of what became of each picture: .parquet or .jsonl.")
]
Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="Also the folders in a folder.")]
Force = Annotated[bool, typer.Option("-f", "--force", help="Overwrite outputs that exist.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave outputs that exist: finishes a job that was stopped.")
]
Weights = Annotated[Path | None, typer.Option(help="Weights file, or folder with the model's.")]
Tuned = Annotated[Tune, typer.Option(help="What files are to be good at; decoding knows by itself.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Engine = Annotated[EngineName, typer.Option(help="What runs the model; by itself graphs where there are some.")]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="CPU threads; 0 leaves it to the engine.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse pictures with more pixels.")]
MaxMemory = Annotated[
    str | None, typer.Option(help="Refuse pictures that would need more, e.g. 2GB; the result never depends on it.")
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]
DEFAULT_MAX_PIXELS = 2**27


# Parameters of the library, in backticks in its messages, and the options that stand for them.
_OPTIONS = {
    "crop": "--crop",
    "device": "--device",
    "effort": "--effort",
    "engine": "--engine",
    "first": "--partial",
    "force": "--force",
    "keep_ending": "--keep-ending",
    "max_memory_bytes": "--max-memory",
    "max_pixels": "--max-pixels",
    "output": "--output",
    "quality": "--quality",
    "recursive": "--recursive",
    "refine_steps": "--refine",
    "target_bpp": "--target-bpp",
    "target_psnr_db": "--target-psnr",
    "target_size_bytes": "--target-size",
    "tune": "--tune",
    "weights": "--weights",
}


def parse_size(text: str) -> int:
    """`40kB`, `1.5 MB`, `40000` in thousands, `40KiB` in 1024s: bytes. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmg])(i?))?b?", text.strip().lower())
    if not match:
        raise UsageError(f"{text!r} is not a size; write 40kB, 40KiB, 1.5MB or 40000")
    if len(match[1]) > 15:
        raise UsageError(f"{text!r} is too large a size")
    unit = 1024 if match[3] else 1000
    return int(float(match[1]) * unit ** " kmg".index(match[2] or " "))


def say(line: str) -> None:
    """A line on standard error. Nothing in the name of a file is taken for markup, nor for what terminals obey;
    parameters become options.
    """
    text = re.sub(rf"`({'|'.join(_OPTIONS)})`", lambda found: _OPTIONS[found[1]], line)
    console.print(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text), markup=False)


def _version(wanted: bool) -> None:
    if wanted:
        from lichen.runtime.weights import find_by_name, hash_of

        try:
            weights = hash_of(find_by_name("lichen")).hex()
        except (LichenError, OSError) as error:
            weights = str(error)
        typer.echo(f"lichen {__version__}, weights {weights}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Version and weights' hash.")
    ] = False,
) -> None:
    pass
