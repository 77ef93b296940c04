"""Hostile files: whatever the bytes, an error of ours or a picture of the declared size, soon and in little memory.

    python -m benchmarks.fuzz --cases 100000 [--seed 0] [--engine auto|onnx|torch]

Half of the cases are damaged at random (bits, bytes, cuts at every length of small files, splices); there
only an error may come, or the very same picture where nothing was changed. The other half have sound
checksums over hostile contents (extreme fields, bent payloads, bombs); there an error or a picture of the
declared size. What is refused as a whole must end so by the channel groups that arrived, too.
Small random weights, which make a case cost milliseconds. The default model's graphs are exported at that size first
(a minute or two), unless PyTorch alone is to run; with `--engine onnx` its files are all there are. The size limit is
set to 2^20 pixels, as a service would set its own. A failing input is kept in the folder that the message names.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Bar, finish, show
from lichen.bitstream.container import Kind, read_container
from lichen.bitstream.fields import Cursor, Header, Varint, read_header, write_header
from lichen.codec import Codec
from lichen.errors import LichenError
from lichen.image.rendering import render
from lichen.lab.export.write import export
from lichen.lab.models.zoo import ZOO, name_of
from lichen.options import EngineName, FirstGroups
from lichen.runtime import graphs, tiles
from tests.small import scene, small_checkpoint

FAST, EXPORTED = ("lichen", "lichen-cb"), "lichen"
MAX_PIXELS = 2**20
CASE_SECONDS = 5  # of processor time, so that a busy machine changes nothing
MEMORY_GROWTH_MB = 1000  # over the run, of all that was resident
_ANY = Varint(0, 2**70)
LATENTS = (Kind.LATENTS, Kind.GROUP)
Rng = np.random.Generator
Sections = list[tuple[int, bytes]]


@dataclass(frozen=True)
class Seed:
    """A sound file, its parts, and what it decodes to: all of it, and by its first channel groups."""

    data: bytes
    header: Header
    sections: Sections
    pixels: bytes
    partial: frozenset[bytes] = frozenset()


def seal(header: bytes, sections: Sections) -> bytes:
    """A file of these parts, in this order, with sound checksums, whatever sense it makes."""
    out, check = header, zlib.crc32(header)
    for place, (kind, payload) in enumerate(sections):
        tag = (kind & 127) | (128 if place + 1 < len(sections) else 0)
        section = bytes([tag]) + _ANY.write(len(payload)) + payload
        check = zlib.crc32(section, check)
        out += section + check.to_bytes(4, "little")
    return out


def make_seeds(codecs: list[Codec]) -> list[Seed]:
    """Files of every feature: colour, grey, alpha, metadata, more than one tile, several rows."""
    plain, rich = scene(60, 50), scene(40, 30, 1).convert("RGBA")
    rich.putalpha(scene(40, 30, 2).convert("L"))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    rich.info = {"icc_profile": b"profile" * 20, "exif": exif.tobytes(), "xmp": b"<x>packet</x>"}
    made = []
    for codec in codecs:
        fast = codec.engine.name in FAST
        for image in (plain, scene(33, 20).convert("L"), rich, scene(130, 3), scene(1, 1)) if fast else (plain, rich):
            data = codec.encode(image, 80)
            container = read_container(data)
            sections = [*container.sections.items(), *((int(Kind.GROUP), payload) for payload in container.groups)]
            counts = [None, *range(1, len(container.groups) + 1)]  # None: of what arrived nothing that follows is read
            partial = frozenset(codec.decode(data, first=FirstGroups(count)).tobytes() for count in counts)
            made.append(Seed(data, container.header, sections, codec.decode(data).tobytes(), partial=partial))
    return made


def bent(data: bytes, rng: Rng) -> bytes:
    """A few bits, bytes or runs changed, cut out or put in; sometimes nothing but noise."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(out) + 1))
        how = rng.integers(0, 6)
        if how == 0 and at < len(out):
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif how == 1 and at < len(out):
            out[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif how == 2:
            del out[at : at + int(rng.integers(1, 20))]
        elif how == 3:
            out[at:at] = rng.bytes(int(rng.integers(1, 20)))
        elif how == 4:
            out = out[:at]
        else:
            stop = at + int(rng.integers(1, 60))
            out[at:stop] = rng.bytes(len(out[at:stop]))
    return bytes(out)


# Damage without repair: nothing of this may decode to anything but its own picture.


def random_damage(seeds: list[Seed], rng: Rng) -> bytes:
    return bent(pick(seeds, rng).data, rng)


def one_bit(seeds: list[Seed], rng: Rng) -> bytes:
    out = bytearray(pick(seeds, rng).data)
    out[rng.integers(0, len(out))] ^= 1 << int(rng.integers(0, 8))
    return bytes(out)


def splice(seeds: list[Seed], rng: Rng) -> bytes:
    one, two = pick(seeds, rng).data, pick(seeds, rng).data
    return one[: rng.integers(0, len(one))] + two[rng.integers(0, len(two)) :]


def noise(seeds: list[Seed], rng: Rng) -> bytes:
    start = pick(seeds, rng).data[: int(rng.integers(0, 24))]
    return start + rng.bytes(int(rng.integers(0, 300)))


# Hostile contents under sound checksums.


def extreme(rng: Rng, top: int) -> int:
    """A number of any magnitude up to 2^top, often next to a power of two."""
    near = 2 ** int(rng.integers(0, top + 1)) + int(rng.integers(-2, 3))
    return max(0, near if rng.random() < 0.5 else int(2 ** (rng.random() * top)))


def extreme_fields(seeds: list[Seed], rng: Rng) -> bytes:
    seed = pick(seeds, rng)
    values = {**vars(seed.header)}
    name = str(rng.choice(["width", "height", "quality_index", "model", "flags", "both", "weights"]))
    for one in ("width", "height") if name == "both" else (name,):
        values[one] = rng.bytes(4) if one == "weights" else extreme(rng, 30)
    head = seed.data[:4] + b"".join(
        values[key] if key == "weights" else _ANY.write(values[key])
        for key in ("model", "weights", "width", "height", "quality_index", "flags")
    )
    return seal(head, seed.sections)


def bent_header(seeds: list[Seed], rng: Rng) -> bytes:
    seed = pick(seeds, rng)
    return seal(bent(write_header(seed.header), rng), seed.sections)


def bent_payload(seeds: list[Seed], rng: Rng) -> bytes:
    seed = pick(seeds, rng)
    kind = int(rng.choice([kind for kind, _ in seed.sections]))
    return seal(write_header(seed.header), [(k, bent(p, rng) if k == kind else p) for k, p in seed.sections])


def other_payload(seeds: list[Seed], rng: Rng) -> bytes:
    """Latents of another file, or noise or runs of one byte instead of them, at any quality."""
    seed, other = pick(seeds, rng), pick(seeds, rng)
    fill = bytes([int(rng.choice([0, 255]))]) * int(rng.integers(0, 3000))
    theirs = [payload for kind, payload in other.sections if kind in LATENTS]
    payload = (theirs[-1], rng.bytes(int(rng.integers(0, 3000))), fill)[rng.integers(0, 3)]
    header = Header(**{**vars(seed.header), "quality_index": int(rng.integers(0, 1025))})
    return seal(write_header(header), [(k, payload if k in LATENTS else p) for k, p in seed.sections])


def odd_sections(seeds: list[Seed], rng: Rng) -> bytes:
    """Sections doubled, left out, shuffled, of unknown kinds."""
    seed = pick(seeds, rng)
    pool = seed.sections + pick(seeds, rng).sections + [(int(rng.integers(0, 128)), rng.bytes(9))]
    chosen = rng.permutation(len(pool))[: rng.integers(0, len(pool) + 1)]
    return seal(write_header(seed.header), [pool[i] for i in chosen])


def bombs(seeds: list[Seed], rng: Rng) -> bytes:
    """Blocks that unpack to far more than they are; alpha that claims or is a large picture."""
    seed = pick(seeds, rng)
    side = int(rng.choice([1, 70, 4000]))
    buffer = io.BytesIO()
    Image.new(str(rng.choice(["L", "1", "RGBA", "I;16"])), (side, side)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    if rng.random() < 0.5:  # the picture's size in IHDR, its checksum mended
        png[16:24] = seed.header.width.to_bytes(4, "big") + seed.header.height.to_bytes(4, "big")
        png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    bomb = zlib.compress(bytes(int(rng.choice([15_999_999, 16_000_001, 60_000_000]))), 1)
    extra = [(Kind.ALPHA, bytes(png)), *((kind, bomb) for kind in (Kind.ICC, Kind.EXIF, Kind.XMP))]
    latents = [(kind, payload) for kind, payload in seed.sections if kind in LATENTS]
    return seal(write_header(seed.header), [*extra, *latents])


DAMAGE = (random_damage, one_bit, splice, noise)
HOSTILE = (extreme_fields, bent_header, bent_payload, other_payload, odd_sections, bombs)
_WEIGHTS = {bombs: 0.02}


def pick(seeds: list[Seed], rng: Rng) -> Seed:
    """Any seed; those of other than the fast rows, which take ten times as long, seldom."""
    fast = [seed for seed in seeds if name_of(seed.header.model) in FAST]
    pool = fast if rng.random() < 0.97 else seeds
    return pool[int(rng.integers(0, len(pool)))]


def cases(seeds: list[Seed], count: int, rng: Rng) -> Iterator[tuple[str, bool, bytes]]:
    """(kind, whether checksums are sound, bytes): damaged and hostile in turn, cuts at every length first."""
    cuts = [seed.data[:length] for seed in seeds for length in range(len(seed.data)) if len(seed.data) < 1500]
    chances = np.array([_WEIGHTS.get(make, 1.0) for make in HOSTILE])
    for number in range(count // 2):
        if number < len(cuts):
            yield "cut", False, cuts[number]
        else:
            damage: Callable[[list[Seed], Rng], bytes] = DAMAGE[int(rng.integers(0, len(DAMAGE)))]
            yield damage.__name__, False, damage(seeds, rng)
        hostile = HOSTILE[int(rng.choice(len(HOSTILE), p=chances / chances.sum()))]
        yield hostile.__name__, True, hostile(seeds, rng)


class TooSlow(Exception):
    """A case went on beyond the limit."""


def _alarm(number: int, frame: object) -> None:
    raise TooSlow


@dataclass
class Verdicts:
    """What came of the cases: counts by kind and outcome, failures, the slowest case in seconds."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")


def judge(codec: Codec, seeds: dict[bytes, Seed], sealed: bool, data: bytes) -> str:
    """The outcome of one case: the error's name, "picture", or "WRONG: ..." when a law is broken."""
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
    try:
        return _tried(codec, seeds, sealed, data)
    except LichenError as error:
        return type(error).__name__
    except TooSlow:
        return f"WRONG: over {CASE_SECONDS} s"
    except BaseException as error:  # a panic of the range coder is a BaseException
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"WRONG: {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _tried(codec: Codec, seeds: dict[bytes, Seed], sealed: bool, data: bytes) -> str:
    """Decode the file, or the channel groups that arrived."""
    try:
        image, outcome = codec.decode(data), "picture"
    except LichenError:
        image, outcome = codec.decode(data, first=FirstGroups()), "first groups"
    header = read_header(Cursor(data))
    if image.size != (header.width, header.height):
        return f"WRONG: {image.size} instead of {header.width} x {header.height}"
    if outcome == "picture" and not sealed and (data not in seeds or image.tobytes() != seeds[data].pixels):
        return "WRONG: a picture of a damaged file"
    if outcome == "first groups" and not sealed and not any(image.tobytes() in seed.partial for seed in seeds.values()):
        return "WRONG: groups of a damaged file"
    if len(data) % 8 == 0:  # an eighth of the cases, as it takes as long as decoding
        with contextlib.suppress(LichenError):
            render(image, ".png")
    return outcome


def run(codec: Codec, seeds: list[Seed], count: int, rng: Rng, keep: Path) -> Verdicts:
    """All cases, failing inputs written to `keep`."""
    verdicts, known = Verdicts(), {seed.data: seed for seed in seeds}
    for number, (kind, sealed, data) in enumerate(cases(seeds, count, rng)):
        start = time.process_time()
        outcome = judge(codec, known, sealed, data)
        verdicts.slowest = max(verdicts.slowest, (time.process_time() - start, kind))
        verdicts.counts[kind, outcome.split(":")[0]] += 1
        if outcome.startswith("WRONG"):
            (keep / f"{number}.lic").write_bytes(data)
            verdicts.failures.append(f"{number} {kind}: {outcome}")
            print(verdicts.failures[-1], file=sys.stderr)
        if (number + 1) % 10_000 == 0:
            print(f"{number + 1} cases, {len(verdicts.failures)} wrong", file=sys.stderr)
    return verdicts


def make_codecs(engine: EngineName, folder: Path) -> list[Codec]:
    """Of each row that the engine runs, with small weights; its graphs take the place of those in the box."""
    paths = {row.name: small_checkpoint(row, folder / "weights") for row in ZOO}
    if engine is not EngineName.TORCH:
        export(paths[EXPORTED], folder / "graphs" / EXPORTED, lambda line: print(line, file=sys.stderr))
        graphs.PACKAGED = folder / "graphs"
        graphs.packaged.cache_clear()
    names = [EXPORTED] if engine is EngineName.ONNX else list(paths)
    return [Codec(weights=paths[name], max_pixels=MAX_PIXELS, engine=engine) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", type=EngineName, default=EngineName.AUTO)
    args = parser.parse_args()
    keep = Path(tempfile.mkdtemp(prefix="lichen-fuzz-"))
    codecs = make_codecs(args.engine, keep)
    os.environ["LICHEN_WEIGHTS"] = str(keep / "weights")
    tiles.CODING_SIDE = 2  # of a tile, in 64 pixels, so that a small picture has several
    seeds = make_seeds(codecs)
    signal.signal(signal.SIGPROF, _alarm)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    verdicts = run(codecs[0], seeds, args.cases, np.random.default_rng(args.seed), keep=keep)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000 - before
    rows = [(*key, count) for key, count in sorted(verdicts.counts.items())]
    show(f"{args.cases} cases, failing inputs in {keep}", ("kind", "outcome", "cases"), rows)
    finish(
        "fuzz",
        {
            "cases": args.cases,
            "seed": args.seed,
            "engine": args.engine.value,
            "outcomes": [{"kind": kind, "outcome": outcome, "cases": n} for kind, outcome, n in rows],
            "slowest": {"seconds": verdicts.slowest[0], "kind": verdicts.slowest[1]},
            "failures": verdicts.failures[:50],
        },
        [
            Bar("cases with another end than our error or the declared picture", len(verdicts.failures), 0),
            Bar("slowest case, s", verdicts.slowest[0], CASE_SECONDS),
            Bar("memory beyond the seeds' own, MB", grown, MEMORY_GROWTH_MB),
        ],
    )


if __name__ == "__main__":
    main()
