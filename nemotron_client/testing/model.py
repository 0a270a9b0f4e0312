"""What the test servers' model says when nothing is scripted: easy to predict, always the same.

Pure: request in, answer out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, NamedTuple

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.answers import Answer, choices_of
from nemotron_client.testing.bodies import chat_body, text_body
from nemotron_client.testing.counting import answer_tokens
from nemotron_client.testing.engine import refused_by_engine
from nemotron_client.testing.forms import Body
from nemotron_client.testing.lines import begun
from nemotron_client.testing.recorded import CHAT, RecordedRequest, text_of
from nemotron_client.testing.refusals import without_paths
from nemotron_client.testing.replies import Reply
from nemotron_client.testing.schemas import is_compiled, malformed, pointed, schema_of
from nemotron_client.testing.tokenizing import first_tokens, spelled, text_ids

_OF_NO_MATTER_TO_BEAMS = {"structured_outputs": None, "response_format": None, "stop": None, "stop_token_ids": None}
_LONGEST_FILLED = 20_000  # characters
_BY_FORMAT = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}
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
    """Answer by itself, always in the same way, and stop where the request or the window says so.

    Args:
        request: What is asked, in a form that was found right.
        window: How many tokens it and the answer may have together: beyond that is silently nothing.
    """
    body = text_body(request.json) if request.path != CHAT else chat_body(request.json)
    if (refusal := next(refused_by_engine(body), None)) is not None:
        return begun(without_paths(refusal))(request)
    if body.use_beam_search:
        body = body.model_copy(update=_OF_NO_MATTER_TO_BEAMS)
    said = _said(request.json, body)
    wanted = body.most_tokens
    limit = max(0, min(window if wanted is None else wanted, window - request.tokens))
    if (stopped := _stopped(said, body)) is not None and stopped.tokens <= limit:
        return _counted(stopped.answer, request, stopped.tokens)(request)
    fits = answer_tokens(said.text, said.tool_calls, ended=True) <= limit
    # vLLM tells of a token even where a prompt is only repeated, but not of beams that have none.
    made = max(limit, 0 if body.use_beam_search else 1)
    return (said if fits else _shortened(said, request, limit, made))(request)


def _counted(answer: Answer, request: RecordedRequest, tokens: int) -> Answer:
    """Have an answer tell of so many tokens in each choice, which no longer is what its text has."""
    count = tokens * choices_of(request.json)
    return replace(answer, usage={"completion_tokens": count, "total_tokens": request.tokens + count})


class _Stopped(NamedTuple):
    """An answer that ended where the request said, and how many tokens were made until then."""

    answer: Answer
    tokens: int


def _stopped(said: Answer, body: Body) -> _Stopped | None:
    """End a text at the first text or token that the request names; None if it has none of them."""
    ids = text_ids(said.text) if body.stop_token_ids else []
    known = {*(body.stop_token_ids or ())}
    number = next((number for number, each in enumerate(ids) if each in known), len(ids))
    before = spelled(ids[:number])
    places = [(at, stop) for stop in body.stops if (at := said.text.find(stop)) >= 0]
    place, stop = min(places, default=(len(said.text), ""))
    whole = body.include_stop_str_in_output
    if number < len(ids) and len(before) < place + len(stop):
        text = before + spelled(ids[number : number + 1]) if whole else before
        return _Stopped(Answer(text=text, finish_reason="stop", stop_reason=ids[number]), number + 1)
    if not stop:
        return None
    made = said.text[: place + len(stop)]
    text = made if whole else said.text[:place]
    return _Stopped(Answer(text=text, finish_reason="stop", stop_reason=stop), answer_tokens(made, (), ended=False))


def _shortened(said: Answer, request: RecordedRequest, limit: int, made: int) -> Answer:
    if not said.tool_calls:
        return _counted(Answer(text=first_tokens(said.text, limit), finish_reason="length"), request, made)
    ((name, arguments),) = said.tool_calls
    cut_arguments = first_tokens(arguments, max(0, limit - answer_tokens("", [(name, "")], ended=False)))
    call = (first_tokens(name, max(0, limit - 1)), cut_arguments if cut_arguments or request.stream else "{}")
    # vLLM: a body tells of no call whose name hasn't begun, and of one that was cut it says "tool_calls" where the
    # model called it of its own accord. A stream says "length", and "" for what hasn't begun.
    is_told, is_free = bool(call[0]) or request.stream, request.json.get("tool_choice") in (None, "auto")
    reason = "tool_calls" if is_free and not request.stream and is_told else "length"
    return _counted(Answer(tool_calls=(call,) if is_told else (), finish_reason=reason), request, made)


def _said(fields: Mapping[str, Any], body: Body) -> Answer:
    if "messages" not in fields:
        return Answer(text=_held(body, text_of(fields["prompt"])))
    messages: Sequence[Mapping[str, Any]] = fields["messages"]
    asked = next((text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "user"), "")
    results = [
        text_of(each.get("content")) for each in takewhile(lambda each: each.get("role") == "tool", reversed(messages))
    ]
    if results:
        return Answer(text=_held(body, asked, f"The answer is {' and '.join(reversed(results))}."))
    if function := _function(fields, asked):
        return Answer(tool_calls=((function["name"], _arguments(function, asked)),))
    return Answer(text=_held(body, asked))


def _arguments(function: Mapping[str, Any], asked: str) -> str:
    parameters = function.get("parameters")
    filled = _filled_json(parameters, asked)
    if not function.get("strict") or not is_object(parameters):
        return filled
    from nemotron_client.testing.grammar import fitting  # whose compiler only strict tools need

    return fitting(parameters, filled)


def _held(body: Body, asked: str, talk: str | None = None) -> str:
    """Say something, where the request asks for that by a schema or a pattern, or one of its choices."""
    outputs, wanted = body.structured_outputs, body.response_format
    if outputs is not None and outputs.choice:
        return _whole(outputs.choice[0])
    schema = schema_of(body)
    in_json = (outputs is not None and outputs.json_object) or (wanted is not None and wanted.type == "json_object")
    said = _filled_json(schema, asked) if schema is not None or in_json else _whole(talk or _small_talk(asked))
    if not is_compiled(body):
        return said
    from nemotron_client.testing.grammar import following  # whose compiler only these need

    return following(body, said)


def _whole(text: str) -> str:
    """Leave out what no tokens spell: half a character."""
    return text.encode(errors="replace").decode()


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


def _filled_json(schema: object, asked: str) -> str:
    """Return JSON that fits the schema, its strings taken from a name in the question ("Paris") or from their keys."""
    name = next((word for word in re.findall(r"\w+", asked)[1:] if word[0].isupper()), None)
    if not schema or not is_object(schema) or malformed(schema):  # of tools servers look at less than of answers
        return "{}"
    try:
        return _whole(json.dumps(_Filling(schema, name).value(schema, "value"), ensure_ascii=False, allow_nan=False))
    except (OverflowError, RecursionError, ValueError):  # of numbers that are too large or too small
        return "{}"


@dataclass
class _Filling:
    """A schema that is being filled, what its strings are to be, and which of its references are being followed.

    A few lines can ask for an answer without end; once it has `left` characters it is ended as well as can be.
    """

    root: Mapping[str, Any]
    name: str | None
    left: int = _LONGEST_FILLED
    following: list[str] = field(default_factory=list[str])

    def value(self, part: object, key: str) -> object:
        if self.left <= 0:
            return None
        value = self._value(part if is_object(part) else {}, key)  # what is no object is true or false
        self.left -= 1 if is_object(value) or is_array(value) else len(str(value)) + 1
        return value

    def _value(self, schema: Mapping[str, Any], key: str) -> object:
        for union in ("anyOf", "oneOf", "allOf"):
            if schema.get(union):
                return self.value(schema[union][0], key)
        if "$ref" in schema:
            return self._pointed(schema["$ref"], key)
        if "const" in schema or schema.get("enum"):
            given: object = schema["const"] if "const" in schema else schema["enum"][0]
            self.left -= len(json.dumps(given))
            return given
        kinds = schema.get("type", "string")
        kind = str(kinds[0] if is_array(kinds) else kinds)
        if kind == "object":
            properties, required = schema.get("properties", {}), schema.get("required", ())
            needed = {*map(str, required)}
            in_order = [each for each in properties if each in needed]  # as a grammar has them
            return {each: self.value(properties.get(each, {}), each) for each in dict.fromkeys([*in_order, *required])}
        if kind == "array":
            return self._items(schema.get("items", {}), key, int(schema.get("minItems", 0)))
        string = _BY_FORMAT.get(str(schema.get("format")), self.name or key)
        number = _number(schema)
        return {"integer": number, "number": number, "boolean": True, "null": None}.get(kind, string)

    def _items(self, part: object, key: str, count: int) -> list[object]:
        items: list[object] = []
        while len(items) < count and self.left > 0:
            items.append(self.value(part, key))
        return items

    def _pointed(self, ref: str, key: str) -> object:
        if ref in self.following:  # it would have no end
            return None
        self.following.append(ref)
        value = self.value(pointed(ref, self.root) or {}, key)
        self.following.pop()
        return value


def _number(schema: Mapping[str, Any]) -> float:
    """Return 1, or the least number that a schema allows, or the most."""
    value: float = schema.get("minimum", min(1, schema.get("maximum", 1)))
    above, step = schema.get("exclusiveMinimum"), schema.get("multipleOf")
    if above is not None and value <= above:
        value = above + 1
    if step is None:
        return value
    next_one: float = -(-value // step) * step
    return next_one if next_one <= schema.get("maximum", next_one) else value // step * step
