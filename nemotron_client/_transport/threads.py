"""Run tools for the blocking client: at the same time where there are several, each no longer than its limit.

A thread can't be ended: one whose plain function overruns is left to itself, which is told in the log, and its result
is dropped. The threads are daemons, so that none of them keeps a program from ending.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from inspect import isawaitable
from math import inf
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Self, TypeAlias

from nemotron_client.errors import ToolError
from nemotron_client.runs import ToolResult

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from nemotron_client.loop import Job

LOGGER = logging.getLogger("nemotron_client.tools")
MOST_AT_ONCE = 64  # a model that goes astray may write thousands of calls


@dataclass(frozen=True, slots=True)
class Raised:
    """What a tool raised, after so many seconds."""

    error: BaseException
    elapsed: float


Outcome: TypeAlias = ToolResult | Raised


class ToolThreads:
    """The tools of one run; open it with ``with``, whose end gives up those that still run."""

    def __init__(self) -> None:
        """Begin with nothing to run."""
        self._alone: Job | None = None
        self._waiting: deque[Job] = deque()
        self._running: set[_Running] = set()
        self._over: SimpleQueue[tuple[_Running, Outcome]] = SimpleQueue()

    def __enter__(self) -> Self:
        """Give what runs the tools."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what can be cancelled, and leave the rest to itself."""
        self._waiting.clear()
        while self._running:
            self._running.pop().give_up()

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin to run; a plain function that is alone and has no limit waits for :meth:`next`, and needs no thread."""
        if len(jobs) == 1 and jobs[0].tool.timeout is None and not jobs[0].tool.is_async:
            self._alone = jobs[0]
        else:
            self._waiting.extend(jobs)
            self._fill()

    def next(self) -> tuple[Job, ToolResult]:
        """Wait for the next job that is over, or has run too long.

        Raises:
            BaseException: What a tool raised that is no ``Exception``, such as SystemExit.
        """
        job, self._alone = self._alone, None
        if job is not None:
            return job, result_of(job, outcome(job, _awaited_elsewhere))
        while True:
            self._fill()
            first = min(self._running, key=_Running.deadline)
            left = first.deadline() - monotonic()
            try:
                running, over = self._over.get(timeout=None if left == inf else max(0.0, left))
            except Empty:
                self._running.remove(first)
                first.give_up()
                return first.job, timed_out(first.job, monotonic() - first.began)
            if running in self._running:  # and was not given up
                self._running.remove(running)
                return running.job, result_of(running.job, over)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            running = _Running(self._waiting.popleft())
            self._running.add(running)
            running.start(self._over)


class _Running:
    """A job in a thread of its own."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, monotonic()
        self._given_up = False
        self._future: Future[object] | None = None

    def start(self, over: SimpleQueue[tuple[_Running, Outcome]]) -> None:
        """Begin; in the end this and what became of it are put into the queue."""
        in_thread(lambda: over.put((self, outcome(self.job, self._awaited))))

    def deadline(self) -> float:
        """Tell when its time is up."""
        return inf if self.job.tool.timeout is None else self.began + self.job.tool.timeout

    def give_up(self) -> None:
        """Cancel it if it is asynchronous; else say that it goes on."""
        self._given_up = True
        if self._future is not None:
            with suppress(RuntimeError):  # its event loop is closed: it is over
                self._future.get_loop().call_soon_threadsafe(self._future.cancel)
        elif not self.job.tool.is_async:
            left_to_itself(self.job)

    def _awaited(self, value: Awaitable[object]) -> object:
        import asyncio

        async def wait() -> object:
            self._future = asyncio.ensure_future(value)
            if self._given_up:  # in just this moment
                self._future.cancel()
            return await self._future

        return asyncio.run(wait())


def _awaited_elsewhere(value: Awaitable[object]) -> object:
    """Wait for what a plain function returned: in another thread, since this one may have an event loop (notebooks)."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def wait() -> object:
        return await value

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, wait()).result()


def in_thread(work: Callable[[], object]) -> None:
    """Start a daemon thread that sees the caller's context variables."""
    Thread(target=copy_context().run, args=(work,), name="nemotron-tool", daemon=True).start()


def outcome(job: Job, awaited: Callable[[Awaitable[object]], object]) -> Outcome:
    """Run a tool to its end.

    Args:
        job: Which.
        awaited: Waits for what an asynchronous one returns.
    """
    began = monotonic()
    try:
        value = job.start()
        return job.succeeded(awaited(value) if isawaitable(value) else value, monotonic() - began)
    except BaseException as error:  # noqa: BLE001 - what it means is decided by whoever waits
        return Raised(error, monotonic() - began)


def result_of(job: Job, over: Outcome) -> ToolResult:
    """Log what a tool raised, with its traceback, and make the result that the model reads.

    Raises:
        BaseException: What is no failure of the tool, such as SystemExit.
    """
    if isinstance(over, ToolResult):
        return over
    error = over.error
    if isinstance(error, ToolError):
        LOGGER.info("tool %s: %s", job.tool.name, error)
    elif isinstance(error, Exception) or _is_cancellation(error):
        LOGGER.error("tool %s raised an exception", job.tool.name, exc_info=error)
    else:
        raise error
    return job.failed(error, over.elapsed)


def _is_cancellation(error: BaseException) -> bool:
    """Tell whether something that a tool waited for was cancelled, which is no ``Exception`` on asyncio."""
    from asyncio import CancelledError

    return isinstance(error, CancelledError)


def timed_out(job: Job, elapsed: float) -> ToolResult:
    """Log that a tool took too long, and make the result that the model reads."""
    LOGGER.warning("tool %s did not finish within its %g s", job.tool.name, job.tool.timeout)
    return job.timed_out(elapsed)


def left_to_itself(job: Job) -> None:
    """Log that a tool goes on, although nobody waits for it."""
    LOGGER.warning("tool %s still runs and is left to itself: a plain function can't be stopped", job.tool.name)
