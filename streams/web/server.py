"""The worker's web server: an aiohttp application of its own, on the worker's event loop. Faust's stays off.

Any worker answers for any experiment. One that is asked about another's experiment

1. asks its view who owns it;
2. sends the same GET there, marked with `FORWARDED`, and passes the answer on;
3. answers 502 when the owner does not, within `OWNER_TIMEOUT_S`;
4. answers 503, asking nobody, when the request is so marked already: while ownership moves, two workers may name each other.

An error is JSON: ``{"error": what happened, "expected": what to do}``. Everything is read-only, and nothing is escaped here: the
page writes text, never markup, and the content security policy forbids the rest.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client.exposition import choose_encoder

from streams.metrics import Metrics
from streams.web.assets import add_assets
from streams.web.view import View

__all__ = ["DECISIONS_DEFAULT", "DECISIONS_MAX", "FORWARDED", "OWNER_TIMEOUT_S", "WebServer", "create_web"]

FORWARDED = "Allocator-Forwarded"
OWNER_TIMEOUT_S = 2.0
DECISIONS_DEFAULT = 50
DECISIONS_MAX = 1000

_PATHS = "/api/experiments, /api/experiments/{name}, and below it /changes, /decisions, /history, /health"
_HEADERS = {
    # Inline styles because plotly brings its own so; scripts only from here.
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_VIEW: web.AppKey[View] = web.AppKey("view")
_METRICS = web.AppKey("metrics", Metrics)
_OWNERS = web.AppKey("owners", aiohttp.ClientSession)
_encode = msgspec.json.Encoder().encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """Serves a view while it is started.

    Parameters
    ----------
    host : address to listen on; other machines reach the worker only when it is not the loopback address.
    port : 0 takes any free one; `port` and `url` then tell which.
    """

    def __init__(self, view: View, metrics: Metrics, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port
        self._runner = web.AppRunner(create_web(view, metrics), access_log=None, shutdown_timeout=1.0)

    @property
    def url(self) -> str:
        """Base URL as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError : the address is taken, or not this machine's.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Let open requests end for a second, then close."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()


def create_web(view: View, metrics: Metrics) -> web.Application:
    """The application: /ping, /ready, /metrics, /api/…, and the dashboard at /."""
    app = web.Application(middlewares=[_errors_as_json])
    app[_VIEW], app[_METRICS] = view, metrics
    app.cleanup_ctx.append(_owners_session)
    app.on_response_prepare.append(_add_headers)
    app.router.add_get("/ping", _ping)
    app.router.add_get("/ready", _ready)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/api/experiments", _experiments)
    app.router.add_get("/api/experiments/{name}", _detail)
    app.router.add_get("/api/experiments/{name}/changes", _changes)
    app.router.add_get("/api/experiments/{name}/decisions", _decisions)
    app.router.add_get("/api/experiments/{name}/history", _history)
    app.router.add_get("/api/experiments/{name}/health", _health)
    add_assets(app)
    return app


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="pong")


async def _ready(request: web.Request) -> web.Response:
    ready, reason = request.app[_VIEW].ready()
    return _json({"ready": ready, "reason": reason}, status=200 if ready else 503)


async def _metrics(request: web.Request) -> web.Response:
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return web.Response(body=encode(request.app[_METRICS].registry), headers={"Content-Type": content_type})


async def _experiments(request: web.Request) -> web.Response:
    return _json(request.app[_VIEW].experiments())


async def _detail(request: web.Request) -> web.Response:
    detail = request.app[_VIEW].detail(request.match_info["name"])
    return await _elsewhere(request) if detail is None else _json(detail)


async def _changes(request: web.Request) -> web.Response:
    """Newest first. Every worker has read them all."""
    view, name = request.app[_VIEW], request.match_info["name"]
    found = view.changes(name)
    return _json(found) if found or view.known(name) else _unknown(name, [summary.name for summary in view.experiments()])


async def _decisions(request: web.Request) -> web.Response:
    """?limit=: how many at most, newest first."""
    limit = _whole(request, "limit", DECISIONS_DEFAULT, 1, DECISIONS_MAX)
    view, name = request.app[_VIEW], request.match_info["name"]
    return await _elsewhere(request) if view.detail(name) is None else _json(view.decisions(name, limit))


async def _history(request: web.Request) -> web.Response:
    """?after=: only versions above this one, so that a page need not fetch what it has."""
    after = _whole(request, "after", 0, 0, 2**63 - 1)
    view, name = request.app[_VIEW], request.match_info["name"]
    if view.detail(name) is None:
        return await _elsewhere(request)
    return _json([point for point in view.history(name) if point.version > after])


async def _health(request: web.Request) -> web.Response:
    found = request.app[_VIEW].health(request.match_info["name"])
    return await _elsewhere(request) if found is None else _json(found)


async def _elsewhere(request: web.Request) -> web.Response:
    """The answer about an experiment that this worker does not own."""
    view, name = request.app[_VIEW], request.match_info["name"]
    owner = view.owner_url(name)
    if owner is None and not view.known(name):
        return _unknown(name, [summary.name for summary in view.experiments()])
    if owner is None:
        return _error(503, f"no worker owns {name!r} at the moment", "an owner within seconds; try again")
    if FORWARDED in request.headers:
        return _error(503, f"{name!r} is changing its owner", "an owner within seconds; try again")
    return await _ask(request, owner)


async def _ask(request: web.Request, owner: str) -> web.Response:
    url = owner.rstrip("/") + request.raw_path
    try:
        async with request.app[_OWNERS].get(url, headers={FORWARDED: "1"}, allow_redirects=False) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        why = f"not within {OWNER_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        return _error(
            502, f"{owner} owns {request.match_info['name']!r} and does not answer: {why}", "a new owner within a minute"
        )
    return web.Response(status=answer.status, body=body, content_type=answer.content_type, headers={"Cache-Control": "no-store"})


def _unknown(name: str, names: list[str]) -> web.Response:
    near = difflib.get_close_matches(name, names, 3)
    if near:
        expected = f"a known name; did you mean {' or '.join(repr(n) for n in near)}?"
    elif names:
        expected = f"one of {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    else:
        expected = "an experiment; there is none yet: allocator apply spec.yaml"
    return _error(404, f"no experiment {name!r}", expected)


def _whole(request: web.Request, parameter: str, default: int, least: int, most: int) -> int:
    text = request.query.get(parameter)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 20 and least <= (value := int(text)) <= most:
        return value
    body = {"error": f"{parameter}: {text!r}", "expected": f"{parameter}: a whole number from {least} to {most}"}
    raise web.HTTPBadRequest(text=_encode(body).decode(), content_type="application/json")


def _json(answer: Any, status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=_encode(answer), status=status, content_type="application/json", headers=headers)


def _error(status: int, error: str, expected: str) -> web.Response:
    return _json({"error": error, "expected": expected}, status)


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """aiohttp's own 404 and 405 under /api, in our form."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        if not request.path.startswith("/api"):
            raise
        expected = f"GET {_PATHS}"
        answer = _error(error.status, f"{request.method} {request.path}: {error.reason}", expected)
        if isinstance(error, web.HTTPMethodNotAllowed):
            answer.headers["Allow"] = error.headers["Allow"]
        return answer


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)


async def _owners_session(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=OWNER_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        app[_OWNERS] = session
        yield
