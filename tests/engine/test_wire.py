"""Options to the bytes that are sent, and the bytes that come to models."""

import json
from collections import UserDict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nemotron_client import RetryPolicy, Timeout
from nemotron_client._engine import wire
from nemotron_client.config import MODEL, Config, Secret, resolve
from nemotron_client.errors import ConfigurationError, InvalidRequestError
from nemotron_client.messages import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Completion,
    FunctionCall,
    SystemMessage,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from nemotron_client.options import Prompt
from tests.engine.driving import HOSTED, KEY, OWN, answer, config

USER = {"role": "user", "content": "Hi"}
Options = dict[str, object]


def chat(options: Options | None = None, messages: object = "Hi", *, stream: bool = False, settings: Config | None = None) -> wire.Call:
    return wire.chat_call(settings or config(), messages, options or {}, stream=stream)  # type: ignore[arg-type] # what a caller may give


def sent(options: Options | None = None, messages: object = "Hi") -> object:
    """Return the body without the model's name, parsed."""
    body = chat(options, messages).body
    assert body is not None
    data: dict[str, object] = json.loads(body)
    assert data.pop("model") == "m"
    return data


@pytest.mark.parametrize(
    ("options", "stream", "body"),
    [
        pytest.param({}, False, b'{"messages":[{"role":"user","content":"Hi"}],"model":"m"}', id="nothing-but-what-was-set"),
        pytest.param({}, True, b'{"messages":[{"role":"user","content":"Hi"}],"stream":true,"model":"m"}', id="a-stream"),
        pytest.param(
            {"temperature": 0, "top_p": None, "stop": ["a", "\u00e9"], "logit_bias": {5: -1.5}},
            False,
            '{"messages":[{"role":"user","content":"Hi"}],"temperature":0,"stop":["a","\u00e9"],"logit_bias":{"5":-1.5},"model":"m"}'.encode(),
            id="None-is-not-set-and-nothing-is-escaped",
        ),
        pytest.param(
            {"model": "other", "extra_body": None, "timeout": 5, "max_retries": 0, "extra_headers": {"a": "b"}},
            False,
            b'{"messages":[{"role":"user","content":"Hi"}],"model":"other"}',
            id="the-calls-own-options-stay-here",
        ),
        pytest.param(
            {"seed": 1, "extra_body": {"seed": 2, "model": "x", "new": {"a": None}, "messages": []}},
            False,
            b'{"messages":[],"seed":2,"model":"x","new":{"a":null}}',
            id="extra_body-wins",
        ),
    ],
)
def test_exactly_what_was_set_is_sent(options: Options, body: bytes, *, stream: bool) -> None:
    assert chat(options, stream=stream).body == body


@pytest.mark.parametrize(
    ("prompt", "body"),
    [
        ("Once", b'{"prompt":"Once","max_tokens":5,"model":"m"}'),
        (["a", "b"], b'{"prompt":["a","b"],"max_tokens":5,"model":"m"}'),
        ((1, 2), b'{"prompt":[1,2],"max_tokens":5,"model":"m"}'),
        ([[1], [2]], b'{"prompt":[[1],[2]],"max_tokens":5,"model":"m"}'),
    ],
    ids=["text", "texts", "tokens", "lists-of-tokens"],
)
def test_a_prompt_of_every_form_is_sent(prompt: Prompt, body: bytes) -> None:
    call = wire.text_call(config(), prompt, {"max_tokens": 5}, stream=False)
    assert (call.url, call.body) == (f"{OWN}/completions", body)


@pytest.mark.parametrize("prompt", [5, None, b"x", [None], {"a": 1}], ids=repr)
def test_a_prompt_that_is_none_is_refused(prompt: object) -> None:
    with pytest.raises(InvalidRequestError, match="prompt") as caught:
        wire.text_call(config(), prompt, {}, stream=False)  # type: ignore[arg-type] # on purpose
    assert caught.value.parameter == "prompt"


