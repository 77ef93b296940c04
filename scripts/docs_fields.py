"""An extension of Griffe, which reads docstrings for the API reference: lines of `name: meaning` become a list."""

import re
from typing import Any

import griffe

FIELD = re.compile(r"^([a-z_][a-z0-9_]*): ", flags=re.M)


class Fields(griffe.Extension):
    """Markdown would join such lines to one paragraph; their continuations are indented already."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Mark the fields that an object's docstring explains."""
        if obj.docstring is not None:
            first, *rest = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join([first, *(FIELD.sub(r"* `\1`: ", block) for block in rest)])
