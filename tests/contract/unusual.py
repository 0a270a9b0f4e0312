"""Options, tools and messages in forms that hardly anybody sends, and what vLLM sees in them."""

from typing import Any

import httpx2

from tests.contract.constraints import formed
from tests.engine.histories import asked, call, result, said, tool, user

HARMONY = {"author": {"role": "user"}}
TAG: dict[str, object] = {
    "type": "structural_tag",
    "structures": [{"begin": "a", "schema": {}, "end": "b"}],
    "triggers": ["a"],
}


NO_LISTS: dict[str, object] = {"a number": 5, "true": True, "a text": "x", "an object": {}, "an empty text": ""}


def said_with(role: str, **fields: object) -> list[object]:
    """Return a history with a message of these fields."""
    return [user(), {"role": role, "content": "x", **fields}, user()]


LATE: dict[str, dict[str, Any]] = {
    "allowed_token_ids": {"allowed_token_ids": []},
    "logit_bias": {"logit_bias": {"999999": 1}},
    "stop_token_ids": {"stop_token_ids": [999_999]},
    "top_logprobs": {"logprobs": True, "top_logprobs": 21},
    "thinking_token_budget": {"thinking_token_budget": 1},
    "a grammar": {"structured_outputs": {"grammar": "x"}},
    "no choice": {"structured_outputs": {"choice": []}},
    "a newer structural tag": {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}},
    # Which are refused before:
    "stop": {"stop": ""},
    "n": {"n": 0},
    "temperature": {"temperature": 3},
    "min_tokens": {"min_tokens": 9},
    "bad_words": {"bad_words": [""]},
    "nothing to hold to": {"structured_outputs": {}},
}
ODD_OPTIONS: dict[str, dict[str, Any]] = {
    "no budget of thoughts": {"thinking_token_budget": -1},
    "a budget of thoughts as text": {"thinking_token_budget": "1"},
    "a budget of thoughts below zero": {"thinking_token_budget": -2},
    "a budget of thoughts": {"thinking_token_budget": 0},
    "repetition as text": {"repetition_detection": "x"},
    "repetition of nothing": {"repetition_detection": {}},
    "repetition once": {"repetition_detection": {"max_pattern_size": 1}},
    "repetition": {"repetition_detection": {"max_pattern_size": 1, "min_count": 2}},
    "repetition of no size": {"repetition_detection": {"min_pattern_size": 1}},
    "a number of a repetition as text": {"repetition_detection": {"max_pattern_size": "x"}},
    "logprobs of tokens alone": {"logprob_token_ids": [1]},
    "logprobs of tokens as text": {"logprob_token_ids": "x"},
    "cut to nothing": {"truncate_prompt_tokens": 0},
    "cut, and the tokens told": {"truncate_prompt_tokens": 3, "return_token_ids": True},
    "cut at its end, and the tokens told": {
        "truncate_prompt_tokens": 3,
        "truncation_side": "right",
        "return_token_ids": True,
    },
    "two kinds at once": {"structured_outputs": {"choice": ["a"], "regex": ""}},
    "schema without any": {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    "schema of an unknown type": {"response_format": formed({"type": "objekt"})},
    "older structural tag": {"response_format": TAG, "max_tokens": 20, "temperature": 0},
    "older structural tag that nothing begins": {"response_format": {**TAG, "triggers": ["c"]}},
    "older structural tag of nothing": {"response_format": {**TAG, "structures": [{}]}},
    "older structural tag of numbers": {"response_format": {**TAG, "structures": 5, "triggers": 5}},
    "newer structural tag": {"response_format": {"type": "structural_tag", "format": {"type": "any_text"}}},
    "newer structural tag as text": {"structured_outputs": {"structural_tag": '{"format": {"type": "any_text"}}'}},
    "structural tag a number": {"structured_outputs": {"structural_tag": 5}},
    "pattern and a schema": {"structured_outputs": {"regex": "a"}, "response_format": formed({"type": "string"})},
    "a schema, and another": {
        "structured_outputs": {"json": {"type": "object"}},
        "response_format": formed({"type": "string"}),
    },
    "a broken schema, and another": {
        "structured_outputs": {"json": "{"},
        "response_format": formed({"type": "string"}),
    },
    "a number as a schema, and another": {
        "structured_outputs": {"json": "5"},
        "response_format": formed({"type": "string"}),
    },
    "an object, and a schema": {
        "structured_outputs": {"json_object": True},
        "response_format": formed({"type": "string"}),
    },
    "nothing and a schema": {"structured_outputs": {}, "response_format": formed({"type": "string"})},
    "object, schema and schema": {
        "structured_outputs": {"json_object": True, "json": {}},
        "response_format": formed({"type": "string"}),
    },
}
UNUSUAL_CHAT: dict[str, dict[str, Any]] = {
    **ODD_OPTIONS,
    **{f"refused in a stream: {name}": {**fields, "stream": True} for name, fields in LATE.items()},
    "logprobs zero": {"logprobs": 0},
    "arguments for pictures": {"mm_processor_kwargs": {"a": 1}},
    "arguments for media": {"media_io_kwargs": {"a": {}}},
    "continue and generate, both said": {"continue_final_message": True, "add_generation_prompt": True},
    "neither continue nor generate": {"messages": [user(), said()], "add_generation_prompt": False},
    "choice of another type": {"tools": [tool()], "tool_choice": {"type": "x", "function": {"name": "look"}}},
    **{
        f"schema of an unknown type beside tools, {name}": {
            "tools": [tool()],
            "tool_choice": choice,
            "response_format": formed({"type": "objekt"}),
        }
        for name, choice in {
            "none": "none",
            "auto": "auto",
            "required": "required",
            "one": {"type": "function", "function": {"name": "look"}},
        }.items()
    },
    "schema without any beside tools": {
        "tools": [tool()],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x"}},
    },
    "Harmony": {"messages": [HARMONY]},
    "Harmony with parts": {"messages": [{**HARMONY, "content": [{"type": "text", "text": "x"}]}]},
    "Harmony of a role": {"messages": [{**HARMONY, "role": "user", "content": "x"}]},
    "Harmony of no author": {"messages": [{"author": 5}]},
    "Harmony of an empty author": {"messages": [{"author": {}, "content": []}]},
    "Harmony of an unknown author": {"messages": [{"author": {"role": "x"}, "content": []}]},
    "Harmony of a number as channel": {"messages": [{**HARMONY, "channel": 5}]},
    "system's part of two types": {"messages": [{"role": "system", "content": [{"type": ["x"]}]}, user()]},
    "system's part of an odd type": {"messages": [{"role": "system", "content": [{"type": {"a": 1}}]}, user()]},
    "system's part of an empty type": {"messages": [{"role": "system", "content": [{"type": []}]}, user()]},
    "picture of an odd type": {"messages": [user([{"type": {"a": 1}, "image_url": "x"}])]},
    "picture of an odd type in a result": {
        "messages": [user(), asked(call()), result(content=[{"type": ["x"], "image_url": "x"}])]
    },
    "assistant of an empty part": {"messages": [user(), said([{"type": "text", "text": ""}]), user()]},
    **{
        f"thoughts in {name}: {what}": {"messages": said_with("assistant", **{name: value})}
        for name in ("reasoning", "reasoning_content")
        for what, value in {"a text": "x", "an empty text": "", "a number": 5, "nothing": None}.items()
    },
    **{
        f"calls of the {role}: {what}": {"messages": said_with(role, tool_calls=value)}
        for role in ("user", "assistant")
        for what, value in NO_LISTS.items()
    },
}
UNUSUAL_TEXT: dict[str, dict[str, Any]] = {
    **ODD_OPTIONS,
    "n null": {"n": None},
    "logprobs false": {"logprobs": False},
    "object false": {"structured_outputs": {"json_object": False}},
    "too many prompts": {"prompt": ["a"] * 1025},
    "embedded": {"prompt_embeds": "x"},
    "embedded, and no prompt": {"prompt": None, "prompt_embeds": "x"},
    "embedded, empty": {"prompt_embeds": ""},
    "embedded, none": {"prompt_embeds": []},
    "embedded, a number": {"prompt_embeds": 5},
    "embedded, numbers": {"prompt_embeds": [5]},
}


CUT_PROMPTS: dict[str, dict[str, Any]] = {
    f"cut prompt, {side}, {most}": {
        "prompt": ["one two three four", "five six seven"],
        "truncate_prompt_tokens": most,
        "return_token_ids": True,
        **({} if side == "of no side" else {"truncation_side": side}),
    }
    for side in ("of no side", "left", "right")
    for most in (1, 3, 100)
}


def prompts_in(got: httpx2.Response) -> object:
    """Return the tokens of the prompts that an answer tells."""
    whole = got.json()
    return [[choice["prompt_token_ids"] for choice in whole["choices"]], whole["usage"]["prompt_tokens"]]
