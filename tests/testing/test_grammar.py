"""What the server's own answers are held to: a schema, a pattern or a grammar, by the compiler that vLLM asks too."""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validate

from nemotron_client import BadRequestError
from nemotron_client.testing import FakeServer
from nemotron_client.testing.bodies import text_body
from nemotron_client.testing.grammar import following, grammar_error
from tests.client.conftest import NO_CERTIFICATES
from tests.contract.constraints import Schema, formed, having, nested
from tests.engine.histories import asked, call, result, tool, user
from tests.testing.wire import Chat, called, said


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        (r"\d{4}-\d{2}-\d{2}", "0123-56-89"),
        ("yes|no", "no"),
        ("[A-Za-z]+", "You"),  # as far as it goes
        (".*", "You said: Which?"),
        (r"\p{Greek}{2}", "ͱσ"),
        ("a{3}", "aaa"),
    ],
)
def test_an_answer_follows_a_pattern(chat: Chat, pattern: str, answer: str) -> None:
    assert said(chat("Which?", structured_outputs={"regex": pattern})) == answer


@pytest.mark.parametrize("pattern", ["(a|b)*c", "[0-9]+;", "[a-z]+ from [a-z]+", r"[^x]*x", '(a"*)+b'])
def test_what_could_go_on_without_end_comes_to_one(chat: Chat, pattern: str) -> None:
    assert re.fullmatch(pattern, said(chat("Which?", structured_outputs={"regex": pattern})))


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "string", "pattern": r"^[A-Z]{3}-\d{2}$"}, '"ABC-45"'),
        ({"type": "string", "pattern": r"\d"}, '"valueabcdefghijklmnopqrstuvwxyz0"'),
        ({"type": "string", "minLength": 10}, '"valueabcde"'),
        ({"type": "string", "maxLength": 2}, '"va"'),
        ({"type": "string", "format": "email"}, '"ada@example.com"'),
        ({"type": "string", "format": "uuid"}, None),
        ({"type": "integer", "exclusiveMinimum": 1}, "2"),
        ({"type": "integer", "multipleOf": 7}, "7"),
        ({"type": "integer", "multipleOf": 31_536_000, "minimum": 1}, "31536000"),
        ({"type": "number", "multipleOf": 1_000_003.5}, "1000003.5"),
        ({"type": "number", "multipleOf": 0.25}, None),
        ({"type": "object", "properties": {"b": {}, "a": {}}, "required": ["a", "b"]}, '{"b": "b", "a": "a"}'),
    ],
    ids=str,
)
def test_an_answer_follows_what_a_schema_says_of_its_values(chat: Chat, schema: Schema, answer: str | None) -> None:
    text = said(chat("Which?", response_format=formed(schema)))
    validate(json.loads(text), schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert answer is None or text == answer


PATTERNS = (r"^\d+$", "x$", "^a|b$", r"^\S+ \S+$", r"^[^@]+@[^@]+\.[a-z]+$")
FORMATS = ("date", "date-time", "time", "email", "uuid", "ipv4", "uri")
LEAVES: tuple[Schema, ...] = (
    *({"type": "string", "pattern": each} for each in PATTERNS),
    *({"type": "string", "format": each} for each in FORMATS),
    *({"type": "boolean"}, {"type": "null"}, {"enum": ["é", 1, None]}, {"const": {"k": [1]}}),
)


@st.composite
def leaves(draw: st.DrawFn) -> Schema:
    least, more, step = draw(st.integers(-50, 50)), draw(st.integers(0, 20)), draw(st.integers(1, 10))
    number = draw(st.sampled_from(["integer", "number"]))
    limited: tuple[Schema, ...] = (
        {"type": "string", "minLength": abs(least), "maxLength": abs(least) + more},
        {"type": number, "minimum": least, "maximum": least + more},
        {"type": number, "maximum": step + more, "multipleOf": step},  # llguidance makes none below zero
        {"type": number, "exclusiveMinimum": least},
    )
    return draw(st.sampled_from((*limited, *LEAVES)))


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> Schema:
    kind = draw(st.sampled_from(["leaf", "array", "object", "either"])) if depth else "leaf"
    inner = schemas(depth - 1)
    if kind == "array":
        return {"type": "array", "items": draw(inner), "minItems": draw(st.integers(0, 3))}
    if kind == "object":
        return having(**draw(st.dictionaries(st.sampled_from(["b", "a", "é", '"']), inner, max_size=3)))
    return {"anyOf": draw(st.lists(inner, min_size=1, max_size=2))} if kind == "either" else draw(leaves())


@given(schemas(), st.sampled_from(["", '{"b": "Paris", "a": 1, ', "You said"]))
def test_whatever_a_schema_says_an_answer_follows_it(schema: Schema, preferred: str) -> None:
    body = text_body({"prompt": "Which?", "structured_outputs": {"json": schema}})
    assert grammar_error(body) is None
    answer = json.loads(following(body, preferred))
    validate(answer, schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize(
    ("grammar", "answer"),
    [
        ('root ::= "select " ("a" | "b") ";"', "select b;"),
        ('start: "x" /[0-9]{3}/', "x123"),
        ('start: x\nx: "You said: " /.*/', "You said: Which?"),
    ],
)
def test_an_answer_follows_a_grammar(chat: Chat, grammar: str, answer: str) -> None:
    assert said(chat("Which?", structured_outputs={"grammar": grammar})) == answer


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"response_format": formed({"type": "array", "minItems": 10**9})}, "minItems and maxItems of 10,000 together"),
        ({"structured_outputs": {"json": '{"maxItems": 99999}'}}, "minItems and maxItems of 10,000 together"),
        ({"response_format": formed({"anyOf": [{"$ref": "#/$defs/x"}] * 1001})}, "more than 1,000 references"),
        ({"structured_outputs": {"grammar": "start: a\n" * 501}}, "more than 4,000 characters"),
        ({"tools": [tool(strict=True, parameters={"minItems": 10**9})]}, "minItems and maxItems of 10,000 together"),
        (
            {"structured_outputs": {"grammar": 'start: %json {"m\\u0069nItems": 99999}'}},
            "minItems and maxItems of 10,000 together",
        ),
        (
            {"response_format": formed(having(**{f"p{each}": {"minItems": 2000} for each in range(5)}))},
            "minItems and maxItems of 10,000 together",
        ),
        ({"structured_outputs": {"regex": "a" * 4001}}, "more than 4,000 characters"),
        ({"response_format": formed({"type": "string", "pattern": "a" * 4001})}, "more than 4,000 characters"),
    ],
    ids=["items", "of a text", "references", "grammar", "a tool's", "escaped", "of several", "regex", "pattern"],
)
def test_what_would_end_the_process_is_refused(chat: Chat, fields: dict[str, object], told: str) -> None:
    response = chat("Which?", **fields)
    assert response.status_code == 400
    assert told in response.json()["error"]["message"]


