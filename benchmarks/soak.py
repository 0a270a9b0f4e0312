"""Stream for a long time among faults and watch what is left behind: `python -m benchmarks.soak [seconds]`.

Fifty tasks read numbered chunks from a server in another process, which does what each prompt says: it resets
connections, falls silent, refuses. The tasks leave early or are cancelled too. Ends with exit status 1 if a chunk was
lost or doubled, if a call ended otherwise than it had to, if a request was sent too often, or if connections, tasks,
threads or memory remain. Linux only.
"""

import asyncio
import json
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen
from time import monotonic
from typing import IO

from benchmarks.worker import resident
from nemotron_client import APIError, AsyncNemotron, StreamInterruptedError, StreamTimeoutError, Timeout
from nemotron_client.testing import MockServer, RecordedRequest, Reply, error

_STREAMS = 50
_IDLE = 3.0  # seconds of silence after which the client gives up; more than a busy machine may make of a pause
_SETTLING = 10.0  # seconds; the watchdog thread stays for 5 after its last stream
_ROOM = 4 * 1024 * 1024  # bytes by which an interpreter's memory moves although nothing is kept
_PAUSE = 0.01  # seconds between chunks

# What the server does, how often among all, and what a caller who reads to the end must get (None: the answer).
# Outages and rate limits are over at the second attempt.
_DEEDS: dict[str, tuple[float, type[Exception] | None]] = {
    "whole": (60, None),
    "outage": (5, None),
    "rate-limit": (1, None),
    "reset": (6, StreamInterruptedError),
    "cut": (6, StreamInterruptedError),
    "unfinished": (6, StreamInterruptedError),
    "broken": (6, StreamInterruptedError),
    "error": (6, StreamInterruptedError),
    "silence": (2, StreamTimeoutError),
    "comments": (2, StreamTimeoutError),
}
_TWICE = frozenset({"outage", "rate-limit"})


def _event(delta: str, finish_reason: str = "null") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":%b,"finish_reason":%b}]}\n\n' % (
        delta.encode(),
        finish_reason.encode(),
    )


