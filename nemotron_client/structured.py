"""What an answer must look like: a type to a schema, an answer to a value, an invalid one to what is wrong with it.

Pure. In which way a server is asked for it, and how often, is decided in ``_engine/parsing.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pydantic import JsonValue, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError, from_json, to_json

from ._json import is_object, plain, values_in
from ._tools.schemas import Schema, all_schemas, compact, rewritten, target
from .errors import InvalidRequestError
from .events import ParsedDelta, StreamEvent, TextDelta

if TYPE_CHECKING:
    from jsonschema import ValidationError as JsonSchemaError
    from typing_extensions import TypeForm

T = TypeVar("T")

_KEY = "value"  # of the object that holds a value which is none itself
_ROOM_FOR_TYPES = ("$defs", "definitions")
_TYPES_AT_ROOT = ("#/$defs/", "#/definitions/")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_SCHEMA_WORDS = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items"})
_MOST_PROBLEMS, _LONGEST_PROBLEM, _LONGEST_MESSAGE = 8, 200, 150

# What no server makes a grammar of (docs/explanation/protocol.md, "Structured output").
_NOT_IN_GRAMMARS = frozenset(
    {"not", "if", "then", "else", "uniqueItems", "contains", "propertyNames", "dependencies", "dependentRequired"}
    | {"dependentSchemas", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"}
)
_FORMATS_IN_GRAMMARS = frozenset(
    {"date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"}
)
_NOT_IN_PATTERNS = re.compile(r"\(\?(?!:)|\\[bB1-9]")


class _Validator(Protocol):
    def iter_errors(self, instance: JsonValue) -> Iterator[JsonSchemaError]: ...


class InvalidAnswerError(ValueError):
    """An answer that isn't what was asked for.

    Attributes:
        problems: What is wrong, a short line each, for the model and for people alike.
        is_json: Whether there is JSON in it at all.
    """

    def __init__(self, problems: Sequence[str], *, is_json: bool = True) -> None:
        self.problems = [problem[:_LONGEST_PROBLEM] for problem in problems[:_MOST_PROBLEMS]]
        self.is_json = is_json
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class Format(Generic[T]):
    """What an answer must look like.

    Attributes:
        name: For the server.
        schema: The JSON schema of the whole answer, always of an object, since some servers take no other.
        wrapped: Whether that object is ours, holding the value under the key ``value``.
        validate: JSON text of a value to the value; raises InvalidAnswerError.
    """

    name: str
    schema: Schema
    wrapped: bool
    validate: Callable[[str], T]

    def read(self, text: str) -> T:
        """Read a whole answer.

        Raises:
            InvalidAnswerError: There is no JSON in it, or it isn't what was asked for.
        """
        found = values_in(text)
        fitting: dict[str, T] = {}
        wrong: list[tuple[int, InvalidAnswerError]] = []
        for whole, its in found.values:
            value, part = whole, its
            if self.wrapped and isinstance(whole, dict) and whole.keys() == {_KEY}:
                value, part = whole[_KEY], its[its.index(":") + 1 : its.rindex("}")]
            try:
                fitting[json.dumps(value, sort_keys=True)] = self.validate(part)
            except InvalidAnswerError as error:
                wrong.append((len(its), error))
        if len(fitting) == 1:
            return next(iter(fitting.values()))
        if fitting:
            raise InvalidAnswerError(
                [f"it holds {len(fitting)} different JSON values that fit: give the one that is meant"]
            )
        if wrong:
            raise max(wrong, key=lambda each: each[0])[1]
        raise InvalidAnswerError([found.problem], is_json=False)

    def has_keys(self, text: str) -> bool:
        """Tell whether an answer has the schema's keys, as each has of a server that keeps to the schema."""
        return any(self._has_keys(whole) for whole, _ in values_in(text).values)

    def _has_keys(self, whole: JsonValue) -> bool:
        if not isinstance(whole, dict):
            return False
        required, known = self.schema.get("required"), self.schema.get("properties")
        if isinstance(required, list) and not whole.keys() >= set(map(str, required)):
            return False
        closed = self.schema.get("additionalProperties") is False
        return not closed or (isinstance(known, dict) and whole.keys() <= known.keys())

    def partial(self, text: str) -> JsonValue:
        """Read the beginning of an answer; None where there is nothing to read yet."""
        found = values_in(text)
        values = found.values
        with suppress(ValueError):
            begun: JsonValue = from_json(found.begun, allow_inf_nan=False, allow_partial="trailing-strings")
            values += [(begun, found.begun)] if begun else []  # a bracket alone may be one of a sentence
        value, _ = max(values, key=self._likeliness, default=(None, ""))
        if not isinstance(value, dict):
            return value if self.wrapped else None
        return value.get(_KEY) if self.wrapped else value

    def _likeliness(self, of: tuple[JsonValue, str]) -> tuple[bool, int]:
        whole, its = of
        return isinstance(whole, dict) and (not self.wrapped or _KEY in whole), len(its)


