"""Run tools for the blocking client: at the same time where there are several, each no longer than its limit.

A thread can't be ended: one whose plain function overruns is left to itself, which is told in the log, and its result
is dropped. The threads are daemons, so that none of them keeps a program from ending.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from math import inf
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Self, TypeAlias

from nemotron_client.errors import ToolError
from nemotron_client.runs import ToolResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from nemotron_client.loop import Job, ToolLoop

LOGGER = logging.getLogger("nemotron_client.tools")
MOST_AT_ONCE = 64  # a model that goes astray may write thousands of calls
MOST_IDLE = 64  # threads that are kept for the next call, since a new one costs more than most tools

# Where they wait, by process: one that was forked has none of its parent's threads.
_IDLE: dict[int, list[SimpleQueue[Callable[[], object]]]] = {}


@dataclass(frozen=True, slots=True)
class Raised:
    """What a tool raised, after so many seconds."""

    error: BaseException
    elapsed: float

    @property
    def is_failure(self) -> bool:
        """Whether that is a failure of the tool, and no SystemExit or the like."""
        from asyncio import CancelledError  # of something that the tool waited for; no Exception

        return isinstance(self.error, Exception | CancelledError)


Outcome: TypeAlias = ToolResult | Raised


class ToolThreads:
    """The tools of one run; the end of its ``with`` gives up those that still run."""

    def __init__(self, loop: ToolLoop) -> None:
        """Begin with nothing to run; the results go to this loop."""
        self._loop = loop
        self._alone: Job | None = None
        self._waiting: deque[Job] = deque()
        self._running: set[_Running] = set()
        self._lock = Lock()  # of what is running and what waits, since another thread may end it all
        self._ended: SimpleQueue[_Running] = SimpleQueue()

    def __enter__(self) -> Self:
        """Give what runs the tools."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take what is over by now, cancel what can be cancelled, and leave the rest to itself."""
        with self._lock:
            self._waiting.clear()
            left = frozenset(self._running)
            self._running.clear()
        over: list[tuple[Job, Outcome]] = []
        for running in left:
            if running.over is None:
                running.give_up()
            else:
                over.append((running.job, running.over))
            self._ended.put(running)  # for a thread that waits in `next`
        wind_up(self._loop, over, error)

    def start(self) -> None:
        """Begin to run the jobs; a plain function that is alone and has no limit waits for :meth:`next`."""
        jobs = self._loop.jobs
        if len(jobs) == 1 and jobs[0].tool.timeout is None and not jobs[0].tool.is_async:
            self._alone = jobs[0]
        else:
            self._waiting.extend(jobs)
            self._fill()

    def next(self) -> ToolResult | None:
        """Wait for the next job that is over, or has run too long, and tell the loop; None if another thread ended it.

        Raises:
            BaseException: What a tool raised that is no ``Exception``, such as SystemExit.
        """
        job, self._alone = self._alone, None
        if job is not None:
            returned = called(job)
            if not isawaitable(returned):
                return taken(self._loop, job, returned)
            with self._lock:
                self._begin(job, returned)  # not here: this thread may have an event loop (notebooks)
        while True:
            self._fill()
            running = tuple(self._running)  # which another thread may empty at any moment
            if not running:
                return None
            first = min(running, key=_Running.deadline)
            wait = first.deadline() - monotonic()
            try:
                ended = self._ended.get(timeout=None if wait > TIMEOUT_MAX else max(0.0, wait))
            except Empty:
                ended = first
            with self._lock:
                was_given_up = ended not in self._running
                self._running.discard(ended)
            if was_given_up:
                continue
            over = ended.over
            if over is None:
                ended.give_up()
                over = timed_out(ended.job, monotonic() - ended.began)
            return taken(self._loop, ended.job, over)

    def _fill(self) -> None:
        with self._lock:
            while self._waiting and len(self._running) < MOST_AT_ONCE:
                self._begin(self._waiting.popleft())

    def _begin(self, job: Job, returned: Awaitable[object] | None = None) -> None:
        running = _Running(job)
        self._running.add(running)
        running.start(self._ended, returned)


