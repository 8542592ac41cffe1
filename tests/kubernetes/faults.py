"""What goes wrong on the way to the API server and back."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.kubernetes.api_error import status

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Strike = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """Strikes the next ``times`` requests of a method whose path and query hold ``pattern``."""

    method: str
    pattern: str
    times: int
    strike: Strike
    struck: int = 0

    def takes(self, method: str, target: str) -> bool:
        """Whether it strikes this request."""
        return self.struck < self.times and method == self.method and re.search(self.pattern, target) is not None


def failing(code: int, headers: Mapping[str, str] | None, body: Mapping[str, Any] | None, *, after: bool) -> Strike:
    """Answer with an error, before or after the work is done; by default a Status object of that code."""

    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        if after:
            await handler(request)
        content = status(code, "by the test") if body is None else body
        return web.json_response(content, status=code, headers=headers)

    return strike


def hanging(seconds: float, *, after: bool) -> Strike:
    """Wait, before or after the work is done; who hangs up before the work is begun ends it."""

    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not after:
            await asyncio.sleep(seconds)
        response = await handler(request)
        if after:
            await asyncio.sleep(seconds)
        return response

    return strike


def cutting(*, after: bool) -> Strike:
    """Close the connection without an answer, before or after the work is done."""

    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        if after:
            await handler(request)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    return strike
