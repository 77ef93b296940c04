"""What travels beside the pixels: ICC profile, EXIF block and XMP packet, and the orientation they state.

The rule: what a viewer of the source shows is what a viewer of the decoded file shows. Pixels are turned as
`PIL.ImageOps.exif_transpose` turns them, and the blocks say orientation 1. What is not kept is said in a notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from lichen.image import exif, xmp

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}
_IPTC_RESOURCE, _IPTC_TAG = 0x0404, 33723  # in Photoshop's segment of JPEG, and in TIFF
# Texts of PNG files that programs write by themselves, or that are kept as EXIF or XMP.
_UNSAID_TEXTS = {"XML:com.adobe.xmp", "Software", "Raw profile type exif", "Raw profile type APP1"}
_TEXTS_SAID = 3


@dataclass(frozen=True)
class Metadata:
    """The blocks of a picture, or None: `exif` begins with `Exif\\0\\0`, `xmp` is its XML."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def info(self) -> dict[str, bytes]:
        """Those that are there, by the names of Pillow's `Image.info`."""
        named = {"icc_profile": self.icc, "exif": self.exif, "xmp": self.xmp}
        return {name: block for name, block in named.items() if block}


@dataclass(frozen=True)
class Found:
    """The metadata of an image, made to say "upright", the turn that makes the image so, and notices."""

    metadata: Metadata
    turn: Image.Transpose | None
    notices: tuple[str, ...]


def read_metadata(image: Image.Image, given: Mapping[str, bytes], video: bool = False) -> Found:
    """The metadata of a loaded Pillow image; `given` are blocks that replace its own, by their names in `info`.

    EXIF is what `image.getexif()` says now. An image keeps its orientation until `ImageOps.exif_transpose` is called:
    one that was rotated by hand is turned by it all the same, as it is in any other file that keeps its EXIF.
    `video`: the file has one behind the picture.
    """
    current = exif.current_exif(image, given.get("exif"))
    packet = given["xmp"] or None if "xmp" in given else xmp.packet_of(image)
    turn = None if _is_turned_by_its_decoder(image) else _turn(current.orientation, packet)
    block, notices = (
        (None, ())
        if current.block is None
        else exif.upright(current.block, turn is not None, sideways=turn in _SIDEWAYS)
    )
    if packet is not None:
        video = video or xmp.has_video(packet)
        packet = xmp.without_video(xmp.without_extension(xmp.upright(packet)))
        if current.gps_removed and "xmp" not in given:
            packet = xmp.without_gps(packet)
    icc = (given["icc_profile"] if "icc_profile" in given else image.info.get("icc_profile")) or None
    return Found(Metadata(icc, block, packet), turn, current.notices + notices + _left_out(image, video))


def _turn(orientation: object, packet: bytes | None) -> Image.Transpose | None:
    if orientation is None and packet is not None:
        orientation = xmp.orientation_of(packet)
    try:
        return _TURNS.get(orientation)  # type: ignore[call-overload, no-any-return]
    except TypeError:  # no number at all
        return None


def _is_turned_by_its_decoder(image: Image.Image) -> bool:
    """JPEG XL states the orientation in its codestream; an EXIF block repeats it unless it holds a whole JPEG."""
    return image.format == "JXL" and not getattr(image, "jpeg", False)


def _left_out(image: Image.Image, video: bool) -> tuple[str, ...]:
    """Notices of what the file holds beside the three blocks."""
    segments = [content for _, content in getattr(image, "applist", ())]
    photoshop = image.info.get("photoshop")
    has_iptc = isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop
    left_out = {
        "its extended XMP": any(segment.startswith(xmp.EXTENSION_MARK) for segment in segments),
        "its HDR gain map": any(b"hdrgm:Version" in segment for segment in segments),
        "the video behind it (a motion photo)": video,
        "its IPTC": has_iptc or _IPTC_TAG in getattr(image, "tag_v2", ()),
        "its comment": bool(image.info.get("comment")),
    }
    notices = [f"{what} was left out" for what, there in left_out.items() if there]
    texts = [key for key, value in image.info.items() if image.format == "PNG" and _is_said(key, value)]
    if texts:
        more = f" and {len(texts) - _TEXTS_SAID} more" if len(texts) > _TEXTS_SAID else ""
        notices.append(f"its texts {', '.join(map(repr, texts[:_TEXTS_SAID]))}{more} were left out")
    return tuple(notices)


def _is_said(key: object, value: object) -> bool:
    """Whether an entry of a PNG image's `info` is a text that somebody may miss."""
    return isinstance(key, str) and isinstance(value, str) and key not in _UNSAID_TEXTS and not key.startswith("date:")
