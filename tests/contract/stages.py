"""Requests that are wrong in two ways, or in a way that only one part of vLLM notices: who looks first, and at what."""

import json
from collections.abc import Iterator
from typing import Any

from tests.engine.histories import asked, call, result, user

HALF = "\ud800"  # of a character, which JSON can hold and UTF-8 can't
LARGE = 2**64
Fields = dict[str, Any]

# Which vLLM judges while it still reads the body, before it says what else has another form.
WHILE_READ: list[Fields] = [
    {"structured_outputs": {}},
    {"structured_outputs": {"regex": "a", "grammar": "b"}},
    {"repetition_detection": {"max_pattern_size": -1}},
]
OTHERS: list[Fields] = [
    {"temperature": "x"},
    {"temperature": 5},
    {"model": "x"},
    {"max_tokens": 999_999},
    {"cache_salt": ""},
    {"stop": 5},
    {"n": 0},
    {"tools": [5]},
    {"vllm_xargs": 5},
    {"stream_interval": 0},
    {"logprobs": "x"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "x"}},
]
BEAMS: list[Fields] = [
    {},
    {"n": 2},
    {"n": 0},
    {"n": 20_000},
    {"temperature": 5, "n": 0},
    {"temperature": 5},
    {"temperature": -1},
    {"max_tokens": 0},
    {"max_tokens": -5},
    {"min_tokens": 5},
    {"stop": ""},
    {"bad_words": [""]},
    {"presence_penalty": 9},
    {"top_p": 5},
    {"logit_bias": {"x": 1}},
    {"prompt_logprobs": 50},
    {"allowed_token_ids": []},
    {"thinking_token_budget": 5},
    {"vllm_xargs": {"a": LARGE}},
    {"request_id": HALF},
    {"stop": HALF},
    {"structured_outputs": {}},
    {"structured_outputs": {"json": "{"}},
    {"structured_outputs": {"json": {"type": "x"}}},
    {"structured_outputs": {"json": "{"}, "n": 0},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "x"}}}},
    {"logprob_token_ids": [5], "logprobs": 1},
    {"stream": True},
    {"stream": True, "temperature": 5},
    {"stream": True, "n": 0},
]
EITHER: list[Fields] = [
    *({**first, **second} for first in WHILE_READ for second in OTHERS),
    {**WHILE_READ[0], **WHILE_READ[2]},
    *({"use_beam_search": True, **beams} for beams in BEAMS),
    *({"n": 2, "temperature": temperature} for temperature in (0, -0.0, 1e-9)),
    {"n": 2, "temperature": 0, "stop": ""},
    {"n": 2, "temperature": 0, "thinking_token_budget": 4},
    {"n": 2, "temperature": 0, "stream": True},
    *({"repetition_penalty": value} for value in (float("inf"), float("nan"), -float("inf"))),
    {"repetition_penalty": float("inf"), "temperature": 9},
    {"repetition_penalty": float("inf"), "frequency_penalty": 9},
    *({"logprobs": 1, "logprob_token_ids": ids} for ids in ([5], [-1], [131_072], [*range(128)], [*range(129)])),
    {"logprobs": 1, "logprob_token_ids": [131_072], "stream": True},
    {"logprobs": 1, "logprob_token_ids": [-1], "bad_words": [" "]},
    {"logprobs": 1, "logprob_token_ids": [5], "echo": True, "max_tokens": 0},
    *({"bad_words": words} for words in ([" "], ["\t"], ["a", " "], ["hello"] * 300)),
    *({"bad_words": [f"word{number}" for number in range(count)]} for count in (60, 200)),
    {"bad_words": [" "], "stream": True},
    {"bad_words": [" "], "allowed_token_ids": []},
    {"bad_words": [" "], "structured_outputs": {"json": {"type": "x"}}},
    {"bad_words": [" "], "stop": HALF},
    *({name: {"a": value}} for name in ("vllm_xargs", "kv_transfer_params") for value in (LARGE, LARGE - 1, -(2**63))),
    {"kv_transfer_params": {"a": [{"b": LARGE}]}},
    {"vllm_xargs": {"a": LARGE}, "presence_penalty": 9},
    {"vllm_xargs": {"a": LARGE}, "n": 0},
    {"vllm_xargs": {"a": LARGE}, "stream": True},
    {"vllm_xargs": {"a": None}},
    {"stream_interval": LARGE},
    {"stream_interval": LARGE, "stream": True},
    {"repetition_detection": {"max_pattern_size": 3, "min_count": 2**70}},
    {"top_k": 2**70, "temperature": 1},
    {"top_k": 2**70, "temperature": 0},
    # Paths and the like, which vLLM shows of nobody:
    *({"model": name} for name in ("/home/me/model", "/models/a/b.gguf", "a/b.c", "x at 0x7f12>", "models/a/b-c.py")),
    {"temperature": "/home/me/x"},
    {"bad_words": ["/home/me/x", ""]},
    {"structured_outputs": {"json": {"type": "/home/me/x"}}},
    {"structured_outputs": {"json": {"type": "/home/me/x"}}, "stream": True},
    # Half a character:
    *({name: HALF} for name in ("stop", "request_id", "session_id", "user", "cache_salt", "temperature", "model")),
    {"stop": ["a", HALF], "stream": True},
    {"bad_words": [HALF]},
    {"kv_transfer_params": {HALF: 1}},
    {"vllm_xargs": {"a": [HALF]}},
    {HALF: 1},
    {HALF: 1, "temperature": "x"},
    {HALF: 1, f"b{HALF}": 2},
    {"response_format": {"type": "text", HALF: 1}},
    {"structured_outputs": {"choice": ["a"], HALF: 1}},
    {"stream_options": {HALF: 1}, "stream": True},
    *({"structured_outputs": {"choice": [choice]}} for choice in (HALF, f'"\n{HALF}')),
    {"structured_outputs": {"choice": [HALF]}, "stream": True},
    {"structured_outputs": {"regex": "a", "whitespace_pattern": HALF}},
    *({"structured_outputs": {kind: HALF}} for kind in ("regex", "grammar", "json")),
    *({"structured_outputs": {"json": schema}} for schema in ({"enum": [HALF]}, f'{{"enum": ["{HALF}"]}}')),
    {"structured_outputs": {"json": {"enum": [HALF]}}, "stream": True},
]
_BAD_TOOL: Fields = {"type": "object", "properties": {HALF: {"type": "string"}}}
CHAT: list[Fields] = [
    {"max_completion_tokens": 200_000},
    {"max_completion_tokens": 200_000, "max_tokens": 200_001},
    {"top_logprobs": float("nan")},
    *({"messages": [{"role": role, "content": "x"}]} for role in ("", " ", " a ", "/home/me/model")),
    *(
        {"messages": [{"role": role, "content": content}, user()]}
        for role in ("user", "system", "assistant", "developer")
        for content in ({"a": 1}, {"type": "text", "text": "a"})
    ),
    *(
        {"messages": [user(), asked(call(made)), result(answered)]}
        for made, answered in (
            ("abcdefghi", "xxabcdefghi"),
            ("xxabcdefghi", "abcdefghi"),
            ("abcdefghi", "call_0123456789abcdef"),
            ("abcdefghi", "/a/b/c/d"),
        )
    ),
    {"messages": [user(), asked(call("xxabcdefghi"), call("yyabcdefghi")), result("abcdefghi")]},
    {"messages": [{**user(), HALF: 1}]},
    {"messages": [user([{"type": "text", "text": "a", HALF: 1}])]},
    {"messages": [user([{"type": HALF}])]},
    {"messages": [user(HALF)]},
    {"tools": [{"type": "function", "function": {"name": "f", HALF: 1}}]},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": _BAD_TOOL}}]},
    {
        "messages": [user(), {"role": "assistant", "content": f"so {HALF}"}],
        "echo": True,
        "stream": True,
        "add_generation_prompt": False,
        "continue_final_message": True,
    },
    {"prompt": ["a", "b"], "n": 1},
]
TEXT: list[Fields] = [
    {"prompt": [[]]},
    {"prompt": [[], [1]]},
    {"prompt": [[1], []]},
    {"prompt": [""]},
    *({"prompt": prompt, "add_special_tokens": False} for prompt in ([""], ["a", ""])),
    *({"prompt": [[]], **more} for more in ({"stream": True}, {"logprobs": 50}, {"bad_words": [" "]}, {"stop": HALF})),
    {"prompt": f"a {HALF} b", "echo": True},
    {"prompt": f"a {HALF}", "echo": True, "stream": True},
    {"prompt": "", "structured_outputs": {}},
    {"prompt": "", "use_beam_search": True, "stream": True},
    {"prompt": "a", "messages": []},
    {"n": 16_385},
]
WITHOUT_START: list[Fields] = [
    {"prompt": "a", "add_special_tokens": False, "return_token_ids": True},
    {"prompt": ["a", "b"], "add_special_tokens": False, "return_token_ids": True},
]


def named(all_fields: list[Fields]) -> Iterator[tuple[str, Fields]]:
    """Yield requests with what they ask as their names."""
    for fields in all_fields:
        yield json.dumps(fields)[:150], fields
