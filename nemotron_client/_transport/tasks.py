"""Run tools for the asynchronous client, on asyncio or trio; the twin of ``threads.py``."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from time import monotonic
from typing import TYPE_CHECKING, Self

import anyio
from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from .eventloops import soon, spawn
from .threads import MOST_AT_ONCE, Outcome, Raised, in_thread, left_to_itself, taken, timed_out, wind_up

if TYPE_CHECKING:
    from types import TracebackType

    from nemotron_client.loop import Job, ToolLoop
    from nemotron_client.runs import ToolResult


class ToolTasks:
    """The tools of one run; the end of its ``async with`` cancels those that still run and waits for them.

    Each is a task of the event loop's own. A task group would have to stay open while the caller handles events, and
    could be closed by no other task than its own; but a generator of the caller's, that is left, is closed by any.
    """

    def __init__(self, loop: ToolLoop) -> None:
        """Begin with nothing to run; the results go to this loop."""
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._running: dict[Job, anyio.CancelScope] = {}
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
        while not self._over:
            if not self._running and not self._waiting:
                return None
            await self._change()
        self._fill()
        return taken(self._loop, *self._over.popleft())

    def _fill(self) -> None:
        while self._waiting and len(self._running) < MOST_AT_ONCE:
            job = self._waiting.popleft()
            self._running[job] = scope = anyio.CancelScope()
            run = partial(self._run, job, scope)
            self._tasks.append(spawn(current_token(), "nemotron-tool", run, partial(self._cancelled, job)))

    async def _change(self) -> None:
        if self._changed.is_set():
            self._changed = anyio.Event()
        await self._changed.wait()

    async def _run(self, job: Job, scope: anyio.CancelScope) -> None:
        began = monotonic()
        with scope:
            await checkpoint_if_cancelled()  # before it has begun
            over: Outcome | None = None
            with anyio.move_on_after(job.tool.timeout):
                over = await _outcome(job)
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


async def _outcome(job: Job) -> Outcome:
    began = monotonic()
    try:
        value = job.start() if job.tool.is_async else (await _in_thread(job)).result()
        return job.succeeded(await value if isawaitable(value) else value, monotonic() - began)
    except get_cancelled_exc_class() as error:
        await checkpoint_if_cancelled()  # raises it again, unless it comes out of something that the tool waited for
        return Raised(error, monotonic() - began)
    except BaseException as error:  # noqa: BLE001 - what it means is decided by whoever waits
        return Raised(error, monotonic() - began)


async def _in_thread(job: Job) -> Future[object]:
    # Not anyio's own threads: those are no daemons on asyncio, and one that was left to itself would keep the program
    # from ending.
    over, call_soon = anyio.Event(), soon(current_token())
    future: Future[object] = Future()

    def work() -> None:
        try:
            future.set_result(job.start())
        except BaseException as error:  # noqa: BLE001 - raised again in the task
            future.set_exception(error)
        with suppress(RuntimeError):  # the event loop is gone: nobody waits any more
            call_soon(over.set)

    in_thread(work)
    try:
        await over.wait()
    except get_cancelled_exc_class():
        left_to_itself(job)
        raise
    return future
