"""Answers that max_tokens cuts in the middle of a call, which are compared word for word."""

import json
from typing import Any

import httpx2

from tests.engine.histories import user

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}
CHOICES: dict[str, object] = {
    "auto": "auto",
    "required": "required",
    "named": {"type": "function", "function": {"name": "get_weather"}},
}
CUT_CALLS: dict[str, dict[str, Any]] = {
    f"call of {tokens} tokens, {choice}{', in a stream' if stream else ''}": {
        "messages": [user("What is the weather in Paris?")],
        "tools": [WEATHER],
        "tool_choice": chosen,
        "stream": stream,
        "max_tokens": tokens,
        "temperature": 0,
    }
    for choice, chosen in CHOICES.items()
    for stream in (False, True)
    for tokens in (1, 2, 3, 5, 6, 8, 30)
}


def said(got: httpx2.Response) -> dict[str, object]:
    """Return what an answer says, the pieces of a stream put together."""
    if not got.headers["content-type"].startswith("text/event-stream"):
        (choice,) = got.json()["choices"]
        content, calls = choice["message"]["content"], choice["message"].get("tool_calls", [])
        functions = [[call["function"]["name"], call["function"]["arguments"]] for call in calls]
        return {"content": content, "calls": functions, "finish_reason": choice["finish_reason"]}
    events = [json.loads(row[6:]) for row in got.text.split("\n\n") if row.startswith("data: {")]
    choices = [event["choices"][0] for event in events]
    pieces = [piece["function"] for choice in choices for piece in choice["delta"].get("tool_calls", ())]
    return {
        "content": "".join(choice["delta"].get("content") or "" for choice in choices),
        "calls": [["".join(piece.get(part) or "" for piece in pieces) for part in ("name", "arguments")]],
        "finish_reason": choices[-1]["finish_reason"],
    }
