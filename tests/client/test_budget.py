"""A server of one's own with a window of 4,096: what doesn't fit never leaves, and checking holds nobody up."""

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence

import anyio
import pytest
from anyio import from_thread, to_thread

from nemotron_client import (
    ConversationFitted,
    HookEvent,
    Message,
    TokenBudget,
    TokenBudgetExceededError,
    TokenBudgetWarning,
    TokenCounter,
)
from nemotron_client import _tekken as tekken
from nemotron_client.messages import ToolMessage
from nemotron_client.testing import MockServer, Reply, Scripted, error, text, tool_calls
from nemotron_client.tokens import TEMPLATES, Template
from tests.client.conftest import Connect
from tests.client.either import Either

WINDOW = 4096
NAME = "mistralai/mistral-nemotron"
MODELS = "/v1/models"


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer(max_model_len=WINDOW) as server:
        yield server


def taking(tokens: int) -> str:
    """Make a text that is a prompt of so many tokens."""
    made = " word" * (tokens - 3)
    assert TokenCounter().count(made).total == tokens
    return made


def conversation(exchanges: int, words: int = 500) -> list[Message]:
    """Make one that ends with a question: each exchange before that takes as many tokens as it has words, and ten."""
    said: list[Message] = [{"role": "system", "content": "Be brief."}]
    for number in range(exchanges):
        said += [{"role": "user", "content": f"{number}" + " word" * words}, {"role": "assistant", "content": "Yes."}]
    return [*said, {"role": "user", "content": "Hello"}]


def asked_for_models(server: MockServer) -> int:
    return [request.path for request in server.requests].count(MODELS)


# Refused


async def create(client: Either, messages: str | list[Message]) -> object:
    return await client.create(messages)


async def create_stream(client: Either, messages: str | list[Message]) -> object:
    async with await client.create_stream(messages) as stream:
        return await stream.items()


async def stream(client: Either, messages: str | list[Message]) -> object:
    async with client.stream(messages) as stream:
        return await stream.get_final_completion()


async def parse(client: Either, messages: str | list[Message]) -> object:
    return await client.parse(list[int], messages)


async def stream_parse(client: Either, messages: str | list[Message]) -> object:
    async with client.stream_parse(list[int], messages) as stream:
        return await stream.get_final_completion()


async def run_tools(client: Either, messages: str | list[Message]) -> object:
    return await client.run_tools(messages, [look_up])


async def stream_tools(client: Either, messages: str | list[Message]) -> object:
    async with client.stream_tools(messages, [look_up]) as events:
        return [event async for event in events]


def look_up(words: int) -> str:
    """Look something up."""
    return " word" * words


@pytest.mark.parametrize(
    "ask", [create, create_stream, stream, parse, stream_parse, run_tools, stream_tools], ids=lambda ask: ask.__name__
)
async def test_what_overflows_never_leaves(
    ask: Callable[[Either, str], Awaitable[object]], client: Either, server: MockServer
) -> None:
    with pytest.raises(TokenBudgetExceededError) as caught:
        await ask(client, taking(WINDOW))
    error = caught.value
    assert (server.posts, error.limit, error.completion_tokens, error.template) == (0, WINDOW, 1, "v7")
    assert (error.prompt_tokens or 0) >= WINDOW
    assert error.excess == (error.prompt_tokens or 0) + 1 - WINDOW
    assert error.heaviest[0][0] == 0


async def test_a_text_completion_that_overflows_never_leaves_either(client: Either, server: MockServer) -> None:
    with pytest.raises(TokenBudgetExceededError, match=r"takes 5,001 tokens .* than the limit of 4,096"):
        await client.complete(" word" * 5000)
    with pytest.raises(TokenBudgetExceededError):
        await client.complete_stream(" word" * 5000)
    assert server.posts == 0


async def test_the_last_token_decides(client: Either, server: MockServer) -> None:
    with pytest.raises(TokenBudgetExceededError, match="that is 1 more than the limit of 4,096"):
        await client.create(taking(WINDOW - 10), max_tokens=11)
    await client.create(taking(WINDOW - 10), max_tokens=10)
    assert server.posts == 1
    assert asked_for_models(server) == 1


# What the limit is


async def test_a_small_request_asks_for_no_window(client: Either, server: MockServer) -> None:
    await client.create("Hello", max_tokens=500)
    assert (server.posts, asked_for_models(server)) == (1, 0)


async def test_a_limit_of_ones_own_comes_before_the_servers(connect: Connect, server: MockServer) -> None:
    client = connect(budget=TokenBudget(limit=100))
    server.always("Whatever")
    with pytest.raises(TokenBudgetExceededError, match="the limit of 100"):
        await client.create(taking(100))
    await client.create(taking(5000), budget=TokenBudget(limit=10_000))
    copy = Either(client.inner.with_options(budget=TokenBudget(limit=50)))
    with pytest.raises(TokenBudgetExceededError, match="the limit of 50"):
        await copy.create(taking(60))
    assert (server.posts, asked_for_models(server)) == (1, 0)