def _chunks(deed: str, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield _event(f'{{"content":"{number} "}}')
    match deed:
        case "broken":
            yield b'data: {"choices":[{"ind\n\n'
        case "error":
            yield b'data: {"error":{"message":"out of memory","type":"InternalServerError","code":500}}\n\n'
        case "comments":
            while True:
                yield b": keep-alive\n\n"
        case "whole" | "outage" | "rate-limit":
            yield _event("{}", '"stop"') + b"data: [DONE]\n\n"
        case _:  # the connection ends here, or all does, or nothing comes any more
            pass


class _Deeds:
    """What the server does, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = Counter[str]()

    def __call__(self, request: RecordedRequest) -> Reply:
        prompt: str = request.json["messages"][0]["content"]
        self.asked[prompt] += 1
        deed, _, count = prompt.split()
        if self.asked[prompt] == 1 and deed == "outage":
            return error(503, "starting")
        if self.asked[prompt] == 1 and deed == "rate-limit":
            return error(429, "Too Many Requests", headers={"retry-after": "0"})
        reply = Reply(chunks=_chunks(deed, int(count)), chunk_delay=_PAUSE)
        match deed:
            case "reset" | "cut":
                return replace(reply, end=deed)
            case "silence":
                return replace(reply, end="hang")
            case _:
                return reply


def _serve() -> None:
    """Serve, and tell how many connections are open for each line that is read."""
    deeds = _Deeds()
    with MockServer() as server:
        server.always(deeds)
        print(server.base_url, flush=True)
        for _ in sys.stdin:
            server.requests.clear()
            too_often = [prompt for prompt, times in deeds.asked.items() if times > 1 + (prompt.split()[0] in _TWICE)]
            print(json.dumps([server.open_connections, deeds.asked.total(), too_often]), flush=True)


class _Server:
    """The server's process, as seen from here."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin, self._stdout = stdin, stdout
        self.base_url = stdout.readline().strip()

    def state(self) -> tuple[int, int, list[str]]:
        """Ask for the number of open connections, of requests so far, and for the prompts that came too often."""
        print(file=self._stdin, flush=True)
        connections, requests, too_often = json.loads(self._stdout.readline())
        return connections, requests, too_often


@contextmanager
def _running() -> Generator[_Server]:
    with Popen([sys.executable, "-m", "benchmarks.soak", "serve"], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield _Server(process.stdin, process.stdout)


class _Soak:
    """Fifty tasks and what they saw."""

    def __init__(self, client: AsyncNemotron) -> None:
        self._chat = client.chat.completions
        self._random = Random(1)
        self._serial = 0
        self.pieces = 0
        self.ends = Counter[str]()
        self.violations: list[str] = []

    async def run(self, seconds: float) -> None:
        """Read streams for so long."""
        end = monotonic() + seconds

        async def task() -> None:
            while monotonic() < end:
                await self._one()

        async with asyncio.TaskGroup() as group:
            for _ in range(_STREAMS):
                group.create_task(task())

    async def _one(self) -> None:
        self._serial += 1
        weights = [often for often, _ in _DEEDS.values()]
        (deed,) = self._random.choices(list(_DEEDS), weights)
        count, leave = self._random.randrange(5, 60), self._random.choice(["", "", "", "break", "cancel"])
        prompt, numbers, end = f"{deed} {self._serial} {count}", list[int](), "ended"
        try:
            async with asyncio.timeout(self._random.uniform(0, 0.5) if leave == "cancel" else None):
                await self._read(prompt, numbers, self._random.randrange(count) if leave == "break" else count + 1)
        except APIError as error:
            end = type(error).__name__
        except TimeoutError:
            end = "cancelled"
        self._judge(prompt, leave, end, numbers)

    async def _read(self, prompt: str, numbers: list[int], most: int) -> None:
        if self._random.random() < 0.5:
            async with self._chat.stream(messages=prompt) as events:
                async for piece in events.text_deltas():
                    numbers.append(int(piece))
                    if len(numbers) > most:
                        break
        else:
            async with await self._chat.create(messages=prompt, stream=True) as chunks:
                async for chunk in chunks:
                    if chunk.choices[0].delta.content:
                        numbers.append(int(chunk.choices[0].delta.content))
                    if len(numbers) > most:
                        break

    def _judge(self, prompt: str, leave: str, end: str, numbers: list[int]) -> None:
        deed, _, count = prompt.split()
        _, error = _DEEDS[deed]
        self.ends[f"{deed}, {leave or 'read'}: {end}"] += 1
        self.pieces += len(numbers)
        if numbers != list(range(len(numbers))):
            self.violations.append(f"{prompt}: chunks were lost or doubled: {numbers}")
        wanted = error.__name__ if error else "ended"
        left = (leave, end) in {("cancel", "cancelled"), ("break", "ended")}
        if not left and (end != wanted or (error is None and len(numbers) != int(count))):
            self.violations.append(f"{prompt}: {end} after {len(numbers)} chunks, where {wanted} had to be")


def _left() -> tuple[list[str], int, int]:
    """Return what must not remain: threads, tasks and open files."""
    threads = [thread.name for thread in threading.enumerate()]
    return threads, len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


async def _soak(seconds: float, server: _Server) -> list[str]:
    before, violations = _left(), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: violations.append(str(context)))
    client = AsyncNemotron(base_url=server.base_url, model="mistralai/mistral-nemotron", timeout=Timeout(idle=_IDLE))
    soak = _Soak(client)
    await soak.run(seconds / 3)
    memory = resident()
    await soak.run(seconds * 2 / 3)
    grown = resident() - memory
    await client.close()
    settled = monotonic() + _SETTLING
    while (server.state()[0] or _left() != before) and monotonic() < settled:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.1)
    connections, requests, too_often = server.state()
    for end, times in sorted(soak.ends.items()):
        print(f"{times:8,} {end}")
    print(f"{soak.pieces:,} chunks in {requests:,} requests; memory {grown / 1024:+,.0f} KiB.")
    violations += soak.violations
    violations += [f"{prompt}: sent too often" for prompt in too_often]
    violations += [f"{connections} connections remain"] if connections else []
    violations += [f"threads, tasks, open files: {before} became {_left()}"] if _left() != before else []
    violations += [f"{grown:,} bytes of memory remain"] if grown > _ROOM else []
    return violations


def _main() -> int:
    violations: list[str] = []
    warnings.simplefilter("error")  # what is raised in a __del__ ends up in the hook
    sys.unraisablehook = lambda raised: violations.append(f"{raised.exc_value!r} in {raised.object!r}")
    with _running() as server:
        violations += asyncio.run(_soak(float(sys.argv[1]) if len(sys.argv) > 1 else 180.0, server))
    for violation in violations:
        print(f"VIOLATION: {violation}")
    return 1 if violations else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        _serve()
    else:
        sys.exit(_main())
