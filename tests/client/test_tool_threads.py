"""Threads that run tools: one is kept for the next call, and what was given up may end whenever it likes."""

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from queue import SimpleQueue
from threading import Event, Thread, current_thread

import pytest
from anyio.lowlevel import checkpoint

from nemotron_client import ToolLoop, tool
from nemotron_client._transport.tasks import ToolTasks
from nemotron_client._transport.threads import ToolThreads, in_thread
from tests.engine.driving import calling

NOW = 5.0  # seconds in which what should come at once has come, or else it hangs


def thread_of_a_call() -> Thread:
    """Do some work and return the thread that did it."""
    found: list[Thread] = []
    done = Event()

    def work() -> None:
        found.append(current_thread())
        done.set()

    in_thread(work)
    assert done.wait(NOW)
    return found[0]


@pytest.fixture
def no_thread_is_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End each thread with its work, so that its end can be waited for."""
    with monkeypatch.context() as patch:
        patch.setattr("nemotron_client._transport.threads.MOST_IDLE", 0)
        yield


def test_a_thread_is_used_again() -> None:
    seen: list[Thread] = []
    while len(set(seen)) == len(seen) < 1000:  # it may be a moment before it is idle
        seen.append(thread_of_a_call())
    assert len(set(seen)) < len(seen)
    assert seen[-1].daemon


@pytest.mark.usefixtures("no_thread_is_kept")
def test_no_more_threads_are_kept_than_may_be_idle() -> None:
    thread = thread_of_a_call()
    thread.join(NOW)
    assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_of_its_parent() -> None:
    test_a_thread_is_used_again()
    child = os.fork()
    if child == 0:
        done = Event()
        in_thread(done.set)
        os._exit(0 if done.wait(NOW) else 1)
    assert os.waitpid(child, 0)[1] == 0


class Slow:
    """Two tools that end when they may, the first too late, and what ran it."""

    def __init__(self) -> None:
        self.slow_may_end, self.other_may_end = Event(), Event()
        self.thread: SimpleQueue[Thread] = SimpleQueue()
        self.loop = ToolLoop("Go", [tool(self.slow, timeout=0.01), self.other])
        self.loop.received(calling(("slow", ""), ("other", "")))

    def slow(self) -> str:
        """Take too long."""
        self.thread.put(current_thread())
        self.slow_may_end.wait(NOW)
        return "late"

    def other(self) -> str:
        """Take a while."""
        self.other_may_end.wait(NOW)
        return "in time"

    def give_up_the_first(self, threads: ToolThreads) -> None:
        threads.start()
        assert (over := threads.next()) is not None
        assert over.outcome == "timed_out"
        self.slow_may_end.set()
        self.thread.get(timeout=NOW).join(NOW)


@pytest.mark.usefixtures("no_thread_is_kept")
def test_a_result_that_comes_after_its_tool_was_given_up_is_dropped() -> None:
    slow = Slow()
    with ToolThreads(slow.loop) as threads:
        slow.give_up_the_first(threads)
        slow.other_may_end.set()
        assert (over := threads.next()) is not None
        assert over.text == "in time"
    assert [result.outcome for result in slow.loop.run.results] == ["timed_out", "ok"]


@pytest.mark.usefixtures("no_thread_is_kept")
def test_it_is_dropped_at_the_end_of_the_run_too() -> None:
    slow = Slow()
    with ToolThreads(slow.loop) as threads:
        slow.give_up_the_first(threads)
    slow.other_may_end.set()
    assert [result.outcome for result in slow.loop.run.results] == ["timed_out"]


@pytest.mark.usefixtures("no_thread_is_kept")
def test_what_is_over_when_a_run_is_left_is_noted_though_nobody_has_waited_for_it() -> None:
    begun: SimpleQueue[Thread] = SimpleQueue()

    def returns() -> str:
        """Return."""
        begun.put(current_thread())
        return "done"

    def fails() -> str:
        """Fail."""
        begun.put(current_thread())
        raise LookupError

    def leaves() -> str:
        """End the program, as somebody else does already."""
        begun.put(current_thread())
        raise SystemExit

    loop = ToolLoop("Go", [returns, fails, leaves])
    loop.received(calling(("returns", ""), ("fails", ""), ("leaves", "")))
    pressed = KeyboardInterrupt()
    with suppress(KeyboardInterrupt), ToolThreads(loop) as threads:
        threads.start()
        for thread in begun.get(timeout=NOW), begun.get(timeout=NOW), begun.get(timeout=NOW):
            thread.join(NOW)
        raise pressed
    assert [result.outcome for result in loop.run.results] == ["ok", "failed"]
    assert getattr(pressed, "run", None) == loop.run


@pytest.mark.usefixtures("no_thread_is_kept")
def test_what_ends_while_another_tool_is_given_up_is_noted_too(caplog: pytest.LogCaptureFixture) -> None:
    begun: SimpleQueue[Thread] = SimpleQueue()
    may_end = Event()

    def slow() -> str:
        """Wait until the first of two is given up."""
        begun.put(current_thread())
        may_end.wait(NOW)
        return "done"

    def end_both(record: logging.LogRecord) -> bool:
        may_end.set()
        for thread in running:
            thread.join(NOW)
        return bool(record)

    loop = ToolLoop("Go", [slow])
    loop.received(calling(("slow", ""), ("slow", "")))
    with ToolThreads(loop) as threads:
        threads.start()
        running = begun.get(timeout=NOW), begun.get(timeout=NOW)
        caplog.handler.addFilter(end_both)
    caplog.handler.removeFilter(end_both)
    assert [result.text for result in loop.run.results] == ["done"]


def test_what_a_plain_function_returned_is_cancelled_when_another_thread_ends_it_all() -> None:
    cancelled = Event()

    async def wait() -> None:
        threads.__exit__(None, None, None)
        try:
            await asyncio.sleep(NOW)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def later() -> Awaitable[None]:
        """Return what is still to be awaited."""
        return wait()

    loop = ToolLoop("Go", [later])
    loop.received(calling(("later", "")))
    threads = ToolThreads(loop)
    threads.start()
    assert threads.next() is None
    assert cancelled.wait(NOW)


def test_whoever_waits_is_woken_when_another_thread_ends_it_all() -> None:
    def ends_it() -> str:
        """Leave the run, as another thread may at any moment."""
        threads.__exit__(None, None, None)
        return "too late"

    loop = ToolLoop("Go", [tool(ends_it, timeout=NOW)])
    loop.received(calling(("ends_it", "")))
    threads = ToolThreads(loop)
    threads.start()
    assert threads.next() is None
    assert loop.run.results == ()


class SlowClock:
    """A clock that is put on by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for module in ("tasks", "threads"):
            monkeypatch.setattr(f"nemotron_client._transport.{module}.monotonic", lambda: self.now)


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> SlowClock:
    return SlowClock(monkeypatch)


