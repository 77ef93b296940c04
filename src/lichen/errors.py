"""Everything that Lichen raises on purpose. Each message ends with what to do about it."""

from __future__ import annotations


class LichenError(Exception):
    """Base of all errors of this package."""


class UsageError(LichenError):
    """The call cannot mean anything: contradicting options, values out of range."""


class BadInput(LichenError):
    """The input is not what it should be."""


class BadPicture(BadInput):
    """Not a picture, or one that Lichen cannot code (mode, size, NaN, range)."""


class BadFile(BadInput):
    """Not a `.lic` file, or a damaged one: truncated, altered, contradictory."""


class TruncatedFile(BadFile):
    """A `.lic` file that ends before it should."""


class UnsupportedFile(BadFile):
    """A sound `.lic` file that this version cannot read: newer version, unknown critical part."""


class PictureTooLarge(BadInput):
    """The picture, or the size that a file claims, is beyond the limit."""


class UnknownWeights(BadInput):
    """No weights with the wanted name or hash were found."""


class BadCheckpoint(BadInput):
    """A weights file that is damaged or belongs to another model."""


class UnknownCheckpoint(BadInput):
    """A checkpoint of another library that is none of the architectures known here."""


class BadRecipe(BadInput):
    """A training recipe with unknown keys or impossible values."""


class BadData(BadInput):
    """A data folder without usable pictures."""


class TrainingDiverged(LichenError):
    """Too many training steps in a row gave no finite gradient."""


class OutputError(LichenError):
    """The output cannot be written, or exists and must not be overwritten."""


class OutputExists(OutputError):
    """The output is there already and must not be overwritten."""


class OutOfMemory(LichenError):
    """The machine, or the limit that was set, has less memory than the picture needs."""


class InexactEngine(LichenError):
    """What runs graphs does not add whole numbers exactly: its files would not be the same everywhere."""


class DeviceError(LichenError):
    """The wanted device is not there."""


class ClusterError(LichenError):
    """The cluster cannot be reached, has nothing to work with, or was lost as a whole."""


class PictureNotice(UserWarning):
    """Said, not raised: a picture was changed to be read, e.g. 16 bits a sample became 8."""
