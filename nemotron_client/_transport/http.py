"""What is asked of an HTTP client, which httpx2 and httpx both meet: requests to it, answers from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from nemotron_client.config import redact
from nemotron_client.timeouts import sooner

if TYPE_CHECKING:
    import httpx2

    from nemotron_client._engine.exchange import Request

Limits: TypeAlias = "tuple[float | None, float | None, float | None, float | None]"


class Headers(Protocol):
    """Response headers."""

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """As they came."""
        ...


class _Request(Protocol):
    @property
    def extensions(self) -> Mapping[str, Any]: ...


class _Response(Protocol):
    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def http_version(self) -> str: ...
    @property
    def is_stream_consumed(self) -> bool: ...
    @property
    def stream(self) -> Any: ...  # noqa: ANN401 - its type doesn't say which way to iterate
    @property
    def extensions(self) -> Mapping[str, Any]: ...
    @property
    def request(self) -> _Request: ...


class HTTPResponse(_Response, Protocol):
    """A response whose body has not been read."""

    def iter_bytes(self) -> Iterator[bytes]:
        """Read the body in pieces, decompressed."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class AsyncHTTPResponse(_Response, Protocol):
    """The same, asynchronous."""

    def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Read the body in pieces, decompressed."""
        ...

    async def aclose(self) -> None:
        """Give the connection back."""
        ...


class HTTPClient(Protocol):
    """An ``httpx2.Client`` or ``httpx.Client``."""

    def build_request(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout: Limits
    ) -> Any:  # noqa: ANN401 - each library has its own type, which only it looks into
        """Make a request with the client's own headers, cookies and parameters."""
        ...

    def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> HTTPResponse:  # noqa: ANN401 - as above
        """Send a request; with ``stream``, leave the body of the answer open."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class AsyncHTTPClient(Protocol):
    """An ``httpx2.AsyncClient`` or ``httpx.AsyncClient``."""

    def build_request(
        self, method: str, url: str, *, content: bytes | None, headers: Mapping[str, str], timeout: Limits
    ) -> Any:  # noqa: ANN401 - each library has its own type, which only it looks into
        """Make a request with the client's own headers, cookies and parameters."""
        ...

    async def send(self, request: Any, *, stream: bool, follow_redirects: bool) -> AsyncHTTPResponse:  # noqa: ANN401
        """Send a request; with ``stream``, leave the body of the answer open."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def built(http: HTTPClient | AsyncHTTPClient, request: Request, now: float) -> Any:  # noqa: ANN401 - as above
    """Make a request for a client that the caller gave, whose headers, cookies and parameters it gets."""
    return http.build_request(
        request.method,
        request.url,
        content=request.body,
        headers=request.headers,
        timeout=step_limits(request, now),
    )


def built_directly(request: Request, now: float) -> Any:  # noqa: ANN401 - as above
    """Make a request for a client of our own, which has nothing to merge: that would take a tenth of the whole."""
    import httpx2

    url, body = _parsed(request.url), request.body
    headers = {"host": url.netloc.decode(), **_always(), **request.headers}
    if body is not None:
        headers["content-length"] = str(len(body))
    connect, read, write, pool = step_limits(request, now)
    return httpx2.Request(
        request.method,
        url,
        headers=headers,
        stream=httpx2.ByteStream(body or b""),  # with `content=`, it would look for headers to add, which takes longer
        extensions={"timeout": {"connect": connect, "read": read, "write": write, "pool": pool}},
    )


@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx2.URL:
    import httpx2

    return httpx2.URL(url)


@cache
def _always() -> dict[str, str]:
    """Return what a client sends with every request, of which the kinds of compression depend on what is installed."""
    import httpx2

    with httpx2.Client(verify=False, trust_env=False) as plain:
        return {name: plain.headers[name] for name in ("accept-encoding", "connection")}


def step_limits(request: Request, now: float) -> Limits:
    """Return what each step up to the headers may take: connecting, reading, writing, waiting for a connection.

    Args:
        request: What is being sent.
        now: The time, in seconds of the driver's clock.
    """
    timeout, deadline = request.timeout, request.deadline
    return (
        sooner(timeout.connect, deadline, now),
        sooner(timeout.first_event, deadline, now),
        sooner(timeout.idle, deadline, now),
        sooner(None, deadline, now),
    )


def allow_silence(response: _Response, request: Request, now: float) -> None:
    """Let the HTTP client wait for each piece of the body as long as any limit allows; the watchdog knows which holds.

    What it was told for the headers would end every later silence as well.
    """
    limits = response.request.extensions.get("timeout")
    if limits is not None:
        first, idle = request.timeout.first_event, request.timeout.idle
        longest = None if first is None or idle is None else max(first, idle)
        limits["read"] = sooner(longest, request.deadline, now)


def read_headers(response: _Response, request: Request) -> dict[str, str]:
    """Return the headers with names in lower case and without the request's secrets, which a server may have echoed.

    A name that came twice has its values joined with commas.
    """
    raw = response.headers.raw
    values = redact(b"\n".join(value for _, value in raw), request.headers).split(b"\n")  # no value has a line break
    headers: dict[str, str] = {}
    for (raw_name, _), raw_value in zip(raw, values, strict=False):  # nothing at all still splits into one
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def pieces(response: HTTPResponse) -> Iterator[bytes]:
    """Iterate over the body as it comes."""
    if _must_decode(response):
        return response.iter_bytes()
    raw: Iterator[bytes] = iter(response.stream)
    return raw


def async_pieces(response: AsyncHTTPResponse) -> AsyncIterator[bytes]:
    """Iterate over the body as it comes."""
    if _must_decode(response):
        return response.aiter_bytes()
    raw: AsyncIterator[bytes] = aiter(response.stream)
    return raw


def _must_decode(response: _Response) -> bool:
    # The longer way costs each piece a microsecond or two. It is for what is compressed or was read by a user's hook.
    if response.is_stream_consumed:
        return True
    return any(name.lower() == b"content-encoding" for name, _ in response.headers.raw)
