"""Whatever is sent, a test server answers: what a real one would refuse is refused, and nothing breaks in it."""

from collections.abc import Iterable, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemotron_client._json import is_array, is_object
from nemotron_client.options import ChatParameters
from nemotron_client.testing import FakeServer
from nemotron_client.testing.replies import MODEL
from tests.contract.cases import formed
from tests.engine.histories import Json, asked, call, result, tool, user
from tests.testing.conftest import NO_CERTIFICATES

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
FORMED = {"messages": [user("Give me one")], "response_format": formed(SCHEMA)}
BODIES = [
    *(("/v1/chat/completions", {**body, "stream": stream}) for body in (CHAT, FORMED) for stream in (False, True)),
    ("/v1/completions", {"prompt": ["Once", [1, 2]], "suffix": "x"}),
    ("/tokenize", {"prompt": "Once"}),
    ("/tokenize", {"messages": [user("Hello")], "tools": [tool()]}),
]
NAMES = [*ChatParameters.__annotations__, "prompt", "suffix", "stream", "anyOf", "$ref", "type", "role", "content"]
ODD = st.recursive(
    st.sampled_from([None, True, False, 0, -1, 1.5, 2**70, "", "x", "1", "#", "user"]),
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


@example(odd=("/tokenize", {"messages": [user("Hello")], "prompt": None}))
@example(odd=("/tokenize", {"messages": 3, "prompt": "Once"}))
@example(odd=("/v1/chat/completions", {"messages": [user("Hello")], "max_tokens": "1", "n": "1"}))
@example(odd=("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}))
@example(odd=("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello", "name": 5}]}))
@given(odd=odd_bodies())
def test_no_body_breaks_the_server(http: httpx2.Client, odd: tuple[str, Json]) -> None:
    path, body = odd
    assert http.post(f"http://fake{path}", json=body).status_code in {200, 400, 404}
