"""What the server answers where nothing is scripted: its pages, and what its model says."""

import json
from collections.abc import Mapping

import httpx2
import pytest

from nemotron_client.testing import (
    MockServer,
)
from nemotron_client.testing.replies import MODEL
from nemotron_client.testing.schemas import malformed
from tests.contract.constraints import nested
from tests.testing.wire import KEY, NOTHING, TIME, WEATHER, Chat, called, events, said


def test_the_models_are_the_one_it_serves_with_its_window(http: httpx2.Client) -> None:
    with MockServer(model="own/model", max_model_len=4096) as server:
        (card,) = http.get(f"{server.base_url}/models").json()["data"]
        tokens = http.post(f"{server.base_url[:-3]}/tokenize", json={"prompt": "Hello world"}).json()
    assert (card["id"], card["max_model_len"], card["owned_by"]) == ("own/model", 4096, "vllm")
    assert tokens == {"count": 3, "max_model_len": 4096, "tokens": [1, 22177, 4304], "token_strs": None}


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/health", 200, ""),
        ("GET", "/version", 200, '{"version":"0.32.0"}'),
        ("GET", "/v1/health/ready", 200, '{"object":"health.response","message":"Service is ready."}'),
        ("GET", "/v1/health/live", 200, '{"object":"health.response","message":"Service is live."}'),
        ("GET", "/v1/version", 200, '{"release":"2.1.5","api":"2.1.5"}'),
        ("GET", "/v1/nope", 404, '{"detail":"Not Found"}'),
        ("POST", "/v1/models", 405, '{"detail":"Method Not Allowed"}'),
        ("GET", "/v1/chat/completions", 405, '{"detail":"Method Not Allowed"}'),
    ],
)
def test_the_pages_of_vllm_and_nim(
    *, server: MockServer, http: httpx2.Client, method: str, path: str, status: int, body: str
) -> None:
    response = http.request(method, f"{server.base_url[:-3]}{path}")
    assert (response.status_code, response.text) == (status, body)
    assert ("allow" in response.headers) == (status == 405)


def test_nims_metadata_names_the_model(server: MockServer, http: httpx2.Client) -> None:
    assert http.get(f"{server.base_url}/metadata").json()["modelInfo"][0]["shortName"] == MODEL


def test_with_a_key_all_under_v1_asks_for_it_and_nothing_else(http: httpx2.Client) -> None:
    with MockServer(api_key=KEY) as server:
        url = f"{server.base_url}/models"
        refused = [http.get(url), http.get(url, headers={"Authorization": KEY}), http.post(f"{server.base_url}/nope")]
        welcome = http.get(url, headers={"Authorization": f"Bearer {KEY}"})
        open_to_all = http.get(f"{server.base_url[:-3]}/health")
    assert [(answer.status_code, answer.json()) for answer in refused] == [(401, {"error": "Unauthorized"})] * 3
    assert (welcome.status_code, open_to_all.status_code) == (200, 200)


# --- What it says when nothing is scripted ---


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("Hi there", "Hello! How can I help you today?"),
        ("What is new?", "You said: What is new?"),
        (
            [{"type": "text", "text": "Two"}, {"type": "text", "text": "parts"}],
            "You said: Two parts",
        ),
    ],
)
def test_it_greets_and_repeats_what_it_heard(chat: Chat, content: object, answer: str) -> None:
    assert said(chat(content)) == answer


def test_it_tells_a_story_of_some_sixty_words_the_same_each_time(chat: Chat) -> None:
    story = said(chat("Tell me a story."))
    assert 55 <= len(story.split()) <= 75
    assert said(chat("A long story, please")) == story


def test_a_text_completion_answers_its_prompt(server: MockServer, http: httpx2.Client) -> None:
    whole = http.post(f"{server.base_url}/completions", json={"prompt": "Once"}).json()
    assert whole["choices"][0]["text"] == "You said: Once"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_keeps_to_the_limit(chat: Chat, name: str) -> None:
    response = chat("Hello", **{name: 3})
    assert said(response) == "Hello! How"
    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert chat("Hello", **{name: 10}).json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("content", "choice", "call"),
    [
        ("What is the weather in Paris?", "auto", ("get_weather", {"city": "Paris", "unit": "c"})),
        ("And what time is it?", "auto", ("getTime", NOTHING)),
        ("Hello", "required", ("getTime", NOTHING)),
        ("weather please", "required", ("get_weather", {"city": "city", "unit": "c"})),
    ],
)
def test_it_calls_the_tool_that_the_question_has_a_word_of(
    chat: Chat, content: str, choice: str, call: tuple[str, object]
) -> None:
    assert called(chat(content, tools=[TIME, WEATHER], tool_choice=choice)) == call


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("What is the weather?", {"tools": [WEATHER], "tool_choice": "none"}),
        ("Just talk", {"tools": [WEATHER]}),
    ],
)
def test_it_calls_no_tool_otherwise(chat: Chat, content: str, fields: Mapping[str, object]) -> None:
    assert said(chat(content, **fields)) == f"You said: {content}"


