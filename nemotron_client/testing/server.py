"""A real HTTP server for tests: scripted replies, deterministic ones where nothing is scripted, and every request kept.

It runs in a daemon thread with an event loop of its own, so a blocking test can use it and so can an async one.
"""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from nemotron_client.testing.recorded import RecordedRequest, header_values
from nemotron_client.testing.replies import MODEL, Reply, error
from nemotron_client.testing.script import Personality, ScriptedServer

try:
    from uvicorn import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"MockServer needs {missing.name}, which is not installed: "
        "pip install '.[testing]' in a copy of nemotron-client"
    ) from missing

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which also lets the application see it end and end it by force."""

    def __init__(self, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        # What is given here as the application's state comes back as scope["state"].
        super().__init__(config, state, {"connection": self}, loop)
        # uvicorn's loggers belong to applications of the process under test.
        self.logger = logging.getLogger("nemotron_client.testing")
        self.access_log = False
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()

    async def lost_within(self, seconds: float) -> bool:
        """Wait so long, or less if the connection ends, and tell whether it has; 0 lets other tasks run once."""
        if seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.lost.wait()
        else:
            await asyncio.sleep(0)
        return self.lost.is_set()

    async def cut(self, *, reset: bool) -> None:
        """Close the TCP connection, gracefully (FIN, after all that was written) or not (RST)."""
        if reset:
            # Linger for 0 seconds: what makes close() send RST (socket(7), SO_LINGER).
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            self.transport.close()
        await self.lost.wait()


class MockServer(ScriptedServer):
    """Serve the OpenAI-compatible API of vLLM and NIM, or of NVIDIA's gateway, on a free loopback port.

    Without a script it greets, tells a story, calls tools, fills JSON schemas and repeats what it heard, always in the
    same way. Its counts of tokens are the model's.

    Args:
        api_key: Asked for, by vLLM under /v1 only; None asks for none.
        model: The name it serves; any other is a 404.
        max_model_len: The window, in tokens.
        chunk_delay: Seconds between the chunks of a stream, where a reply has no delay of its own.
        personality: How it behaves where the script says nothing: "vllm", or "hosted" as NVIDIA's gateway does.
            `Hosted(...)` is that on bad days: with a rate limit, offline, retired.
        port: 0 takes a free one.

    Raises:
        ValueError: The port can't be one, or there is no such personality.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        model: str = MODEL,
        max_model_len: int = 131_072,
        chunk_delay: float = 0.0,
        personality: Personality = "vllm",
        port: int = 0,
    ) -> None:
        if not 0 <= port < 65_536:
            raise ValueError(f"port={port}: a port is a number to 65535, and 0 takes a free one.")
        super().__init__(
            api_key=api_key,
            model=model,
            max_model_len=max_model_len,
            chunk_delay=chunk_delay,
            personality=personality,
        )
        self._port = port
        self._left = threading.Condition()
        self._state = ServerState()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<MockServer {self.base_url if self._port else 'not started'}>"

    def start(self) -> Self:
        """Listen, and serve in a thread until `close`; `with` does both. While it serves, this does nothing."""
        if self._loop is not None:
            return self
        self._state, self._stop = ServerState(), asyncio.Event()
        # Bound here, so that a port in use is the caller's error; from now on the kernel takes connections in.
        listener = socket.create_server(("127.0.0.1", self._port))
        import_module("nemotron_client._tekken")  # takes 0.2 s, for which the event loop would stand still
        # Accepted sockets inherit it; asyncio itself sets it only on sockets made with IPPROTO_TCP, which this is not.
        # Without it a chunk may wait 40 ms for the client to acknowledge the one before.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = listener.getsockname()[1]
        self._loop = loop = asyncio.new_event_loop()
        serve = self._serve(listener, loop)
        self._thread = threading.Thread(target=loop.run_until_complete, args=[serve], name="MockServer", daemon=True)
        self._thread.start()
        return self

    def close(self, *, failed: bool = False) -> None:
        """Break off what is being sent, close every connection and end the thread; a second time does nothing.

        Args:
            failed: Whether the test has failed: then a mistake in the script need not be told.

        Raises:
            Exception: What a scripted function raised, so that the test fails that wrote it.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop.close()
            self._loop = None
        self._end(failed=failed)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None:
            self.explain(exc)
        self.close(failed=exc is not None)

    @property
    def base_url(self) -> str:
        """The URL for a client's `base_url`, with /v1."""
        if not self._port:
            raise RuntimeError("The server has no port yet: use `with MockServer() as server:`, or call start() first.")
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open now, those that a client has just opened or closed taken into account."""
        if self._loop is None:
            return 0
        if threading.current_thread() is self._thread:  # in a scripted function, which can't wait for itself
            return len(self._state.connections)
        return asyncio.run_coroutine_threadsafe(self._count_connections(), self._loop).result()

    def wait_for_disconnect(self, count: int = 1, timeout: float = 5.0) -> bool:
        """Wait until so many clients have left in the middle of a response; False if `timeout` seconds pass first."""
        with self._left:
            return self._left.wait_for(lambda: self.disconnects >= count, timeout)

    async def _serve(self, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        config = Config(
            self._app,
            http=_Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            log_config=None,  # logging is the process's, not ours to set
            timeout_keep_alive=86_400,  # no idle connection ends by the clock
        )
        config.load()
        # In place of uvicorn.Server, which looks every 0.1 s whether to stop and then waits for open connections.
        server = await loop.create_server(lambda: _Connection(config, self._state, loop), sock=listener, backlog=1024)
        await self._stop.wait()
        # asyncio fails on connections that it is still accepting when the server closes (cpython, Server._attach).
        while accepting := asyncio.all_tasks() - self._state.tasks - {asyncio.current_task()}:
            await asyncio.wait(accepting)
        server.close()
        while self._state.connections or self._state.tasks:
            for connection in tuple(self._state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    async def _count_connections(self) -> int:
        for _ in range(5):  # turns of the loop: to accept one takes three, to notice a close two
            await asyncio.sleep(0)
        return len(self._state.connections)

    async def _app(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        request = RecordedRequest(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=header_values(scope["headers"]),
            body=bytes(body),
        )
        self.requests.append(request)
        connection: _Connection = scope["state"]["connection"]
        try:
            stayed = await self._send(self._scripted(request), send, connection)
        except Exception as mistake:  # of a script: its test shall fail, and no client try again what can't go well
            self._mistakes.append(mistake)
            if connection.cycle.response_started:
                raise  # uvicorn logs it and closes the connection
            stayed = await self._send(_failed(mistake), send, connection)
        if not stayed and not self._stop.is_set():
            with self._left:
                self.disconnects += 1
                self._left.notify_all()

    def _noted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except (Exception, GeneratorExit):
            raise
        except BaseException as mistake:
            self._mistakes.append(mistake)
            raise RuntimeError(repr(mistake)) from mistake

    def _scripted(self, request: RecordedRequest) -> Reply:
        try:
            return self._chosen(request)
        except Exception:
            raise
        except BaseException as mistake:  # noqa: BLE001 - such as pytest.fail's, which the event loop must not see
            self._mistakes.append(mistake)
            return _failed(mistake)

    async def _send(self, reply: Reply, send: _Send, connection: _Connection) -> bool:
        """Send the reply; return whether the client stayed until it had ended."""
        if await connection.lost_within(reply.delay):
            return False
        if reply.status:
            chunks, headers, pause = self._encoded(reply)
            encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
            for number, chunk in enumerate(self._noted(chunks)):
                if number and await connection.lost_within(pause):
                    return False
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if reply.end == "close" and reply.status:
            await send({"type": "http.response.body", "body": b""})
            return not connection.lost.is_set()
        if reply.end == "hang":
            await connection.lost.wait()
            return False
        await connection.cut(reset=reply.end == "reset")
        return True


def _failed(mistake: BaseException) -> Reply:
    told = f"The reply that the test scripted for this request failed: {mistake!r}"
    return error(500, told, headers={"x-should-retry": "false"})
