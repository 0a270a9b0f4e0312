"""MockServer answers as a real vLLM did: the same refusals word for word, the same fields in every answer."""

import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from nemotron_client.testing import Answer, FakeServer, Scripted, cut, error, stream_error, tool_calls
from tests.captures import Capture, load, names
from tests.client.conftest import NO_CERTIFICATES
from tests.contract.cases import ANSWERS, CASES, SWEEP, Case, ask, live_client
from tests.contract.shapes import shape
from tests.engine.histories import user

KEY = "made-up"
_BUSY = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)
_NO_TYPE = "Grammar error: Invalid type: objekt"  # with a tokenizer of v3 mistral-common writes no grammar
# What a server answered that was in trouble, or another one, and the script for it.
TROUBLE: dict[str, Scripted] = {
    "vllm-v11/err_version_clash": error(
        400, "GrammarFactory.get_lark_from_jinja() missing 1 required positional argument: 'force_tool_names'"
    ),
    "vllm-v13/engine_killed": error(
        500, "EngineCore encountered an issue. See stack trace (above) for the root cause."
    ),
    "vllm-v13/overload": error(503, _BUSY),
    "vllm-v13/overload_stream": stream_error(503, _BUSY),
    "vllm-v13/sigterm": Answer(text="Two words", finish_reason="abort"),
    "vllm-v3/err_rf_schema_bad": error(400, _NO_TYPE),
    "vllm-v3/err_rf_schema_bad_stream": stream_error(400, _NO_TYPE),
}
LEFT = "vllm-v13/client_disconnect"
# Routes of vLLM that a test server answers by 501: no client of this model's API asks them.
NOT_IMITATED = {
    ("POST", "/v1/responses"): "OpenAI's newer API: it keeps answers, which NVIDIA's endpoint does not",
    ("GET", "/v1/responses/x"): "a part of it",
    ("POST", "/v1/messages"): "Anthropic's API",
    ("POST", "/v1/messages/count_tokens"): "a part of it",
    ("POST", "/v1/chat/completions/batch"): "vLLM's own way to ask several conversations at once, unknown to others",
    ("POST", "/invocations"): "Amazon SageMaker's name for the routes of completions",
    ("POST", "/generative_scoring"): "scores texts, which is another task",
    ("POST", "/v1/systemone"): "decides between answers, which is another task",
    ("GET", "/metrics"): "Prometheus' numbers, of an engine that is not there",
    ("GET", "/kv_event_sources"): "tells of the cache of an engine that is not there",
    ("POST", "/scale_elastic_ep"): "manages an engine that is not there",
    ("POST", "/is_scaling_elastic_ep"): "tells of an engine that is not there",
    ("GET", "/docs"): "pages for people, of vLLM's own routes",
    ("GET", "/redoc"): "pages for people, of vLLM's own routes",
    ("GET", "/openapi.json"): "the description of vLLM's own routes",
}
# Requests of which the refusal, and no more than that, has words of its own; each is refused with the same status.
OTHER_WORDS: dict[str, tuple[dict[str, Any], str]] = {
    "thinking": (
        {"messages": [user([{"type": "thinking", "thinking": "x"}])]},
        "it quotes Python objects of mistral-common",
    ),
    "an unknown role's content": (
        {"messages": [{"role": "nobody", "content": [5]}]},
        "thirty errors of classes for parts that this model does not read",
    ),
    "a message of Harmony that is wrong": (
        {"messages": [{"author": {"role": "user"}, "content": [5]}]},
        "the same",
    ),
}


# What vLLM fails at, by 500, and a test server answers.
NO_FAILURE: dict[str, dict[str, Any]] = {
    "a grammar without an end": {"structured_outputs": {"grammar": 'root ::= "a" root'}},
    "an answer that has no text": {"allowed_token_ids": [1]},
}


def whole(body: bytes) -> bytes:
    """Write a long prompt out again, of which the recording says how many words it had."""
    return re.sub(rb"(\w+) \1 \1 \[(\d+) words in all\]", lambda cut: (cut[1] + b" ") * int(cut[2]), body)


def scripted(capture: Capture) -> Scripted | None:
    """Have the model say what it said there, as far as that decides about the form."""
    if capture.name in TROUBLE:
        return TROUBLE[capture.name]
    if capture.status != 200 or "completions" not in capture.path:
        return None
    if "event-stream" in capture.headers["content-type"]:
        events = [json.loads(row[6:]) for row in capture.body.decode().split("\n\n") if row.startswith("data: {")]
        if "choices" not in events[0]:
            return None
        choices: list[dict[str, Any]] = [choice for event in events for choice in event["choices"]]
        said_there = "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)
        called = any("tool_calls" in choice.get("delta", {}) for choice in choices)
    else:
        choices = json.loads(capture.body)["choices"]
        message = choices[0].get("message") or {"content": choices[0]["text"]}
        said_there, called = message["content"] or "", bool(message.get("tool_calls"))
    last = next(choice for choice in reversed(choices) if choice["finish_reason"])
    words = "Two words" if said_there else ""
    if called:
        return tool_calls(("f", {"a": 1}), text=words)
    return Answer(text=words, finish_reason=last["finish_reason"], stop_reason=last.get("stop_reason"))