def test_it_ends_a_tool_call_with_a_sentence_that_has_the_results(chat: Chat) -> None:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: list[object] = [
        {"role": "user", "content": "What is the weather in Paris and Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "abcdefgh2"}]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "abcdefgh2", "content": "3 degrees"},
    ]
    assert said(chat(messages=messages, tools=[WEATHER])) == "The answer is 12 degrees and 3 degrees."


def test_it_fills_a_json_schema(chat: Chat) -> None:
    schema: dict[str, object] = {
        "$defs": {
            "Line": {"type": "object", "properties": {"n": {"minimum": 5, "type": "integer"}}, "required": ["n"]}
        },
        "type": "object",
        "properties": {
            "customer": {"type": "string"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 2},
            "tags": {"type": "array"},
            "price": {"type": "number"},
            "paid": {"type": "boolean"},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "kind": {"const": "invoice"},
            "currency": {"enum": ["EUR", "USD"]},
            "due": {"type": "string", "format": "date"},
            "optional": {"type": "string"},
        },
    }
    schema["required"] = ["customer", "lines", "tags", "price", "paid", "note", "kind", "currency", "due", "free"]
    wanted = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": schema}}
    assert json.loads(said(chat("The invoice for Ada", response_format=wanted))) == {
        "customer": "Ada",
        "lines": [{"n": 5}, {"n": 5}],
        "tags": [],
        "price": 1,
        "paid": True,
        "note": None,
        "kind": "invoice",
        "currency": "EUR",
        "due": "2026-01-01",
        "free": "Ada",
    }
    assert said(chat("Any", response_format={"type": "json_object"})) == "{}"


def test_it_fills_a_schema_that_has_no_end_or_says_little(chat: Chat) -> None:
    properties = {"name": {"type": ["string", "null"]}, "next": {"$ref": "#/$defs/Node"}, "any": True}
    node: dict[str, object] = {"type": "object", "properties": properties, "required": [*properties]}
    schema = {"$defs": {"Node": node}, "$ref": "#/$defs/Node"}
    wanted = {"type": "json_schema", "json_schema": {"name": "node", "schema": schema}}
    assert json.loads(said(chat("A node for Ada", response_format=wanted))) == {
        "name": "Ada",
        "next": None,
        "any": "Ada",
    }


def test_a_schema_that_is_nested_too_deeply_to_be_looked_at_is_none() -> None:
    assert "recursion" in str(malformed(nested(900)))


def test_a_script_answers_a_request_that_no_server_would_take(server: MockServer, chat: Chat) -> None:
    server.always("Good day")
    assert said(chat(n="two")) == "Good day"
    assert events(chat(n="two", stream=True))[1]["choices"][0]["delta"] == {"content": "Good"}


def test_an_answer_can_be_held_to_choices_and_schemas_by_vllms_own_option(chat: Chat) -> None:
    assert said(chat("Yes or no?", structured_outputs={"choice": ["yes", "no"]})) == "yes"
    assert said(chat("For Ada", structured_outputs={"json": {"type": "string"}})) == '"Ada"'
    assert said(chat("For Ada", structured_outputs={"json_object": True})) == "{}"


def test_an_answer_ends_at_the_first_text_or_token_that_is_named(chat: Chat) -> None:
    def ended(**fields: object) -> tuple[object, ...]:
        whole = chat("Hello", **fields).json()
        choice = whole["choices"][0]
        tokens = whole["usage"]["completion_tokens"]
        return choice["message"]["content"], choice["finish_reason"], choice["stop_reason"], tokens

    assert ended(stop=["you", "can"]) == ("Hello! How ", "stop", "can", 4)
    assert ended(stop="can", include_stop_str_in_output=True) == ("Hello! How can", "stop", "can", 4)
    assert ended(stop_token_ids=[1710]) == ("Hello! How", "stop", 1710, 4)
    assert ended(stop_token_ids=[1710], stop="How", include_stop_str_in_output=True) == ("Hello! How", "stop", "How", 3)
    assert ended(stop_token_ids=[1710], stop="I", include_stop_str_in_output=True) == (
        "Hello! How can",
        "stop",
        1710,
        4,
    )
    assert ended(stop="can", max_tokens=2) == ("Hello!", "length", None, 2)
    assert ended(stop="never") == ("Hello! How can I help you today?", "stop", None, 10)


def test_a_tool_whose_parameters_are_no_schema_that_it_could_fill_is_called_without_any(chat: Chat) -> None:
    no_type: list[str] = []
    odd = {"type": "function", "function": {"name": "look", "parameters": {"$defs": {"x": {"type": no_type}}}}}
    assert called(chat("look", tools=[odd])) == ("look", {})