@pytest.mark.usefixtures("no_thread_is_kept")
class TestTheEventLoop:
    """What plain functions do in threads while the event loop is busy with something else."""

    async def test_what_has_ended_counts_though_the_event_loop_came_to_it_too_late(self, slow_clock: SlowClock) -> None:
        threads: SimpleQueue[Thread] = SimpleQueue()

        def quick() -> str:
            """Be done at once."""
            threads.put(current_thread())
            return "done"

        loop = ToolLoop("Go", [tool(quick, timeout=1)])
        loop.received(calling(("quick", ""), ("quick", ""), ("quick", "")))
        async with ToolTasks(loop) as tasks:
            tasks.start()
            for _ in range(3):
                threads.get(timeout=NOW).join(NOW)
            slow_clock.now = 2.0
            assert (over := await tasks.next()) is not None
            assert over.text == "done"
        assert [result.text for result in loop.run.results] == ["done"] * 3

    async def test_what_a_plain_function_returns_is_awaited_as_if_it_were_called_here(
        self, slow_clock: SlowClock
    ) -> None:
        said = ContextVar("said", default="nothing")

        async def say() -> str:
            slow_clock.now += 1
            await checkpoint()
            return said.get()

        def later() -> Awaitable[str]:
            """Return what is still to be awaited."""
            slow_clock.now += 5
            return say()

        said.set("hello")
        loop = ToolLoop("Go", [later])
        loop.received(calling(("later", "")))
        async with ToolTasks(loop) as tasks:
            tasks.start()
            assert (over := await tasks.next()) is not None
        assert (over.text, over.elapsed) == ("hello", 6.0)

    async def test_what_comes_too_late_is_not_awaited_and_nobody_complains(self, slow_clock: SlowClock) -> None:
        threads: SimpleQueue[Thread] = SimpleQueue()
        may_end = Event()

        async def never() -> str:
            return "never"

        def slow() -> Awaitable[str]:
            """Take too long."""
            threads.put(current_thread())
            may_end.wait(NOW)
            return never()

        loop = ToolLoop("Go", [tool(slow, timeout=1)])
        loop.received(calling(("slow", "")))
        async with ToolTasks(loop) as tasks:
            tasks.start()
            slow_clock.now = 2.0
            assert (over := await tasks.next()) is not None
            assert over.outcome == "timed_out"
            may_end.set()
            threads.get(timeout=NOW).join(NOW)
            assert await tasks.next() is None
        gc.collect()


@pytest.mark.usefixtures("no_thread_is_kept")
def test_a_result_that_another_thread_was_just_taking_is_kept_when_the_run_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: SimpleQueue[Thread] = SimpleQueue()

    def quick() -> str:
        """Be done at once."""
        begun.put(current_thread())
        return "done"

    class LeftMeanwhile(SimpleQueue[object]):
        def get(self, block: bool = True, timeout: float | None = None) -> object:  # noqa: FBT001, FBT002 - as its own
            found = super().get(block, timeout)
            threads.__exit__(None, None, None)
            return found

    loop = ToolLoop("Go", [quick])
    loop.received(calling(("quick", ""), ("quick", "")))
    threads = ToolThreads(loop)
    monkeypatch.setattr(threads, "_ended", LeftMeanwhile())
    threads.start()
    for _ in range(2):
        begun.get(timeout=NOW).join(NOW)
    assert threads.next() is None
    assert [result.text for result in loop.run.results] == ["done", "done"]
