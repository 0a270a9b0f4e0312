"""What the test servers' model says when nothing is scripted: easy to predict, always the same.

Pure: request in, answer out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.bodies import DEFAULT_OF_TEXT
from nemotron_client.testing.counting import answer_tokens, first_tokens
from nemotron_client.testing.grammar import grammar_error, malformed, pointed
from nemotron_client.testing.recorded import CHAT, RecordedRequest, text_of
from nemotron_client.testing.replies import Answer, Reply, stream_error, whole

STORY = (
    "Once upon a time there was a crane on the quay of a small port. It had lifted tea, pianos and once an elephant, "
    "but it had never seen the open sea. One night a storm tore it loose, and it drifted past the harbour wall under "
    "the stars. In the morning the fishermen towed it home, and it told them all about it."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """Say what a server serves.

    Args:
        model: By this name only.
        max_model_len: The window, in tokens.
        api_key: Asked of clients; None asks for none.
    """

    model: str
    max_model_len: int
    api_key: str | None


def completion(request: RecordedRequest, window: int) -> Reply:
    """Answer by itself, always in the same way, and stop where the limits say so.

    Args:
        request: What is asked, in a form that was found right.
        window: How many tokens it and the answer may have together: beyond that is silently nothing.
    """
    if (wrong := grammar_error(request.json)) is not None:
        return stream_error(400, wrong)(request)  # found when a stream has begun
    said = _said(request.json)
    default = window if request.path == CHAT else DEFAULT_OF_TEXT
    wanted = request.json.get("max_completion_tokens") or request.json.get("max_tokens") or default
    limit = min(whole(wanted), window - request.tokens)
    fits = answer_tokens(said.text, said.tool_calls, ended=True) <= limit
    return (said if fits else _shortened(said, request, limit))(request)


def _shortened(said: Answer, request: RecordedRequest, limit: int) -> Answer:
    count = limit * whole(request.json.get("n") or 1)
    usage: dict[str, object] = {"completion_tokens": count, "total_tokens": request.tokens + count}
    if not said.tool_calls:
        return Answer(text=first_tokens(said.text, limit), finish_reason="length", usage=usage)
    # vLLM: of a call that is cut, a stream says "length" and a body "tool_calls".
    ((name, arguments),) = said.tool_calls
    call = (name, first_tokens(arguments, limit - answer_tokens("", [(name, "")], ended=False)))
    return Answer(tool_calls=(call,), finish_reason="length" if request.stream else None, usage=usage)


def _said(fields: Mapping[str, Any]) -> Answer:
    if "messages" not in fields:
        return Answer(text=_small_talk(text_of(fields["prompt"])))
    messages: Sequence[Mapping[str, Any]] = fields["messages"]
    asked = next((text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "user"), "")
    results = [
        text_of(each.get("content")) for each in takewhile(lambda each: each.get("role") == "tool", reversed(messages))
    ]
    wanted: Mapping[str, Any] = fields.get("response_format") or {}
    if results:
        said = f"The answer is {' and '.join(reversed(results))}."
    elif function := _function(fields, asked):
        return Answer(tool_calls=((function["name"], _filled_json(function.get("parameters"), asked)),))
    elif wanted.get("type") in {"json_schema", "json_object"}:
        said = _filled_json(wanted.get("json_schema", {}).get("schema"), asked)
    else:
        said = _small_talk(asked)
    return Answer(text=said)


def _small_talk(asked: str) -> str:
    heard = {word.lower() for word in re.findall(r"\w+", asked)}
    if heard & {"hello", "hi", "hey"}:
        return "Hello! How can I help you today?"
    return STORY if "story" in heard else f"You said: {asked}"


def _function(fields: Mapping[str, Any], asked: str) -> Mapping[str, Any] | None:
    """Return the function to call: the one that is named, or that the question has a word of, or any if one must be."""
    functions: list[Mapping[str, Any]] = [tool["function"] for tool in fields.get("tools") or ()]
    choice = fields.get("tool_choice") or "auto"
    if choice == "none":
        return None
    if isinstance(choice, dict):
        named = fields["tool_choice"]["function"].get("name")
        return next((function for function in functions if function["name"] == named), None)
    for function in functions:
        parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", function["name"])
        if any(len(part) > 3 and part.lower() in asked.lower() for part in parts):
            return function
    return functions[0] if functions and choice == "required" else None


def _filled_json(schema: Mapping[str, Any] | None, asked: str) -> str:
    """Return JSON that fits the schema, its strings taken from a name in the question ("Paris") or from their keys."""
    name = next((word for word in re.findall(r"\w+", asked)[1:] if word[0].isupper()), None)
    if not schema or malformed(schema):  # of tools servers look at less than of answers
        return "{}"
    return json.dumps(_Filling(schema, name).value(schema, "value"), ensure_ascii=False)


@dataclass
class _Filling:
    """A schema that is being filled, what its strings are to be, and which of its references are being followed."""

    root: Mapping[str, Any]
    name: str | None
    following: list[str] = field(default_factory=list[str])

    def value(self, part: object, key: str) -> object:
        schema: Mapping[str, Any] = part if is_object(part) else {}  # what is no object is true or false
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return self.value(schema[union][0], key)
        if "$ref" in schema:
            return self._pointed(schema["$ref"], key)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        kinds = schema.get("type", "string")
        kind = str(kinds[0] if is_array(kinds) else kinds)
        if kind == "object":
            properties = schema.get("properties", {})
            return {each: self.value(properties.get(each, {}), each) for each in schema.get("required", ())}
        if kind == "array":
            return [self.value(schema.get("items", {}), key)] * schema.get("minItems", 0)
        least = schema.get("minimum", 1)
        dates = {"date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z"}
        string = dates.get(schema.get("format", ""), self.name or key)
        return {"integer": least, "number": least, "boolean": True, "null": None}.get(kind, string)

    def _pointed(self, ref: str, key: str) -> object:
        if ref in self.following:  # it would have no end
            return None
        self.following.append(ref)
        value = self.value(pointed(ref, self.root) or {}, key)
        self.following.pop()
        return value