async def test_a_copy_asks_no_more_than_its_original(client: Either, server: MockServer) -> None:
    await client.create(taking(3000))
    with pytest.raises(TokenBudgetExceededError):
        await Either(client.inner.with_options(timeout=60)).create(taking(5000))
    assert (server.posts, asked_for_models(server)) == (1, 1)


@pytest.mark.parametrize("status", [404, 500])
async def test_a_server_that_tells_no_window_is_taken_for_the_widest(
    status: int, client: Either, server: MockServer
) -> None:
    server.always(Reply(status=status), path=MODELS)
    server.always("Whatever")
    await client.create(taking(5000))
    await client.create(taking(5000))
    assert (server.posts, asked_for_models(server)) == (2, 1)


# Shortened, sent all the same, or not looked at


async def test_the_oldest_messages_are_dropped_and_told(connect: Connect, server: MockServer) -> None:
    events: list[HookEvent] = []
    client = connect(budget=TokenBudget(on_overflow="fit"), on_event=events.append)
    messages = conversation(9)
    done = await client.create(messages, max_tokens=20)
    async with client.stream(messages, max_tokens=20) as stream:
        await stream.until_done()
    dropped = messages[1:3]
    assert list(done.response.dropped) == list(stream.response.dropped) == dropped
    sent = [request.json["messages"] for request in server.requests if request.method == "POST"]
    assert sent == [[messages[0], *messages[3:]]] * 2
    told = [event.dropped for event in events if isinstance(event, ConversationFitted)]
    assert told == [tuple(dropped)] * 2


async def test_what_fits_is_left_alone(connect: Connect, server: MockServer) -> None:
    messages = conversation(7)
    done = await connect(budget=TokenBudget(on_overflow="fit")).create(messages, max_tokens=20)
    assert done.response.dropped == ()
    assert server.requests[-1].json["messages"] == messages


async def test_an_overflow_may_be_sent_with_a_warning(client: Either, server: MockServer) -> None:
    server.always("Whatever")
    with pytest.warns(TokenBudgetWarning, match="The prompt takes 5,000 tokens"):
        await client.create(taking(5000), budget=TokenBudget(on_overflow="warn"))
    assert server.posts == 1


async def test_little_room_is_warned_of_unless_it_was_asked_for(client: Either, server: MockServer) -> None:
    with pytest.warns(TokenBudgetWarning, match="the answer will be cut off after 31"):
        await client.create(taking(WINDOW - 31))
    await client.create(taking(WINDOW - 32))
    await client.create(taking(WINDOW - 31), max_tokens=31)
    assert server.posts == 3


async def test_a_budget_that_is_off_asks_and_counts_nothing(client: Either, server: MockServer) -> None:
    server.always("Whatever")
    await client.create(taking(10_000), budget=TokenBudget(on_overflow="off"))
    assert (server.posts, asked_for_models(server)) == (1, 0)


# More than one request


async def test_asking_again_keeps_the_question(connect: Connect, server: MockServer) -> None:
    server.reply(text('{"value": ["one"]}'), text('{"value": [1]}'))
    client = connect(budget=TokenBudget(limit=550, on_overflow="fit"))
    *old, question = conversation(1)
    done = await client.parse(list[int], [*old, question])
    assert done.parsed == [1]
    first, second = (request.json["messages"] for request in server.requests)
    assert [message["role"] for message in first] == ["system", "user", "assistant", "user"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert (second[1]["content"], second[2]["content"]) == ("Hello", '{"value": ["one"]}')
    assert list(done.response.dropped) == old[1:]


async def test_a_run_that_outgrows_the_window_keeps_what_it_has(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("look_up", {"words": 5000})))
    with pytest.raises(TokenBudgetExceededError) as caught:
        await client.run_tools("Hello", [look_up])
    run = caught.value.run
    assert run is not None
    assert (server.posts, len(run.results)) == (1, 1)
    assert "messages[2] (tool) with 5,0" in str(caught.value)


@pytest.mark.parametrize("template", TEMPLATES)
async def test_usage_picks_the_template(template: Template, client: Either, server: MockServer) -> None:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "look_up", "arguments": '{"words": 9}'}}
    called: list[Message] = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        ToolMessage(content=taking(3000), tool_call_id="abcdefgh1"),
    ]
    counts = {each: TokenCounter(each).count(called).total for each in TEMPLATES}
    assert len(set(counts.values())) == 3
    assert client.tokens.count(messages=called).template == "v7"
    server.reply(text("Hi", usage={"prompt_tokens": counts[template]}))
    await client.create(called)
    count = client.tokens.count(messages=called)
    assert (count.template, count.total) == (template, counts[template])
    room = WINDOW - counts[template]
    await client.create(called, max_tokens=room)
    with pytest.raises(TokenBudgetExceededError):
        await client.create(called, max_tokens=room + 1)


# client.tokens