def test_a_call_has_its_address_its_limits_and_its_headers() -> None:
    plain = chat(stream=True, settings=config(HOSTED, timeout=9))
    assert (plain.url, plain.expect, plain.model) == (f"{HOSTED}/chat/completions", "stream", "m")
    assert (plain.timeout, plain.retry) == (Timeout(total=9), RetryPolicy(max_retries=2))
    assert plain.headers == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "user-agent": plain.headers["user-agent"],
        "authorization": f"Bearer {KEY}",
    }
    assert plain.headers["user-agent"].startswith("nemotron-client/")
    changed = chat({"timeout": None, "max_retries": 7})
    assert changed.timeout == Timeout(connect=None, first_event=None, idle=None, total=None)
    assert (changed.retry.max_retries, changed.expect, changed.headers["accept"]) == (7, "body", "application/json")
    policy = RetryPolicy(max_retries=1)
    assert chat({"retry": policy}).retry is policy
    assert chat({"timeout": Timeout(idle=3)}).timeout == Timeout(idle=3)


def test_headers_of_the_call_win_over_those_of_the_client_and_these_over_the_keys() -> None:
    settings = resolve({}, api_key=KEY, base_url=OWN, model="m", headers={"Authorization": "Basic x", "X-A": "client"})
    assert chat(settings=settings).headers["authorization"] == "Basic x"
    headers = chat({"extra_headers": {"x-a": "call", "Accept": "*/*"}}, settings=settings).headers
    assert (headers["x-a"], headers["accept"]) == ("call", "*/*")
    assert all(isinstance(headers[name], Secret) for name in ("authorization", "x-a", "accept"))


def test_without_a_key_none_is_sent() -> None:
    assert "authorization" not in chat(settings=resolve({}, base_url=OWN, model="m")).headers


@pytest.mark.parametrize("header", [{"a b": "x"}, {"": "x"}, {"\u00e9": "x"}, {"a": "x\ny"}, {"a": "\u00e9"}, {"a:": "x"}], ids=repr)
def test_a_header_that_HTTP_cannot_carry_is_refused_without_its_value(header: dict[str, str]) -> None:  # noqa: N802
    with pytest.raises(InvalidRequestError) as caught:
        chat({"extra_headers": {**header, "z": KEY}})
    assert caught.value.parameter == "extra_headers"
    assert repr(next(iter(header))) in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_header_of_another_type_is_refused_without_any_value() -> None:
    with pytest.raises(InvalidRequestError, match="extra_headers=\\.\\.\\. is not possible") as caught:
        chat({"extra_headers": {"authorization": KEY.encode(), "b": KEY}})
    assert KEY not in str(caught.value)


def test_requests_have_a_deadline_where_there_is_a_total() -> None:
    request = chat({"timeout": 5}).request(now=100.0)
    assert (request.method, request.deadline, request.timeout, request.expect) == ("POST", 105.0, Timeout(total=5), "body")
    assert chat().request(now=100.0).deadline is None


def test_a_question_is_a_GET_with_the_clients_settings_unless_told_otherwise() -> None:  # noqa: N802
    settings = config(timeout=9)
    call = wire.get_call(settings, f"{OWN}/models")
    request = call.request(now=0.0)
    assert (request.method, request.url, request.body, request.deadline) == ("GET", f"{OWN}/models", None, 9.0)
    assert (call.model, call.retry) == ("m", settings.retry)
    assert call.named("x").body is None
    other = wire.get_call(settings, "x", timeout=Timeout(total=1), retry=RetryPolicy(max_retries=0))
    assert (other.timeout, other.retry.max_retries) == (Timeout(total=1), 0)


def test_the_models_name_is_put_into_a_call_that_has_none() -> None:
    call = chat({"seed": 1}, settings=config(model=None))
    assert call.model is None
    named = call.named('a"b\u00e9')
    assert named.model == 'a"b\u00e9'
    assert named.body == '{"model":"a\\"b\u00e9","messages":[{"role":"user","content":"Hi"}],"seed":1}'.encode()
    assert named.headers is call.headers


def test_the_hosted_model_is_named_by_default() -> None:
    assert chat(settings=config(HOSTED, model=None)).model == MODEL


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"seed": 1}, {"include_usage": True}),
        ({"stream_options": None}, None),
        ({"stream_options": {"include_usage": False}}, {"include_usage": False}),
    ],
    ids=["by-default", "switched-off", "as-the-caller-says"],
)
def test_usage_is_asked_for_unless_the_caller_has_said_something(options: Options, asked: object) -> None:
    assert wire.asking_usage(options)["stream_options"] == asked


CYCLE: list[object] = []
CYCLE.append({"again": CYCLE})
DEEP: list[object] = []
for _ in range(5000):
    DEEP = [DEEP]


