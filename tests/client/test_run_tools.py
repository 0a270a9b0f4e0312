"""What becomes of the calls of a run: they run at the same time, and the model is told what it should know."""

import asyncio
import functools
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from threading import Barrier, Event, Lock
from typing import Literal

import anyio
import pytest
import trio
from anyio import to_thread

from nemotron_client import (
    InvalidRequestError,
    Nemotron,
    Tool,
    ToolContext,
    ToolDefinitionError,
    ToolError,
    ToolRun,
    tool,
)
from nemotron_client.testing import MockServer, error, text, tool_calls
from tests.client.conftest import Agent
from tests.client.either import Either

NOW = 5.0  # seconds in which what should come at once has come, or else it hangs


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


async def get_time(city: str) -> str:
    """Get the time in a city."""
    await anyio.lowlevel.checkpoint()
    return f"noon in {city}"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="nemotron_client.tools")
    return caplog


def told(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.name == "nemotron_client.tools"]


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("most", [1, 3, 5])
async def test_a_call_that_was_cut_before_its_arguments_does_not_run(
    agent: Agent, server: MockServer, most: int, choice: Literal["auto", "required"]
) -> None:
    ran: list[str] = []

    def get_weather(city: str = "everywhere") -> None:
        """Get the weather in a city."""
        ran.append(city)

    run = await agent("What is the weather?", [get_weather], max_tokens=most, tool_choice=choice, max_turns=1)
    assert (ran, run.completion and run.completion.truncated, len(server.requests)) == ([], True, 1)


async def test_the_model_gets_what_its_calls_return_and_answers(agent: Agent, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), ("get_time", {"city": "Rome"})))
    run = await agent("What is it like?", [get_weather, get_time], seed=1)
    assert (run.status, run.text, run.turns) == ("completed", "The answer is sunny in Paris and noon in Rome.", 2)
    assert [(each.outcome, each.text) for each in run.results] == [("ok", "sunny in Paris"), ("ok", "noon in Rome")]
    first, second = (request.json for request in server.requests)
    assert [each["function"]["name"] for each in first["tools"]] == ["get_weather", "get_time"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "tool", "tool"]
    calls = second["messages"][1]["tool_calls"]
    assert [call["id"] for call in calls] == [message["tool_call_id"] for message in second["messages"][2:]]
    assert first["seed"] == second["seed"] == 1
    assert run.usage is not None
    assert run.usage.prompt_tokens == sum(request.tokens for request in server.asked)


@pytest.mark.parametrize("count", [2, 37])
async def test_plain_functions_run_at_the_same_time_and_results_keep_the_order(
    count: int, agent: Agent, server: MockServer
) -> None:
    together = Barrier(count)

    def meet(number: int) -> int:
        """Wait for all the others."""
        together.wait(NOW)
        return number

    server.reply(tool_calls(*(("meet", {"number": number}) for number in range(count))))
    run = await agent("Meet", [meet])
    assert [result.text for result in run.results] == [str(number) for number in range(count)]


async def test_plain_and_asynchronous_functions_run_at_the_same_time(agent: Agent, server: MockServer) -> None:
    together = Barrier(3)

    def meet() -> None:
        """Wait for the others."""
        together.wait(NOW)

    async def await_them() -> None:
        """Wait for the others."""
        await to_thread.run_sync(together.wait, NOW)

    server.reply(tool_calls(("await_them", {}), ("meet", {}), ("await_them", {})))
    run = await agent("Meet", [meet, await_them])
    assert [result.outcome for result in run.results] == ["ok"] * 3


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_asynchronous_functions_share_the_callers_event_loop(client: Either, server: MockServer) -> None:
    there, here = anyio.Event(), anyio.Event()

    async def ping() -> None:
        """Wait for pong."""
        there.set()
        await here.wait()

    async def pong() -> None:
        """Wait for ping."""
        await there.wait()
        here.set()

    server.reply(tool_calls(("ping", {}), ("pong", {})))
    with anyio.fail_after(NOW):
        run = await client.run_tools("Play", [ping, pong])
    assert [result.outcome for result in run.results] == ["ok", "ok"]


