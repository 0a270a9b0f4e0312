"""Tools that come with a JSON schema: it is checked, and arguments are read by it.

The model's servers take draft 7 (docs/explanation/protocol.md, "Mistral's conversation rules"). Nothing outside of a
schema is ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pydantic_core import from_json, to_json

from .schemas import Schema, all_schemas, as_list, as_object, mended, target
from .signatures import Function, Names, hints_of, mentions, needs_value, parameters_of, refuse
from .texts import REQUIRED, UNKNOWN, BadArgumentsError, Problem, cut, read_arguments, shown, told

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from pydantic import JsonValue


class _Validator(Protocol):
    def iter_errors(self, instance: JsonValue) -> Iterator[ValidationError]: ...


class SchemaParameters:
    """What the model may give to a tool that was described by a JSON schema."""

    def __init__(
        self, tool: str, function: Function, schema: Mapping[str, object], *, injected: type, names: Names
    ) -> None:
        """Take a copy of a schema; it is checked when it is first used.

        Args:
            tool: The tool's name, for errors.
            function: What is called with the arguments, as one dict.
            schema: Draft 7, of an object.
            injected: The class of what is passed beside the arguments: the model never sees such parameters.
            names: What annotations may mention beside the names of the function's module.

        Raises:
            ToolDefinitionError: The schema isn't JSON.
        """
        self._tool = tool
        self._function = function
        try:
            self._given: Schema = from_json(to_json(dict(schema)))
        except (TypeError, ValueError) as error:
            refuse(tool, f"parameters can't be written as a JSON object ({error})", "parameters")
        hints = hints_of(function, parameters_of(tool, function), names)
        self._injected_names = [name for name, hint in hints.items() if mentions(hint, injected)]
        self.needs_injected = any(needs_value(hint, injected) for hint in hints.values())

    @cached_property
    def schema(self) -> Schema:
        """The schema as it was given, of an object.

        Raises:
            ToolDefinitionError: It is not draft 7, not of an object, or refers to something outside.
        """
        from jsonschema import Draft7Validator, SchemaError

        schema: Schema = {"type": "object", **self._given}
        if schema["type"] != "object":
            refuse(self._tool, f'parameters has type {schema["type"]!r}: give "object"', "parameters")
        try:
            Draft7Validator.check_schema(schema)
        except SchemaError as error:
            place = "".join(f"[{step!r}]" for step in error.path)
            place = f"parameters{place}"
            refuse(self._tool, f"{place} is not JSON schema draft 7 ({cut(error.message)})", place)
        for each in all_schemas(schema):
            if "$ref" in each:
                self._check_reference(each, schema)
        return schema

    def _check_reference(self, schema: Schema, root: Schema) -> None:
        met: list[JsonValue] = []
        while "$ref" in schema:
            met.append(schema["$ref"])
            found = target(schema["$ref"], root)
            if found is None or found.get("$ref") in met:
                reason = f'$ref {met[-1]!r} leads nowhere: refer to a place inside, like "#/definitions/City"'
                refuse(self._tool, reason, "parameters")
            schema = found

    @cached_property
    def _validator(self) -> _Validator:
        from jsonschema import Draft7Validator
        from referencing import Registry

        # An empty registry: the validator's own would fetch what a reference names.
        return Draft7Validator(self.schema, registry=Registry())

    def parse(self, text: str) -> dict[str, JsonValue]:
        """Read a call's arguments.

        Raises:
            BadArgumentsError: They aren't JSON, or not what the schema says.
            ToolDefinitionError: The schema isn't one.
        """
        arguments = read_arguments(text)
        if self._errors(arguments):
            arguments = as_object(mended(arguments, self.schema, self.schema))
            errors = self._errors(arguments)
            if errors:
                raise BadArgumentsError(told(found for error in errors for found in _problems(error)))
        return arguments

    def _errors(self, arguments: JsonValue) -> list[ValidationError]:
        from referencing.exceptions import Unresolvable

        try:
            return list(self._validator.iter_errors(arguments))
        except Unresolvable as error:  # in a place where no schema was looked for
            refuse(self._tool, f"parameters can't be used ({cut(str(error))})", "parameters")

    def call(self, arguments: Mapping[str, object], injected: object) -> object:
        """Call the function.

        Args:
            arguments: As :meth:`parse` gave them.
            injected: What the model never sees.
        """
        return self._function(dict(arguments), **dict.fromkeys(self._injected_names, injected))


# The limits of draft 7, in words that follow the value.
_LIMITS: Mapping[str, str] = {
    "minimum": "should be at least {}",
    "maximum": "should be at most {}",
    "exclusiveMinimum": "should be greater than {}",
    "exclusiveMaximum": "should be less than {}",
    "multipleOf": "should be a multiple of {}",
    "minLength": "should have at least {} characters",
    "maxLength": "should have at most {} characters",
    "pattern": "should match the pattern {}",
    "minItems": "should have at least {} items",
    "maxItems": "should have at most {} items",
    "const": "should be {}",
}


def _problems(error: ValidationError) -> Iterator[Problem]:
    for each in error.context or ():  # of alternatives: what was wrong with each
        yield from _problems(each)
    if error.context:
        return
    facts: Mapping[str, JsonValue] = vars(error)
    place, rule, limit, value = (
        tuple(error.absolute_path),
        facts["validator"],
        facts["validator_value"],
        facts["instance"],
    )
    if rule == "required":
        missing = (name for name in as_list(limit) if name not in as_object(value))
        yield from (Problem((*place, str(name)), REQUIRED) for name in missing)
    elif rule is None:  # the schema is `false`
        yield Problem(place, "is not allowed", shown(value))
    elif rule == "additionalProperties":
        known = as_object(as_object(facts["schema"]).get("properties"))
        yield from (Problem((*place, name), UNKNOWN) for name in as_object(value) if name not in known)
    else:
        yield Problem(place, _broken(str(rule), limit), shown(value))


def _broken(rule: str, limit: JsonValue) -> str:
    if rule == "type":
        return f"should be of type {' or '.join(str(each) for each in as_list(limit))}"
    if rule == "enum":
        return f"should be one of {', '.join(shown(each) for each in as_list(limit))}"
    text = shown(limit)
    return _LIMITS[rule].format(text) if rule in _LIMITS else f"breaks the rule {rule!r} of the schema"
