"""A hook of MkDocs: pages of docs/decisions and docs/experiments are listed without being named in mkdocs.yml."""

from pathlib import Path
from typing import Any

FOLDERS = {"Decisions": "decisions", "Experiments": "experiments"}


def on_config(config: Any) -> Any:
    """Add a section for each folder, its pages in the order of their names."""
    docs = Path(config["docs_dir"])
    for title, folder in FOLDERS.items():
        pages = sorted(path.relative_to(docs).as_posix() for path in (docs / folder).glob("*.md"))
        config["nav"].append({title: pages})
    return config
