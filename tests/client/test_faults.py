"""What the caller sees when the server refuses, or says 200 and something else: told clearly, and sent once."""

from dataclasses import dataclass

import pytest

from nemotron_client import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthExceededError,
    DegradedError,
    GatewayTimeoutError,
    InternalServerError,
    InvalidResponseError,
    ModelGoneError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from nemotron_client.testing import MockServer, Reply, Scripted, cut, error, stream_error, text
from tests.captures import error_bodies, load, names
from tests.client.conftest import Connect
from tests.client.either import Either
from tests.error_bodies import ErrorBody

CLASSES: dict[int, type[APIStatusError]] = {
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


@pytest.fixture
def client(connect: Connect) -> Either:
    return connect(retry=RetryPolicy(max_retries=0, rate_limit_wait=0))


def expected(each: ErrorBody) -> type[APIStatusError]:
    if "degraded" in each.label:
        return DegradedError
    overflow = "context" in each.label or "max-num-tokens" in each.label
    return ContextLengthExceededError if overflow else CLASSES[each.status]


def refusal(each: ErrorBody) -> Reply:
    return Reply(
        status=each.status,
        headers={"content-type": each.content_type, "x-request-id": "r-1"}
        if each.content_type
        else {"x-request-id": "r-1"},
        body=each.body,
    )


@pytest.mark.parametrize("each", [each for each in error_bodies() if each.status != 200], ids=lambda each: each.label)
async def test_a_refusal_of_every_shape_is_its_own_error(each: ErrorBody, client: Either, server: MockServer) -> None:
    server.reply(refusal(each), refusal(each))
    with pytest.raises(expected(each)) as whole:
        await client.create()
    with pytest.raises(type(whole.value)) as streamed:
        async with client.stream():
            pass
    assert streamed.value.body == whole.value.body
    assert whole.value.status_code == each.status
    assert str(each.status) in str(whole.value)
    assert whole.value.request_id == "r-1"
    assert [attempt.status_code for attempt in whole.value.attempts] == [each.status]
    assert server.posts == 2


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("B-function-not-found-for-account", "not for this account"),
        ("J-model-does-not-exist", "no model of that name"),
        ("J-page-not-found", "There is no such route"),
    ],
)
async def test_three_kinds_of_404_are_told_apart(label: str, hint: str, client: Either, server: MockServer) -> None:
    server.reply(*(refusal(each) for each in error_bodies() if each.label == label))
    with pytest.raises(NotFoundError) as caught:
        await client.create()
    assert hint in (caught.value.hint or "")
    assert server.posts == 1


async def test_a_redirect_is_not_followed(client: Either, server: MockServer) -> None:
    server.reply(Reply(status=307, headers={"location": "https://elsewhere.example/v1?key=1"}))
    with pytest.raises(APIStatusError, match=r"https://elsewhere\.example/v1'") as caught:
        await client.create()
    assert caught.value.status_code == 307
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(body="<!DOCTYPE html><title>Log in</title>"), "200 with an HTML page.*DOCTYPE"),
        (Reply(body=b""), "200 with an empty body"),
        (Reply(body=b'{"choices": [{"mess'), r"not a chat completion.*\{.choices.*mess"),
        (Reply(body={"choices": []}), "it has no choices"),
        (Reply(body={"choices": [{"message": {"content": 5}}]}), "choices"),
    ],
    ids=["html", "empty", "broken-json", "no-choices", "wrong-shape"],
)
async def test_a_200_that_is_no_answer_is_shown_as_it_begins(
    reply: Reply, message: str, client: Either, server: MockServer
) -> None:
    server.reply(reply)
    with pytest.raises(InvalidResponseError, match=message):
        await client.create()
    assert server.posts == 1


async def test_an_error_inside_a_200_is_that_error(client: Either, server: MockServer) -> None:
    server.reply(Reply(body={"error": {"message": "Too long", "code": 400}}))
    with pytest.raises(BadRequestError, match="Too long"):
        await client.create()
    assert server.posts == 1


def chunk(content: str, *, finish_reason: str = "null") -> bytes:
    return f'data: {{"choices":[{{"delta":{{"content":"{content}"}},"finish_reason":{finish_reason}}}]}}'.encode()


OVERLOADED = "vllm-v13/overload_stream"
FAILED = ("vllm-v3/err", OVERLOADED)
RECORDED = [name for name in names() if name.endswith("_stream") and not name.startswith(FAILED)]
BEGUN = [chunk("Once") + b"\n\n", chunk(" upon") + b"\n\n"]


@dataclass(frozen=True)
class Break:
    label: str
    reply: Scripted
    message: str


