"""Threads that run tools: what was given up may end whenever it likes."""

from threading import Event, Thread, current_thread

from nemotron_client import tool
from nemotron_client._transport.threads import ToolThreads
from nemotron_client.loop import ToolLoop
from nemotron_client.messages import ChatCompletion


def test_a_result_that_comes_after_its_tool_was_given_up_is_dropped() -> None:
    slow_may_end, other_may_end = Event(), Event()
    slow_thread: list[Thread] = []

    @tool(timeout=0.01)
    def slow() -> str:
        slow_thread.append(current_thread())
        slow_may_end.wait()
        return "late"

    @tool
    def other() -> str:
        other_may_end.wait()
        return "in time"

    calls = [{"id": f"abcdefgh{n}", "function": {"name": name}} for n, name in enumerate(["slow", "other"])]
    loop = ToolLoop("Go", [slow, other])
    loop.received(ChatCompletion.model_validate({"choices": [{"message": {"tool_calls": calls}}]}))
    with ToolThreads() as threads:
        threads.start(loop.jobs)
        assert threads.next()[1].outcome == "timed_out"
        slow_may_end.set()
        slow_thread[0].join()
        other_may_end.set()
        assert threads.next()[1].text == "in time"
