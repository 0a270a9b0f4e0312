"""MockServer answers as a real vLLM did: the same refusals word for word, the same fields in every answer."""

import json
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from nemotron_client.testing import FakeServer, Scripted, text, tool_calls
from nemotron_client.testing.replies import MODEL
from tests.captures import Capture, load, names
from tests.contract.shapes import shape
from tests.engine.histories import asked, call, result, said, system, tool, user

KEY = "made-up"
# What another state of the server was, or another configuration of it, or a length that the recording left out.
NOT_COMPARED = {
    "vllm-v11/err_version_clash": "vLLM and mistral-common of that server did not fit together",
    "vllm-v13/client_disconnect": "the client left",
    "vllm-v13/engine_killed": "the engine was killed",
    "vllm-v13/overload": "too many requests at once",
    "vllm-v13/overload_stream": "too many requests at once",
    "vllm-v13/sigterm": "the server was told to stop",
    "vllm-v3/chat_stream_continuous_usage": "usage on every chunk is not imitated",
    "vllm-v3/chat_stream_logprobs": "logprobs are not imitated",
    "vllm-v13/logprobs": "logprobs are not imitated",
    "vllm-v3/clamped_chat": "the prompt is cut in the recording",
    "vllm-v3/err_completions_prompt_too_long": "the prompt is cut in the recording",
    "vllm-v3/err_exactly_full": "the prompt is cut in the recording",
    "vllm-v3/err_prompt_too_long": "the prompt is cut in the recording",
    "vllm-v3/err_prompt_too_long_stream": "the prompt is cut in the recording",
    "vllm-v13/err_prompt_over_131072": "the prompt is cut in the recording",
    "vllm-v3/err_rf_schema_bad_stream": "schemas of answers are not checked",
    "vllm-v3/err_null_content": "one of the nineteen errors is told",
    "vllm-v3/stop_str": "stop strings are not looked for",
    "vllm-v3/tokenize_chat_tools": "the tokens' texts are not told",
    "vllm-v3/err_detokenize": "there is no /detokenize",
}


def scripted(capture: Capture) -> Scripted | None:
    """Have the model say what it said there, as far as that decides about the form."""
    if capture.status != 200 or "completions" not in capture.path:
        return None
    if "event-stream" in capture.headers["content-type"]:
        events = [json.loads(row[6:]) for row in capture.body.decode().split("\n\n") if row.startswith("data: {")]
        choices: list[dict[str, Any]] = [choice for event in events for choice in event["choices"]]
        said_there = "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)
        called = any("tool_calls" in choice.get("delta", {}) for choice in choices)
    else:
        choices = json.loads(capture.body)["choices"]
        message = choices[0].get("message") or {"content": choices[0]["text"]}
        said_there, called = message["content"] or "", bool(message.get("tool_calls"))
    reason = next(choice["finish_reason"] for choice in reversed(choices) if choice["finish_reason"])
    words = "Two words" if said_there else ""
    return tool_calls(("f", {"a": 1}), text=words) if called else text(words, finish_reason=reason)


@pytest.mark.parametrize("name", [name for name in names("vllm-") if name not in NOT_COMPARED])
def test_a_recorded_request_is_answered_in_the_same_form(name: str) -> None:
    capture = load(name)
    window = 131_072 if "v13" in name else 4096
    with FakeServer(max_model_len=window, api_key=KEY if "key_missing" in name else None) as fake:
        reply = scripted(capture)
        if reply is not None:
            fake.always(reply)
        http = fake.attach(httpx2.Client(trust_env=False))
        kept = {name: value for name, value in capture.request_headers.items() if name == "content-type"}
        got = http.request(capture.method, f"http://fake{capture.path}", headers=kept, content=capture.request_body)
    there = shape(capture.status, capture.headers.get("content-type", ""), capture.body)
    assert shape(got.status_code, got.headers.get("content-type", ""), got.content) == there


def test_what_is_not_compared_is_there() -> None:
    assert NOT_COMPARED.keys() <= set(names("vllm-"))


