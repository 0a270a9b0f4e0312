"""JSON that comes to models, leniently: whatever is wrong beside the answer, the answer is read."""

import json
from collections.abc import Mapping

import pytest

from nemotron_client._engine import wire
from nemotron_client.completions import ChatCompletion, ChatCompletionChunk, Completion, Usage
from tests.engine.driving import answer


def parsed(body: Mapping[str, object]) -> ChatCompletion:
    return wire.parse(ChatCompletion, json.dumps(body).encode())


MESSAGE = {"role": "assistant", "content": "Hello"}


def choosing(**fields: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", **fields}]}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer("Hello"), id="as-it-should-be"),
        pytest.param({"choices": [{"message": {"content": "Hello"}}]}, id="nothing-but-the-text"),
        pytest.param(
            dict.fromkeys(("id", "object", "created", "model", "usage", "system_fingerprint")) | choosing(),
            id="nulls-beside-the-choices",
        ),
        pytest.param(choosing(index=None, finish_reason=None, logprobs=None), id="nulls-in-a-choice"),
        pytest.param(
            choosing(message={**MESSAGE, "role": None, "tool_calls": None, "refusal": None, "reasoning_content": None}),
            id="nulls-in-the-message",
        ),
        pytest.param({"created": "x", "id": 5, "model": [], **choosing()}, id="other-types-beside-the-choices"),
        pytest.param(
            {"usage": {"prompt_tokens": None, "prompt_tokens_details": None}, **choosing()}, id="nulls-in-usage"
        ),
        pytest.param({"usage": "much", **choosing()}, id="usage-that-is-none"),
        pytest.param(
            {"usage": {"completion_tokens_details": {"reasoning_tokens": "x"}}, **choosing()},
            id="an-odd-detail-of-usage",
        ),
        pytest.param(choosing(message={**MESSAGE, "role": "model", "reasoning": 5}), id="an-odd-role"),
        pytest.param(choosing(logprobs="x"), id="odd-logprobs"),
        pytest.param(
            choosing(logprobs={"content": [{"token": "a", "logprob": None, "top_logprobs": [{"token": "b"}]}]}),
            id="logprobs-without-figures",
        ),
        pytest.param(
            {"new": {"a": 1}, **choosing(stop_reason=None, message={**MESSAGE, "annotations": []})}, id="unknown-fields"
        ),
    ],
)
def test_an_answer_is_read_whatever_is_beside_its_text(body: dict[str, object]) -> None:
    assert parsed(body).text == "Hello"


def test_a_byte_order_mark_is_passed_over() -> None:
    body = b"\xef\xbb\xbf" + json.dumps(answer("Hello")).encode()
    assert wire.parse(ChatCompletion, body).text == "Hello"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a \ud83d\ude00 b", "a \U0001f600 b"),
        (r"a \ud83d", "a \ufffd"),
        (r"\uDE00 b", "\ufffd b"),
        (r"\ude00\ud83d \ud83d\ude00", "\ufffd\ufffd \U0001f600"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
    ],
    ids=["a-pair", "the-first-half", "the-second-half", "both-the-wrong-way-round", "an-escaped-backslash"],
)
def test_half_of_a_surrogate_pair_costs_no_more_than_itself(written: str, read: str) -> None:
    body = f'{{"created": null, "choices": [{{"message": {{"content": "{written}"}}}}]}}'.encode()
    assert wire.parse(ChatCompletion, body).text == read


def test_unknown_fields_are_kept() -> None:
    extra = parsed({"new": {"a": 1}, **choosing(stop_reason="x")})
    assert extra.model_dump(exclude_none=True)["new"] == {"a": 1}
    assert extra.choices[0].model_dump()["stop_reason"] == "x"


def test_what_can_be_read_beside_what_cannot_is_kept() -> None:
    body = {
        "created": "123",
        "usage": {"prompt_tokens": 5, "total_tokens": None, "completion_tokens": "x"},
        **choosing(),
    }
    assert (parsed(body).created, parsed(body).usage) == (123, Usage(prompt_tokens=5))


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_has_two_names(name: str) -> None:
    assert parsed(choosing(message={**MESSAGE, name: "Hm."})).choices[0].message.reasoning == "Hm."


