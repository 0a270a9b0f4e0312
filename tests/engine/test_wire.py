"""Options to the bytes that are sent, and the bytes that come to models."""

from collections import UserDict, deque
from datetime import UTC, datetime
from functools import reduce
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from nemotron_client import RetryPolicy, Timeout
from nemotron_client._engine import calls
from nemotron_client.config import MODEL, Secret, hidden, resolve
from nemotron_client.errors import InvalidRequestError
from nemotron_client.messages import AssistantMessage, UserMessage
from nemotron_client.options import Prompt
from tests.engine.driving import HOSTED, KEY, OWN, chat, config, sent

USER = {"role": "user", "content": "Hi"}
Options = dict[str, object]


@pytest.mark.parametrize(
    ("options", "stream", "body"),
    [
        pytest.param(
            {}, False, b'{"messages":[{"role":"user","content":"Hi"}],"model":"m"}', id="nothing-but-what-was-set"
        ),
        pytest.param(
            {}, True, b'{"messages":[{"role":"user","content":"Hi"}],"stream":true,"model":"m"}', id="a-stream"
        ),
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
    call = calls.text_call(config(), prompt, {"max_tokens": 5}, stream=False)
    assert (call.url, call.body) == (f"{OWN}/completions", body)


@pytest.mark.parametrize("prompt", [5, None, b"x", [None], {"a": 1}], ids=repr)
def test_a_prompt_that_is_none_is_refused(prompt: object) -> None:
    with pytest.raises(InvalidRequestError, match="prompt") as caught:
        calls.text_call(config(), prompt, {}, stream=False)  # type: ignore[arg-type] # on purpose
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
    _, key, headers, _, _ = hidden({}, KEY, {"Authorization": "Basic x", "X-A": "client"}, None)
    settings = resolve({}, api_key=key, base_url=OWN, model="m", headers=headers)
    assert chat(settings=settings).headers["authorization"] == "Basic x"
    sent = chat({"extra_headers": {"x-a": "call", "Accept": "*/*"}}, settings=settings).headers
    assert (sent["x-a"], sent["accept"]) == ("call", "*/*")
    assert all(isinstance(sent[name], Secret) for name in ("authorization", "x-a", "accept"))


def test_without_a_key_none_is_sent() -> None:
    assert "authorization" not in chat(settings=resolve({}, base_url=OWN, model="m")).headers


@pytest.mark.parametrize(
    "header", [{"a b": "x"}, {"": "x"}, {"\u00e9": "x"}, {"a": "x\ny"}, {"a": "\u00e9"}, {"a:": "x"}], ids=repr
)
def test_a_header_that_http_cannot_carry_is_refused_without_its_value(header: dict[str, str]) -> None:
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
    assert (request.method, request.deadline, request.timeout, request.expect) == (
        "POST",
        105.0,
        Timeout(total=5),
        "body",
    )
    assert chat().request(now=100.0).deadline is None


def test_a_repr_shows_no_header_and_a_requests_none_of_its_body_either() -> None:
    call = chat({"extra_headers": {"x-a": "in-a-header"}}, "in-the-body")
    assert "in-a-header" not in repr(call)
    assert KEY not in repr(call)
    assert "in-" not in repr(call.request(now=0.0))


def test_a_question_is_a_get_with_the_clients_settings_unless_told_otherwise() -> None:
    settings = config(timeout=9)
    call = calls.get_call(settings, f"{OWN}/models")
    request = call.request(now=0.0)
    assert (request.method, request.url, request.body, request.deadline) == ("GET", f"{OWN}/models", None, 9.0)
    assert (call.model, call.retry) == ("m", settings.retry)
    assert call.named("x").body is None
    other = calls.get_call(settings, "x", timeout=Timeout(total=1), retry=RetryPolicy(max_retries=0))
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
    assert calls.asking_usage(options)["stream_options"] == asked


CYCLE: list[object] = []
CYCLE.append({"again": CYCLE})
DEEP = reduce(lambda inner, _: [inner], range(100_000), list[object]())


class Point(BaseModel):
    x: object = None
    at: datetime | None = None


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        pytest.param(float("nan"), "extra.a[1]", "Out of range float", id="NaN"),
        pytest.param(float("inf"), "extra.a[1]", "Out of range float", id="infinity"),
        pytest.param(b"x", "extra.a[1]", "a value of type bytes has no form there", id="bytes"),
        pytest.param(bytearray(b"x"), "extra.a[1]", "a value of type bytearray has no form there", id="bytearray"),
        pytest.param({1}, "extra.a[1]", "a value of type set has no form there", id="set"),
        pytest.param(object(), "extra.a[1]", "a value of type object has no form there", id="object"),
        pytest.param(datetime.now(UTC), "extra.a[1]", "a value of type datetime has no form there", id="datetime"),
        pytest.param(Point, "extra.a[1]", "a value of type ModelMetaclass has no form there", id="class"),
        pytest.param("x\ud800", "extra.a[1]", "half of a surrogate pair", id="lone-surrogate"),
        pytest.param({"\udfff": 1}, "extra.a[1]", "half of a surrogate pair", id="lone-surrogate-as-a-key"),
        pytest.param({(1, 2): 3}, "extra.a[1]", "keys must be str", id="key"),
        pytest.param(CYCLE, "extra", "nested without end", id="cycle"),
        pytest.param(DEEP, "extra", "nested without end", id="too-deep"),
        pytest.param(
            (1, {"x": deque([0, {2}])}), "extra.a[1][1].x[1]", "a value of type set has no form there", id="far-inside"
        ),
        pytest.param(
            MappingProxyType({"x": b""}),
            "extra.a[1].x",
            "a value of type bytes has no form there",
            id="inside-a-mapping",
        ),
        pytest.param(Point(x=object()), "extra.a[1]", "Unable to serialize", id="inside-a-model"),
    ],
)
def test_a_value_that_json_cannot_hold_is_named_with_its_place(value: object, place: str, reason: str) -> None:
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
        (
            {"role": "assistant", "tool_calls": [{"function": {"arguments": {1}}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
    ],
    ids=["dict", "bytes", "class", "parts", "answer", "call"],
)
def test_a_message_that_json_cannot_hold_is_named_with_its_place(message: object, place: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        chat({"repair": "off"}, [USER, message])
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
def test_what_json_can_hold_in_another_dress_is_sent(value: object, as_json: object) -> None:
    assert sent({"extra_body": {"x": value}}) == {"messages": [USER], "x": as_json}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8")).filter(lambda name: name not in {"messages", "model"}), JSON, max_size=4
)


@given(OBJECTS, OBJECTS)
def test_any_json_comes_out_as_it_went_in(extra: dict[str, object], tool: dict[str, object]) -> None:
    given = {"extra_body": extra, "tools": [tool], "repair": "off"}
    assert sent(given) == {"messages": [USER], "tools": [tool], **extra}


def test_impossible_limits_are_told_before_anything_is_sent() -> None:
    with pytest.raises(InvalidRequestError, match=r"Timeout\(total=0") as timeout:
        chat({"timeout": 0})
    with pytest.raises(InvalidRequestError, match="not both") as retry:
        chat({"max_retries": 1, "retry": RetryPolicy()})
    assert (timeout.value.parameter, retry.value.parameter) == ("timeout", "retry")
