"""Have the requests of clients answered in the process: of those that are made here, and of HTTP clients that exist.

Fakes and cassettes build on this; how they stand in for the network is in `transports.py`.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from inspect import signature
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from nemotron_client.async_client import AsyncNemotron
from nemotron_client.client import Nemotron
from nemotron_client.testing.transports import Blocking, Nonblocking, Plug

P = ParamSpec("P")
OwnT = TypeVar("OwnT")
ClientT = TypeVar("ClientT")


def _like(
    kind: Callable[P, ClientT],
) -> Callable[[Callable[[OwnT, dict[str, object]], None]], Callable[Concatenate[OwnT, P], ClientT]]:
    """Make a method that takes what a client's class takes; the decorated one may change the options."""

    def decorate(change: Callable[[OwnT, dict[str, object]], None]) -> Callable[Concatenate[OwnT, P], ClientT]:
        @wraps(change)
        def make(own: OwnT, /, *arguments: P.args, **options: P.kwargs) -> ClientT:
            change(own, options)
            return kind(*arguments, **options)

        of_kind = signature(kind)
        itself = next(iter(signature(change).parameters.values()))
        vars(make)["__signature__"] = of_kind.replace(
            parameters=[itself, *of_kind.parameters.values()], return_annotation=kind
        )
        return make

    return decorate


class InProcess:
    """Make clients whose requests are answered in the process, and attach HTTP clients that exist already."""

    def __init__(self, plug: Plug, options: Mapping[str, object], *, network: bool) -> None:
        """Begin with nothing attached.

        Args:
            plug: What becomes of requests.
            options: What clients are made with, where nothing else is given.
            network: Whether requests may be sent on.
        """
        self._plug = plug
        self._options = options
        self._network = network
        self._attached = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            self.explain(exc)
        self.close(failed=exc is not None)

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - for what is built on this
        """Leave the HTTP clients that were attached as they were before.

        Args:
            failed: Whether the test has failed: then there is no need to tell of anything else.
        """
        self._attached.close()

    def explain(self, failure: BaseException) -> None:
        """Note on the exception that fails a test what may be why, where anything is known of that."""

    @_like(Nemotron)
    def client(self, options: dict[str, object]) -> None:
        """Make a `Nemotron` whose requests are answered here; it takes what `Nemotron` takes."""
        import httpx2

        self._complete(options, httpx2.Client, httpx2.BaseTransport)

    @_like(AsyncNemotron)
    def async_client(self, options: dict[str, object]) -> None:
        """Make an `AsyncNemotron` whose requests are answered here; it takes what `AsyncNemotron` takes."""
        import httpx2

        self._complete(options, httpx2.AsyncClient, httpx2.AsyncBaseTransport)

    def attach(self, http_client: ClientT) -> ClientT:
        """Answer the requests of this HTTP client too, until `close`; return it.

        Args:
            http_client: A client of httpx2 or httpx, blocking or not.

        Raises:
            TypeError: It is something else.
        """
        self._take_over(http_client, self._attached)
        return http_client

    def _complete(self, options: dict[str, object], client: Callable[..., object], nothing: type) -> None:
        for name, value in self._options.items():
            if options.get(name) is None:
                options[name] = value
        given = options.get("http_client")
        if given is not None:
            self.attach(given)
            return
        if self._network:
            import httpx2

            # No connection is kept alive, since nobody would close it: a Nemotron leaves open what it was given.
            made = client(limits=httpx2.Limits(max_keepalive_connections=0))
        else:
            made = client(transport=nothing())
        self._take_over(made, ExitStack())  # for good: it is not to reach the network after the test
        options["http_client"] = made

    def _take_over(self, http_client: object, until: ExitStack) -> None:
        # As OpenTelemetry instruments httpx: neither library has a public way to change the transport of a client.
        transport: object = getattr(http_client, "_transport", None)
        mounts: Mapping[object, object] = getattr(http_client, "_mounts", {})  # the proxies
        if transport is None:
            told = "For a client of this library use client(...) or async_client(...)."
            raise TypeError(f"Only a client of httpx2 or httpx can be attached, not {http_client!r}. {told}")
        for each in (transport, *mounts.values()):
            for name, handler in (("handle_request", Blocking), ("handle_async_request", Nonblocking)):
                send = getattr(each, name, None)
                stands_in: object = getattr(send, "__self__", None)
                is_ours = isinstance(stands_in, Blocking | Nonblocking) and stands_in.plug is self._plug
                if send is not None and not is_ours:
                    stand_in = handler(self._plug, send)
                    until.callback(_take_out, each, name, stand_in)
                    setattr(each, name, stand_in.handle)


def _take_out(transport: object, name: str, stand_in: Blocking | Nonblocking) -> None:
    """Have requests go past what stood in for a transport, and remove all that do so and have nothing upon them."""
    stand_in.is_out = True
    last: object = getattr(getattr(transport, name), "__self__", None)
    while isinstance(last, Blocking | Nonblocking) and last.is_out:
        delattr(transport, name)
        if getattr(transport, name) != last.send:  # another stands there still
            setattr(transport, name, last.send)
        last = getattr(last.send, "__self__", None)
