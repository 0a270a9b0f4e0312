"""A process that has one client library loaded and measures what it is told to: `python -m benchmarks.worker NAME URL`.

Told by a line of JSON, answers with one. Only the CPU time of this process is measured, in all its threads.
"""

import asyncio
import gc
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from resource import getpagesize
from time import process_time

from benchmarks.contenders import CONTENDERS, Contender

HELLO = "Say hello."


def resident() -> int:
    """Return how many bytes of memory this process holds (Linux only)."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


class _Worker:
    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._runner = asyncio.Runner()

    def answers(self, count: int, prompt: str = HELLO) -> float:
        """CPU seconds of so many answers, one after the other."""
        answer, started = self._contender.answer, process_time()
        for _ in range(count):
            answer(prompt)
        return process_time() - started

    def at_once(self, count: int, tasks: int) -> float:
        """CPU seconds of so many answers, asked for by so many tasks at the same time."""

        async def ask() -> None:
            for _ in range(count // tasks):
                await self._contender.aanswer(HELLO)

        return self._together([ask] * tasks)

    def stream(self, chunks: int, how: str) -> float:
        """CPU seconds of reading a stream of so many chunks."""
        started = process_time()
        pieces = self._contender.stream(f"{chunks} {how}chunks")
        took = process_time() - started
        assert pieces == chunks - 2, pieces
        return took

    def astream(self, chunks: int, how: str) -> float:
        """CPU seconds of reading a stream of so many chunks without blocking."""
        return self._streams(1, chunks, how)

    def astreams(self, streams: int, chunks: int, how: str) -> float:
        """CPU seconds of reading so many streams at the same time."""
        return self._streams(streams, chunks, how)

    def growth(self, count: int, tasks: int, warm_up: int) -> int:
        """Bytes that the process has grown by in so many requests; no tasks for the blocking client."""

        def ask(count: int) -> None:
            if tasks:
                self.at_once(count, tasks)
            else:
                self.answers(count)

        ask(warm_up)
        before = resident()
        ask(count)
        return resident() - before

    def _streams(self, streams: int, chunks: int, how: str) -> float:
        async def read() -> None:
            pieces = await self._contender.astream(f"{chunks} {how}chunks")
            assert pieces == chunks - 2, pieces

        return self._together([read] * streams)

    def _together(self, jobs: list[Callable[[], Awaitable[None]]]) -> float:
        async def run() -> float:
            started = process_time()
            await asyncio.gather(*(job() for job in jobs))
            return process_time() - started

        return self._runner.run(run())


def _main(name: str, url: str) -> None:
    try:
        worker = _Worker(CONTENDERS[name](url))
    except ModuleNotFoundError as error:
        if str(error.name).startswith("nemotron_client"):
            raise  # it is here, and broken
        return
    print(0, flush=True)
    for line in sys.stdin:
        told = json.loads(line)
        try:
            value = getattr(worker, told.pop("do"))(**told)
        except Exception:  # noqa: BLE001 - whatever a library may raise
            traceback.print_exc()
            value = None
        print(json.dumps(value), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