HISTORY = [user(), asked(call())]
TWO = [user(), asked(call(), call("abcdefgh2")), result()]
CASES: dict[str, dict[str, Any]] = {
    "temperature over": {"temperature": 3},
    "temperature below": {"temperature": -1},
    "temperature as text": {"temperature": "hot"},
    "top_p zero": {"top_p": 0},
    "penalty": {"presence_penalty": 9},
    "n zero": {"n": 0},
    "max_tokens zero": {"max_tokens": 0},
    "max_tokens over the window": {"max_tokens": 10_000_000},
    "seed as text": {"seed": "x"},
    "stream as text": {"stream": "maybe"},
    "top_logprobs alone": {"top_logprobs": 3},
    "stream_options alone": {"stream_options": {"include_usage": True}},
    "no schema": {"response_format": {"type": "json_schema"}},
    "no tools": {"tools": []},
    "tools a number": {"tools": 5},
    "tool a number": {"tools": [5]},
    "tool without a name": {"tools": [{"type": "function", "function": {}}]},
    "choice any": {"tools": [tool()], "tool_choice": "any"},
    "choice without tools": {"tool_choice": "required"},
    "choice of another": {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "x"}}},
    "tool's name": {"tools": [tool("a b")]},
    "tool's schema": {"tools": [tool(parameters={"type": "nope"})]},
    "another model": {"model": "nope"},
    "messages a text": {"messages": "hi"},
    "no messages": {"messages": []},
    "unknown role": {"messages": [{"role": "nobody", "content": "x"}]},
    "no content": {"messages": [{"role": "user"}]},
    "assistant last": {"messages": [user(), said()]},
    "assistant alone": {"messages": [said()]},
    "assistant empty": {"messages": [user(), said(""), user()]},
    "tool alone": {"messages": [result()]},
    "tool after user": {"messages": [user(), result()]},
    "system after assistant": {"messages": [user(), said(), system(), user()]},
    "call's name": {"messages": [user(), asked(call(name="a b")), result()]},
    "result's name": {"messages": [*HISTORY, result(name="a b")]},
    "id null": {"messages": [user(), asked(call("null")), result("null")]},
    "no id": {"messages": [*HISTORY, {"role": "tool", "content": "x"}]},
    "stranger": {"messages": [*HISTORY, result("zzz")]},
    "two results": {"messages": [*HISTORY, result(), result()]},
    "one id twice": {"messages": [user(), asked(call(), call()), result()]},
    "result missing, then the assistant": {"messages": [*TWO, said(), user()]},
    # Which vLLM takes, where the hosted gateway doesn't:
    "long id": {"messages": [user(), asked(call("call_" + "a" * 20)), result("call_" + "a" * 20)]},
    "user after tool": {"messages": [*HISTORY, result(), user()]},
    "result missing": {"messages": [*TWO, user()]},
    "unknown field": {"unheard_of": 1, "guided_json": {}},
    "developer": {"messages": [{"role": "developer", "content": "x"}, user()]},
}


@pytest.mark.live
def test_each_request_is_answered_in_the_same_form_by_a_live_vllm(pytestconfig: pytest.Config) -> None:
    base_url: str | None = pytestconfig.getoption("--base-url", default=None)
    if base_url is None:
        pytest.skip("needs --base-url of a vLLM")
    with httpx2.Client(trust_env=False, timeout=60) as http, ExitStack() as stack:
        window = http.get(f"{base_url}/models").json()["data"][0]["max_model_len"]
        fake = stack.enter_context(FakeServer(max_model_len=window))
        in_process = fake.attach(httpx2.Client(trust_env=False))
        different: list[tuple[str, object, object]] = []
        for name, fields in CASES.items():
            body = {"model": MODEL, "messages": [user("Hello")], "max_tokens": 2, **fields}
            there, here = (
                shape(got.status_code, got.headers.get("content-type", ""), got.content)
                for got in (
                    http.post(f"{base_url}/chat/completions", json=body),
                    in_process.post(f"{fake.base_url}/chat/completions", json=body),
                )
            )
            if here != there:
                different.append((name, here, there))
    assert different == []
