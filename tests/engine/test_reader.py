"""The bytes of a streamed answer to its items, and to a verdict: whole, or an error that keeps what had come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client._engine.calls import Call
from nemotron_client._engine.exchange import Problem
from nemotron_client._engine.reader import StreamReader
from nemotron_client._engine.readers import chat_chunks, chat_events, text_chunks
from nemotron_client._engine.sse import MAX_EVENT_BYTES
from nemotron_client.completions import ChatCompletion, ChatCompletionChunk, Completion, ResponseInfo
from nemotron_client.config import Secret
from nemotron_client.errors import (
    APIError,
    APITimeoutError,
    Attempt,
    ContextLengthExceededError,
    InvalidResponseError,
    NemotronError,
    StreamInterruptedError,
    StreamTimeoutError,
)
from nemotron_client.events import (
    Finished,
    StreamEvent,
    TextDelta,
    TextDone,
    ToolCallDelta,
    ToolCallDone,
    UsageReported,
)
from tests.captures import load, names
from tests.engine.driving import DONE, KEY, answer, asked, chunk, event, failure

Reader: TypeAlias = StreamReader[ChatCompletionChunk] | StreamReader[StreamEvent] | StreamReader[Completion, Completion]
SECRETS = {"authorization": Secret(f"Bearer {KEY}"), "accept": "*/*"}
INFO = ResponseInfo(200, "req-1", {}, (Attempt(1, 200, None, 0.1),), 0.1)
HELLO = event(chunk({"role": "assistant", "content": "Hello"}))
STOP = event(chunk({}, "stop"))


@dataclass
class Read:
    """What came of a stream."""

    items: Sequence[object]
    error: NemotronError | None
    answer: ChatCompletion | Completion
    reader: Reader


def read(*pieces: bytes, of: Callable[[Call], Reader] = chat_events) -> Read:
    """Feed the pieces as a client does: no more once the reader has ended, and the end of the body otherwise."""
    reader = of(asked(SECRETS))
    reader.begin(INFO)
    items: list[object] = []
    for piece in pieces:
        items += reader.feed(piece)
        if reader.ended:
            break
    else:
        items += reader.feed(None)
    assert reader.ended
    return Read(items, reader.error, reader.completion(), reader)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


CHAT_STREAMS = [
    name for name in names() if load(name).body.startswith(b"data:") and load(name).path == "/v1/chat/completions"
]
TEXT_STREAMS = [
    name for name in names() if load(name).body.startswith(b"data:") and load(name).path == "/v1/completions"
]
# These end in an error, as the README of the captures tells.
BROKEN = {
    "vllm-v13/client_disconnect": "without a finish reason",
    "vllm-v13/overload_stream": "(code 503)",
    "vllm-v3/err_rf_schema_bad_stream": "(code 400)",
}
WHOLE = [name for name in CHAT_STREAMS if name not in BROKEN]


def test_there_are_recorded_streams_of_both_routes() -> None:
    assert len(CHAT_STREAMS) > 20
    assert len(TEXT_STREAMS) == 2


@pytest.mark.parametrize("name", WHOLE)
def test_a_recorded_stream_says_the_same_as_its_chunks(name: str) -> None:
    body = load(name).body
    chunks = read(body, of=chat_chunks)
    assert chunks.error is None
    # Read by other means: the chunks are the events' JSON, with nothing added and nothing left out.
    sent = [
        ChatCompletionChunk.model_validate_json(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")
    ]
    assert chunks.items == sent
    text = "".join(c.delta.content or "" for each in sent for c in each.choices if c.index == 0)
    whole = chunks.answer
    assert isinstance(whole, ChatCompletion)
    assert whole.text == text
    assert [c.finish_reason for c in whole.choices] == [
        c.finish_reason for each in sent for c in sorted(each.choices, key=lambda c: c.index) if c.finish_reason
    ]
    assert whole.usage == next((each.usage for each in reversed(sent) if each.usage), None)
    assert whole.response == INFO


@pytest.mark.parametrize("name", WHOLE)
def test_a_recorded_stream_as_events_adds_up_to_its_answer(name: str) -> None:
    whole = read(load(name).body)
    assert whole.error is None
    *events, last = whole.items
    assert last == Finished(whole.reader.completion())  # type: ignore[arg-type] # this reader's answers are chat answers
    assert isinstance(whole.answer, ChatCompletion)
    for choice in whole.answer.choices:
        mine = [e for e in events if not isinstance(e, UsageReported) and getattr(e, "choice", None) == choice.index]
        text = "".join(e.delta for e in mine if isinstance(e, TextDelta))
        assert text == (choice.message.content or "")
        assert [e.text for e in mine if isinstance(e, TextDone)] == ([text] if text else [])
        calls = choice.message.tool_calls or []
        assert [e.tool_call for e in mine if isinstance(e, ToolCallDone)] == calls
        for position, call in enumerate(calls):
            pieces = [e.delta for e in mine if isinstance(e, ToolCallDelta) and e.index == position]
            assert "".join(pieces) == call.function.arguments
    assert [e.usage for e in events if isinstance(e, UsageReported)] == (
        [whole.answer.usage] if whole.answer.usage else []
    )


@pytest.mark.parametrize("size", [1, 2, 7, 100, 4096])
@pytest.mark.parametrize(
    ("name", "of"), [*((n, chat_events) for n in CHAT_STREAMS), *((n, text_chunks) for n in TEXT_STREAMS)]
)
def test_a_recorded_stream_cut_evenly_gives_the_same(name: str, size: int, of: Callable[[Call], Reader]) -> None:
    body = load(name).body[:20_000]
    same(read(*cut(body, size), of=of), read(body, of=of))


@pytest.mark.parametrize(
    ("name", "of"), [*((n, chat_chunks) for n in CHAT_STREAMS), *((n, text_chunks) for n in TEXT_STREAMS)]
)
def test_a_recorded_stream_of_one_event_a_read_gives_the_same(name: str, of: Callable[[Call], Reader]) -> None:
    body = load(name).body
    pieces = [each + b"\n\n" for each in body.removesuffix(b"\n\n").split(b"\n\n")]
    same(read(*pieces, of=of), read(body, of=of))


def same(one: Read, other: Read) -> None:
    assert (one.items, str(one.error), one.answer, one.reader.progress) == (
        other.items,
        str(other.error),
        other.answer,
        other.reader.progress,
    )


@given(
    st.sampled_from(["vllm-v13/tool_auto_stream", "vllm-v7/tool_auto_stream", "llamacpp/tools_auto_stream", *BROKEN]),
    st.data(),
)
def test_a_recorded_stream_cut_anywhere_gives_the_same(name: str, draw: st.DataObject) -> None:
    body = load(name).body
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(body)), max_size=30)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    same(read(*pieces), read(body))


@pytest.mark.parametrize("name", TEXT_STREAMS)
def test_a_recorded_text_stream_is_joined(name: str) -> None:
    whole = read(load(name).body, of=text_chunks)
    assert whole.error is None
    chunks = [each for each in whole.items if isinstance(each, Completion)]
    assert whole.answer.text == "".join(c.text for each in chunks for c in each.choices)
    assert whole.answer.choices[0].finish_reason == "length"
    assert whole.answer.usage is not None
    assert whole.reader.response == INFO


@pytest.mark.parametrize(("name", "words"), BROKEN.items())
def test_a_recorded_stream_that_broke_is_an_error(name: str, words: str) -> None:
    broken = read(load(name).body)
    assert type(broken.error) is StreamInterruptedError
    assert words in str(broken.error)
    assert broken.error.partial == broken.answer


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO + STOP + DONE, id="as-it-should-be"),
        pytest.param(HELLO + STOP, id="no-DONE"),
        pytest.param((HELLO + STOP)[:-1], id="last-event-without-its-blank-line"),
        pytest.param((HELLO + STOP)[:-2], id="last-event-without-its-line-end"),
        pytest.param(HELLO + event(chunk({"content": ""}, "stop")) + b"data: [DONE]", id="DONE-without-its-blank-line"),
        pytest.param(HELLO + STOP + b'data: {"id', id="half-an-event-after-the-finish-reason"),
        pytest.param(HELLO + STOP + DONE + event({"error": "late"}), id="anything-after-DONE"),
        pytest.param(HELLO + STOP + b"data: [DONE] \n\n", id="DONE-and-a-blank"),
        pytest.param(b": hi\n\n" + HELLO + b": keep-alive\n\n" * 3 + STOP + b":\n\n" + DONE, id="comments"),
        pytest.param(b"retry: 5\nid: 1\nevent: message\n" + HELLO + STOP + DONE, id="other-fields"),
        pytest.param(
            b"\xef\xbb\xbf\r\n" + (HELLO + STOP + DONE).replace(b"\n", b"\r\n"), id="byte-order-mark-and-CRLF"
        ),
        pytest.param(HELLO + b"data:\n\ndata\n\n" + STOP + DONE, id="empty-data"),
        pytest.param(HELLO + STOP + event(chunk(usage=None)) + DONE, id="a-last-chunk-without-choices"),
        pytest.param(HELLO + STOP + event({"error": "late"}), id="an-error-after-the-finish-reason"),
        pytest.param(HELLO + STOP + event({"error": "late"})[:-2], id="an-unfinished-error-after-the-finish-reason"),
        pytest.param(HELLO + STOP + event(b'{"usage": {'), id="broken-JSON-after-the-finish-reason"),
        pytest.param(HELLO + event(chunk({"content": None}, error=None)) + STOP + DONE, id="a-null-error"),
        pytest.param(
            event({"choices": [{"delta": {"content": "Hello", "tool_calls": None}, "index": None}], "created": "x"})
            + STOP,
            id="nulls",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_a_stream_is_whole_when_every_choice_has_its_finish_reason(body: bytes, size: int) -> None:
    whole = read(*cut(body, size))
    assert whole.error is None
    assert whole.answer.text == "Hello"
    assert whole.answer.choices[0].finish_reason == "stop"
    assert isinstance(whole.items[-1], Finished)


def test_half_an_event_that_holds_the_end_of_the_answer_is_taken() -> None:
    whole = read(HELLO + event(chunk({"content": " you"}, "stop"))[:-1])
    assert whole.error is None
    assert whole.answer.text == "Hello you"


TOO_MUCH = b"x" * (MAX_EVENT_BYTES + 1)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        pytest.param(b"", "ended without a finish reason", id="a-clean-close"),
        pytest.param(DONE, "ended without a finish reason", id="DONE"),
        pytest.param(
            event(chunk({}, "stop", index=1)) + DONE, "ended without a finish reason", id="only-another-choice-finished"
        ),
        pytest.param(STOP[:20], "ended without a finish reason", id="half-a-chunk"),
        pytest.param(
            event({"error": {"message": "on fire", "code": 500}}), "(code 500): on fire.", id="a-nested-error"
        ),
        pytest.param(event({"error": "on fire"}), "in the stream: on fire.", id="an-error-string"),
        pytest.param(
            event({"object": "error", "message": "on fire", "code": 503}), "(code 503): on fire.", id="a-flat-error"
        ),
        pytest.param(
            event(chunk({"content": "?"}, error={"message": "on fire"})), "stream: on fire.", id="an-error-beside-text"
        ),
        pytest.param(
            event(chunk({"content": "?"}) | {"object": "error", "message": "on fire"}),
            "stream: on fire.",
            id="a-flat-error-beside-text",
        ),
        pytest.param(
            event(b'{"\\u0065rror": "on fire", "choices": [{}]}'), "stream: on fire.", id="an-error-in-escapes"
        ),
        pytest.param(
            event({"message": "on fire", "type": "Bad Request", "code": 400}),
            "(code 400): on fire.",
            id="a-bare-message",
        ),
        pytest.param(
            event({"status": 502, "title": "Bad Gateway", "detail": "on fire"}),
            "in the stream: on fire.",
            id="a-problem",
        ),
        pytest.param(
            event({"detail": [{"loc": ["body", "n"], "msg": "on fire"}]}), "body.n: on fire.", id="FastAPI's-problems"
        ),
        pytest.param(b"event: error\ndata: on fire\n\n", "in the stream: on fire.", id="an-error-event-with-text"),
        pytest.param(
            b'event: error\ndata: {"message": "on fire"}\n\n', "in the stream: on fire.", id="an-error-event-with-JSON"
        ),
        pytest.param(
            b"event: error\ndata:\n\n", "reported an error in the stream.", id="an-error-event-that-says-nothing"
        ),
        pytest.param(
            event({"error": {"message": "on fire"}})[:-2],
            "in the stream: on fire.",
            id="an-error-without-its-blank-line",
        ),
        pytest.param(
            b"event: error\ndata: on fire", "in the stream: on fire.", id="an-error-event-without-its-blank-line"
        ),
        pytest.param(event(b'{"choices": [{'), "can't be read (Invalid JSON: EOF while parsing", id="broken-JSON"),
        pytest.param(event(b"on fire"), "can't be read (", id="no-JSON"),
        pytest.param(event(b"null"), "can't be read (", id="null"),
        pytest.param(event(b'{"choices": 5}'), "can't be read (choices: ", id="another-shape"),
        pytest.param(event(b'{"choices": [{"delta": {"content": "\xff"}}]}'), "can't be read (", id="invalid-UTF-8"),
        pytest.param(event(TOO_MUCH), "an event of more than 16777216 bytes.", id="an-event-over-the-limit"),
        pytest.param(b"data: " + TOO_MUCH, "an event of more than 16777216 bytes.", id="half-an-event-over-the-limit"),
        pytest.param(event(chunk({"content": ""})) + STOP[:-9] + b"\n\n", "can't be read (", id="the-last-chunk-cut"),
    ],
)
@pytest.mark.parametrize("of", [chat_events, chat_chunks])
@pytest.mark.parametrize("apart", [True, False], ids=["in-pieces", "at-once"])
def test_whatever_breaks_a_stream_is_an_error_that_keeps_what_had_come(
    rest: bytes, words: str, of: Callable[[Call], Reader], *, apart: bool
) -> None:
    broken = read(*([HELLO, rest] if apart else [HELLO + rest]), of=of)
    error = broken.error
    assert type(error) is StreamInterruptedError
    assert words in str(error)
    assert isinstance(error.partial, ChatCompletion)
    assert error.partial.text == "Hello"
    assert error.partial.choices[0].finish_reason is None
    assert (error.request_id, error.attempts) == ("req-1", INFO.attempts)
    assert broken.items[0] == (
        TextDelta("Hello") if of is chat_events else ChatCompletionChunk.model_validate_json(HELLO[6:])
    )
    assert not any(isinstance(item, Finished) for item in broken.items)


TOO_LONG = {"message": "The input (6010 tokens) is longer than the model's context length (4096 tokens).", "code": 400}


def test_an_overflow_that_is_told_in_a_stream_is_one_as_long_as_nothing_had_come() -> None:
    error = read(event({"error": TOO_LONG})).error
    assert type(error) is ContextLengthExceededError
    assert (error.limit, error.prompt_tokens, error.status_code, error.code) == (4096, 6010, 400, 400)
    assert (error.request_id, error.attempts) == ("req-1", INFO.attempts)
    assert "max_tokens" in str(error)
    assert type(read(HELLO, event({"error": TOO_LONG})).error) is StreamInterruptedError


@pytest.mark.parametrize("done", [DONE, b""], ids=["DONE", "no-DONE"])
def test_an_event_over_the_limit_after_the_end_of_the_answer_changes_nothing(done: bytes) -> None:
    assert read(HELLO + STOP + done + event(TOO_MUCH)).error is None


@pytest.mark.parametrize("of", [chat_events, chat_chunks, text_chunks])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"<!DOCTYPE html><title>Sign in</title>", "with an HTML page.", id="HTML"),
        pytest.param(b"\n\n <html>", "with an HTML page.", id="HTML-after-blanks"),
        pytest.param(b'{"status": "ok"}', "it has no choices", id="other-JSON"),
        pytest.param(b'{"choices": []}', "it has no choices", id="an-answer-without-choices"),
        pytest.param(b'{"choices": [', "Invalid JSON", id="broken-JSON"),
        pytest.param(b"[1, 2]", "an event stream", id="a-JSON-list"),
        pytest.param(b"Upstream is overloaded, retry later", "there is no event in it", id="words"),
        pytest.param(
            b"Upstream is overloaded:\n\nretry later\n\n", "there is no event in it", id="words-and-blank-lines"
        ),
        pytest.param(b"null", "there is no event in it", id="null"),
        pytest.param(b": keep-alive\n\n: keep-alive\n\n", "there is no event in it", id="only-comments"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_body_that_is_no_stream_at_all_is_shown(
    body: bytes, words: str, of: Callable[[Call], Reader], size: int
) -> None:
    got = read(*cut(body, size), of=of)
    assert type(got.error) is InvalidResponseError
    assert words in str(got.error)
    assert repr(body.decode().strip()) in str(got.error)
    assert (got.items, got.error.request_id, got.error.attempts) == ([], "req-1", INFO.attempts)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "on fire", "code": 500}}',
        b'{"error": "on fire"}',
        b'{"object": "error", "message": "on fire"}',
        b'{"detail": "on fire"}',
    ],
    ids=["nested", "string", "flat", "detail"],
)
def test_an_error_in_json_instead_of_a_stream_is_the_servers_error(body: bytes) -> None:
    got = read(body)
    assert type(got.error) is StreamInterruptedError
    assert "on fire" in str(got.error)


@pytest.mark.parametrize("of", [chat_events, chat_chunks, text_chunks])
def test_an_empty_body_is_no_stream(of: Callable[[Call], Reader]) -> None:
    got = read(b"", of=of)
    assert type(got.error) is InvalidResponseError
    assert "said 200 with an empty body" in str(got.error)
    assert got.items == []


def test_of_what_is_no_stream_only_the_start_is_kept() -> None:
    error = read(*[b"x" * 10_000 + b"\n"] * 100).error
    assert isinstance(error, InvalidResponseError)
    assert len(str(error.body)) < 100_000


CALLED = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {
    "index": 0,
    "message": {"role": "assistant", "content": None, "tool_calls": [CALLED, {**CALLED, "id": "b"}]},
    "finish_reason": "tool_calls",
}


@pytest.mark.parametrize("body", [answer(usage={"total_tokens": 3}), answer(choices=[CALLING])], ids=["text", "calls"])
def test_a_whole_chat_answer_in_json_is_given_as_a_stream(body: dict[str, object]) -> None:
    expected = ChatCompletion.model_validate(body)
    events, chunks = read(event(body)[6:]), read(event(body)[6:], of=chat_chunks)
    for got in (events, chunks):
        assert got.error is None
        assert got.answer.model_dump(exclude_none=True) == expected.model_dump(exclude_none=True)
    assert isinstance(events.items[-1], Finished)
    (only,) = chunks.items
    assert isinstance(only, ChatCompletionChunk)
    assert only.object == "chat.completion.chunk"


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("end", [DONE, b""], ids=["DONE", "no-DONE"])
def test_a_whole_chat_answer_in_one_event_is_given_as_a_stream(end: bytes, *, named: bool) -> None:
    body = answer(choices=[CALLING])
    if not named:
        del body["object"]
    got = read(event(body) + end)
    assert got.error is None
    assert isinstance(got.answer, ChatCompletion)
    assert got.answer.choices == ChatCompletion.model_validate(body).choices
    assert got.reader.progress == 1
    assert read(event(answer("Hello")) + end).answer.text == "Hello"


def test_a_message_beside_a_delta_changes_nothing() -> None:
    beside = {"choices": [{"delta": {"content": "Hello"}, "message": None, "finish_reason": "stop"}]}
    assert read(event(beside)).answer.text == "Hello"


def test_a_whole_text_answer_in_json_is_given_as_a_stream() -> None:
    got = read(b'{"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]}', of=text_chunks)
    assert (got.error, got.answer.text, len(got.items)) == (None, "Hello", 1)


def test_a_whole_answer_in_json_without_a_finish_reason_is_not_whole() -> None:
    got = read(b'{"choices": [{"message": {"content": "Hello"}}]}')
    assert type(got.error) is StreamInterruptedError
    assert got.answer.text == "Hello"


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        ("read", StreamInterruptedError, "the connection was lost (reset by peer)"),
        ("reset", StreamInterruptedError, "the connection was lost (reset by peer)"),
        ("timeout", StreamTimeoutError, "nothing more came in time (reset by peer)"),
        ("total", StreamTimeoutError, "was not at its end in time (reset by peer)"),
    ],
)
def test_a_failure_in_the_middle_keeps_what_had_come(
    problem: Problem, kind: type[StreamInterruptedError], words: str
) -> None:
    reader = chat_events(asked(SECRETS))
    reader.begin(INFO)
    reader.feed(HELLO)
    assert reader.feed(failure(problem, "reset by peer")) == []
    error = reader.error
    assert isinstance(error, StreamInterruptedError)
    assert type(error) is kind
    assert words in str(error)
    assert error.partial is not None
    assert error.partial.text == "Hello"
    assert reader.ended
    assert isinstance(reader.error, APITimeoutError) is (kind is StreamTimeoutError)
    assert ("Raise " in str(reader.error)) is (kind is StreamTimeoutError)


@pytest.mark.parametrize("problem", ["read", "timeout"])
def test_a_failure_after_the_finish_reason_takes_nothing_from_the_answer(problem: Problem) -> None:
    reader = chat_events(asked(SECRETS))
    reader.feed(HELLO + STOP)
    assert isinstance(reader.feed(failure(problem))[-1], Finished)
    assert (reader.ended, reader.error) == (True, None)


def test_a_body_that_is_no_stream_is_not_collected_without_end() -> None:
    reader = chat_events(asked(SECRETS))
    piece = b"<" + b"a" * (1024 * 1024)
    fed = 0
    while not reader.ended:
        reader.feed(piece)
        fed += len(piece)
    assert isinstance(reader.error, InvalidResponseError)
    assert MAX_EVENT_BYTES < fed <= MAX_EVENT_BYTES + len(piece)


def test_only_content_counts_as_progress() -> None:
    reader = chat_events(asked(SECRETS))
    progress: list[int] = []
    for piece in (
        b": keep-alive\n\n",
        HELLO[:-5],
        b": x\n",
        b"data:\n\n",
        HELLO + HELLO,
        b"data\n\n",
        event(chunk(usage=None)),
    ):
        reader.feed(b"" if piece == HELLO[:-5] else piece)
        progress.append(reader.progress)
    assert progress == [0, 0, 0, 0, 2, 2, 2]


@pytest.mark.parametrize("data", [b'{"choices": []}', b'{"id": "c", "choices": null}', b'{"usage": {}}'])
def test_a_chunk_that_adds_to_no_choice_keeps_nobody_waiting(data: bytes) -> None:
    reader = chat_chunks(asked(SECRETS))
    reader.feed(HELLO)
    assert [len(reader.feed(event(data))) for _ in range(2)] == [1, 1]
    assert reader.progress == 1


def test_a_chunk_of_a_sloppy_server_is_progress() -> None:
    reader = chat_chunks(asked(SECRETS))
    reader.feed(event({"choices": [{"delta": {"content": "Hello"}}], "created": None}))
    assert reader.progress == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(event({"error": {"message": f"bad key {KEY}"}}), id="error-event"),
        pytest.param(event(f"bad key {KEY}".encode()), id="broken-chunk"),
        pytest.param(event(b'{"choices": 5, "x": "%s"}' % KEY.encode()), id="another-shape"),
        pytest.param(f"<html>bad key {KEY}".encode(), id="HTML"),
        pytest.param(b'{"bad key": "%s"}' % KEY.encode(), id="JSON"),
        pytest.param(b'{"error": "bad key %s"}' % KEY.encode(), id="JSON-error"),
    ],
)
def test_no_error_shows_a_key_that_the_server_repeats(body: bytes) -> None:
    error = read(body).error
    assert isinstance(error, APIError)
    assert KEY not in f"{error!s}{error!r}{error.__dict__!r}"
    assert "***" in str(error.body)


def test_half_of_a_surrogate_pair_costs_the_stream_no_more_than_itself() -> None:
    half = rb'{"choices": [{"delta": {"content": "\ud83d"}}]}'
    assert read(HELLO, event(half), STOP).answer.text == "Hello\ufffd"


def test_a_byte_order_mark_before_json_instead_of_a_stream_is_passed_over() -> None:
    assert read(b"\xef\xbb\xbf" + event(answer("Hello"))[6:]).answer.text == "Hello"
    refused = read(b'\xef\xbb\xbf{"error": "on fire"}').error
    assert "in the stream: on fire." in str(refused)


def test_a_ping_is_neither_a_chunk_nor_content() -> None:
    reader = chat_chunks(asked(SECRETS))
    assert reader.feed(b'event: ping\ndata: {"time": 1}\n\n') == []
    assert (reader.progress, reader.ended) == (0, False)


def test_a_comment_before_a_stream_that_comes_in_pieces_is_no_sign_that_it_is_none() -> None:
    reader = chat_chunks(asked(SECRETS))
    for piece in (b": ping\n\n", HELLO, STOP, None):
        reader.feed(piece)
    assert (reader.ended, reader.error) == (True, None)