async def test_a_model_that_goes_astray_does_not_get_a_thread_for_each_call(
    client: Either, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("threads", "tasks"):
        monkeypatch.setattr(f"nemotron_client._transport.{module}.MOST_AT_ONCE", 2)
    lock, together = Lock(), Barrier(2)
    now: list[int] = []
    most: list[int] = []

    def meet(number: int) -> int:
        """Wait for another one."""
        with lock:
            now.append(number)
            most.append(len(now))
        together.wait(NOW)
        with lock:
            now.remove(number)
        return number

    server.reply(tool_calls(*(("meet", {"number": number}) for number in range(6))))
    run = await client.run_tools("Meet", [meet])
    assert [result.text for result in run.results] == list("012345")
    assert max(most) == 2


async def test_of_an_exception_the_model_is_told_the_type_and_the_log_all(
    agent: Agent, server: MockServer, log: pytest.LogCaptureFixture
) -> None:
    def open_safe(code: str) -> None:
        """Open the safe."""
        raise PermissionError(f"{code} is not s3cret")

    async def open_door(code: str) -> None:
        """Open the door."""
        raise LookupError(code)

    server.reply(tool_calls(("open_safe", {"code": "1"}), ("open_door", {"code": "2"})))
    run = await agent("Open both", [open_safe, open_door])
    assert [(result.outcome, result.text) for result in run.results] == [
        ("failed", "The tool failed: PermissionError"),
        ("failed", "The tool failed: LookupError"),
    ]
    assert "s3cret" not in str(server.requests[-1].json)
    assert sorted(told(log)) == ["tool open_door raised an exception", "tool open_safe raised an exception"]
    assert 'raise PermissionError(f"{code} is not s3cret")' in log.text


async def test_of_a_tool_error_the_model_reads_the_text(
    client: Either, server: MockServer, log: pytest.LogCaptureFixture
) -> None:
    def find_hotel() -> str:
        """Find a hotel."""
        raise ToolError("The directory is busy: try again.")

    server.reply(tool_calls(("find_hotel", {})))
    run = await client.run_tools("Find one", [find_hotel])
    assert run.text == "The answer is The directory is busy: try again.."
    assert run.results[0].outcome == "failed"
    assert [(record.levelname, record.getMessage()) for record in log.records if record.name.endswith("tools")] == [
        ("INFO", "tool find_hotel: The directory is busy: try again.")
    ]


async def test_the_model_is_told_every_text_if_the_caller_wants_so(client: Either, server: MockServer) -> None:
    def look_up(key: str) -> str:
        """Look something up."""
        raise KeyError(key)

    server.reply(tool_calls(("look_up", {"key": "city"})))
    run = await client.run_tools("Look it up", [look_up], show_errors=True)
    assert run.results[0].text == "The tool failed: KeyError: 'city'"


async def test_what_can_not_run_is_told_beside_what_has_run(agent: Agent, server: MockServer) -> None:
    server.reply(tool_calls(("get_wether", {}), ("get_weather", {"city": "Paris"}), ("get_time", '{"city": "Ro')))
    run = await agent("What is it like?", [get_weather, get_time])
    assert [result.outcome for result in run.results] == ["invalid", "ok", "invalid"]
    assert run.text.startswith("The answer is There is no tool named 'get_wether'. There are: get_weather, get_time.")


async def test_a_call_that_the_server_gave_no_name_or_broken_arguments_is_told_to_the_model(
    agent: Agent, server: MockServer
) -> None:
    server.reply(tool_calls(("", {"city": "Paris"}), ("get_weather", '{"city": "Par')))
    run = await agent("What is it like?", [get_weather])
    assert (run.status, [result.outcome for result in run.results]) == ("completed", ["invalid", "invalid"])
    assert run.results[0].text == "The call names no tool. There are: get_weather."
    sent = server.requests[-1].json["messages"][1]["tool_calls"]
    assert [call["function"] for call in sent] == [
        {"name": "unnamed", "arguments": '{"city": "Paris"}'},
        {"name": "get_weather", "arguments": "{}"},
    ]


class Diary:
    """What methods of an object may note."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str, context: ToolContext[str]) -> str:
        """Note something."""
        self.notes.append(f"{context.value}: {text} ({context.tool_call.function.name})")
        return "noted"


async def test_tools_get_the_context_and_may_be_methods_or_made_of_a_schema(client: Either, server: MockServer) -> None:
    async def raw(arguments: dict[str, object], context: ToolContext[str]) -> object:
        return {"context": context.value, **arguments}

    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    diary = Diary()
    server.reply(tool_calls(("raw", {"n": 1}), ("note", {"text": "Hi"}), ("raw", {"n": "one"})))
    run = await client.run_tools("Note it", [diary.note, Tool.from_schema("raw", schema, raw)], context="Ada")
    assert diary.notes == ["Ada: Hi (note)"]
    assert [result.text for result in run.results[:2]] == ['{"context":"Ada","n":1}', "noted"]
    assert run.results[2].outcome == "invalid"


WHO: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
async def test_tools_see_the_callers_context_variables(count: int, client: Either, server: MockServer) -> None:
    def who() -> str:
        """Tell who asks."""
        return WHO.get()

    async def who_now() -> str:
        """Tell who asks."""
        return WHO.get()

    WHO.set("Ada")
    for function in (who, who_now):
        server.reply(tool_calls(*[(function.__name__, "{}")] * count))
        run = await client.run_tools("Who am I?", [function])
        assert [result.text for result in run.results] == ["Ada"] * count


def logged(function: Callable[[str], Awaitable[str]]) -> Callable[[str], Awaitable[str]]:
    @functools.wraps(function)
    def wrapper(city: str) -> Awaitable[str]:
        return function(city)

    return wrapper


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
async def test_what_a_plain_function_returns_is_awaited_if_it_can_be(
    count: int, client: Either, server: MockServer
) -> None:
    server.reply(tool_calls(*[("get_time", {"city": "Rome"})] * count))
    run = await client.run_tools("What time is it?", [logged(get_time)])
    assert [result.text for result in run.results] == ["noon in Rome"] * count


@pytest.mark.parametrize("variant", ["sync"])
@pytest.mark.parametrize("function", [get_time, logged(get_time)], ids=["async", "wrapped"])
async def test_the_blocking_client_runs_asynchronous_tools_in_a_notebook_too(
    function: Callable[[str], Awaitable[str]], client: Either, server: MockServer
) -> None:
    assert isinstance(client.inner, Nemotron)
    server.reply(tool_calls(("get_time", {"city": "Rome"})))
    # In the thread of a running event loop, which can't run another one.
    run = client.inner.chat.completions.run_tools(messages="What time is it?", tools=[function])
    assert run.results[0].text == "noon in Rome"


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_what_ends_a_program_is_not_for_the_model(
    kind: type[BaseException], count: int, client: Either, server: MockServer
) -> None:
    def leave() -> None:
        """Leave."""
        raise kind

    async def leave_now() -> None:
        """Leave."""
        raise kind

    for function in (leave, leave_now):
        server.reply(tool_calls(*[(function.__name__, "{}")] * count))
        with pytest.raises(kind):
            await client.run_tools("Leave", [function])
    assert server.posts == 2


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
async def test_what_ends_a_program_has_the_run_so_far(
    kind: type[BaseException], client: Either, server: MockServer
) -> None:
    def leave() -> None:
        """Leave."""
        raise kind

    server.reply(tool_calls(("get_weather", {"city": "Paris"})), tool_calls(("leave", {})))
    with pytest.raises(kind) as caught:
        await client.run_tools("Leave", [get_weather, leave])
    run = getattr(caught.value, "run", None)
    assert isinstance(run, ToolRun)
    assert (run.status, run.turns, [result.text for result in run.results]) == ("interrupted", 2, ["sunny in Paris"])


@pytest.mark.parametrize("variant", ["asyncio"])
async def test_a_cancelled_run_is_on_the_exception(client: Either, server: MockServer) -> None:
    async def cancel_all() -> str:
        """Have this run cancelled, and be done all the same."""
        task.cancel()
        return "done"

    server.reply(tool_calls(("cancel_all", {}), ("get_time", {"city": "Rome"})))
    task = asyncio.create_task(client.run_tools("Wait", [cancel_all, get_time]))
    with pytest.raises(CancelledError) as caught:
        await task
    run = getattr(caught.value, "run", None)
    assert isinstance(run, ToolRun)
    assert run.turns == 1
    assert "done" in [result.text for result in run.results]


@pytest.mark.parametrize("variant", ["asyncio"])
async def test_a_run_that_overran_a_limit_of_asyncio_is_on_what_the_timeout_was_raised_from(
    client: Either, server: MockServer
) -> None:
    limit = asyncio.timeout(None)

    async def overrun() -> None:
        """Take too long."""
        limit.reschedule(asyncio.get_running_loop().time())
        await anyio.sleep_forever()

    server.reply(tool_calls(("get_weather", {"city": "Paris"})), tool_calls(("overrun", {})))
    with pytest.raises(TimeoutError) as caught:
        async with limit:
            await client.run_tools("Wait", [get_weather, overrun])
    # Its context where it has no cause: Python 3.11.2, which Debian 12 has, names none.
    run = getattr(caught.value.__cause__ or caught.value.__context__, "run", None)
    assert isinstance(run, ToolRun)
    assert [result.text for result in run.results] == ["sunny in Paris"]


async def test_whatever_a_plain_function_raises_is_told_by_its_type(client: Either, server: MockServer) -> None:
    def stop() -> None:
        """Stop."""
        raise StopIteration

    server.reply(tool_calls(("stop", {}), ("stop", {})))
    run = await client.run_tools("Stop", [stop])
    assert [result.text for result in run.results] == ["The tool failed: StopIteration"] * 2


@pytest.mark.parametrize("variant", ["sync", "asyncio"])
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
async def test_a_cancellation_inside_of_a_tool_is_its_failure(count: int, client: Either, server: MockServer) -> None:
    def wait() -> None:
        """Wait for something."""
        raise CancelledError

    async def wait_now() -> None:
        """Wait for something."""
        raise CancelledError

    for function in (wait, wait_now):
        server.reply(tool_calls(*[(function.__name__, "{}")] * count))
        with anyio.fail_after(NOW):
            run = await client.run_tools("Wait", [function])
        assert [result.text for result in run.results] == ["The tool failed: CancelledError"] * count


async def test_a_plain_function_that_overruns_is_left_to_itself_and_reported(
    agent: Agent, server: MockServer, log: pytest.LogCaptureFixture
) -> None:
    released, ended = Event(), Event()

    @tool(timeout=0.02)
    def hang() -> None:
        """Hang."""
        released.wait(NOW)
        ended.set()
        raise LookupError  # which nobody sees

    server.reply(tool_calls(("hang", {}), ("get_weather", {"city": "Paris"})))
    run = await agent("Try", [hang, get_weather])
    assert not ended.is_set()
    assert [(result.outcome, result.text) for result in run.results] == [
        ("timed_out", "hang did not finish within 0.02 s."),
        ("ok", "sunny in Paris"),
    ]
    assert run.results[0].elapsed >= 0.02
    released.set()
    assert ended.wait(NOW)
    assert told(log) == [
        "tool hang still runs and is left to itself: a plain function can't be stopped",
        "tool hang did not finish within its 0.02 s",
    ]


async def test_what_a_plain_function_returns_after_its_time_changes_nothing(client: Either, server: MockServer) -> None:
    released = Event()

    @tool(timeout=0.02)
    def hang() -> str:
        """Hang."""
        released.wait(NOW)
        return "late"

    @tool(timeout=NOW)
    def release() -> str:
        """Let the others end."""
        released.set()
        return "released"

    server.reply(tool_calls(("hang", {})), tool_calls(("release", {}), ("release", {})))
    run = await client.run_tools("Try", [hang, release])
    assert [result.text for result in run.results] == ["hang did not finish within 0.02 s.", "released", "released"]


@pytest.mark.parametrize("limit", [float("inf"), 1e20])
async def test_a_limit_may_be_as_good_as_none(limit: float, client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), ("get_time", {"city": "Rome"})))
    run = await client.run_tools("Wait", [tool(each, timeout=limit) for each in (get_weather, get_time)])
    assert [result.text for result in run.results] == ["sunny in Paris", "noon in Rome"]


async def test_an_asynchronous_function_that_overruns_is_cancelled(
    agent: Agent, server: MockServer, log: pytest.LogCaptureFixture
) -> None:
    begun, ended = Event(), Event()

    @tool(timeout=0.02)
    async def hang() -> None:
        """Hang."""
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    server.reply(tool_calls(("hang", {})))
    run = await agent("Try", [hang])
    assert run.results[0].outcome == "timed_out"
    assert not begun.is_set() or ended.wait(NOW)  # a busy machine may not have come to it
    assert told(log) == ["tool hang did not finish within its 0.02 s"]


@pytest.mark.parametrize("variant", ["trio"])
@pytest.mark.parametrize("fails", [False, True])
async def test_what_fails_beside_the_cancelled_in_a_nursery_of_trio_does_not_end_the_run(
    *, fails: bool, agent: Agent, server: MockServer
) -> None:
    """Trio gives both in one group, which is no Exception for the sake of the cancelled."""

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if fails:
                raise LookupError

    @tool(timeout=0.01)
    async def wait_twice() -> None:
        """Wait."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(trio.sleep_forever)

    server.reply(tool_calls(("wait_twice", {})))
    run = await agent("Wait", [wait_twice])
    assert (run.status, run.results[0].outcome) == ("completed", "failed" if fails else "timed_out")


@pytest.mark.parametrize("variant", ["sync"])
async def test_an_asynchronous_function_that_blocks_does_not_hold_the_blocking_client(
    client: Either, server: MockServer
) -> None:
    released, ended = Event(), Event()

    @tool(timeout=0.02)
    async def hang() -> None:
        """Hang."""
        released.wait(NOW)
        ended.set()

    server.reply(tool_calls(("hang", {})))
    assert (await client.run_tools("Try", [hang])).results[0].outcome == "timed_out"
    released.set()
    assert ended.wait(NOW)


async def test_tools_may_run_tools(agent: Agent, server: MockServer) -> None:
    async def ask_another(question: str) -> str:
        """Ask another agent."""
        return (await agent(question, [get_weather])).text

    server.reply(tool_calls(("ask_another", {"question": "What is the weather in Paris?"})))
    run = await agent("Ask", [ask_another])
    assert run.text == "The answer is The answer is sunny in Paris.."


async def test_a_forced_choice_lets_the_model_answer_in_the_end(agent: Agent, server: MockServer) -> None:
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        run = await agent("Paris?", [get_weather], tool_choice=choice)
        assert run.turns == 2
        first, second = (request.json for request in server.requests[-2:])
        assert first["tool_choice"] == choice
        assert "tool_choice" not in second


async def test_tools_that_were_offered_and_not_called_are_noticed(agent: Agent, server: MockServer) -> None:
    server.reply(text("About 18 degrees, I think."))
    run = await agent("How warm is it?", [get_weather])
    assert run.status == "completed"
    assert not run.called_tools


async def test_a_model_that_goes_on_calling_is_stopped(agent: Agent, server: MockServer) -> None:
    server.always(tool_calls(("get_weather", {"city": "Paris"})))
    run = await agent("What is the weather?", [get_weather], max_turns=3)
    assert (run.status, run.turns, len(run.results), server.posts) == ("max_turns", 3, 3, 3)
    server.always(None)
    assert (await agent(run.messages, [get_weather])).text == "The answer is sunny in Paris."


async def test_an_error_between_two_turns_has_the_run_so_far_which_can_go_on(agent: Agent, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"})), error(400, "no more"))
    with pytest.raises(Exception, match="no more") as caught:
        await agent("What is the weather?", [get_weather])
    run = getattr(caught.value, "run", None)
    assert run is not None
    assert (run.status, run.turns) == ("interrupted", 1)
    assert [result.text for result in run.results] == ["sunny in Paris"]
    assert run.usage.total_tokens > 0
    assert (await agent(run.messages, [get_weather])).text == "The answer is sunny in Paris."


async def test_bad_input_is_told_before_anything_is_sent(agent: Agent, server: MockServer) -> None:
    def draw(shape: Callable[[], int]) -> None:
        """Draw."""

    with pytest.raises(ToolDefinitionError):
        await agent("Draw", [draw])
    with pytest.raises(InvalidRequestError, match="max_turns"):
        await agent("Hello", [get_weather], max_turns=0)
    with pytest.raises(InvalidRequestError, match="messages is empty"):
        await agent("", [get_weather])
    with pytest.raises(InvalidRequestError, match="tools="):
        await agent("Hello", [])
    assert server.posts == 0
