"""Threads that run tools: one is kept for the next call, and what was given up may end whenever it likes."""

import os
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread, current_thread

import pytest

from nemotron_client import ToolLoop, tool
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
