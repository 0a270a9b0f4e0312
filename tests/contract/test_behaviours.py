"""What the client does, whichever of its faces, HTTP libraries and roads to a server is taken."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from nemotron_client import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ChatOptions,
    ConflictError,
    ContextLengthExceededError,
    DegradedError,
    Finished,
    GatewayTimeoutError,
    InternalServerError,
    ModelGoneError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    Timeout,
    ToolCallDone,
    UnprocessableEntityError,
)
from nemotron_client.testing import FakeServer, Reply, cut, error, problem, stream_error, text, tool_calls
from tests.captures import Capture, error_bodies, load, names
from tests.client.either import Either
from tests.contract.conftest import Clock, Connect, Server

WEATHER: dict[str, object] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: ModelGoneError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    500: InternalServerError,
    502: InternalServerError,
    503: InternalServerError,
    504: GatewayTimeoutError,
}


async def test_an_answer_is_whole_and_typed(client: Either, server: Server) -> None:
    done = await client.create("Hello", temperature=0.2)
    assert done.text == "Hello! How can I help you today?"
    assert done.usage is not None
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (4, 10)
    (request,) = server.asked
    request.assert_asked("Hello", stream=False, tools=[], tokens=4, temperature=0.2)


async def test_a_stream_tells_the_same_as_the_answer(client: Either) -> None:
    whole = await client.create("Tell me a story.")
    async with await client.create_stream("Tell me a story.") as chunks:
        told = "".join(chunk.choices[0].delta.content or "" for chunk in await chunks.items())
    async with client.stream("Tell me a story.") as stream:
        events = await stream.items()
    assert told == "".join(event.delta for event in events if isinstance(event, TextDelta)) == whole.text
    assert isinstance(events[-1], Finished)
    assert stream.snapshot.usage == whole.usage


async def test_tools_are_called_in_a_body_and_in_a_stream(client: Either) -> None:
    offered: ChatOptions = {"tools": [WEATHER], "tool_choice": "required"}
    (call,) = (await client.create("What is the weather?", **offered)).tool_calls
    async with client.stream("What is the weather?", **offered) as stream:
        (streamed,) = [event.tool_call for event in await stream.items() if isinstance(event, ToolCallDone)]
    assert streamed == call
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {})


async def test_several_choices_and_calls_keep_apart(client: Either, server: Server) -> None:
    server.always(tool_calls(("one", {"a": 1}), ("two", "{broken"), text="Well,"))
    async with client.stream("Go", n=2) as stream:
        await stream.until_done()
    for choice in stream.snapshot.choices:
        assert choice.message.content == "Well,"
        assert [call.function.arguments for call in choice.message.tool_calls or ()] == ['{"a": 1}', "{broken"]


async def test_a_prompt_is_continued_in_a_body_and_in_a_stream(client: Either) -> None:
    whole = await client.complete("Once")
    async with await client.complete_stream("Once") as pieces:
        assert "".join(piece.text for piece in await pieces.items()) == whole.text == "You said: Once"


async def test_the_server_is_asked_about_itself(client: Either) -> None:
    assert (await client.ready()).ready
    assert [model.id for model in await client.models()] == ["mistralai/mistral-nemotron"]
    assert (await client.version()).version


def recorded_errors() -> Iterator[tuple[str, int, Reply]]:
    for body in error_bodies():
        headers = {} if body.content_type is None else {"content-type": body.content_type}
        if body.status >= 400:
            yield body.label, body.status, Reply(status=body.status, headers=headers, body=body.body)
    for name in names():
        capture = load(name)
        if capture.status >= 400 and "completions" in capture.path:
            kept = {"content-type": capture.headers["content-type"]} if "content-type" in capture.headers else {}
            yield name, capture.status, Reply(status=capture.status, headers=kept, body=capture.body)


async def test_every_shape_of_an_error_is_the_error_of_its_status(connect: Connect, fake: FakeServer) -> None:
    client = connect(fake, max_retries=0)
    seen = 0
    for label, status, reply in recorded_errors():
        fake.reply(reply)
        with pytest.raises(APIStatusError) as refused:
            await client.create(timeout=None)
        kinds = (BY_STATUS.get(status, APIStatusError), DegradedError, ContextLengthExceededError)
        assert isinstance(refused.value, kinds), label
        assert refused.value.status_code == status, label
        assert (refused.value.body is None) == (not reply.body), label
        seen += 1
    assert seen > 50


def recorded_streams() -> Iterator[Capture]:
    for name in names():
        capture = load(name)
        if capture.headers.get("content-type", "").startswith("text/event-stream"):
            yield capture


def spelled(capture: Capture) -> tuple[str, list[str]]:
    """Put together by hand what the first choice of a recorded stream says, and the arguments of its calls."""
    rows = [row.removeprefix("data: ") for row in capture.body.decode().splitlines() if row.startswith("data: {")]
    choices = [choice for row in rows for choice in json.loads(row).get("choices", ()) if choice["index"] == 0]
    deltas: list[Mapping[str, Any]] = [choice.get("delta", {"content": choice.get("text")}) for choice in choices]
    calls: dict[int, str] = {}
    for call in (call for delta in deltas for call in delta.get("tool_calls") or ()):
        arguments: str = call["function"].get("arguments") or ""
        calls[call["index"]] = calls.get(call["index"], "") + arguments
    return "".join(delta.get("content") or "" for delta in deltas), [*calls.values()]


async def test_every_recorded_stream_says_what_it_said_and_ends_as_it_ended(connect: Connect, fake: FakeServer) -> None:
    client = connect(fake)
    seen: Counter[str] = Counter()
    for capture in recorded_streams():
        seen[capture.name.partition("/")[0]] += 1
        fake.reply(Reply(chunks=[capture.body]))
        said, arguments = spelled(capture)
        if capture.path == "/v1/completions":
            async with await client.complete_stream() as pieces:
                told = [piece.choices[0].text for piece in await pieces.items() if piece.choices]
            assert "".join(told) == said, capture.name
            continue
        async with client.stream() as stream:
            if b'"error"' in capture.body or b"[DONE]" not in capture.body:
                with pytest.raises(StreamInterruptedError):
                    await stream.until_done()
                continue
            await stream.until_done()
        first = stream.snapshot.choices[0]
        assert (first.message.content or "") == said, capture.name
        assert [call.function.arguments for call in first.message.tool_calls or ()] == arguments, capture.name
        assert all(choice.finish_reason for choice in stream.snapshot.choices), capture.name
    assert seen.keys() == {"vllm-v3", "vllm-v7", "vllm-v11", "vllm-v13", "llamacpp"}


@pytest.mark.parametrize("reply", [error(503, "busy"), problem(429, "Too Many Requests"), Reply(status=0, end="reset")])
async def test_what_may_pass_is_tried_again_after_a_wait(
    reply: Reply, client: Either, server: Server, clock: Clock
) -> None:
    server.reply(reply, text("Here I am."))
    assert (await client.create()).text == "Here I am."
    assert server.posts == 2
    assert len(clock.waits) == 1


async def test_a_server_that_says_when_to_come_again_is_believed(client: Either, server: Server, clock: Clock) -> None:
    server.reply(error(429, "slow down", headers={"retry-after": "7"}), text("Here I am."))
    assert (await client.create()).text == "Here I am."
    assert [int(wait) for wait in clock.waits] == [7]


async def test_a_rate_limit_is_waited_out_for_a_time_and_no_longer(
    connect: Connect, server: Server, clock: Clock
) -> None:
    server.always(problem(429, "Too Many Requests"))
    with pytest.raises(RateLimitError):
        await connect(server, retry=RetryPolicy(rate_limit_wait=5)).create()
    assert 2 < sum(clock.waits) <= 5  # what the requests take of the time is real
    assert server.posts == 3


async def test_the_limit_of_a_call_spans_its_waits(connect: Connect, server: Server, clock: Clock) -> None:
    server.always(error(503, "busy", headers={"retry-after": "30"}))
    with pytest.raises(InternalServerError, match="busy"):
        await connect(server, timeout=Timeout(total=40)).create()
    assert (server.posts, [int(wait) for wait in clock.waits]) == (2, [30])


async def test_what_will_not_pass_is_tried_once(client: Either, server: Server, clock: Clock) -> None:
    server.reply(error(400, "no"))
    with pytest.raises(BadRequestError):
        await client.create()
    assert (server.posts, clock.waits) == (1, [])


@pytest.mark.parametrize(
    ("reply", "said"),
    [(cut(text("Once upon a time"), after=3), "Once upon"), (stream_error(500, "died", text="Once"), "Once")],
)
async def test_a_stream_that_breaks_keeps_what_had_come(
    reply: Reply, said: str, client: Either, server: Server
) -> None:
    server.reply(reply)
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError) as broken:
            await stream.until_done()
    assert broken.value.partial is not None
    assert broken.value.partial.text == said


async def test_silence_is_a_timeout_and_is_not_sent_again(connect: Connect, server: Server) -> None:
    server.reply(Reply(status=0, end="hang"))
    with pytest.raises(APITimeoutError):
        await connect(server, timeout=Timeout(first_event=0.05)).create()
    assert server.posts == 1


async def test_a_stream_that_falls_silent_is_a_timeout_that_keeps_what_had_come(
    connect: Connect, server: Server
) -> None:
    server.reply(cut(text("Once upon a time"), after=3, end="hang"))
    async with connect(server, timeout=Timeout(idle=0.25)).stream() as stream:
        with pytest.raises(StreamTimeoutError) as broken:
            await stream.until_done()
    assert broken.value.partial is not None
    assert broken.value.partial.text == "Once upon"