def test_a_null_by_one_name_of_reasoning_hides_nothing_by_the_other() -> None:
    message = {**MESSAGE, "reasoning": None, "reasoning_content": "Hm."}
    assert parsed(choosing(message=message)).choices[0].message.reasoning == "Hm."
    assert parsed(choosing(message={**message, "reasoning_content": 5})).choices[0].message.reasoning is None


@pytest.mark.parametrize(
    ("call", "as_read"),
    [
        ({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}, ("a", "f", "{}")),
        ({"id": None, "type": None, "function": {"name": "f", "arguments": None}}, ("", "f", "")),
        ({"function": {"name": "f", "arguments": {"city": "K\u00f6ln"}}}, ("", "f", '{"city": "K\u00f6ln"}')),
        ({"function": {"name": "f", "arguments": [1]}}, ("", "f", "[1]")),
        ({"id": 5, "function": {"name": "f"}}, ("5", "f", "")),
        ({"id": "a", "function": None}, ("a", "", "")),
    ],
    ids=["as-it-should-be", "nulls", "arguments-as-an-object", "arguments-as-a-list", "missing", "no-function"],
)
def test_a_tool_call_is_read_leniently(call: object, as_read: tuple[str, str, str]) -> None:
    (read,) = parsed(choosing(message={"tool_calls": [call]})).tool_calls
    assert (read.id, read.function.name, read.function.arguments) == as_read


def test_a_chunk_and_a_text_are_read_leniently_too() -> None:
    chunk = wire.parse(ChatCompletionChunk, b'{"created": null, "choices": [{"delta": null, "index": null}]}')
    assert chunk.choices[0].delta.content is None
    assert wire.parse(Completion, b'{"usage": 5, "choices": [{"text": null}, {"text": "x"}]}').choices[1].text == "x"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "EOF", id="empty"),
        pytest.param(b"x", "Invalid JSON", id="no-JSON"),
        pytest.param(b'{"choices": [', "Invalid JSON", id="broken"),
        pytest.param(b"\xff", "Invalid JSON", id="invalid-UTF-8"),
        pytest.param(b"[" * 100_000, "Invalid JSON", id="deep-nesting"),
        pytest.param(rb'["\ud83d",' + b"[" * 500 + b"]" * 501, "Invalid JSON", id="nesting-beside-half-a-pair"),
        pytest.param(rb'["\ud83d",' + b"[" * 100_000, "Invalid JSON", id="deep-nesting-beside-half-a-pair"),
        pytest.param(rb'["\ud83d",', "Invalid JSON", id="broken-beside-half-a-pair"),
        pytest.param(b"[]", "Input should be", id="a-list"),
        pytest.param(b"null", "Input should be", id="null"),
        pytest.param(b'{"choices": 5}', "choices: ", id="choices-that-are-none"),
        pytest.param(b'{"choices": [null]}', "choices.0: ", id="a-choice-that-is-none"),
        pytest.param(b'{"choices": [{"message": "Hi"}]}', "choices.0.message: ", id="a-message-that-is-none"),
        pytest.param(
            b'{"choices": [{"message": {"content": 5}}]}', "choices.0.message.content: ", id="content-that-is-none"
        ),
        pytest.param(
            b'{"choices": [{"message": {"tool_calls": [5]}}]}',
            "choices.0.message.tool_calls.0: ",
            id="a-call-that-is-none",
        ),
        pytest.param(
            b'{"choices": [{"message": {"tool_calls": [{"function": {"name": 5, "arguments": 6}}]}}]}',
            "choices.0.message.tool_calls.0.function.name: ",
            id="a-name-that-is-none",
        ),
    ],
)
def test_what_would_be_another_answer_without_it_is_an_error(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        wire.parse(ChatCompletion, body)


@pytest.mark.parametrize(
    ("body", "words", "hint"),
    [
        (b" \n", "The server said 200 with an empty body.", True),
        (b"<html>x", "with an HTML page. It begins: '<html>x'", True),
        (b"{}", "its answer is not a thing. It begins: '{}'", False),
        (b"x" * 300, "It begins: '" + "x" * 200 + "...'", False),
        (b"\xff", "It begins: '\ufffd'", False),
    ],
    ids=["empty", "HTML", "JSON", "long", "invalid-UTF-8"],
)
def test_a_200_that_is_something_else_is_shown(body: bytes, words: str, *, hint: bool) -> None:
    error = wire.not_expected(body, "a thing", {})
    assert words in str(error)
    assert bool(error.hint) is hint
    assert error.body == body.decode("utf-8", "replace").strip()
