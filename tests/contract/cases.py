"""Requests to vLLM that are refused or that it lets pass, its pages, and what a real one answered.

`python -m tests.contract.cases http://localhost:8000/v1` asks a vLLM anew, and writes the form of its answers down.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import httpx2

from nemotron_client.testing.replies import MODEL
from tests.contract.shapes import shape
from tests.engine.histories import asked, call, result, said, system, tool, user

Case: TypeAlias = tuple[str, str, dict[str, Any] | None]
"""Method, path and body."""

ANSWERS = Path(__file__).parents[1] / "fixtures" / "vllm-0.32-answers.json"

HISTORY = [user(), asked(call())]
TWO = [user(), asked(call(), call("abcdefgh2")), result()]
SCHEMAS: dict[str, dict[str, Any]] = {
    "type unknown": {"type": "objekt"},
    "one type of two unknown": {"type": ["string", "x"]},
    "type of a property": {"type": "object", "properties": {"a": {"type": "strin"}}, "required": ["a"]},
    "points nowhere": {"$ref": "#/$defs/x"},
    "not": {"not": {}, "uniqueItems": True},
    "within a union": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"not": {}}}]},
    "nothing to choose": {"enum": []},
    "not reached": {"type": "string", "$defs": {"x": {"not": {}}}},
}


def called_with(**changes: object) -> list[Mapping[str, object]]:
    """Return a history with one call that has these fields in place of its own; None takes one out."""
    whole = {"id": "abcdefgh1", "type": "function", "function": {"name": "look", "arguments": "{}"}, **changes}
    return [user(), {"role": "assistant", "tool_calls": [{k: v for k, v in whole.items() if v is not None}]}, result()]


def formed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the option that asks for an answer of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


CHAT: dict[str, dict[str, Any]] = {
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
    "temperature as a truth value": {"temperature": True},
    "max_tokens as text": {"max_tokens": "x"},
    "max_tokens with a fraction": {"max_tokens": 1.5},
    "max_tokens below zero": {"max_tokens": -1},
    "max_completion_tokens zero": {"max_completion_tokens": 0},
    "n with a fraction": {"n": 1.5},
    "seed too large": {"seed": 2**70},
    "top_k": {"top_k": -5},
    "top_k as text": {"top_k": "x"},
    "min_p": {"min_p": 2},
    "repetition_penalty zero": {"repetition_penalty": 0},
    "repetition_penalty over": {"repetition_penalty": 3},
    "min_tokens below zero": {"min_tokens": -1},
    "min_tokens over max_tokens": {"min_tokens": 9},
    "top_logprobs over": {"logprobs": True, "top_logprobs": 21},
    "top_logprobs below zero": {"logprobs": True, "top_logprobs": -2},
    "prompt_logprobs over": {"prompt_logprobs": 50},
    "stop a number": {"stop": 5},
    "stop an object": {"stop": {}},
    "stop of numbers": {"stop": [1]},
    "eleven things wrong": {"stop_token_ids": list("abcdefghijk")},
    "a long text for a number": {"seed": "x" * 300},
    "stop five": {"stop": ["a", "b", "c", "d", "e"]},
    "stop empty": {"stop": ""},
    "bad_words empty": {"bad_words": [""]},
    "stop_token_ids as text": {"stop_token_ids": "x"},
    "stop_token_ids over": {"stop_token_ids": [999_999]},
    "logit_bias over": {"logit_bias": {"999999": 1}},
    "logit_bias of a word": {"logit_bias": {"x": 1}},
    "allowed_token_ids none": {"allowed_token_ids": []},
    "allowed_token_ids over": {"allowed_token_ids": [999_999]},
    "truncate_prompt_tokens": {"truncate_prompt_tokens": -2},
    "model a number": {"model": 5},
    "model null": {"model": None},
    "stream a number": {"stream": 5},
    "stream_options as text": {"stream": True, "stream_options": "x"},
    "response_format unknown": {"response_format": {"type": "yaml"}},
    "response_format empty": {"response_format": {}},
    "response_format as text": {"response_format": "json"},
    "schema without a name": {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
    "two structured outputs": {"structured_outputs": {"regex": "a", "json": {}}},
    "no choice": {"structured_outputs": {"choice": []}},
    "reasoning_effort not Mistral's": {"reasoning_effort": "low"},
    "reasoning_effort unknown": {"reasoning_effort": "x"},
    "chat_template": {"chat_template": "x"},
    "continue and generate": {"messages": [user(), said()], "continue_final_message": True},
    "continue": {"messages": [user(), said()], "continue_final_message": True, "add_generation_prompt": False},
    "continue the user": {"continue_final_message": True, "add_generation_prompt": False},
    "choice a number": {"tools": [tool()], "tool_choice": 5},
    "choice empty": {"tools": [tool()], "tool_choice": {}},
    "choice without a name": {"tools": [tool()], "tool_choice": {"function": {}}},
    "choice of no name": {"tools": [tool()], "tool_choice": {"function": {"name": ""}}},
    "tool of another type": {"tools": [{"type": "x", "function": {"name": "a"}}]},
    "tool without a type": {"tools": [{"function": {"name": "a"}}], "tool_choice": "none"},
    "tool's parameters a list": {"tools": [tool(parameters=[])]},
    "tools null": {"tools": None},
    "image": {"messages": [user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}}])]},
    "audio": {"messages": [user([{"type": "input_audio", "input_audio": {"data": "a", "format": "wav"}}])]},
    "arguments an object": {"messages": called_with(function={"name": "look", "arguments": {}})},
    "arguments missing": {"messages": called_with(function={"name": "look"})},
    "arguments no JSON": {"messages": called_with(function={"name": "look", "arguments": "{"}), "tool_choice": "none"},
    "function missing": {"messages": called_with(function=None)},
    "call without an id": {"messages": called_with(id=None)},
    "no calls": {"messages": [user(), {"role": "assistant", "content": "x", "tool_calls": []}, user()]},
    "two choices": {"n": 2},
    "stream": {"stream": True, "max_tokens": 20},
    "stream with usage": {"stream": True, "max_tokens": 20, "stream_options": {"include_usage": True}},
    "stream of another model": {"stream": True, "model": "nope"},
    **{f"schema: {name}": {"response_format": formed(schema)} for name, schema in SCHEMAS.items()},
    **{
        f"schema in a stream: {name}": {"response_format": formed(schema), "stream": True, "max_tokens": 20}
        for name, schema in SCHEMAS.items()
    },
}
TEXT: dict[str, dict[str, Any]] = {
    "empty": {"prompt": ""},
    "none": {"prompt": None},
    "no prompt": {"prompt": []},
    "tokens": {"prompt": [1, 2000]},
    "two": {"prompt": ["a", "b"]},
    "a number": {"prompt": 5},
    "token over": {"prompt": [999_999]},
    "token below zero": {"prompt": [-1]},
    "suffix": {"suffix": "x"},
    "logprobs over": {"logprobs": 30},
    "max_tokens over the window": {"max_tokens": 10_000_000},
    "max_tokens zero": {"max_tokens": 0},
    "another model": {"model": "nope"},
    "stop five": {"stop": ["a", "b", "c", "d", "e"]},
    "temperature over": {"temperature": 3},
    "two choices": {"n": 2},
}
TOKENIZE: dict[str, dict[str, Any]] = {
    "neither": {},
    "both": {"prompt": "x", "messages": [user()]},
    "a prompt": {"prompt": "Hello world"},
    "an empty prompt": {"prompt": ""},
    "a list": {"prompt": [1, 2]},
    "a conversation": {"messages": [user("Hello")], "tools": [tool()]},
    "tools a number": {"messages": [user("Hello")], "tools": 5},
    "another model": {"prompt": "x", "model": "nope"},
    "assistant last": {"messages": [user("Hello"), said()]},
    "no messages": {"messages": []},
}
PAGES = (
    *(("GET", path) for path in ("/health", "/ping", "/load", "/version", "/v1/models", "/v1/models/x", "/nope")),
    *(("GET", path) for path in ("/v1/chat/completions", "/v1/completions", "/tokenize")),
    *(("POST", "/v1/models"), ("POST", "/version"), ("DELETE", "/v1/completions"), ("OPTIONS", "/v1/models")),
)


def _cases() -> Iterator[tuple[str, Case]]:
    for name, fields in CHAT.items():
        whole = {"model": MODEL, "messages": [user("Hello")], "max_tokens": 2, **fields}
        yield f"chat, {name}", ("POST", "/v1/chat/completions", whole)
    for name, fields in TEXT.items():
        yield (
            f"text, {name}",
            ("POST", "/v1/completions", {"model": MODEL, "prompt": "Hello", "max_tokens": 2, **fields}),
        )
    for name, fields in TOKENIZE.items():
        yield f"tokenize, {name}", ("POST", "/tokenize", {"model": MODEL, **fields})
    for method, path in PAGES:
        yield f"{method} {path}", (method, path, None)


CASES = dict(_cases())


def ask(http: httpx2.Client, server: str, case: Case) -> object:
    """Return the form of what a server answers, as the file has it.

    Args:
        http: What to ask with.
        server: Its URL, without /v1.
        case: The request.
    """
    method, path, body = case
    got = http.request(method, f"{server}{path}", json=body)
    form: object = json.loads(json.dumps(shape(got.status_code, got.headers, got.content)))
    return form


def main(base_url: str) -> None:
    """Ask all, and write the file."""
    with httpx2.Client(trust_env=False, timeout=60) as http:
        answers = {name: ask(http, base_url.removesuffix("/v1"), case) for name, case in CASES.items()}
    ANSWERS.write_text("".join(f"{line}\n" for line in _lines(answers)))


def _lines(answers: dict[str, object]) -> Iterator[str]:
    """Write JSON, an answer a line, for differences that can be read."""
    yield "{"
    *rows, last = (f"  {json.dumps(name)}: {json.dumps(form)}" for name, form in answers.items())
    yield from (f"{row}," for row in rows)
    yield last
    yield "}"


if __name__ == "__main__":
    main(sys.argv[1])
