"""Whatever is sent, a test server answers: what a real one would refuse is refused, and nothing breaks in it."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemotron_client._json import is_array, is_object
from nemotron_client.options import ChatParameters
from nemotron_client.testing import FakeServer, text
from nemotron_client.testing.replies import MODEL
from tests.contract.constraints import formed, having, nested
from tests.engine.histories import Json, asked, call, result, tool, user
from tests.testing.conftest import NO_CERTIFICATES


def chained(count: int) -> dict[str, Any]:
    """Return a schema of which each reference leads to the next."""
    parts = {str(number): {"$ref": f"#/$defs/{number + 1}"} for number in range(count)}
    return {"$ref": "#/$defs/0", "$defs": {**parts, str(count): {"type": "string"}}}


HUGE = {"type": "number", "minimum": 10**400, "multipleOf": 0.5}
TINY = {"type": "number", "minimum": 1e308, "multipleOf": 1e-300}


def doubled(count: int) -> dict[str, Any]:
    """Return a schema of which each definition leads to the next twice."""
    parts = {str(number): having(a=pointing(number + 1), b=pointing(number + 1)) for number in range(count)}
    return {"$ref": "#/$defs/0", "$defs": {**parts, str(count): {"type": "string"}}}


def pointing(number: int) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{number}"}


def twice_required(depth: int) -> dict[str, Any]:
    """Return a schema of objects within each other, each with a property that is named twice."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a", "a"]}
    return schema


