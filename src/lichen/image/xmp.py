"""XMP packets as text that is edited in place: orientation, GPS position, references to what was not kept."""

from __future__ import annotations

import re

from PIL import Image

EXTENSION_MARK = b"http://ns.adobe.com/xmp/extension/\0"  # of the JPEG segments that hold the rest of a long packet
_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)([0-9]+)""")


def _property(name: bytes) -> re.Pattern[bytes]:
    """An XMP property in either spelling, attribute or element."""
    attribute = rb"\s" + name + rb"""\s*=\s*(?:"[^"]*"|'[^']*')"""
    element = rb"<(" + name + rb")(?:\s[^>]*)?(?:/>|>.*?</\1\s*>)"
    return re.compile(attribute + rb"|" + element, re.DOTALL)


_VIDEO = _property(rb"\w+:(?:MotionPhoto|MicroVideo)\w*")  # of cameras on Android
_HAS_VIDEO = re.compile(rb"""\w+:(?:MotionPhoto|MicroVideo)(?:\s*=\s*["']|>)\s*1\b""")
_GPS = _property(rb"exif:GPS\w*")
_HAS_EXTENSION = _property(rb"xmpNote:HasExtendedXMP")


def packet_of(image: Image.Image) -> bytes | None:
    """The XMP packet of an image as Pillow read it, or None."""
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or None
    return packet.encode() if isinstance(packet, str) else packet


def orientation_of(packet: bytes) -> int | None:
    """The orientation that a packet states, or None."""
    found = _ORIENTATION.search(packet)
    return int(found[2]) if found else None


def upright(packet: bytes) -> bytes:
    """The packet with orientation 1 wherever it states one."""
    return _ORIENTATION.sub(rb"\g<1>1", packet)


def without_gps(packet: bytes) -> bytes:
    """The packet without the properties of a GPS position."""
    return _GPS.sub(b"", packet)


def has_video(packet: bytes) -> bool:
    """Whether a packet says that a video lies behind the picture."""
    return _HAS_VIDEO.search(packet) is not None


def without_video(packet: bytes) -> bytes:
    """The packet without what it says of that video."""
    return _VIDEO.sub(b"", packet)


def without_extension(packet: bytes) -> bytes:
    """The packet without its reference to an extended packet."""
    return _HAS_EXTENSION.sub(b"", packet)