class Growing(Generic[T]):
    """Tell how a value grows, at a cost linear in its length (times 64)."""

    def __init__(self, form: Format[T]) -> None:
        """Begin an answer."""
        self._form = form
        self._text = ""
        self._new: list[str] = []
        self._wanting = 1  # characters, so that a long value isn't parsed anew for each of its pieces
        self._last: JsonValue = None

    def grown(self, events: Sequence[StreamEvent]) -> list[ParsedDelta]:
        """Take the events of a chunk.

        Returns:
            The value as far as it has come, if it has changed.
        """
        for event in events:
            if isinstance(event, TextDelta) and event.choice == 0:
                self._new.append(event.delta)
                self._wanting -= len(event.delta)
        return self.rest() if self._wanting <= 0 else []

    def rest(self) -> list[ParsedDelta]:
        """Return the value as far as it has come, if it has changed; at the end, it is all of it."""
        self._text += "".join(self._new)
        self._new.clear()
        self._wanting = 1 + len(self._text) // 64
        value = self._form.partial(self._text)
        if value is None or value == self._last:
            return []
        self._last = value
        return [ParsedDelta(value)]


def format_of_type(form: TypeForm[T]) -> Format[T]:
    """Make the format of a pydantic model, dataclass, TypedDict, union, list, or any other type with a JSON schema.

    Raises:
        InvalidRequestError: It has none, or is no type.
    """
    try:
        adapter: TypeAdapter[T] = TypeAdapter(form)
        schema: Schema = adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, SchemaError) as error:
        msg = f"response_format={form!r:.100} has no JSON schema: give a Python type or a schema. {_one_line(error)}"
        raise InvalidRequestError(msg, parameter="response_format") from None
    kind = adapter.core_schema["type"]
    # Of a function pydantic makes a call with what the model says; of a named tuple too, before 2.13.
    if kind == "none" or (kind == "call" and not isinstance(form, type)):
        msg = f"response_format={form!r:.100} is no type: give a Python type or a JSON schema."
        raise InvalidRequestError(msg, parameter="response_format")

    def validate(text: str) -> T:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            raise InvalidAnswerError(
                [f"{'.'.join(map(str, each['loc'])) or 'the answer'}: {each['msg']}" for each in found]
            ) from None

    return _rooted(getattr(form, "__name__", ""), rewritten(compact(schema), _closed), validate)


def _one_line(error: Exception) -> str:
    return f"{' '.join(str(error).split()):.{_LONGEST_PROBLEM}}"


def format_of_schema(given: Mapping[str, object]) -> Format[JsonValue]:
    """Make the format of a JSON schema, or of OpenAI's ``{"type": "json_schema", "json_schema": ...}`` around one.

    Raises:
        InvalidRequestError: It is no JSON schema of draft 7.
    """
    inner = given.get("json_schema")
    name = inner.get("name") if is_object(inner) else given.get("title")
    schema = _checked(inner.get("schema") if is_object(inner) else given)
    validator = _validator(schema)

    def validate(text: str) -> JsonValue:
        try:
            value: JsonValue = from_json(text, allow_inf_nan=False)
            problems = [_problem(each) for each in validator.iter_errors(value)]
        except (ValueError, RecursionError) as error:
            problems = [f"the answer can't be read: {error}"]
        else:
            if not problems:
                return value
        raise InvalidAnswerError(problems)

    return _rooted(name if isinstance(name, str) else "", schema, validate)


