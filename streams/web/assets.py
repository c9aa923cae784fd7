"""The dashboard's files: its own from this package, plotly's JavaScript from the installed wheel. All are read at most once.

Browsers ask again each time whether the page's own files have changed, so that an upgraded worker never meets an old page.
Plotly's (4.8 MB, a third of that compressed) is kept for a day; its name carries no version, its ETag does.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources

from aiohttp import web

__all__ = ["PLOTLY_PATH", "add_assets"]

PLOTLY_PATH = "/static/plotly.min.js"

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PLOTLY_AGE_S = 86400


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    content_type: str
    etag: str
    cache_control: str = "no-cache"
    encoding: str | None = None

    def answer(self, request: web.Request) -> web.Response:
        """The file, or 304 to a browser that has it."""
        headers = {"ETag": f'"{self.etag}"', "Cache-Control": self.cache_control, "Vary": "Accept-Encoding"}
        if any(known.value == self.etag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        body = self.body
        if self.encoding and self.encoding in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = self.encoding
        elif self.encoding:
            body = gzip.decompress(body)
        return web.Response(body=body, content_type=self.content_type, charset="utf-8", headers=headers)


def add_assets(app: web.Application) -> None:
    """Serve ``/`` and ``/static/…``."""
    own = _own_assets()

    async def page(request: web.Request) -> web.Response:
        return own["index.html"].answer(request)

    async def static(request: web.Request) -> web.Response:
        asset = own.get(request.match_info["file"])
        if asset is None:
            raise web.HTTPNotFound
        return asset.answer(request)

    async def plotly(request: web.Request) -> web.Response:
        # A tenth of a second or two to compress, once: not on the event loop that also reads events.
        return (await asyncio.to_thread(_plotly)).answer(request)

    app.router.add_get("/", page)
    app.router.add_get(PLOTLY_PATH, plotly)
    app.router.add_get("/static/{file}", static)


@lru_cache(maxsize=1)
def _own_assets() -> dict[str, _Asset]:
    assets = {}
    for file in (resources.files("streams.web") / "static").iterdir():
        body = file.read_bytes()
        suffix = file.name[file.name.rfind(".") :]
        assets[file.name] = _Asset(body, _TYPES[suffix], hashlib.sha256(body).hexdigest()[:16])
    return assets


@lru_cache(maxsize=1)
def _plotly() -> _Asset:
    script = resources.files("plotly") / "package_data" / "plotly.min.js"
    return _Asset(
        gzip.compress(script.read_bytes(), compresslevel=6, mtime=0),
        _TYPES[".js"],
        f"plotly-{metadata.version('plotly')}",
        f"public, max-age={_PLOTLY_AGE_S}",
        "gzip",
    )
