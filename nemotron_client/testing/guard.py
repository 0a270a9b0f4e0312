"""Keep a test from the network: connections that leave this machine fail it, and so do names asked of DNS."""

import socket
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from ipaddress import ip_address
from typing import Any

import pytest

_INTERNET = (socket.AF_INET, socket.AF_INET6)
# Methods of sockets (of which Windows has no sendmsg), and where their address stands among the arguments.
_ADDRESSED = {"connect": 0, "connect_ex": 0, "sendto": -1, "sendmsg": 3}
_CONNECTING = {name: place for name, place in _ADDRESSED.items() if hasattr(socket.socket, name)}
_NAMING = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")
_WITNESS = "nemotron_guard_witness"


class Everywhere:
    """Refuse in every test that isn't let through, and in its fixtures."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test guarded."""
        with guarding(item):
            return (yield)


class _Witness:
    """Fail a test that was refused something and went on as if nothing had happened, as in a thread of its own."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        result = yield
        GUARD.tell()
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        result = yield
        GUARD.tell()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        if call.excinfo is not None:  # of which this may be the reason: it need not be told twice
            GUARD.forget()


@contextmanager
def guarding(item: pytest.Item) -> Generator[None]:
    """Refuse within this context, unless the test is marked as one that needs the network."""
    if item.get_closest_marker("nemotron_network") is not None:
        yield
        return
    if not item.config.pluginmanager.has_plugin(_WITNESS):
        item.config.pluginmanager.register(_Witness(), _WITNESS)
    with GUARD.on():
        yield


class Guard:
    """Refuse what would leave this machine, while it is on."""

    def __init__(self) -> None:
        """Begin with nothing refused."""
        self._is_paused = False
        self._refused: list[str] = []

    @contextmanager
    def on(self) -> Generator[None]:
        """Refuse within this context."""
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            stack.callback(self.forget)
            for name, place in _CONNECTING.items():
                patch.setattr(socket.socket, name, self._guarded(getattr(socket.socket, name), place))
            for name in _NAMING:
                patch.setattr(socket, name, self._guarded_names(getattr(socket, name)))
            yield

    def tell(self) -> None:
        """Fail the test if something was refused."""
        if self._refused:
            pytest.fail(self._refused[0], pytrace=False)

    def forget(self) -> None:
        """Take what was refused as told."""
        self._refused.clear()

    @contextmanager
    def paused(self) -> Generator[None]:
        """Refuse nothing within this context, as while a cassette is recorded."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def _guarded(self, method: Callable[..., object], place: int) -> Callable[..., object]:
        @wraps(method)
        def guarded(own: socket.socket, *arguments: Any) -> object:  # noqa: ANN401 - whatever the method takes
            __tracebackhide__ = True
            # Without an address it goes where the socket was connected to.
            if own.family in _INTERNET and len(arguments) > place and arguments[place] is not None:
                host, port, *_ = arguments[place]
                self._check(host, f", port {port}")
            return method(own, *arguments)

        return guarded

    def _guarded_names(self, function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def guarded(*arguments: Any, **options: Any) -> object:  # noqa: ANN401
            __tracebackhide__ = True
            asked: dict[str, Any] = dict(zip(("host", "port"), arguments, strict=False)) | options
            host, port = asked.get("host"), asked.get("port")
            if function.__name__ == "getnameinfo":
                host, port, *_ = host or (None, None)
            if host != socket.gethostname():  # servers of the standard library ask for the machine's own
                self._check(host, "" if port is None else f", port {port}")
            return function(*arguments, **options)

        return guarded

    def _check(self, host: object, port: str) -> None:
        __tracebackhide__ = True
        if self._is_paused or _is_here(host):
            return
        name = host.decode("latin-1") if isinstance(host, bytes) else host
        told = (
            f"The network guard refused a connection to {name}{port}. Give the code under test nemotron_fake, "
            "nemotron_server or nemotron_cassette, or mark the test with nemotron_network."
        )
        self._refused.append(told)
        # Not an error that the code under test may take for an outage: it has to fail the test.
        pytest.fail(told)


def _is_here(host: object) -> bool:
    name = host.decode("latin-1") if isinstance(host, bytes) else str(host)
    if host is None or name.lower().removesuffix(".") in {"", "localhost"}:
        return True
    try:
        address = ip_address(_in_full(name))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _in_full(name: str) -> str:
    """Return an address of IPv4 with all its numbers, of which 127.1 leaves some out."""
    with suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(name))
    return name


GUARD = Guard()