class Point(BaseModel):
    x: object = None
    at: datetime | None = None


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        pytest.param(float("nan"), "extra.a[1]", "Out of range float", id="NaN"),
        pytest.param(float("inf"), "extra.a[1]", "Out of range float", id="infinity"),
        pytest.param(b"x", "extra.a[1]", "a bytes has no form there", id="bytes"),
        pytest.param(bytearray(b"x"), "extra.a[1]", "a bytearray has no form there", id="bytearray"),
        pytest.param({1}, "extra.a[1]", "a set has no form there", id="set"),
        pytest.param(object(), "extra.a[1]", "a object has no form there", id="object"),
        pytest.param(datetime.now(UTC), "extra.a[1]", "a datetime has no form there", id="datetime"),
        pytest.param(Point, "extra.a[1]", "a ModelMetaclass has no form there", id="class"),
        pytest.param("x\ud800", "extra.a[1]", "half of a surrogate pair", id="lone-surrogate"),
        pytest.param({"\udfff": 1}, "extra.a[1]", "half of a surrogate pair", id="lone-surrogate-as-a-key"),
        pytest.param({(1, 2): 3}, "extra.a[1]", "keys must be str", id="key"),
        pytest.param(CYCLE, "extra", "nested without end", id="cycle"),
        pytest.param(DEEP, "extra", "nested without end", id="too-deep"),
        pytest.param((1, {"x": deque([0, {2}])}), "extra.a[1][1].x[1]", "a set has no form there", id="far-inside"),
        pytest.param(MappingProxyType({"x": b""}), "extra.a[1].x", "a bytes has no form there", id="inside-a-mapping"),
        pytest.param(Point(x=object()), "extra.a[1]", "Unable to serialize", id="inside-a-model"),
    ],
)
def test_a_value_that_JSON_cannot_hold_is_named_with_its_place(value: object, place: str, reason: str) -> None:  # noqa: N802
    with pytest.raises(InvalidRequestError) as caught:
        chat({"extra_body": {"fine": [1, "x", None], "extra": {"a": [0, value]}}})
    assert caught.value.parameter == place
    assert str(caught.value).startswith(f"{place} can't be written as JSON: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"role": "user", "content": "\ud800"}, "messages[1].content"),
        ({"role": "user", "content": b"x"}, "messages[1].content"),
        (UserMessage(content="\ud800"), "messages[1].content"),
        (UserMessage(content=[{"type": "text", "text": object()}]), "messages[1].content[0].text"),
        (AssistantMessage(content="\ud800"), "messages[1].content"),
        ({"role": "assistant", "tool_calls": [{"function": {"arguments": {1}}}]}, "messages[1].tool_calls[0].function.arguments"),
    ],
    ids=["dict", "bytes", "class", "parts", "answer", "call"],
)
def test_a_message_that_JSON_cannot_hold_is_named_with_its_place(message: object, place: str) -> None:  # noqa: N802
    with pytest.raises(InvalidRequestError) as caught:
        chat(messages=[USER, message])
    assert caught.value.parameter == place


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (MappingProxyType({"a": 1}), {"a": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ((1, (2,)), [1, [2]]),
        (Point(x=1, at=datetime(2026, 1, 1, tzinfo=UTC)), {"x": 1, "at": "2026-01-01T00:00:00Z"}),
        (Point(), {}),
    ],
    ids=["mapping", "mutable-mapping", "deque", "range", "tuples", "model", "model-without-values"],
)
def test_what_JSON_can_hold_in_another_dress_is_sent(value: object, as_json: object) -> None:  # noqa: N802
    assert sent({"extra_body": {"x": value}}) == {"messages": [USER], "x": as_json}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda name: name not in {"messages", "model"}), JSON, max_size=4)


@given(OBJECTS, OBJECTS)
def test_any_JSON_comes_out_as_it_went_in(extra: dict[str, object], tool: dict[str, object]) -> None:  # noqa: N802
    assert sent({"extra_body": extra, "tools": [tool]}) == {"messages": [USER], "tools": [tool], **extra}


