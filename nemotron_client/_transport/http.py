"""What is asked of an HTTP client, which httpx2 and httpx both meet, and the making of our own."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

from nemotron_client._json import short
from nemotron_client.config import redact
from nemotron_client.errors import ConfigurationError
from nemotron_client.timeouts import sooner

from .observe import LOGGER

if TYPE_CHECKING:
    import httpx2

    from nemotron_client._engine.exchange import Request

T = TypeVar("T")
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


Trust: TypeAlias = bool | ssl.SSLContext
Verify: TypeAlias = Trust | str | os.PathLike[str]

# A pool without end would let a burst open thousands of sockets; a request over the limit queues, and never fails for
# that. The pool looks through all idle ones twice for each request: these are as few as the HTTP library's own default.
_MOST_CONNECTIONS, _MOST_IDLE = 1000, 20
# Under the 5 s after which uvicorn, and so vLLM and NIM, closes an idle connection: none is used while it is closed.
_IDLE_SECONDS = 4.5


def checked_proxy(proxy: object) -> str | None:
    """Return the address of a proxy.

    Raises:
        ConfigurationError: It is none; nothing of it is shown, since it may hold a password.
    """
    if proxy is None:
        return None
    with suppress(ValueError):
        if isinstance(proxy, str) and urlsplit(proxy).scheme in {"http", "https", "socks5", "socks5h"}:
            return proxy
    raise ConfigurationError('proxy is no URL that can be used: give one such as "http://localhost:3128".')


def make_client(proxy: str | None, verify: Trust) -> HTTPClient:
    """Make the HTTP client that is used when the caller brings none."""
    import httpx2  # takes as long to import as all the rest; who only counts tokens or tests doesn't need it

    return _with_a_good_proxy(lambda: httpx2.Client(proxy=proxy, verify=verify, limits=_limits()))


def preload() -> None:
    """Import the HTTP library now, and not within the event loop, which that would hold up for tens of milliseconds."""
    import_module("httpx2")


def make_async_client(proxy: str | None, verify: Trust) -> AsyncHTTPClient:
    """Make the asynchronous HTTP client that is used when the caller brings none."""
    import httpx2

    return _with_a_good_proxy(lambda: httpx2.AsyncClient(proxy=proxy, verify=verify, limits=_limits()))


def _with_a_good_proxy(make: Callable[[], T]) -> T:
    import httpx2

    try:
        return make()
    except ImportError as error:  # SOCKS needs another package
        wrong = f"The proxy can't be used; see proxy=... and HTTPS_PROXY. {error}"
    except (ValueError, httpx2.InvalidURL):  # whose words hold a part of a password with a slash in it
        wrong = "The proxy is no URL that can be used; see proxy=... and HTTPS_PROXY."
    raise ConfigurationError(wrong)  # here, where it has no context, whose frames hold the password


def _limits() -> httpx2.Limits:
    import httpx2

    return httpx2.Limits(
        max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_IDLE, keepalive_expiry=_IDLE_SECONDS
    )


def tls_context(verify: Verify) -> Trust:
    """Load a CA bundle that is given by its path.

    Raises:
        ConfigurationError: It can't be read, or is something else.
    """
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    try:
        path = os.fspath(verify)
    except TypeError:
        path = ""
    if not path:
        msg = f"verify={short(verify)}: give True or False, the path of a CA bundle, or an ssl.SSLContext."
        raise ConfigurationError(msg)
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:  # SSLError, of a file that is no bundle, is an OSError
        raise ConfigurationError(f"verify={short(verify)} is no CA bundle that can be read: {error}.") from None


def check_given(http_client: object, *, close: str, kinds: str, proxy: str | None, verify: Verify) -> None:
    """Refuse an HTTP client that can't be used, or settings that it would not heed.

    Args:
        http_client: What the caller gave; None for nothing.
        close: The method that tells a blocking client from an asynchronous one.
        kinds: What to give, for the error.
        proxy: What the caller gave beside it.
        verify: What the caller gave beside it.

    Raises:
        ConfigurationError: It is something else, or proxy or verify were given too.
    """
    if http_client is None:
        return
    if isinstance(http_client, type):
        raise ConfigurationError(f"http_client is the class {http_client.__name__} itself: give {kinds}.")
    if not all(hasattr(http_client, name) for name in ("build_request", "send", close)):
        raise ConfigurationError(f"http_client is of type {type(http_client).__name__}: give {kinds}.")
    if proxy is not None or verify is not True:
        raise ConfigurationError("Give proxy and verify to the http_client itself: it is used as it is.")


def check_open(http_client: HTTPClient | AsyncHTTPClient) -> None:
    """Refuse an HTTP client that its owner has closed since.

    Raises:
        ConfigurationError: It is closed.
    """
    if getattr(http_client, "is_closed", False):
        msg = "The http_client that this client was given is closed: keep it open for as long as this one is used."
        raise ConfigurationError(msg)


class Load:
    """How many requests of a client are under way; tells the log when one has to queue for a connection."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._under_way = 0

    def enter(self) -> None:
        """Count a request."""
        with self._lock:
            self._under_way += 1
            under_way = self._under_way
        if under_way > _MOST_CONNECTIONS:
            LOGGER.info("%d requests are under way: one waits for one of %d connections", under_way, _MOST_CONNECTIONS)

    def leave(self) -> None:
        """Count it no longer."""
        with self._lock:
            self._under_way -= 1


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
