"""The HTTP client: one of our own with its limits, proxy and TLS, or the caller's, if it can be used."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import urlsplit

from nemotron_client._json import short
from nemotron_client.errors import ConfigurationError

from .observe import LOGGER

if TYPE_CHECKING:
    import httpx2

    from .http import AsyncHTTPClient, HTTPClient

T = TypeVar("T")
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
