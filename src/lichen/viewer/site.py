"""The built page and its models as a folder for any web server, or as what a server of this machine answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lichen.errors import UsageError
from lichen.image.files import read_whole, refuse_existing, write_atomically
from lichen.viewer.models import INDEX, Models

PAGE = Path(__file__).parent / "page"
START = "index.html"
SHOWN_PAGE = "page.html"  # a page of `lichen compare` or `report`, which finds the decoder beside it


def built_page() -> dict[str, Path]:
    """The files of the page by their paths on a site. Raises `UsageError` where it was not built."""
    found = {path.relative_to(PAGE).as_posix(): path for path in sorted(PAGE.rglob("*")) if path.is_file()}
    if START not in found:
        said = "this copy of Lichen was installed without the page for browsers"
        raise UsageError(f"{said}: run scripts/web in its folder (it needs Node 20), then install it again")
    return found


@dataclass(frozen=True)
class Site:
    """Bytes and files by their paths below the site's folder."""

    index: bytes
    files: dict[str, Path]

    @staticmethod
    def with_models(models: Models, opened: list[Path] | None = None) -> Site:
        """The page and the models, and what is to be opened: pictures, or one HTML page. Raises `UsageError`."""
        files = opened or []
        if any(path.suffix.lower() in (".html", ".htm") for path in files):
            if len(files) > 1:
                raise UsageError("a page is served alone; give it without other files")
            shown = {SHOWN_PAGE: files[0]}
        else:
            shown = {f"pictures/{i}/{path.name}": path for i, path in enumerate(files)}
        return Site(models.index, built_page() | models.files | shown)

    def read(self, path: str) -> bytes | None:
        """The bytes at a path; None where there is nothing. Raises `BadInput` for a file that cannot be read."""
        if path == INDEX:
            return self.index
        found = self.files.get(path or START)
        return None if found is None else read_whole(found)

    def start(self) -> str:
        """What follows the site's address to open the pictures or the page."""
        if SHOWN_PAGE in self.files:
            return SHOWN_PAGE
        sources = [quote(path) for path in self.files if path.startswith("pictures/")]
        return "?" + "&".join(["local", *(f"src={source}" for source in sources)])

    def write(self, folder: Path, overwrite: bool) -> int:
        """Write all of it into a folder; gives how many bytes. Raises `OutputError`, `BadInput`."""
        refuse_existing(folder / INDEX, overwrite)
        size = 0
        for path in (*self.files, INDEX):
            data = self.read(path) or b""
            write_atomically(folder / path, data, overwrite=True)
            size += len(data)
        return size