BREAKS = [
    Break("clean-close", Reply(chunks=BEGUN), "ended without a finish reason"),
    Break("done-without-finish-reason", Reply(chunks=[*BEGUN, b"data: [DONE]\n\n"]), "ended without a finish reason"),
    Break("reset", Reply(chunks=BEGUN, end="reset"), "the connection was lost"),
    Break("cut", Reply(chunks=BEGUN, end="cut"), "the connection was lost"),
    Break("nested-error", stream_error(500, "Out of memory", text="Once upon"), "Out of memory"),
    Break("flat-error", Reply(chunks=[*BEGUN, b'data: {"object":"error","message":"Flat"}\n\n']), "Flat"),
    Break("error-string", Reply(chunks=[*BEGUN, b'data: {"error":"A string"}\n\n']), "A string"),
    Break("error-event", Reply(chunks=[*BEGUN, b"event: error\ndata: Named\n\n"]), "Named"),
    Break("broken-json", Reply(chunks=[*BEGUN, b'data: {"choices":[{"del\n\n']), "a chunk that can't be read"),
    Break(
        "invalid-utf-8",
        Reply(chunks=[*BEGUN, b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n']),
        "a chunk that can't be read",
    ),
    Break("too-large", Reply(chunks=[*BEGUN, *[b"data: " + b"x" * 2**20] * 17]), "an event of more than"),
]


@pytest.mark.parametrize("each", BREAKS, ids=lambda each: each.label)
async def test_a_broken_stream_is_told_and_keeps_what_had_come(each: Break, client: Either, server: MockServer) -> None:
    server.reply(each.reply, each.reply)
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError, match=each.message) as caught:
            await stream.until_done()
        with pytest.raises(StreamInterruptedError, match=each.message):
            await stream.until_done()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Once upon"
    assert caught.value.partial.choices[0].finish_reason is None
    assert [attempt.status_code for attempt in caught.value.attempts] == [200]
    assert server.posts == 1
    async with await client.create_stream() as chunks:
        with pytest.raises(StreamInterruptedError, match=each.message):
            await chunks.items()
    assert chunks.snapshot.text == "Once upon"


async def test_the_items_before_a_break_are_given_first(client: Either, server: MockServer) -> None:
    server.reply(Reply(chunks=[b"".join(BEGUN) + b'data: {"error":"Broken"}\n\n']))
    seen: list[str] = []

    async def read() -> None:
        async for delta in stream.text_deltas():
            seen.append(delta)  # noqa: PERF401 - what was seen before the error

    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError):
            await read()
    assert seen == ["Once", " upon"]


async def test_a_broken_text_completion_keeps_what_had_come(client: Either, server: MockServer) -> None:
    server.reply(cut(text("one two three"), after=2))
    async with await client.complete_stream() as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.items()
    assert caught.value.partial is not None
    assert caught.value.partial.text == stream.snapshot.text == "one two"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(body="<html>Log in</html>"), "HTML page"),
        (Reply(body={"object": "list", "data": []}), "not an event stream"),
        (Reply(body=b'[{"choices": 5}]'), "not an event stream"),
    ],
    ids=["html", "json", "array"],
)
async def test_what_is_no_stream_is_shown(reply: Reply, message: str, client: Either, server: MockServer) -> None:
    server.reply(reply)
    async with client.stream() as stream:
        with pytest.raises(InvalidResponseError, match=message):
            await stream.until_done()
    assert server.posts == 1


async def test_a_whole_completion_in_place_of_a_stream_is_the_answer(client: Either, server: MockServer) -> None:
    server.reply(Reply(body={"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}))
    async with client.stream() as stream:
        assert await stream.get_final_text() == "Hi"


async def test_an_error_in_place_of_a_stream_is_told(client: Either, server: MockServer) -> None:
    server.reply(Reply(body={"error": {"message": "Overloaded"}}))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError, match="Overloaded"):
            await stream.until_done()


async def test_a_last_event_without_blank_line_or_done_is_an_answer(client: Either, server: MockServer) -> None:
    server.reply(Reply(chunks=[*BEGUN, chunk(" a time", finish_reason='"stop"')]))
    async with client.stream() as stream:
        assert await stream.get_final_text() == "Once upon a time"
    assert server.posts == 1


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_stream_is_read(name: str, client: Either, server: MockServer) -> None:
    capture = load(name)
    server.reply(Reply(status=capture.status, chunks=[capture.body]))
    if "completions" in name:
        async with await client.complete_stream() as pieces:
            assert await pieces.items()
    else:
        async with client.stream() as stream:
            await stream.until_done()
            assert stream.snapshot.choices


async def test_an_overload_that_was_recorded_in_a_stream_is_told(client: Either, server: MockServer) -> None:
    capture = load(OVERLOADED)
    server.reply(Reply(chunks=[capture.body]))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError, match="currently busy"):
            await stream.until_done()


async def test_no_route_is_tried_for_a_route_that_is_missing(client: Either, server: MockServer) -> None:
    server.reply(error(404, "The model `x` does not exist."))
    with pytest.raises(NotFoundError, match="does not exist"):
        await client.complete()
    assert server.posts == 1