def chained(count: int) -> Schema:
    """Return a schema of references to references."""
    parts: dict[str, Schema] = {f"d{each}": {"$ref": f"#/$defs/d{each + 1}"} for each in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**parts, f"d{count}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "outputs",
    [
        {"json": chained(999)},
        {"grammar": "\n".join([*(f"r{each}: r{each + 1}" for each in range(350)), 'r350: "a"', "start: r0"])},
        {"json": {"type": "array", "maxItems": 9999, "items": {"type": "integer"}}},
        {"regex": "a" * 500},
    ],
    ids=["references", "rules", "items", "regex"],
)
def test_what_is_not_refused_is_compiled_and_followed(outputs: dict[str, object]) -> None:
    body = text_body({"prompt": "Which?", "structured_outputs": outputs})
    assert grammar_error(body) is None
    assert following(body, "[]") in {"0", "a", "[]", "a" * 500}


@pytest.mark.parametrize(
    "outputs",
    [
        {"regex": "a{100000}"},
        {"regex": "(a{100}){1000}"},
        {"json": {"type": "string", "pattern": "^a{100000}$"}},
        {"json": {"allOf": [{"type": "integer", "multipleOf": 5003}, {"type": "integer", "multipleOf": 5009}]}},
        {"grammar": 'start: %json {"type": "integer", "multiple\\u004ff": 31536001}'},
    ],
    ids=["count", "counts", "pattern", "steps", "grammar"],
)
def test_what_has_no_end_in_reach_is_not_followed_and_found_out_soon(outputs: dict[str, object]) -> None:
    body = text_body({"prompt": "Which?", "structured_outputs": outputs})
    assert grammar_error(body) is None
    assert following(body, "You said: Which?") == "You said: Which?"


