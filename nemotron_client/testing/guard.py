"""Keep a test from the network: connections that leave this machine fail it, and so do names asked of DNS."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from ipaddress import ip_address
from typing import Any

import pytest

_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Everywhere:
    """Refuse in every test that isn't let through, and in its fixtures."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test guarded."""
        with guarding(item):
            return (yield)


@contextmanager
def guarding(item: pytest.Item) -> Generator[None]:
    """Refuse within this context, unless the test is marked as one that needs the network."""
    if item.get_closest_marker("nemotron_network") is not None:
        yield
    else:
        with GUARD.on():
            yield


class Guard:
    """Refuse what would leave this machine, while it is on."""

    def __init__(self) -> None:
        """Begin with nothing refused."""
        self._is_paused = False

    @contextmanager
    def on(self) -> Generator[None]:
        """Refuse within this context."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("connect", "connect_ex", "sendto"):
                patch.setattr(socket.socket, name, self._guarded(getattr(socket.socket, name)))
            patch.setattr(socket, "getaddrinfo", self._guarded_names(socket.getaddrinfo))
            yield

    @contextmanager
    def paused(self) -> Generator[None]:
        """Refuse nothing within this context, as while a cassette is recorded."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def _guarded(self, method: Callable[..., object]) -> Callable[..., object]:
        @wraps(method)
        def guarded(own: socket.socket, *arguments: Any) -> object:  # noqa: ANN401 - whatever the method takes
            if own.family in _INTERNET:
                self._check(*arguments[-1][:2])  # the address comes last
            return method(own, *arguments)

        return guarded

    def _guarded_names(self, function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def guarded(host: object, port: object, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
            self._check(host, port)
            return function(host, port, *arguments, **options)

        return guarded

    def _check(self, host: object, port: object) -> None:
        if not self._is_paused and not _is_here(host):
            # Not an error that the code under test may take for an outage: it has to fail the test.
            pytest.fail(
                f"The network guard refused a connection to {host!s}, port {port!s}. Give the code under test "
                "nemotron_fake, nemotron_server or nemotron_cassette, or mark the test with nemotron_network."
            )


def _is_here(host: object) -> bool:
    name = host.decode("latin-1") if isinstance(host, bytes) else str(host)
    if host is None or name in {"", "localhost"}:
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


GUARD = Guard()
