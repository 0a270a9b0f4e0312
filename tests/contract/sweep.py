"""Every field of a request with every odd value, one at a time: what only a live server is asked, since it is much."""

from collections.abc import Iterator
from typing import Any

from nemotron_client.testing.forms import ChatBody, TextBody
from nemotron_client.testing.replies import MODEL
from tests.engine.histories import user

_NUMBERS: list[object] = [0, 1, -1, 2, 1.5, -0.5, float("inf"), -float("inf"), float("nan"), 2**63, -(10**20)]
_TEXTS: list[object] = ["", " ", "a", "1", "true", "\ud800", "\0"]
_LISTS: list[object] = [[], [1], ["a"], [""], [" "], [None], [[1]], [-1], [999_999], [10**20], [{"a": "b"}]]
_OBJECTS: list[object] = [{}, {"a": 1}, {"a": "b"}, {"type": "text"}, {"1": 101}, {"a": {"b": [2**64]}}, {"a": None}]
VALUES = [None, True, False, *_NUMBERS, *_TEXTS, *_LISTS, *_OBJECTS]
# Whose answers show what a model says, and in how many tokens.
_OF_MODELS = {"max_tokens", "prompt", "stop", "stream"}
# Too much of an answer; one without a text, which is a 500 of vLLM's.
_LEFT_OUT: dict[str, object] = {"prompt_logprobs": -1, "allowed_token_ids": [1]}


def requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield paths and bodies."""
    of_chat: dict[str, Any] = {"model": MODEL, "messages": [user("Hello")], "max_tokens": 2, "temperature": 0}
    of_text: dict[str, Any] = {"model": MODEL, "prompt": "Hello", "max_tokens": 2, "temperature": 0}
    for path, form, whole in (("/v1/chat/completions", ChatBody, of_chat), ("/v1/completions", TextBody, of_text)):
        names = {field.alias or name for name, field in form.model_fields.items()} - _OF_MODELS
        for name in sorted(names):
            for value in VALUES:
                if name not in _LEFT_OUT or _LEFT_OUT[name] != value:
                    yield path, {**whole, name: value}
    for value in VALUES:
        yield "/v1/completions", {**of_text, "prompt": value}
        yield "/v1/completions", {**of_text, "prompt": ["a", value]}
        yield "/v1/chat/completions", {**of_chat, "messages": [value]}
        yield "/v1/chat/completions", {**of_chat, "messages": [user(), {"role": "user", "content": value}]}
        yield "/v1/chat/completions", {**of_chat, "messages": [{"role": value, "content": "a"}]}