def test_many_threads_compile_at_once_and_those_of_others_keep_the_size_of_their_stacks() -> None:
    before, together = threading.stack_size(), threading.Barrier(8)
    body = text_body({"prompt": "Which?", "structured_outputs": {"regex": "[0-9]{4}"}})

    def compiled(_: int) -> list[str]:
        together.wait()
        return [following(body, "") for _ in range(10) if grammar_error(body) is None]

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(compiled, range(8))] == [["0123"] * 10] * 8
    assert threading.stack_size() == before


def test_bytes_that_are_no_text_are_told_as_vllm_tells_them(chat: Chat) -> None:
    assert said(chat("Which?", structured_outputs={"grammar": "start: <[200-201]>"})) == "\N{REPLACEMENT CHARACTER}"
    assert said(chat("Which?", structured_outputs={"grammar": "start: <[200]>"})) == "You said: Which?"


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"response_format": formed(having(city={"type": "string"}))}, '{"city": "Oslo"}'),
        ({"response_format": {"type": "json_object"}}, "{}"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "yes"),
        ({"structured_outputs": {"regex": "The answer is [0-9]+"}}, "The answer is 5"),
        ({}, "The answer is 5."),
    ],
    ids=["schema", "object", "choice", "pattern", "nothing"],
)
def test_an_answer_to_a_tools_result_follows_what_was_asked_too(
    chat: Chat, fields: dict[str, object], answer: str
) -> None:
    messages = [user("How warm is it in Oslo?"), asked(call()), result(content="5")]
    assert said(chat(messages=messages, **fields)) == answer


def test_the_arguments_of_a_strict_tool_follow_its_schema(chat: Chat) -> None:
    parameters = having(year={"type": "string", "pattern": "^[0-9]{4}$"})
    offered = [tool(strict=True, parameters=parameters)]
    assert called(chat("Which?", tools=offered, tool_choice="required")) == ("look", {"year": "0123"})


def test_a_schema_that_vllm_reads_itself_may_not_be_nested_as_deeply(chat: Chat) -> None:
    told = "The JSON schema is nested too deeply: objects and arrays may nest at most 64 levels"
    assert chat("Which?", response_format=formed(nested(70))).status_code == 200
    assert chat("Which?", structured_outputs={"json": json.dumps(nested(60))}).status_code == 200
    assert chat("Which?", structured_outputs={"json": json.dumps(nested(70))}).json()["error"]["message"] == told


def test_without_the_compiler_an_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.grammar", raising=False)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    told = pytest.raises(ModuleNotFoundError, match=r"needs llguidance.*pip install '\.\[testing\]'.*script")
    with told, FakeServer() as fake, fake.client() as client:
        assert client.chat.completions.create(messages="Hello", response_format={"type": "json_object"}).text == "{}"
        client.chat.completions.create(messages="Hello", response_format=formed({"type": "string"}))


def test_a_scripted_answer_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.grammar", raising=False)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with FakeServer("{}") as fake, fake.client() as client:
        done = client.chat.completions.create(messages="Hello", response_format=formed({"type": "string"}))
    assert done.text == "{}"


def test_the_client_is_told_in_vllms_words() -> None:
    with FakeServer() as fake, fake.client() as client, pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(messages="Hello", structured_outputs={"regex": r"a\b"})
    assert "lookarounds not supported yet" in str(caught.value)


def test_the_hosted_endpoint_compiles_too() -> None:
    with FakeServer(personality="hosted") as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as asked:
        body = {
            "model": "mistralai/mistral-nemotron",
            "messages": [{"role": "user", "content": "Hello"}],
            "response_format": formed({"type": "objekt"}),
        }
        got = asked.post(f"{fake.base_url}/chat/completions", json=body)
    assert (got.status_code, "Invalid type: objekt" in got.text) == (400, True)
