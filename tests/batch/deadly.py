"""A codec whose process ends at one of the pictures of `test_ray`, as by a fault of a library."""

from __future__ import annotations

import os
import signal

from lichen.codec import Codec
from lichen.image.picture import Picture
from lichen.options import EncodeOptions


class DeadlyCodec(Codec):
    """Ends its process, an actor's, at pictures of 60 x 40 pixels."""

    def encode_picture(self, picture: Picture, options: EncodeOptions) -> bytes:
        if picture.pixels.shape[:2] == (40, 60):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_picture(picture, options)


def work_that_kills() -> Codec:
    """What an actor gets."""
    return DeadlyCodec()
