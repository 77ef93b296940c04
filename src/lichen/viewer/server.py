"""A server of the viewer for this machine alone: on the loopback, for pages of its own."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from lichen.errors import BadInput, UsageError
from lichen.viewer.site import Site

HOST = "127.0.0.1"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".lic": "image/x-lichen",
}
_HEADERS = {  # isolated, so that WebAssembly may have threads; no other page may read the pictures
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


def serve(site: Site, port: int) -> ThreadingHTTPServer:
    """A server of a site on a port of the loopback, 0 for any that is free; `serve_forever` runs it.

    Raises `UsageError` where the port is taken.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, site))
    except OSError as error:
        raise UsageError(f"port {port} cannot be served ({error.strerror}); give another") from error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *connection: object) -> None:
        self._site = site
        super().__init__(*connection)  # type: ignore[arg-type]  # request, address and server

    def do_GET(self) -> None:
        """Answer with a file. Names of other hosts, by which a foreign page might get here, are refused."""
        host = self.headers.get("Host", "").partition(":")[0]
        if host not in {HOST, "localhost"}:
            self._answer(HTTPStatus.FORBIDDEN, ".txt", b"this server is for its own machine")
            return
        path = unquote(urlsplit(self.path).path).lstrip("/")
        try:
            data = self._site.read(path)
        except BadInput as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, ".txt", str(error).encode())
            return
        if data is None:
            self._answer(HTTPStatus.NOT_FOUND, ".txt", b"there is no such file")
        else:
            self._answer(HTTPStatus.OK, PurePosixPath(path or "index.html").suffix, data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed of requests."""

    def _answer(self, status: HTTPStatus, suffix: str, data: bytes) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", _TYPES.get(suffix.lower(), "application/octet-stream"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
