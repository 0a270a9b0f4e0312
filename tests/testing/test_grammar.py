"""What the server's own answers are held to: a schema, a pattern or a grammar, by the compiler that vLLM asks too."""

import json
import re
import sys

import httpx2
import pytest
from jsonschema import Draft202012Validator, validate

from nemotron_client import BadRequestError
from nemotron_client.testing import FakeServer
from tests.client.conftest import NO_CERTIFICATES
from tests.contract.constraints import Schema, formed, nested
from tests.engine.histories import tool
from tests.testing.wire import Chat, said


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        (r"\d{4}-\d{2}-\d{2}", "0000-00-00"),
        ("yes|no", "no"),
        ("[A-Za-z]+", "You"),  # as far as it goes
        (".*", "You said: Which?"),
        (r"\p{Greek}{2}", "ͰͰ"),
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
        ({"type": "string", "pattern": r"^[A-Z]{3}-\d{2}$"}, '"AAA-00"'),
        ({"type": "string", "pattern": r"\d"}, '"value0"'),
        ({"type": "string", "minLength": 10}, '"value01234"'),
        ({"type": "string", "maxLength": 2}, '"va"'),
        ({"type": "string", "format": "email"}, '"ada@example.com"'),
        ({"type": "string", "format": "uuid"}, None),
        ({"type": "integer", "exclusiveMinimum": 1}, "10"),
        ({"type": "integer", "multipleOf": 7}, None),
        ({"type": "object", "properties": {"b": {}, "a": {}}, "required": ["a", "b"]}, '{"b": "b", "a": "a"}'),
    ],
    ids=str,
)
def test_an_answer_follows_what_a_schema_says_of_its_values(chat: Chat, schema: Schema, answer: str | None) -> None:
    text = said(chat("Which?", response_format=formed(schema)))
    validate(json.loads(text), schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert answer is None or text == answer


@pytest.mark.parametrize(
    ("grammar", "answer"),
    [
        ('root ::= "select " ("a" | "b") ";"', "select a;"),
        ('start: "x" /[0-9]{3}/', "x000"),
        ('start: x\nx: "You said: " /.*/', "You said: Which?"),
    ],
)
def test_an_answer_follows_a_grammar(chat: Chat, grammar: str, answer: str) -> None:
    assert said(chat("Which?", structured_outputs={"grammar": grammar})) == answer


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"response_format": formed({"type": "array", "minItems": 10**9})}, "minItems or maxItems of 10,000 and more"),
        ({"structured_outputs": {"json": '{"maxItems": 99999}'}}, "minItems or maxItems of 10,000 and more"),
        ({"response_format": formed({"anyOf": [{"$ref": "#/$defs/x"}] * 151})}, "more than 150 references"),
        ({"structured_outputs": {"grammar": "start: a\n" * 2001}}, "more than 2,000 lines"),
        ({"tools": [tool(strict=True, parameters={"minItems": 10**9})]}, "minItems or maxItems of 10,000 and more"),
    ],
    ids=["items", "items of a text", "references", "lines", "a tool's"],
)
def test_what_would_end_the_process_is_refused(chat: Chat, fields: dict[str, object], told: str) -> None:
    response = chat("Which?", **fields)
    assert response.status_code == 400
    assert told in response.json()["error"]["message"]


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