# Each a body in which something is replaced.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"type": ["string", "null"]}, "c": True},
    "required": ["a", "b", "c", "d"],
    "$defs": {"A": {"type": "array", "items": {"enum": [1]}, "minItems": 2}},
}
CHAT: dict[str, Any] = {
    "messages": [user("Hello"), asked(call()), result()],
    "tools": [tool(parameters=SCHEMA)],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "response_format": formed(SCHEMA),
    "stop": ["a"],
    "stream_options": {"include_usage": True},
    "logit_bias": {"7": 1},
    "structured_outputs": {"choice": ["a"]},
}
HELD = {"json": SCHEMA}
ASKED = [user("look")]
NO_TAG: dict[str, Any] = {"type": {}}
PART = {"type": "text", "text": "Hello"}
FORMED = {"messages": [user("Give me one")], "response_format": formed(SCHEMA)}
NESTED = b"[" * 3000 + b"]" * 3000
BYTES = [
    b"\xff",
    NESTED,
    b'{"model": "%s", "messages": %s}' % (MODEL.encode(), NESTED),
    b'{"model": "%s", "seed": %s}' % (MODEL.encode(), b"9" * 5000),
    b'{"model": "\\ud800", "messages": [{"role": "user", "content": "Hi"}]}',
    '{"model": "x"}'.encode("utf-16"),
]
BODIES = [
    *(("/v1/chat/completions", {**body, "stream": stream}) for body in (CHAT, FORMED) for stream in (False, True)),
    ("/v1/completions", {"prompt": ["Once", [1, 2]], "suffix": "x"}),
    ("/tokenize", {"prompt": "Once"}),
    ("/tokenize", {"messages": [user("Hello")], "tools": [tool()]}),
    ("/tokenize", {"messages": [user("Hello")], "prompt": "Once"}),
    ("/detokenize", {"tokens": [1, 22177]}),
    (
        "/v1/chat/completions",
        {"messages": [user([PART, PART])], "stop": "o", "logprobs": True, "return_token_ids": True},
    ),
    (
        "/v1/completions",
        {"prompt": "Once", "echo": True, "logprobs": 1, "stream": True, "structured_outputs": {"json": SCHEMA}},
    ),
]
NAMES = [
    *ChatParameters.__annotations__,
    *("prompt", "suffix", "stream", "echo", "messages", "tokens", "role", "content", "type", "text", "image_url"),
    *("$ref", "anyOf", "oneOf", "allOf", "items", "properties", "required", "format", "pattern", "const"),
    *("json", "json_schema", "schema", "regex", "choice", "grammar", "structural_tag", "return_token_strs"),
]
ODD = st.recursive(
    st.sampled_from([None, True, False, 0, -1, 1.5, 2.0, 2**70, "", "x", "1", "#", "user", "{", "(", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=4,
)


def places(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield where in a body something stands."""
    if path:
        yield path
    inner: Iterable[tuple[str | int, object]] = ()
    if is_object(value):
        inner = value.items()
    elif is_array(value):
        inner = enumerate(value)
    for name, each in inner:
        yield from places(each, *path, name)


def replaced(value: Any, path: tuple[str | int, ...], odd: object) -> Any:  # noqa: ANN401 - any part of a body
    """Return a body with something else at one place."""
    if not path:
        return odd
    if is_array(value):
        return [replaced(each, path[1:], odd) if number == path[0] else each for number, each in enumerate(value)]
    return {**value, path[0]: replaced(value.get(path[0]), path[1:], odd)}


@st.composite
def odd_bodies(draw: st.DrawFn) -> tuple[str, Json]:
    path, body = draw(st.sampled_from(BODIES))
    where = st.sampled_from([*places(body)]) | st.sampled_from(NAMES).map(lambda name: (name,))
    return path, {"model": MODEL, **replaced(body, draw(where), draw(ODD))}


@pytest.fixture(scope="module", params=["vllm", "hosted"])
def http(request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    with FakeServer(personality=request.param) as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        yield http


@example(odd=("/v1/chat/completions", {**FORMED, "response_format": {"type": "json_object", "json_schema": None}}))
@example(odd=("/v1/chat/completions", {**FORMED, "response_format": formed({"type": "array", "minItems": 2.0})}))
@example(odd=("/v1/chat/completions", {**FORMED, "response_format": formed(nested(200))}))
@example(odd=("/v1/chat/completions", {**CHAT, "tools": [tool("look", parameters={"enum": []})]}))
@example(odd=("/v1/chat/completions", {**CHAT, "tools": [tool("look", parameters=nested(200))]}))
@example(odd=("/v1/chat/completions", {"messages": [user([{"type": ["x"]}])]}))
@example(odd=("/v1/chat/completions", {**FORMED, "response_format": {"type": "structural_tag", "format": NO_TAG}}))
@example(odd=("/tokenize", {"messages": [5], "prompt": "Once"}))
@example(odd=("/tokenize", {"messages": [user("Hello")], "prompt": None}))
@example(odd=("/tokenize", {"messages": 3, "prompt": "Once"}))
@example(odd=("/v1/chat/completions", {"messages": [user("Hello")], "max_tokens": "1", "n": "1"}))
@example(odd=("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}))
@example(odd=("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello", "name": 5}]}))
@given(odd=odd_bodies())
def test_no_body_breaks_the_server(http: httpx2.Client, odd: tuple[str, Json]) -> None:
    path, body = odd
    content = json.dumps(body).encode()
    # 500 is what vLLM answers where it breaks itself.
    assert post(http, path, content).status_code in {200, 400, 404, 500}


# Hypothesis gives its examples more room for recursion than there is elsewhere.
def deep_object(depth: int) -> dict[str, object]:
    held: dict[str, object] = {}
    for _ in range(depth):
        held = {"a": held}
    return held


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"tools": [tool("look", parameters=chained(3000))]}, 200),
        ({"tools": [tool("look", parameters=nested(400))]}, 400),
        ({"response_format": formed(chained(3000))}, 400),
        ({"response_format": formed(nested(120))}, 200),
        ({"structured_outputs": {"regex": "a{99999999999999999999}"}}, 400),
        ({"structured_outputs": [1]}, 500),
        ({"tools": [tool("look", parameters={"type": "array", "minItems": 1e300})]}, 200),
        ({"tools": [tool("look", parameters={"type": "array", "minItems": 10**7})]}, 200),
        (
            {"tools": [tool("look", parameters={"type": "array", "minItems": 10**7, "items": {"const": "x" * 10**4}})]},
            200,
        ),
        ({"tools": [tool("look", parameters=doubled(40))]}, 200),
        ({"tools": [tool("look", parameters=having(a=HUGE))], "tool_choice": "required"}, 200),
        ({"tools": [tool("look", parameters=having(a=TINY))], "tool_choice": "required"}, 200),
        ({"response_format": formed(twice_required(40))}, 200),
        ({"response_format": formed({"allOf": [twice_required(40), twice_required(40)]})}, 200),
        ({"logit_bias": {"9" * 5000: 1}}, 400),
        ({"logit_bias": {"²": 1}}, 400),
        ({"n": 10**9}, 400),
        ({"kv_transfer_params": deep_object(680)}, 200),
    ],
    ids=[
        "references",
        "a tool",
        "references of an answer",
        "an answer",
        "a pattern",
        "no object",
        "items by a float",
        "many items",
        "many long items",
        "definitions",
        "a huge number",
        "a tiny number",
        "required",
        "required in two",
        "digits",
        "no digit",
        "choices",
        "parameters",
    ],
)
def test_nothing_that_is_too_deep_or_too_large_breaks_it(fields: dict[str, Any], status: int) -> None:
    with FakeServer() as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        body = {"messages": ASKED, **fields}
        assert post(http, "/v1/chat/completions", json.dumps(body).encode()).status_code == status


def test_there_are_not_too_many_choices_for_many_prompts() -> None:
    with FakeServer() as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        response = post(http, "/v1/completions", json.dumps({"prompt": ["a"] * 1000, "n": 17}).encode())
    assert response.status_code == 400
    assert "16384 choices at most, not 17000" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("prompt", "echoed"),
    [
        ([1.0, 2.0], "<s></s>"),
        ([["1"]], "<s>"),
        ([[2.0]], "</s>"),
        ([[1], [2]], "<s>"),
        ([[-1]], None),
        ([2**40], None),
    ],
    ids=str,
)
def test_a_prompt_is_read_as_vllm_reads_it(prompt: object, echoed: str | None) -> None:
    with FakeServer() as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        body = {"prompt": prompt, "echo": True, "return_token_ids": True, "prompt_logprobs": 1, "logprobs": 1}
        response = post(http, "/v1/completions", json.dumps(body).encode())
        assert response.status_code == (400 if echoed is None else 200)
        if echoed is not None:
            assert response.json()["choices"][0]["text"].startswith(echoed)


@pytest.mark.parametrize("personality", ["vllm", "hosted"])
@pytest.mark.parametrize("scripted", [False, True])
def test_no_depth_of_a_body_breaks_it(*, personality: Literal["vllm", "hosted"], scripted: bool) -> None:
    with FakeServer(personality=personality) as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        fake.always("Hello" if scripted else None)
        for depth in range(850, 1001, 3):
            content = b'{"model": "%s", "messages": ' % MODEL.encode() + b"[" * depth + b"]" * depth + b"}"
            assert post(http, "/v1/chat/completions", content).status_code in {200, 400, 500}


CALLED_BADLY = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
UNJUDGED: list[tuple[str, object]] = [
    ("chat/completions", {"messages": [{"role": "developer", "content": "Hello"}]}),
    ("chat/completions", {"messages": [user(), {**CALLED_BADLY, "tool_calls": [{"function": None}]}]}),
    ("chat/completions", {"messages": [user(), CALLED_BADLY, {"role": "tool", "content": "x"}]}),
    ("chat/completions", {"messages": [{"content": "Hello"}]}),
    ("chat/completions", {"messages": [5]}),
    ("chat/completions", {"messages": []}),
    ("chat/completions", {"messages": 5}),
    ("chat/completions", {}),
    ("chat/completions", [1]),
    ("chat/completions", {"messages": [{"role": "assistant", "content": 5}], "n": 10**9}),
    ("completions", {"prompt": 5}),
    ("completions", {"prompt": [[10**9]]}),
    ("completions", {"prompt": [-1]}),
    ("completions", {}),
    ("completions", 5),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("path", "body"), UNJUDGED, ids=range(len(UNJUDGED)))
def test_a_script_answers_what_no_server_takes_and_tells_no_ids_of_it(path: str, body: object, *, stream: bool) -> None:
    asked_for = {"echo": True, "return_token_ids": True, "prompt_logprobs": 1, "logprobs": 1, "stream": stream}
    whole = {**asked_for, **body} if is_object(body) else body
    with FakeServer() as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        fake.always(text("It is short."))
        response = post(http, f"/v1/{path}", json.dumps(whole).encode())
    assert response.status_code == 200
    assert "short" in response.text
    assert not re.search(r'"prompt_(token_ids|logprobs)":\[', response.text)


@pytest.mark.parametrize("content", BYTES, ids=range(len(BYTES)))
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
def test_no_bytes_break_it_either(http: httpx2.Client, path: str, content: bytes) -> None:
    assert post(http, path, content).status_code in {400, 404, 500}


def post(http: httpx2.Client, path: str, content: bytes) -> httpx2.Response:
    response = http.post(f"http://fake{path}", content=content, headers={"content-type": "application/json"})
    assert response.read() is not None
    return response


@pytest.mark.parametrize(
    ("extra", "is_read"),
    [
        (b"[" * 750 + b"]" * 750, False),
        (b'{"a":' * 750 + b"1" + b"}" * 750, False),
        (b"[" + b"[]," * 750 + b"1]", True),
    ],
    ids=["arrays", "objects", "many that stand beside each other"],
)
def test_a_body_may_be_long_but_not_deep_with_every_python(extra: bytes, *, is_read: bool) -> None:
    with FakeServer() as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        said = post(http, "/v1/chat/completions", b'{"messages": [], "x": ' + extra + b"}").text
    assert ("error parsing the body" not in said) is is_read