@pytest.mark.parametrize("name", [name for name in names("vllm-") if name != LEFT])
def test_a_recorded_request_is_answered_in_the_same_form(name: str) -> None:
    capture = load(name)
    window = 131_072 if "v13" in name else 4096
    with FakeServer(max_model_len=window, api_key=KEY if "key_" in name else None) as fake:
        reply = scripted(capture)
        if reply is not None:
            fake.always(reply)
        http = fake.attach(httpx2.Client(verify=NO_CERTIFICATES))
        kept = {name: value for name, value in capture.request_headers.items() if name == "content-type"}
        got = http.request(
            capture.method, f"http://fake{capture.path}", headers=kept, content=whole(capture.request_body)
        )
    assert shape(got.status_code, got.headers, got.content) == shape(capture.status, capture.headers, capture.body)


def test_a_stream_that_the_client_leaves_is_in_the_same_form_until_then() -> None:
    capture = load(LEFT)
    with FakeServer(max_model_len=131_072) as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        fake.always(cut(Answer(text="Two words"), after=3))
        kept = {"content-type": "application/json"}
        with http.stream("POST", f"http://fake{capture.path}", headers=kept, content=capture.request_body) as got:
            came: list[bytes] = []
            with pytest.raises(httpx2.RemoteProtocolError):
                came.extend(got.iter_raw())
    assert begun(b"".join(came)) == begun(capture.body)


def begun(stream: bytes) -> object:
    """Return the form of a stream that broke off: as if it had come to its end."""
    return shape(200, {"content-type": "text/event-stream"}, stream + b"data: [DONE]\n\n")


@pytest.mark.parametrize(("method", "path"), NOT_IMITATED)
def test_a_route_that_is_not_imitated_says_so(method: str, path: str, fake: httpx2.Client) -> None:
    response = fake.request(method, f"http://fake{path}")
    assert (response.status_code, response.headers["x-should-retry"]) == (501, "false")
    assert response.json()["error"]["message"] == f"vLLM has {path}, but this test server doesn't imitate it."


@pytest.mark.parametrize("name", OTHER_WORDS)
def test_what_is_refused_in_other_words_is_refused(name: str, fake: httpx2.Client) -> None:
    fields, _ = OTHER_WORDS[name]
    body = {"messages": [user()], **fields}
    assert fake.post("http://fake/v1/chat/completions", json=body).status_code == 400


@pytest.mark.parametrize("name", NO_FAILURE)
def test_what_vllm_fails_at_is_answered(name: str, fake: httpx2.Client) -> None:
    body = {"messages": [user()], **NO_FAILURE[name]}
    assert fake.post("http://fake/v1/chat/completions", json=body).status_code == 200


@pytest.fixture(scope="module")
def answers() -> dict[str, object]:
    held: dict[str, object] = json.loads(ANSWERS.read_bytes())
    return held


@contextmanager
def in_process(max_model_len: int) -> Generator[httpx2.Client]:
    with FakeServer(max_model_len=max_model_len) as fake, fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        yield http


@pytest.fixture(scope="module")
def fake() -> Iterator[httpx2.Client]:
    with in_process(max_model_len=131_072) as http:
        yield http


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_answered_in_the_form_that_vllm_gave(
    name: str, fake: httpx2.Client, answers: dict[str, object]
) -> None:
    assert ask(fake, "http://fake", CASES[name]) == answers[name]


def test_there_is_an_answer_for_each_request_and_no_other(answers: dict[str, object]) -> None:
    assert answers.keys() == CASES.keys()


@pytest.mark.live
@pytest.mark.parametrize("cases", [CASES.values(), SWEEP], ids=["chosen", "each field with each odd value"])
def test_each_request_is_answered_in_the_same_form_by_a_live_vllm(
    cases: Iterable[Case], pytestconfig: pytest.Config
) -> None:
    base_url: str | None = pytestconfig.getoption("--base-url", default=None)
    if base_url is None:
        pytest.skip("needs --base-url of a vLLM")
    server = base_url.removesuffix("/v1")
    with live_client() as http:
        window = http.get(f"{base_url}/models").json()["data"][0]["max_model_len"]
        with in_process(max_model_len=window) as fake:
            different = [
                (case, here, there)
                for case in cases
                if (here := ask(fake, "http://fake", case)) != (there := ask(http, server, case))
            ]
    assert different == []
