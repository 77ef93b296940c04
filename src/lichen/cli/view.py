"""Commands for browsers: view."""

from __future__ import annotations

import contextlib
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from lichen.cli.app import Force, app, say
from lichen.image.files import read_whole


@app.command()
def view(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help=".lic files, or a page of compare or report.", show_default=False, metavar="FILES..."),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            help="Write the viewer and the browser's decoder into this folder, for a web server.", metavar="FOLDER"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the loopback; 0 takes one that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
    force: Force = False,
) -> None:
    """Show `.lic` files in the browser, which decodes them itself; until Ctrl-C.

    Nothing leaves this machine. The page also opens files that are dropped on it. A page of `lichen compare` or
    `lichen report`, given instead, shows Lichen's pictures from the `.lic` files in it.

    Examples: `lichen view photo.lic` · `lichen view photo-compare.html` · `lichen view --site public/lichen`
    """
    from lichen.viewer.models import Models
    from lichen.viewer.server import HOST, serve
    from lichen.viewer.site import Site

    for path in files or []:
        read_whole(path)  # damage is said in the page, beside the sound ones
    made = Site.with_models(Models.available(), files)
    if site is not None:
        say(f"{site} has the viewer and the decoder, {made.write(site, force) / 1e6:.0f} MB")
        return
    with serve(made, port) as server:
        address = f"http://{HOST}:{server.server_address[1]}/{made.start()}"
        say(f"the viewer is at {address} until Ctrl-C")
        if browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