def for_grammar(schema: Schema) -> Schema:
    """Leave out of a schema what servers can't turn into a grammar, and would refuse; it is checked here anyway."""
    return rewritten(schema, _without_unknown)


def _without_unknown(schema: Schema) -> Schema:
    left = {key: value for key, value in schema.items() if key not in _NOT_IN_GRAMMARS}
    if left.get("format", "date") not in _FORMATS_IN_GRAMMARS:
        del left["format"]
    if _NOT_IN_PATTERNS.search(str(left.get("pattern", ""))):
        del left["pattern"]
    if "oneOf" in left:
        either = left.pop("oneOf")
        left.setdefault("anyOf", either)
    return left


def _checked(given: object) -> Schema:
    from jsonschema import Draft7Validator, exceptions

    if is_object(given) and given.get("type") in ("json_object", "text"):
        msg = f"response_format={given!r:.100} is for create(): give parse() a Python type or a JSON schema."
        raise InvalidRequestError(msg, parameter="response_format")
    if not is_object(given) or not _SCHEMA_WORDS & given.keys():
        msg = f"response_format={given!r:.100} is no JSON schema: give one that says its type, or a Python type."
        raise InvalidRequestError(msg, parameter="response_format")
    try:
        schema: Schema = from_json(to_json(given, fallback=plain))
        Draft7Validator.check_schema(schema)
    except (exceptions.SchemaError, ValueError, TypeError, RecursionError) as error:
        where, what = (
            (error.json_path, error.message) if isinstance(error, exceptions.SchemaError) else ("$", str(error))
        )
        msg = f"response_format is no JSON schema of draft 7: {where}: {what:.200}"
        raise InvalidRequestError(msg, parameter="response_format") from None
    for each in all_schemas(schema):
        if "$ref" in each and target(each["$ref"], schema) is None:
            msg = f"response_format refers to {each['$ref']!r}, which is not in it: refer to a place inside."
            raise InvalidRequestError(msg, parameter="response_format")
    return schema


def _validator(schema: Schema) -> _Validator:
    from jsonschema import Draft7Validator
    from referencing import Registry

    return Draft7Validator(schema, registry=Registry())  # an empty one: nothing is ever fetched


def _problem(error: JsonSchemaError) -> str:
    """Say what is wrong where; of alternatives, in the one that the answer comes nearest to."""
    while error.context:
        error = max(error.context, key=lambda each: len(each.absolute_path))
    # The message begins with the value, however long, and ends with what is wrong with it.
    message = error.message if len(error.message) <= _LONGEST_MESSAGE else f"...{error.message[-_LONGEST_MESSAGE:]}"
    return f"{error.json_path}: {message}"


def _rooted(name: str, schema: Schema, validate: Callable[[str], T]) -> Format[T]:
    name = _NOT_IN_NAMES.sub("_", name).strip("_")[:64] or "answer"
    types = {key: schema[key] for key in _ROOM_FOR_TYPES if key in schema}
    body = target(schema["$ref"], schema) if "$ref" in schema else None  # as a type that holds itself has it
    if (body or schema).get("type") == "object":
        return Format(name, {**body, **types} if body else schema, wrapped=False, validate=validate)
    moved = rewritten(schema, _moved)
    whole: Schema = {
        "type": "object",
        "properties": {_KEY: {key: value for key, value in moved.items() if key not in _ROOM_FOR_TYPES}},
        "required": [_KEY],
        "additionalProperties": False,
    }
    return Format(name, whole | {key: moved[key] for key in types}, wrapped=True, validate=validate)


def _moved(schema: Schema) -> Schema:
    """Let a reference lead to where its target is in the object around it; shared types stay at the root."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or reference.startswith(_TYPES_AT_ROOT):
        return schema
    return schema | {"$ref": f"#/properties/{_KEY}{reference.removeprefix('#')}"}


def _closed(schema: Schema) -> Schema:
    """Say of an object with listed properties that it has no others, so that none is made up."""
    if schema.get("type") == "object" and "properties" in schema:
        return {"additionalProperties": False, **schema}
    return schema
