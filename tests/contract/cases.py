"""Requests to vLLM that are refused or that it lets pass, its pages, and what a real one answered.

`python -m tests.contract.cases http://localhost:8000/v1` asks a vLLM anew, and writes the form of its answers down.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from nemotron_client.testing.replies import MODEL
from tests.contract import stages, sweep
from tests.contract.constraints import HELD, SCHEMAS, STRICT, formed
from tests.contract.cut_calls import CUT_CALLS
from tests.contract.cut_calls import said as said_in
from tests.contract.parts import FEW, MESSAGES, PARTS
from tests.contract.shapes import shape
from tests.contract.tokenized import DETOKENIZE, TOKENIZE
from tests.contract.unusual import CUT_PROMPTS, UNUSUAL_CHAT, UNUSUAL_TEXT, prompts_in
from tests.engine.histories import asked, call, result, said, system, tool, user


def form(got: httpx2.Response) -> object:
    """Return what of an answer no model has a say in."""
    return shape(got.status_code, got.headers, got.content)


def tokens(got: httpx2.Response) -> object:
    """Return an answer in which no model has a say at all, or an error."""
    if got.status_code != 200:
        return form(got)
    told: dict[str, object] = got.json()
    return {name: value for name, value in told.items() if name != "max_model_len"}


class Case(NamedTuple):
    """A request, and what of its answer is compared."""

    method: str
    path: str
    body: dict[str, Any] | bytes | None
    compared: Callable[[httpx2.Response], object] = form


ANSWERS = Path(__file__).parents[1] / "fixtures" / "vllm-0.32-answers.json"

HISTORY = [user(), asked(call())]
CONTINUED = {"messages": [user(), said("Hel")], "add_generation_prompt": False, "continue_final_message": True}
ALL_USAGE = {"include_usage": True, "continuous_usage_stats": True}
TWO = [user(), asked(call(), call("abcdefgh2")), result()]


def called_with(**changes: object) -> list[Mapping[str, object]]:
    """Return a history with one call that has these fields in place of its own; None takes one out."""
    whole = {"id": "abcdefgh1", "type": "function", "function": {"name": "look", "arguments": "{}"}, **changes}
    return [user(), {"role": "assistant", "tool_calls": [{k: v for k, v in whole.items() if v is not None}]}, result()]


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
    **HELD,
    **{f"part: {name}": {"messages": [user([part])]} for name, part in PARTS.items()},
    **{f"content of the assistant: {name}": {"messages": [user(), said([part]), user()]} for name, part in FEW.items()},
    **{f"content of a tool: {name}": {"messages": [*HISTORY, result(content=[part])]} for name, part in FEW.items()},
    **{f"message: {name}": {"messages": [message]} for name, message in MESSAGES.items()},
    "a second message of none": {"messages": [user(), 7, {}], "seed": "x"},
    "calls a number": {"messages": [user(), {"role": "assistant", "tool_calls": 5}]},
    "messages null": {"messages": None},
    "temperature infinite": {"temperature": 1e999},
    "half a character": {"model": "\ud800"},
    "echo": {"echo": True},
    "echo of what is continued": {**CONTINUED, "echo": True},
    "echo of what is continued, in a stream": {**CONTINUED, "echo": True, "stream": True},
    "echo as text": {"echo": "x"},
    "ids of tokens": {"return_token_ids": True},
    "ids of tokens in a stream": {"return_token_ids": True, "stream": True, "max_tokens": 20},
    "logprobs": {"logprobs": True},
    "logprobs with two": {"logprobs": True, "top_logprobs": 2},
    "logprobs by ids": {"logprobs": True, "return_tokens_as_token_ids": True},
    "logprobs in a stream": {"logprobs": True, "top_logprobs": 1, "stream": True, "max_tokens": 20},
    "logprobs of the prompt": {"prompt_logprobs": 1},
    "logprobs of the prompt in a stream": {"prompt_logprobs": 1, "stream": True},
    "logprobs with all": {"logprobs": True, "top_logprobs": -1},
    "logprobs of the prompt with all": {"prompt_logprobs": -1},
    "logprobs of the prompt as text": {"prompt_logprobs": "x"},
    "logprobs of the prompt below zero": {"prompt_logprobs": -2},
    "usage on every chunk": {"stream": True, "max_tokens": 20, "stream_options": ALL_USAGE},
    "stop": {"stop": ["o"], "max_tokens": 20},
    "stop, kept": {"stop": "o", "include_stop_str_in_output": True, "max_tokens": 20},
    "stop in a stream": {"stop": ["l"], "stream": True, "max_tokens": 20},
    "stop at a token": {"stop_token_ids": [1033], "max_tokens": 20},
    "truncation_side": {"truncation_side": "x"},
    "cache_salt empty": {"cache_salt": ""},
    "cache_salt too long": {"cache_salt": "x" * 129},
    "cache_salt of a path": {"cache_salt": "a\\b"},
    "cache_salt": {"cache_salt": "x"},
    "documents": {"documents": [1]},
    **UNUSUAL_CHAT,
    **STRICT,
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
    "two choices of two prompts": {"prompt": ["a", "b"], "n": 2},
    "echo": {"echo": True},
    "echo of tokens": {"echo": True, "prompt": [[1, 2000]]},
    "echo alone": {"echo": True, "max_tokens": 0},
    "echo in a stream": {"echo": True, "stream": True, "max_tokens": 20},
    "logprobs": {"logprobs": 2},
    "logprobs of the token alone": {"logprobs": 0},
    "logprobs of all": {"logprobs": 1, "echo": True},
    "logprobs in a stream": {"logprobs": 1, "stream": True, "max_tokens": 20},
    "logprobs below zero": {"logprobs": -2},
    "logprobs with all": {"logprobs": -1},
    "logprobs of the prompt": {"prompt_logprobs": 0},
    "ids of tokens": {"return_token_ids": True},
    "ids of tokens in a stream": {"return_token_ids": True, "stream": True, "max_tokens": 20},
    "usage on every chunk": {"stream": True, "max_tokens": 20, "stream_options": ALL_USAGE},
    "held to a pattern that is none": {"structured_outputs": {"regex": "("}},
    "held to nothing": {"structured_outputs": {}},
    "held to a schema that is a number": {"structured_outputs": {"json": "5"}},
    "held to a schema that is null": {"structured_outputs": {"json": "null"}},
    **UNUSUAL_TEXT,
    **{f"schema: {name}": {"response_format": formed(schema)} for name, schema in SCHEMAS.items()},
}
RAW = {
    "no UTF-8": b"\xff",
    "nested deeply": b"[" * 3000 + b"]" * 3000,
    "nested deeply in a field": b'{"messages": [], "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    "thousands of digits": b'{"messages": [], "seed": ' + b"9" * 5000 + b"}",
    "no number": b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    "half a character": b'{"messages": [{"role": "user", "content": "\\ud800"}], "max_tokens": 2}',
    "a mark of byte order": b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}',
    "UTF-16": '{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}'.encode("utf-16"),
}
PAGES = (
    *(("GET", path) for path in ("/health", "/ping", "/load", "/version", "/v1/models", "/v1/models/x", "/nope")),
    *(("GET", path) for path in ("/v1/chat/completions", "/v1/completions", "/tokenize")),
    *(("POST", "/v1/models"), ("POST", "/version"), ("DELETE", "/v1/completions"), ("OPTIONS", "/v1/models")),
    *(
        ("POST", "/ping"),
        ("HEAD", "/health"),
        ("HEAD", "/v1/models"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/messages"),
    ),
    *(("GET", "/v1/models/"), ("GET", "/health/?a=b"), ("POST", "/v1/chat/completions/"), ("GET", "/nope/")),
)


def _cases() -> Iterator[tuple[str, Case]]:
    for name, fields in CHAT.items():
        # Of a stream the end is compared too, so the model is to say there what it knows best.
        sure = {"temperature": 0} if fields.get("stream") else {}
        whole = {"model": MODEL, "messages": [user("Hello")], "max_tokens": 2, **sure, **fields}
        yield f"chat, {name}", Case("POST", "/v1/chat/completions", whole)
    for name, fields in CUT_CALLS.items():
        yield f"chat, {name}", Case("POST", "/v1/chat/completions", {"model": MODEL, **fields}, said_in)
    for name, fields in TEXT.items():
        whole = {"model": MODEL, "prompt": "Hello", "max_tokens": 2, **fields}
        yield f"text, {name}", Case("POST", "/v1/completions", whole)
    for name, fields in CUT_PROMPTS.items():
        yield f"text, {name}", Case("POST", "/v1/completions", {"model": MODEL, "max_tokens": 1, **fields}, prompts_in)
    for name, fields in TOKENIZE.items():
        yield f"tokenize, {name}", Case("POST", "/tokenize", {"model": MODEL, **fields}, tokens)
    for name, fields in DETOKENIZE.items():
        yield f"detokenize, {name}", Case("POST", "/detokenize", {"model": MODEL, **fields}, tokens)
    for name, content in RAW.items():
        yield f"bytes, {name}", Case("POST", "/v1/chat/completions", content)
    for method, path in PAGES:
        yield f"{method} {path}", Case(method, path, None)


def _stages() -> Iterator[tuple[str, Case]]:
    for name, fields in stages.named(stages.EITHER + stages.CHAT):
        whole = {"model": MODEL, "messages": [user("Hello")], "max_tokens": 2, **fields}
        yield f"chat, stages: {name}", Case("POST", "/v1/chat/completions", whole)
    for name, fields in stages.named(stages.EITHER + stages.TEXT):
        yield (
            f"text, stages: {name}",
            Case("POST", "/v1/completions", {"model": MODEL, "prompt": "Hello", "max_tokens": 2, **fields}),
        )
    for name, fields in stages.named(stages.WITHOUT_START):
        yield f"text, {name}", Case("POST", "/v1/completions", {"model": MODEL, "max_tokens": 1, **fields}, prompts_in)


CASES = {**dict(_cases()), **dict(_stages())}
SWEEP = [Case("POST", path, body) for path, body in sweep.requests()]
"""Not in the file of answers, since they are many."""


def ask(http: httpx2.Client, server: str, case: Case) -> object:
    """Return the form of what a server answers, as the file has it.

    Args:
        http: What to ask with.
        server: Its URL, without /v1.
        case: The request.
    """
    content = json.dumps(case.body).encode() if isinstance(case.body, dict) else case.body
    headers = {} if content is None else {"content-type": "application/json"}
    got = http.request(case.method, f"{server}{case.path}", content=content, headers=headers)
    compared: object = json.loads(json.dumps(case.compared(got)))
    return compared


def live_client() -> httpx2.Client:
    """Return what to ask a real server with: a connection each time, since vLLM closes one after its own errors."""
    return httpx2.Client(trust_env=False, timeout=60, limits=httpx2.Limits(max_keepalive_connections=0))


def main(base_url: str) -> None:
    """Ask a vLLM all that was started by the launcher, or with its flags, and write the file."""
    with live_client() as http:
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