@pytest.mark.parametrize(
    ("messages", "as_sent"),
    [
        pytest.param("Hi", [USER], id="a-string-is-one-user-message"),
        pytest.param([USER], [USER], id="dicts"),
        pytest.param((MappingProxyType(USER),), [USER], id="other-mappings"),
        pytest.param([{"role": "user", "content": "Hi", "name": "x"}], [{**USER, "name": "x"}], id="further-fields-of-a-dict"),
        pytest.param([{"role": "developer", "content": []}], [{"role": "developer", "content": []}], id="developer"),
        pytest.param([{"role": "assistant", "content": None, "prefix": True}], [{"role": "assistant", "content": None, "prefix": True}], id="null-content-of-the-assistant"),
        pytest.param([{"role": "assistant", "tool_calls": []}], [{"role": "assistant", "tool_calls": []}], id="no-content-of-the-assistant"),
        pytest.param(
            [SystemMessage(content="Be brief."), UserMessage(content=[{"type": "text", "text": "Hi", "x": None}])],
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi", "x": None}]}],
            id="classes",
        ),
        pytest.param([ToolMessage(content="4", tool_call_id="a")], [{"role": "tool", "content": "4", "tool_call_id": "a"}], id="a-tools-result"),
        pytest.param(
            [ToolMessage(content="4", tool_call_id="a", name="f")], [{"role": "tool", "content": "4", "tool_call_id": "a", "name": "f"}], id="a-named-result"
        ),
        pytest.param([AssistantMessage(content="Hello", reasoning="Hm.", refusal="no")], [{"role": "assistant", "content": "Hello"}], id="an-answer-without-its-reasoning"),
        pytest.param([AssistantMessage()], [{"role": "assistant", "content": ""}], id="an-empty-answer"),
        pytest.param(
            [AssistantMessage.model_validate({"tool_calls": [{"id": "a", "index": 0, "function": {"name": "f", "arguments": "{}", "x": 1}}], "audio": None})],
            [{"role": "assistant", "content": "", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}],
            id="an-answer-that-calls-tools",
        ),
        pytest.param(
            [{"role": "assistant", "content": "", "tool_calls": [ToolCall(id="a", function=FunctionCall(name="f", arguments="{}"))]}],
            [{"role": "assistant", "content": "", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}],
            id="a-dict-that-holds-calls",
        ),
    ],
)  # fmt: skip
def test_messages_of_every_shape_are_sent(messages: object, as_sent: object) -> None:
    assert sent(messages=messages) == {"messages": as_sent}


@pytest.mark.parametrize(
    ("messages", "parameter", "words"),
    [
        pytest.param("", "messages", "messages is empty", id="an-empty-string"),
        pytest.param([], "messages", "messages is empty", id="an-empty-list"),
        pytest.param(None, "messages", "messages is a NoneType", id="None"),
        pytest.param(b"Hi", "messages", "messages is a bytes", id="bytes"),
        pytest.param(USER, "messages", "messages is a dict", id="one-message-without-its-list"),
        pytest.param(UserMessage(content="Hi"), "messages", "messages is a UserMessage", id="one-class-without-its-list"),
        pytest.param(["Hi"], "messages[0]", "messages[0] is a str", id="a-string-in-the-list"),
        pytest.param([USER, None], "messages[1]", "messages[1] is a NoneType", id="None-in-the-list"),
        pytest.param([{"content": "Hi"}], "messages[0].role", "has role None: give one of system, developer, user", id="no-role"),
        pytest.param([{"role": "bot", "content": "Hi"}], "messages[0].role", "has role 'bot'", id="an-unknown-role"),
        pytest.param([{"role": ["user"], "content": "Hi"}], "messages[0].role", "has role ['user']", id="a-role-that-is-no-name"),
        pytest.param([{"role": "user"}], "messages[0].content", "messages[0] (role user) has no content", id="no-content"),
        pytest.param([{"role": "tool", "content": None}], "messages[0].content", "(role tool) has no content", id="null-content"),
        pytest.param([{"role": "user", "content": 5}], "messages[0].content", "has content of type int", id="content-of-another-type"),
        pytest.param([{"role": "assistant", "content": {}}], "messages[0].content", "has content of type dict", id="content-of-the-assistant"),
        pytest.param([ChatCompletion()], "messages[0].role", "has role None", id="a-whole-completion-in-place-of-its-message"),
    ],
)
def test_what_is_no_message_is_refused_with_its_place(messages: object, parameter: str, words: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat(messages=messages)
    assert caught.value.parameter == parameter
    assert words in str(caught.value)


def test_the_callers_messages_are_not_changed() -> None:
    message = {"role": "user", "content": "Hi"}
    (copy,) = wire.wire_messages([message])
    copy["content"] = "changed"
    assert message == USER


def test_impossible_limits_are_told_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match=r"Timeout\(total=0"):
        chat({"timeout": 0})
    with pytest.raises(ConfigurationError, match="not both"):
        chat({"max_retries": 1, "retry": RetryPolicy()})


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
        pytest.param(dict.fromkeys(("id", "object", "created", "model", "usage", "system_fingerprint")) | choosing(), id="nulls-beside-the-choices"),
        pytest.param(choosing(index=None, finish_reason=None, logprobs=None), id="nulls-in-a-choice"),
        pytest.param(choosing(message={**MESSAGE, "role": None, "tool_calls": None, "refusal": None, "reasoning_content": None}), id="nulls-in-the-message"),
        pytest.param({"created": "x", "id": 5, "model": [], **choosing()}, id="other-types-beside-the-choices"),
        pytest.param({"usage": {"prompt_tokens": None, "prompt_tokens_details": None}, **choosing()}, id="nulls-in-usage"),
        pytest.param({"usage": "much", **choosing()}, id="usage-that-is-none"),
        pytest.param({"usage": {"completion_tokens_details": {"reasoning_tokens": "x"}}, **choosing()}, id="an-odd-detail-of-usage"),
        pytest.param(choosing(message={**MESSAGE, "role": "model", "reasoning": 5}), id="an-odd-role"),
        pytest.param(choosing(logprobs="x"), id="odd-logprobs"),
        pytest.param(choosing(logprobs={"content": [{"token": "a", "logprob": None, "top_logprobs": [{"token": "b"}]}]}), id="logprobs-without-figures"),
        pytest.param({"new": {"a": 1}, **choosing(stop_reason=None, message={**MESSAGE, "annotations": []})}, id="unknown-fields"),
    ],
)  # fmt: skip
def test_an_answer_is_read_whatever_is_beside_its_text(body: dict[str, object]) -> None:
    assert parsed(body).text == "Hello"


