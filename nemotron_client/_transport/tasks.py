"""Run tools for the asynchronous client, on asyncio or trio; the twin of ``threads.py``."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from inspect import isawaitable, iscoroutine
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Self

import anyio
from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from .eventloops import soon, spawn
from .threads import MOST_AT_ONCE, Outcome, Raised, called, in_thread, left_to_itself, taken, timed_out, wind_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from anyio.lowlevel import EventLoopToken

    from nemotron_client.loop import Job, ToolLoop
    from nemotron_client.runs import ToolResult


class ToolTasks:
    """The tools of one run; the end of its ``async with`` cancels those that still run and waits for them.

    A coroutine function is a task of the event loop's own. A task group would have to stay open while the caller
    handles events, and could be closed by no other task than its own; but a generator of the caller's, that is left, is
    closed by any. For a plain function there is no task, which would cost as much again, only its thread.
    """

    def __init__(self, loop: ToolLoop) -> None:
        """Begin with nothing to run; the results go to this loop."""
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._running: dict[Job, anyio.CancelScope] = {}
        self._threads: dict[Job, _InThread] = {}  # those of them that are in threads
        self._handed: deque[tuple[Job, Outcome | Awaitable[object]]] = deque()  # by threads
        self._over: deque[tuple[Job, Outcome]] = deque()
        self._changed = anyio.Event()
        self._tasks: list[object] = []  # which asyncio might lose

    async def __aenter__(self) -> Self:
        """Give what runs the tools."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what can be cancelled and wait for it, take what is over by then, and leave the rest to itself."""
        self._waiting.clear()
        self._take()
        for job in [*self._threads]:
            self._give_up(job)
        for scope in self._running.values():
            scope.cancel()
        with anyio.CancelScope(shield=True):
            while self._running:
                await self._change()
        over = [*self._over]
        self._over.clear()  # it may be left again
        wind_up(self._loop, over, error)

    def start(self) -> None:
        """Begin to run the jobs."""
        self._waiting.extend(self._loop.jobs)
        self._fill()

    async def next(self) -> ToolResult | None:
        """Wait for the next job that is over, or has run too long, and tell the loop; None if another task ended it.

        Raises:
            BaseException: What a tool raised that is no ``Exception``, such as SystemExit.
        """
        while True:
            self._take()
            self._end_what_is_late()
            if self._over:
                self._fill()
                return taken(self._loop, *self._over.popleft())
            if not self._running and not self._waiting:
                return None
            limits = [left for job, thread in self._threads.items() if (left := _left(job, thread.began)) is not None]
            with anyio.move_on_after(min(limits, default=None)):
                await self._change()

    def _take(self) -> None:
        """Take what threads have handed over; of one that was given up, nobody waits for it."""
        while self._handed:
            job, over = self._handed.popleft()
            thread = self._threads.pop(job, None)
            if thread is None:
                if iscoroutine(over):
                    over.close()
            elif isawaitable(over):
                thread.context.run(self._spawn, thread.token, job, over, thread.began)
            else:
                self._over.append((job, over))
                self._ended(job)

    def _end_what_is_late(self) -> None:
        for job, thread in [*self._threads.items()]:
            left = _left(job, thread.began)
            if left is not None and left <= 0:
                self._give_up(job)
                self._over.append((job, timed_out(job, monotonic() - thread.began)))

    def _give_up(self, job: Job) -> None:
        left_to_itself(job)
        del self._threads[job]
        self._ended(job)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            job, token = self._waiting.popleft(), current_token()
            self._running[job] = anyio.CancelScope()
            if job.tool.is_async:
                self._spawn(token, job, None, monotonic())
            else:
                self._threads[job] = _InThread(monotonic(), copy_context(), token)
                in_thread(partial(_work, job, self._handed, partial(soon(token), self._take)))

    def _spawn(self, token: EventLoopToken, job: Job, returned: Awaitable[object] | None, began: float) -> None:
        run = partial(self._run, job, returned, began)
        self._tasks.append(spawn(token, "nemotron-tool", run, partial(self._cancelled, job)))

    async def _change(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()

    async def _run(self, job: Job, returned: Awaitable[object] | None, began: float) -> None:
        with self._running[job]:
            if returned is None:
                await checkpoint_if_cancelled()  # before it has begun
            over: Outcome | None = None
            with anyio.move_on_after(_left(job, began)):
                over = await _outcome(job, returned, began)
            self._over.append((job, over or timed_out(job, monotonic() - began)))
        self._ended(job)

    def _cancelled(self, job: Job) -> None:
        """Note that a task of asyncio is over which was cancelled before its first step, by another hand than ours."""
        from asyncio import CancelledError

        if job in self._running:
            self._over.append((job, Raised(CancelledError(), 0.0)))
            self._ended(job)

    def _ended(self, job: Job) -> None:
        del self._running[job]
        self._changed.set()


class _InThread(NamedTuple):
    """A job in a thread: since when, and in which context and event loop what it returns is to be awaited."""

    began: float
    context: Context
    token: EventLoopToken


def _left(job: Job, began: float) -> float | None:
    limit = job.tool.timeout
    return None if limit is None else began + limit - monotonic()


async def _outcome(job: Job, returned: Awaitable[object] | None, began: float) -> Outcome:
    try:
        value = job.start() if returned is None else returned
        return job.succeeded(await value if isawaitable(value) else value, monotonic() - began)
    except BaseException as error:  # noqa: BLE001 - what it means is decided by whoever waits
        failed = _apart_from_cancelling(error)
        if failed is None:
            # Raises it again, unless it comes out of something that the tool waited for.
            await checkpoint_if_cancelled()
        return Raised(failed or error, monotonic() - began)


def _apart_from_cancelling(error: BaseException) -> BaseException | None:
    """Return what failed; trio gives a group with what was cancelled because of it, or beside it."""
    _, failed = BaseExceptionGroup("", [error]).split(get_cancelled_exc_class())
    return None if failed is None else failed.exceptions[0]


def _work(job: Job, handed: deque[tuple[Job, Outcome | Awaitable[object]]], wake: Callable[[], object]) -> None:
    """Run a plain function, in a thread, and hand over what became of it, or what has still to be awaited."""
    # Not anyio's own threads: those are no daemons on asyncio, and one that was left to itself would keep the program
    # from ending.
    handed.append((job, called(job)))
    with suppress(RuntimeError):  # the event loop is gone: nobody waits any more
        wake()
