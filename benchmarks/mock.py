"""How much `MockServer` serves, in a process of its own whose CPU time it tells, to plain sockets."""

import json
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from select import select
from subprocess import PIPE, Popen
from time import perf_counter, process_time

from nemotron_client import Nemotron
from nemotron_client.testing import Cassette, FakeServer, MockServer, text


class Mock:
    """A `MockServer` that answers every question with a stream of so many words."""

    def __init__(self, process: "Popen[str]") -> None:
        """Wait until it listens."""
        self._process = process
        self._port = int(self._read())

    def stream(self, streams: int) -> tuple[int, float, float]:
        """Read so many streams at once; return the chunks, the seconds, and the server's CPU seconds."""
        body = json.dumps({"messages": [{"role": "user", "content": "Go on"}], "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: {len(body)}\r\n"
        request = f"{head}Content-Type: application/json\r\n\r\n".encode() + body
        before, began, chunks = self._cpu(), perf_counter(), 0
        ends: dict[socket.socket, bytes] = {}
        for _ in range(streams):
            connection = socket.create_connection(("127.0.0.1", self._port))
            connection.sendall(request)
            ends[connection] = b""
        while ends:
            for connection in select([*ends], [], [])[0]:
                received = connection.recv(1 << 18)
                chunks += received.count(b"data: ")
                ends[connection] = (ends[connection] + received)[-5:]
                if ends[connection] == b"0\r\n\r\n":
                    del ends[connection]
                    connection.close()
        return chunks, perf_counter() - began, self._cpu() - before

    def _cpu(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def mock(words: int) -> Generator[Mock]:
    """Run one."""
    command = [sys.executable, "-m", "benchmarks.mock", str(words)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:  # noqa: S603 - ourselves
        yield Mock(process)


def replays(folder: str) -> dict[str, Callable[[], float]]:
    """Return what measures a test with a cassette, recorded in that folder, and one with a fake, in seconds."""
    path = Path(folder, "test.json")

    def ask(client: Nemotron) -> None:
        client.chat.completions.create(messages="Hello")
        with client.chat.completions.stream(messages="Tell me a story", max_tokens=20) as stream:
            stream.until_done()

    with MockServer() as server, Cassette(path, "record") as cassette:
        ask(cassette.client(base_url=server.base_url, model="mistralai/mistral-nemotron"))

    def replayed() -> float:
        began = perf_counter()
        with Cassette(path, "replay") as cassette:
            ask(cassette.client(base_url="http://localhost/v1", model="mistralai/mistral-nemotron"))
        return perf_counter() - began

    def faked() -> float:
        began = perf_counter()
        with FakeServer() as fake:
            ask(fake.client())
        return perf_counter() - began

    return {"replayed": replayed, "with a fake": faked}


def _main() -> None:
    with MockServer() as server:
        server.always(text(" word" * int(sys.argv[1])))
        print(server.base_url.rpartition(":")[2].removesuffix("/v1"), flush=True)
        for _ in sys.stdin:
            print(process_time(), flush=True)


if __name__ == "__main__":
    _main()
