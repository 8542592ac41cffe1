"""A proxy in front of a real S3 server that injects faults. What no fault strikes is forwarded unchanged.

A `Rule` looks at each request and returns the `Fault` that shall strike it, or None; a fault does with the `Exchange`
what it likes. The Host header goes on as the client sent it, so signatures hold. Every request is logged.
"""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from clipfarm_tasks.storage import ObjectInfo
from tests.eventually import PATIENCE_S

NOT_PASSED_ON = {"connection", "content-length", "expect", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """One request as the client sent it; ``key`` is the object within the bucket, decoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.target).path).removeprefix("/").partition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


class Exchange(BaseHTTPRequestHandler):
    """One request and what can be done with it: ask the real server, answer in full or in part, hang up."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: "FaultyS3"

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        self.sent = Request(self.command, self.path, headers, body)
        with self.proxy.receiving(self.sent) as fault:
            fault(self)
            self.wfile.flush()

    def ask(self) -> tuple[int, dict[str, str], bytes]:
        """The real server's answer."""
        upstream = HTTPConnection(self.proxy.upstream, timeout=PATIENCE_S)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in NOT_PASSED_ON:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(self.sent.body)))
            upstream.endheaders(self.sent.body)
            answer = upstream.getresponse()
            body = answer.read()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in NOT_PASSED_ON}
            length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else len(body)
            return answer.status, headers | {"Content-Length": str(length)}, body
        finally:
            upstream.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def hang_up(self, *, reset: bool) -> None:
        if reset:
            time.sleep(0.02)  # a reset discards what was not delivered yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True


Fault = Callable[[Exchange], None]
Rule = Callable[[Request], Fault | None]
When = Callable[[Request], bool]


def forward(exchange: Exchange) -> None:
    """No fault."""
    exchange.answer(*exchange.ask())


def refuse(status: int, code: str) -> Fault:
    """Answer with an S3 error; the real server never sees the request."""
    body = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
    headers = {"Content-Type": "application/xml", "Content-Length": str(len(body))}
    return lambda exchange: exchange.answer(status, headers, b"" if exchange.command == "HEAD" else body)


def reset(exchange: Exchange) -> None:
    """Reset the connection; the real server never sees the request."""
    exchange.hang_up(reset=True)


def lose_answer(exchange: Exchange) -> None:
    """Let the real server do it, then reset the connection instead of answering."""
    exchange.ask()
    exchange.hang_up(reset=True)


def cut(*, reset: bool) -> Fault:
    """Send half of the body under its full Content-Length, then reset, or close as if that were all."""

    def half(exchange: Exchange) -> None:
        status, headers, body = exchange.ask()
        exchange.answer(status, headers, body[: len(body) // 2])
        exchange.hang_up(reset=reset)

    return half


def shorten(exchange: Exchange) -> None:
    """Send half of the body under a Content-Length that agrees: only who knows the object's size can tell."""
    status, headers, body = exchange.ask()
    if body:
        body = body[: len(body) // 2]
        headers |= {"Content-Length": str(len(body))}
    exchange.answer(status, headers, body)


def meanwhile(change: Callable[[str], object]) -> Fault:
    """Change the object, through another client, right before the real server sees the request."""

    def changed(exchange: Exchange) -> None:
        change(exchange.sent.key)
        forward(exchange)

    return changed


def list_also(vanished: Iterable[ObjectInfo]) -> Fault:
    """Answer a listing with objects that are gone, in the first of its pages; other requests are forwarded."""
    known = [*vanished]

    def stale(exchange: Exchange) -> None:
        status, headers, body = exchange.ask()
        query = exchange.sent.query
        if "list-type" in query and "continuation-token" not in query:
            entries = "".join(
                f"<Contents><Key>{escape(one.key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(one.etag)}</ETag><Size>{one.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
                for one in known
                if one.key.startswith(query.get("prefix", ""))
            )
            body = body.replace(b"</ListBucketResult>", f"{entries}</ListBucketResult>".encode())
            headers |= {"Content-Length": str(len(body))}
        exchange.answer(status, headers, body)

    return stale


def stall(seconds: float, *, in_body: bool = False) -> Fault:
    """Wait before the answer, or in the middle of its body, then go on as if nothing had been."""

    def late(exchange: Exchange) -> None:
        status, headers, body = exchange.ask()
        half = len(body) // 2 if in_body else 0
        if in_body:
            exchange.answer(status, headers, body[:half])
        exchange.proxy.closing.wait(seconds)
        if in_body:
            exchange.wfile.write(body[half:])
        else:
            exchange.answer(status, headers, body)

    return late


# A lie when the object is there.
not_found = refuse(404, "NoSuchKey")


def of(method: str) -> When:
    """Requests of one method, listings and bulk deletions included."""
    return lambda request: request.method == method


def reading(prefix: str = "") -> When:
    """Reads of objects under a prefix."""
    return lambda request: request.method == "GET" and request.key != "" and request.key.startswith(prefix)


def listing(request: Request) -> bool:
    """Whether a request lists a prefix."""
    return request.method == "GET" and "list-type" in request.query


def every(request: Request) -> bool:
    """All requests."""
    return True


def always(fault: Fault, when: When = every) -> Rule:
    """Strike every request that matches."""
    return lambda request: fault if when(request) else None


def first(times: int, fault: Fault, when: When = every, *, skip: int = 0) -> Rule:
    """Strike the first so many requests that match, after those to skip. Rules are asked one request at a time."""
    seen: list[Request] = []

    def rule(request: Request) -> Fault | None:
        if len(seen) == skip + times or not when(request):
            return None
        seen.append(request)
        return fault if len(seen) > skip else None

    return rule


def at_random(seed: int, probability: float, faults: list[Fault], when: When = every) -> Rule:
    """Strike a fraction of the requests that match; which ones depends on the seed, not on the order of arrival."""
    seen: Counter[str] = Counter()

    def rule(request: Request) -> Fault | None:
        if not when(request):
            return None
        what = f"{request.method} {request.key}?{urlsplit(request.target).query}"  # whatever the bucket
        seen[what] += 1
        chance = random.Random(f"{seed} {what} {seen[what]}")
        return chance.choice(faults) if chance.random() < probability else None

    return rule


class FaultyS3:
    """The proxy, for the length of a ``with`` block; ``rule`` may be replaced at any time."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream = urlsplit(upstream_url).netloc
        self.rule: Rule | None = None
        self.log: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("ProxyExchange", (Exchange,), {"proxy": self}))
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def receiving(self, request: Request) -> Iterator[Fault]:
        """Log the request and choose its fault."""
        with self._lock:
            self.log.append(request)
            fault = (self.rule and self.rule(request)) or forward
        with suppress(OSError):  # the client, or the real server, went away
            yield fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