def test_unknown_fields_are_kept() -> None:
    extra = parsed({"new": {"a": 1}, **choosing(stop_reason="x")})
    assert extra.model_dump(exclude_none=True)["new"] == {"a": 1}
    assert extra.choices[0].model_dump()["stop_reason"] == "x"


def test_what_can_be_read_beside_what_cannot_is_kept() -> None:
    body = {"created": "123", "usage": {"prompt_tokens": 5, "total_tokens": None, "completion_tokens": "x"}, **choosing()}
    assert (parsed(body).created, parsed(body).usage) == (123, Usage(prompt_tokens=5))


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_has_two_names(name: str) -> None:
    assert parsed(choosing(message={**MESSAGE, name: "Hm."})).choices[0].message.reasoning == "Hm."


@pytest.mark.parametrize(
    ("call", "as_read"),
    [
        ({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}, ("a", "f", "{}")),
        ({"id": None, "type": None, "function": {"name": "f", "arguments": None}}, ("", "f", "")),
        ({"function": {"name": "f", "arguments": {"city": "K\u00f6ln"}}}, ("", "f", '{"city": "K\u00f6ln"}')),
        ({"function": {"name": "f", "arguments": [1]}}, ("", "f", "[1]")),
        ({"id": 5, "function": {"name": "f"}}, ("", "f", "")),
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
        pytest.param(b"[]", "Input should be", id="a-list"),
        pytest.param(b"null", "Input should be", id="null"),
        pytest.param(b'{"choices": 5}', "choices: ", id="choices-that-are-none"),
        pytest.param(b'{"choices": [null]}', "choices.0: ", id="a-choice-that-is-none"),
        pytest.param(b'{"choices": [{"message": "Hi"}]}', "choices.0.message: ", id="a-message-that-is-none"),
        pytest.param(b'{"choices": [{"message": {"content": 5}}]}', "choices.0.message.content: ", id="content-that-is-none"),
        pytest.param(b'{"choices": [{"message": {"tool_calls": [5]}}]}', "choices.0.message.tool_calls.0: ", id="a-call-that-is-none"),
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
    error = wire.not_expected(body, "a thing")
    assert words in str(error)
    assert bool(error.hint) is hint
    assert error.body == body.decode("utf-8", "replace").strip()