class _Running:
    """A job in a thread of its own, and what became of it, if anything has."""

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, monotonic()
        self.over: Outcome | None = None
        self._given_up: Future[None] = Future()
        self._can_be_cancelled = job.tool.is_async

    def start(self, ended: SimpleQueue[_Running], returned: Awaitable[object] | None) -> None:
        """Begin, or go on with what its function returned; in the end this is put into the queue."""
        in_thread(partial(self._run, ended, returned))

    def _run(self, ended: SimpleQueue[_Running], returned: Awaitable[object] | None) -> None:
        over = called(self.job) if returned is None else returned
        self.over = self._awaited(over) if isawaitable(over) else over
        ended.put(self)

    def deadline(self) -> float:
        """Tell when its time is up."""
        return inf if self.job.tool.timeout is None else self.began + self.job.tool.timeout

    def give_up(self) -> None:
        """Cancel it if it is asynchronous; else say that it goes on."""
        self._given_up.set_result(None)
        if not self._can_be_cancelled:
            left_to_itself(self.job)

    def _awaited(self, value: Awaitable[object]) -> Outcome:
        import asyncio

        self._can_be_cancelled = True

        async def wait() -> object:
            task, loop = asyncio.ensure_future(value), asyncio.get_running_loop()

            def cancel(_: object) -> None:
                with suppress(RuntimeError):  # its event loop is closed: it is over
                    loop.call_soon_threadsafe(task.cancel)

            self._given_up.add_done_callback(cancel)  # called at once if it was given up in just this moment
            return await task

        try:
            return self.job.succeeded(asyncio.run(wait()), monotonic() - self.began)
        except BaseException as error:  # noqa: BLE001 - what it means is decided by whoever waits
            return Raised(error, monotonic() - self.began)


def in_thread(work: Callable[[], object]) -> None:
    """Do some work, which raises nothing and sees the caller's context variables, in a daemon thread."""
    idle, task = _IDLE.setdefault(os.getpid(), []), partial(copy_context().run, work)
    try:
        inbox = idle.pop()
    except IndexError:
        Thread(target=_work, args=(task, idle), name="nemotron-tool", daemon=True).start()
    else:
        inbox.put(task)


def _work(task: Callable[[], object], idle: list[SimpleQueue[Callable[[], object]]]) -> None:
    inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
    while True:
        task()
        del task  # or all that it holds would live on
        if len(idle) >= MOST_IDLE:
            return
        idle.append(inbox)
        task = inbox.get()


def called(job: Job) -> Outcome | Awaitable[object]:
    """Call a tool's function, and return what became of it, or what has still to be awaited."""
    began = monotonic()
    try:
        value = job.start()
        return value if isawaitable(value) else job.succeeded(value, monotonic() - began)
    except BaseException as error:  # noqa: BLE001 - what it means is decided by whoever waits
        return Raised(error, monotonic() - began)


def taken(loop: ToolLoop, job: Job, over: Outcome) -> ToolResult:
    """Tell the loop what became of a job; what a tool raised is logged, with its traceback.

    Raises:
        BaseException: What is no failure of the tool, such as SystemExit.
    """
    if isinstance(over, Raised):
        if not over.is_failure:
            raise over.error
        if isinstance(over.error, ToolError):
            LOGGER.info("tool %s: %s", job.tool.name, over.error)
        else:
            LOGGER.error("tool %s raised an exception", job.tool.name, exc_info=over.error)
        over = job.failed(over.error, over.elapsed)
    loop.answered(job, over)
    return over


def wind_up(loop: ToolLoop, over: Iterable[tuple[Job, Outcome]], error: BaseException | None) -> None:
    """Note at the end of a run what is over and nobody waited for; the exception that ends it gets the run."""
    for job, result in over:
        if isinstance(result, ToolResult) or result.is_failure:
            taken(loop, job, result)
    if error is not None:
        vars(error)["run"] = loop.run  # known of NemotronError, but a KeyboardInterrupt must not lose it either


def timed_out(job: Job, elapsed: float) -> ToolResult:
    """Log that a tool took too long, and make the result that the model reads."""
    LOGGER.warning("tool %s did not finish within its %g s", job.tool.name, job.tool.timeout)
    return job.timed_out(elapsed)


def left_to_itself(job: Job) -> None:
    """Log that a tool goes on, although nobody waits for it."""
    LOGGER.warning("tool %s still runs and is left to itself: a plain function can't be stopped", job.tool.name)