async def test_tokens_counts_checks_and_shortens_without_asking(client: Either, server: MockServer) -> None:
    messages = conversation(9)
    count = client.tokens.count(messages=messages)
    report = client.tokens.check(messages=messages, max_tokens=20)
    assert (report.used, report.limit, report.fits) == (count.total, 131_072, True)
    assert server.requests == []
    await client.models()  # which tells the window
    report = client.tokens.check(messages=messages, max_tokens=20)
    assert (report.limit, report.left, report.fits) == (WINDOW, WINDOW - count.total, False)
    assert str(report).splitlines()[-1].startswith("With 20 for the answer it overflows.")
    fitted = client.tokens.fit(messages, max_tokens=20)
    assert (fitted.dropped, fitted.report.fits) == (messages[1:3], True)
    await client.create(fitted.messages, max_tokens=20)
    assert server.posts == 1


async def test_tokens_counts_the_tools_too(client: Either) -> None:
    assert client.tokens.count(messages="Hello", tools=[look_up]).tools > 40
    with_tools = client.tokens.check(messages="Hello", tools=[look_up])
    assert with_tools.used == client.tokens.fit("Hello", tools=[look_up]).report.used
    assert with_tools.used > client.tokens.check(messages="Hello").used


async def test_the_server_counts_where_it_can(client: Either, server: MockServer) -> None:
    server.always(Reply(body={"count": 7}), path="/tokenize")
    assert await client.count_on_server("Hello to all of you") == 7
    request = server.requests[0]
    assert (request.path, request.json["model"]) == ("/tokenize", NAME)
    await client.count_on_server("Hello", [look_up])
    assert server.requests[1].json["tools"][0]["function"]["name"] == "look_up"


# Holding nobody up


LONG: Message = {"role": "user", "content": " word" * 20_000}
ROOMY = TokenBudget(limit=100_000)
NO_FORM = error(400, "response_format is not supported")
NO_USER_AFTER_TOOL = error(400, "Unexpected role 'user' after role 'tool'")


async def create_bridged(client: Either, messages: list[Message]) -> object:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    asked: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    return await client.create([LONG, asked, ToolMessage(content="x", tool_call_id="abcdefgh1"), *messages])


@pytest.mark.parametrize(
    ("ask", "replies"),
    [
        pytest.param(create, ["Whatever"], id="a question"),
        pytest.param(create_bridged, [NO_USER_AFTER_TOOL, "Whatever"], id="a question that is bridged"),
        pytest.param(parse, ["What?", "[1]"], id="a form by another method"),
        pytest.param(parse, [text('{"value": ["one"]}'), "[1]"], id="a form asked for again"),
        pytest.param(parse, [NO_FORM, "[1]"], id="a form whose method is refused"),
        pytest.param(stream_parse, [NO_FORM, "[1]"], id="a streamed form whose method is refused"),
        pytest.param(run_tools, [tool_calls(("look_up", {"words": 9})), "Whatever"], id="a run"),
        pytest.param(stream_tools, [tool_calls(("look_up", {"words": 9})), "Whatever"], id="a run as events"),
    ],
)
async def test_the_event_loop_is_free_whenever_a_long_prompt_is_counted(
    ask: Callable[[Either, list[Message]], Awaitable[object]],
    replies: list[Scripted],
    connect: Connect,
    server: MockServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[int] = []

    def count(each: str) -> int:
        from_thread.run_sync(counted.append, server.posts)  # which works in other threads than the event loop's only
        return len(each) // 5

    monkeypatch.setattr(tekken, "count", count)
    server.reply(*replies)
    await ask(connect(budget=ROOMY), [LONG])
    assert set(counted) == {*range(len(replies))}


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_counting_can_be_cancelled(client: Either, server: MockServer, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, enough = anyio.Event(), threading.Event()

    def count(each: str) -> int:
        from_thread.run_sync(counting.set)
        enough.wait()
        return len(each)

    monkeypatch.setattr(tekken, "count", count)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.create, "word " * WINDOW)
        await counting.wait()
        tasks.cancel_scope.cancel()
    enough.set()
    assert server.posts == 0


async def test_many_calls_at_once_ask_once_and_are_judged_alike(connect: Connect, server: MockServer) -> None:
    client = connect(budget=TokenBudget(on_overflow="fit"))
    dropped: list[Sequence[Message]] = []

    async def ask() -> None:
        done = await client.create(conversation(9), max_tokens=20)
        dropped.append(done.response.dropped)

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(ask)
    assert [list(each) for each in dropped] == [conversation(9)[1:3]] * 16
    assert (server.posts, asked_for_models(server)) == (16, 1)


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_counting_waits_for_none_of_the_threads_that_the_application_is_using(
    connect: Connect, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply("Whatever")
    limiter = to_thread.current_default_thread_limiter()
    monkeypatch.setattr(limiter, "total_tokens", 1)
    async with limiter:
        with anyio.fail_after(5):
            assert await create(connect(budget=ROOMY), [LONG])
