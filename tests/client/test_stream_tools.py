"""`stream_tools` tells what happens when it happens; whoever leaves a run leaves nothing behind that could end."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from threading import Event

import anyio
import anyio.lowlevel
import pytest
from anyio import get_cancelled_exc_class

from nemotron_client import (
    ConfigurationError,
    InvalidRequestError,
    RunEvent,
    RunFinished,
    StreamInterruptedError,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    tool,
)
from nemotron_client.testing import MockServer, cut, text, tool_calls
from tests.client.conftest import Agent
from tests.client.either import Either, in_thread

NOW = 5.0  # seconds in which what should come at once has come, or else it hangs


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


def types(events: list[RunEvent]) -> list[str]:
    """Return what came, with each kind once in a row, and without the pieces of a call."""
    kinds = [event.type for event in events if not event.type.startswith("tool_call")]
    return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


async def test_events_come_in_the_order_of_what_happens(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), ("get_wether", {}), text="Let me see."))
    async with client.stream_tools("What is the weather?", [get_weather]) as stream:
        events = [event async for event in stream]
    turn = ["text.delta", "text.done", "usage", "turn.finished"]
    assert types(events) == [*turn, "tool.finished", "tool.started", "tool.finished", *turn, "run.finished"]
    started = [event.tool_call.function.name for event in events if isinstance(event, ToolStarted)]
    finished = [event.result.outcome for event in events if isinstance(event, ToolFinished)]
    turns = [(event.turn, event.completion.text) for event in events if isinstance(event, TurnFinished)]
    assert (started, finished) == (["get_weather"], ["invalid", "ok"])
    assert turns[0] == (1, "Let me see.")
    assert turns[1][1].startswith("The answer is sunny in Paris")
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.run == stream.run
    assert [result.outcome for result in last.run.results] == ["ok", "invalid"]
    assert last.run.usage is not None


@pytest.mark.parametrize("limit", [None, NOW], ids=["here", "in a thread"])
async def test_a_start_is_told_before_the_tool_ends(limit: float | None, client: Either, server: MockServer) -> None:
    released = Event()

    @tool(timeout=limit)
    def wait() -> str:
        """Wait for whoever reads the events."""
        return str(released.wait(NOW))

    server.reply(tool_calls(("wait", {})))
    async with client.stream_tools("Wait", [wait]) as events:
        async for event in events:
            if isinstance(event, ToolStarted):
                assert events.run.results == ()
                released.set()
    assert events.run.results[0].text == "True"


async def test_a_result_is_told_while_others_still_run(client: Either, server: MockServer) -> None:
    released = Event()

    def slow() -> str:
        """Wait for whoever reads the events."""
        return str(released.wait(NOW))

    server.reply(tool_calls(("slow", {}), ("get_weather", {"city": "Paris"})))
    told: list[str] = []
    async with client.stream_tools("Wait", [slow, get_weather]) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                told.append(event.result.text)
                assert events.run.status == "interrupted"
                released.set()
    assert told == ["sunny in Paris", "True"]
    assert [result.text for result in events.run.results] == ["True", "sunny in Paris"]


async def test_the_text_of_all_turns_can_be_read_alone(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), text="One moment. "))
    async with client.stream_tools("What is the weather?", [get_weather]) as events:
        assert "".join([delta async for delta in events.text_deltas()]) == "One moment. The answer is sunny in Paris."
        assert [event async for event in events] == []


async def test_all_turns_of_a_run_use_one_connection(client: Either, server: MockServer) -> None:
    server.reply(*[tool_calls(("get_weather", {"city": "Paris"}))] * 3)
    async with client.stream_tools("What is the weather?", [get_weather]) as stream:
        await stream.until_done()
    assert await in_thread(lambda: server.open_connections) == 1
    assert (stream.run.turns, server.disconnects) == (4, 0)


async def test_a_run_is_opened_once_and_by_with(client: Either, server: MockServer) -> None:
    unopened = client.stream_tools("Hello", [get_weather])
    assert server.posts == 0
    async with unopened as events:
        await events.until_done()
    with pytest.raises(ConfigurationError, match="was opened before"):
        await unopened.__aenter__()
    assert server.posts == 1


async def test_a_run_that_is_left_is_over(client: Either, server: MockServer) -> None:
    async with client.stream_tools("What is the weather in Paris?", [get_weather]) as events:
        async for event in events:
            if isinstance(event, TurnFinished):
                break
    rest = await events.until_done()
    assert (rest.status, rest.turns, server.posts) == ("interrupted", 1, 1)


async def test_a_stream_that_breaks_off_has_the_run_so_far(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"})), cut(text("The first half of it"), after=3))
    async with client.stream_tools("What is the weather?", [get_weather]) as events:
        with pytest.raises(StreamInterruptedError) as caught:
            await events.until_done()
    run = caught.value.run
    assert run is not None
    assert (run.status, run.turns, [result.text for result in run.results]) == ("interrupted", 1, ["sunny in Paris"])
    assert caught.value.partial is not None
    assert caught.value.partial.text == "The first"


async def test_bad_input_is_told_at_once(client: Either, server: MockServer) -> None:
    with pytest.raises(InvalidRequestError, match="temperature=3"):
        client.stream_tools("Hello", [get_weather], temperature=3)
    assert server.posts == 0


async def test_break_in_the_middle_of_an_answer_gives_the_connection_back(client: Either, server: MockServer) -> None:
    server.always(text("word " * 10_000))
    async with client.stream_tools("Hello", [get_weather]) as events:
        async for event in events:
            assert isinstance(event, TextDelta)
            break
    assert await in_thread(lambda: server.wait_for_disconnect() and server.open_connections == 0)


class Waiting:
    """Tools that wait until they are released, and tell when they have begun and ended."""

    def __init__(self) -> None:
        self.begun, self.released, self.ended, self.cancelled = Event(), Event(), Event(), Event()

    def wait(self) -> None:
        """Wait, as a plain function."""
        self.begun.set()
        self.released.wait(NOW)
        self.ended.set()

    async def wait_async(self) -> None:
        """Wait, as an asynchronous one."""
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled.set()

    def finish(self) -> None:
        """Finish, once another has begun."""
        self.begun.wait(NOW)

    @property
    def tools(self) -> list[Callable[..., object]]:
        return [self.wait, self.wait_async, self.finish]


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="nemotron_client.tools")
    return caplog


LEFT = "tool wait still runs and is left to itself: a plain function can't be stopped"


async def until_one_has_finished(client: Either, waiting: Waiting, error: Exception | None = None) -> None:
    async with client.stream_tools("Wait", waiting.tools) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
        if error is not None:
            raise error


async def test_whoever_leaves_a_run_cancels_its_tools(
    client: Either, server: MockServer, waiting: Waiting, log: pytest.LogCaptureFixture
) -> None:
    server.reply(tool_calls(("wait_async", {}), ("finish", {})))
    await until_one_has_finished(client, waiting)
    assert waiting.cancelled.wait(NOW)
    assert log.messages == []


async def test_plain_functions_are_left_to_themselves_and_reported(
    client: Either, server: MockServer, waiting: Waiting, log: pytest.LogCaptureFixture
) -> None:
    server.reply(tool_calls(("wait", {}), ("finish", {})))
    await until_one_has_finished(client, waiting)
    assert not waiting.ended.is_set()
    assert log.messages == [LEFT]
    waiting.released.set()
    assert waiting.ended.wait(NOW)


async def test_an_exception_of_the_callers_own_comes_out_as_it_is(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    server.reply(tool_calls(("wait_async", {}), ("finish", {})))
    with pytest.raises(ZeroDivisionError):
        await until_one_has_finished(client, waiting, ZeroDivisionError())
    assert waiting.cancelled.wait(NOW)


async def test_tools_that_have_not_begun_never_do(
    client: Either, server: MockServer, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("threads", "tasks"):
        monkeypatch.setattr(f"nemotron_client._transport.{module}.MOST_AT_ONCE", 1)
    began: list[str] = []

    def begin(name: str) -> str:
        """Begin."""
        began.append(name)
        return name

    server.reply(tool_calls(("begin", {"name": "first"}), ("wait_async", {}), ("begin", {"name": "last"})))
    async with client.stream_tools("Begin", [begin, *waiting.tools]) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    assert began == ["first"]


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_a_tool_whose_run_is_left_in_the_moment_of_its_start_does_not_begin(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    server.reply(tool_calls(("wait_async", {}), ("wait_async", {})))
    with anyio.CancelScope() as scope:
        async with client.stream_tools("Wait", waiting.tools) as stream:
            events = aiter(stream)
            while not isinstance(await anext(events), ToolStarted):
                pass
            scope.cancel()
    assert not waiting.begun.is_set()


@pytest.mark.parametrize("variant", ["asyncio"])
async def test_a_tool_whose_task_is_cancelled_before_its_first_step_has_failed(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    server.reply(tool_calls(("wait_async", {}), ("wait_async", {})))
    with anyio.fail_after(NOW):
        async with client.stream_tools("Wait", waiting.tools) as events:
            async for event in events:
                if isinstance(event, ToolStarted):
                    for task in asyncio.all_tasks():
                        if task.get_name() == "nemotron-tool":
                            task.cancel()
    assert [result.text for result in events.run.results] == ["The tool failed: CancelledError"] * 2
    assert not waiting.begun.is_set()


@pytest.mark.parametrize("variant", ["asyncio"])
@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before Python 3.12")
async def test_tools_may_be_tasks_that_are_over_when_they_are_made(
    client: Either, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron_client._transport.tasks.MOST_AT_ONCE", 2)

    async def echo(number: int) -> int:
        """Give it back."""
        return number

    async def wait(number: int) -> int:
        """Give it back later."""
        await anyio.lowlevel.checkpoint()
        return number

    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to 3.11
    server.reply(tool_calls(*((["echo", "wait"][number % 2], {"number": number}) for number in range(400))))
    async with client.stream_tools("Go", [echo, wait]) as events:
        run = await events.until_done()
    assert [result.text for result in run.results] == [str(number) for number in range(400)]


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_what_is_over_when_a_run_is_left_is_noted_though_nobody_has_waited_for_it(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    failing, finishing = Event(), Event()

    async def fail() -> None:
        """Fail."""
        failing.set()
        raise LookupError

    async def finish() -> str:
        """Finish although it is cancelled."""
        finishing.set()
        with suppress(get_cancelled_exc_class()):
            await anyio.sleep_forever()
        return "done"

    server.reply(tool_calls(("fail", {}), ("finish", {}), ("wait_async", {})))
    async with client.stream_tools("Wait", [waiting.wait_async, fail, finish]) as stream:
        events = aiter(stream)
        while not isinstance(await anext(events), ToolStarted):
            pass
        while not all(each.is_set() for each in (failing, finishing, waiting.begun)):
            await anyio.lowlevel.checkpoint()
    assert [result.outcome for result in stream.run.results] == ["failed", "ok"]


async def test_what_ends_a_program_in_one_tool_cancels_the_others(
    agent: Agent, server: MockServer, waiting: Waiting
) -> None:
    def leave() -> None:
        """Leave."""
        waiting.begun.wait(NOW)
        raise SystemExit(3)

    server.reply(tool_calls(("wait_async", {}), ("leave", {})))
    with pytest.raises(SystemExit):
        await agent("Leave", [*waiting.tools, leave])
    assert waiting.cancelled.wait(NOW)


async def test_a_tool_that_ends_on_its_own_way_while_it_is_cancelled_is_no_trouble(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    ended = Event()

    async def stubborn() -> None:
        """Fail while it is cancelled."""
        waiting.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
            raise LookupError

    server.reply(tool_calls(("stubborn", {}), ("finish", {})))
    async with client.stream_tools("Wait", [stubborn, waiting.finish]) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    assert ended.wait(NOW)


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ["wait", "wait_async"])
async def test_a_run_that_is_cancelled_from_outside_leaves_nothing_behind(
    name: str, agent: Agent, server: MockServer, waiting: Waiting, log: pytest.LogCaptureFixture
) -> None:
    server.reply(tool_calls((name, {}), (name, {})))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent, "Wait", waiting.tools)
        while not waiting.begun.is_set():
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    if name == "wait":
        assert log.messages == [LEFT] * 2
        waiting.released.set()
        assert waiting.ended.wait(NOW)
    else:
        assert waiting.cancelled.is_set()
        assert log.messages == []


@pytest.mark.parametrize("variant", ["asyncio"])
async def test_a_run_keeps_to_a_limit_of_asyncio(agent: Agent, server: MockServer, waiting: Waiting) -> None:
    limit = asyncio.timeout(None)

    async def overrun() -> None:
        """Take too long."""
        limit.reschedule(asyncio.get_running_loop().time())
        await waiting.wait_async()

    server.reply(tool_calls(("overrun", {})))
    with pytest.raises(TimeoutError):
        async with limit:
            await agent("Wait", [overrun])
    assert waiting.cancelled.is_set()
    await asyncio.sleep(0)
    assert "nemotron-tool" not in {task.get_name() for task in asyncio.all_tasks()}


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_an_event_may_be_waited_for_with_a_limit_again_and_again(client: Either, server: MockServer) -> None:
    released = anyio.Event()

    async def wait() -> str:
        """Wait."""
        await released.wait()
        return "done"

    server.reply(tool_calls(("wait", {})))
    async with client.stream_tools("Wait", [wait]) as stream:
        events = aiter(stream)
        while not isinstance(await anext(events), ToolStarted):
            pass
        for _ in range(3):
            with anyio.move_on_after(0.001) as scope:
                await anext(events)
            assert scope.cancelled_caught
        released.set()
        event = await anext(events)
    assert isinstance(event, ToolFinished)
    assert event.result.text == "done"


@pytest.mark.parametrize("variant", ["asyncio"])
async def test_a_generator_around_a_run_may_be_closed_by_another_task(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    """As web frameworks do it when whoever they answer goes away while they send."""

    async def follow() -> AsyncIterator[RunEvent]:
        async with client.stream_tools("Wait", waiting.tools) as events:
            async for event in events:
                yield event

    sending = anyio.Event()

    async def send() -> None:
        async for event in follow():
            if isinstance(event, ToolFinished):
                sending.set()
                await anyio.sleep_forever()

    server.reply(tool_calls(("wait_async", {}), ("finish", {})))
    with anyio.fail_after(NOW):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await sending.wait()
            tasks.cancel_scope.cancel()
        gc.collect()
        while not waiting.cancelled.is_set():
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tool_that_outlives_its_event_loop_does_no_harm(backend: str, server: MockServer, waiting: Waiting) -> None:
    from nemotron_client import AsyncNemotron

    hang = tool(waiting.wait, timeout=0.01)

    async def run() -> str:
        async with AsyncNemotron(base_url=server.base_url) as client:
            run = await client.chat.completions.run_tools(messages="Wait", tools=[hang])
        return run.results[0].outcome

    server.reply(tool_calls(("wait", {})), path="/v1/chat/completions")
    assert anyio.run(run, backend=backend) == "timed_out"
    waiting.released.set()
    assert waiting.ended.wait(NOW)


async def test_a_run_that_another_task_closes_is_over_for_who_reads_it(
    client: Either, server: MockServer, waiting: Waiting
) -> None:
    server.reply(tool_calls(("wait_async", {})))
    async with client.stream_tools("Wait", [waiting.wait_async]) as stream, anyio.create_task_group() as tasks:

        async def close() -> None:
            await in_thread(lambda: waiting.begun.wait(NOW))
            await stream.close()

        tasks.start_soon(close)
        *_, last = [event async for event in stream]
        assert isinstance(last, ToolStarted)
    assert waiting.cancelled.wait(NOW)


async def test_a_run_may_be_closed_more_than_once(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})))
    async with client.stream_tools("What is the weather?", [get_weather]) as stream:
        async for event in stream:
            if isinstance(event, ToolFinished):
                break
        await anyio.wait_all_tasks_blocked()
        await stream.close()
    assert stream.run.results
