"""Tools that come with a JSON schema: which there may be, and how arguments are read by it."""

import socket
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from jsonschema import Draft7Validator

from nemotron_client.errors import ToolDefinitionError
from nemotron_client.tools import Tool, ToolContext
from tests.engine.calling import called, give, give_text, refused, refused_text, undefinable

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def echo(arguments: dict[str, object]) -> object:
    """Say it again."""
    return arguments


def raw(schema: Mapping[str, object]) -> Tool[..., object]:
    return Tool.from_schema("raw", schema, echo)


def value(schema: object, **definitions: object) -> Tool[..., object]:
    """Make a tool that takes one value of a schema."""
    return raw({"properties": {"value": schema}, "definitions": definitions})


def test_a_schema_is_offered_as_it_was_given() -> None:
    made = Tool.from_schema("search", {**CITY, "title": "Search", "x-own": 1}, echo, description="Search.", timeout=5)
    assert made.definition == {
        "type": "function",
        "function": {"name": "search", "description": "Search.", "parameters": {**CITY, "title": "Search", "x-own": 1}},
    }
    assert made.timeout == 5


def test_the_description_is_what_was_given_and_not_the_functions() -> None:
    assert raw(CITY).description == ""


def test_a_schema_without_a_type_is_one_of_an_object() -> None:
    assert raw({}).parameters == {"type": "object"}
    assert raw(MappingProxyType({"required": ["a"]})).parameters == {"type": "object", "required": ["a"]}


def test_a_schema_that_is_changed_later_changes_nothing() -> None:
    schema: dict[str, Any] = {"properties": {"city": {"type": "string"}}}
    made = raw(schema)
    schema["properties"]["city"]["type"] = "integer"
    assert give(made, city="x") == {"city": "x"}


def test_the_function_gets_the_arguments_as_one_dict_and_a_context_beside_it() -> None:
    def call(arguments: dict[str, object], *, context: ToolContext[str]) -> object:
        return arguments, context.value

    made = Tool.from_schema("call", CITY, call)
    assert give_text(made, '{"city": "Paris", "self": 1}', context="c") == ({"city": "Paris", "self": 1}, "c")
    assert made({"city": "Rome"}, context=ToolContext("d", called(""))) == ({"city": "Rome"}, "d")


def test_an_async_function_is_told_apart() -> None:
    async def call(arguments: dict[str, object]) -> object:
        return arguments

    assert Tool.from_schema("call", CITY, call).is_async


NOWHERE = "leads nowhere: refer to a place inside, like"
UNUSABLE: list[tuple[Any, str, str]] = [
    ({"type": "string"}, "parameters", "parameters has type 'string': give \"object\""),
    (
        {"required": "city"},
        "parameters['required']",
        "parameters['required'] is not JSON schema draft 7 ('city' is not",
    ),
    (
        {"not": {"type": "text"}},
        "parameters['not']['type']",
        "parameters['not']['type'] is not JSON schema draft 7",
    ),
    ({"not": {"minimum": "x" * 999}}, "parameters['not']['minimum']", "parameters['not']['minimum'] is not JSON"),
    (
        {"patternProperties": {"(": {}}},
        "parameters['patternProperties']",
        "parameters['patternProperties'] is not JSON",
    ),
    ({"items": {"$ref": "http://example.com/a"}}, "parameters", f"$ref 'http://example.com/a' {NOWHERE}"),
    ({"items": {"$ref": "#/definitions/A"}}, "parameters", f"$ref '#/definitions/A' {NOWHERE}"),
    ({"items": {"$ref": "#/allOf/1"}, "allOf": [{}]}, "parameters", f"$ref '#/allOf/1' {NOWHERE}"),
    ({"items": {"$ref": "#/allOf/x"}, "allOf": [{}]}, "parameters", f"$ref '#/allOf/x' {NOWHERE}"),
    ({"not": {"$ref": "#/if"}, "if": {"$ref": "#/not"}}, "parameters", f"$ref '#/not' {NOWHERE}"),
    ({"items": object}, "parameters", "parameters can't be written as a JSON object"),
    ([1], "parameters", "parameters can't be written as a JSON object"),
]


@pytest.mark.parametrize(("schema", "place", "text"), UNUSABLE)
def test_a_schema_that_no_server_would_take_is_refused(schema: Any, place: str, text: str) -> None:  # noqa: ANN401
    with pytest.raises(ToolDefinitionError) as caught:
        _ = raw(schema).definition
    assert str(caught.value).startswith(f"Tool raw: {text}")
    assert caught.value.parameter == place
    assert len(str(caught.value)) < 350


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", None)
    hidden = {"type": "object", "properties": {"a": {"$ref": "http://localhost:1/a"}}}
    made = raw({"properties": {"value": {"$ref": "#/x-hidden"}}, "x-hidden": hidden})
    with pytest.raises(ToolDefinitionError, match=r"Tool raw: parameters can't be used \(.*http://localhost:1/a"):
        made.bind(called('{"value": {"a": 1}}'))


@pytest.mark.parametrize(
    ("schema", "given", "meant"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "5.0", 5.0),
        ({"type": "integer"}, " -5 ", -5),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["integer", "null"]}, "null", None),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "array"}, "[1]", [1]),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, '["1"]', [1]),
        ({"items": [{"type": "integer"}, {}], "additionalItems": {"type": "null"}}, ["1", "1", "null"], [1, "1", None]),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, [1, "1"], [1, 1]),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": "1", "b": "1"}, {"a": 1, "b": "1"}),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, '{"a": "1"}', {"a": 1}),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": None}, {}),
        ({"enum": [1, 2]}, "2", 2),
        ({"const": 1.5}, "1.5", 1.5),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"oneOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}, ["5"], [5]),
        ({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {}]}, {"a": "5"}, {"a": 5}),
        ({"$ref": "#/definitions/A"}, {"a": {"a": {}}, "n": "5"}, {"a": {"a": {}}, "n": 5}),
    ],
)  # fmt: skip
def test_a_string_is_read_where_no_string_is_allowed(schema: object, given: object, meant: object) -> None:
    a = {"type": "object", "properties": {"a": {"$ref": "#/definitions/A"}, "n": {"type": "integer"}}}
    made = value(schema, A=a)
    assert give(made, value=given) == {"value": meant}


@pytest.mark.parametrize(
    ("schema", "given"),
    [
        ({}, "5"),
        (True, "5"),
        ({"type": ["string", "integer"]}, "5"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5"),
        ({"anyOf": [{}, {"type": "integer"}]}, "true"),
        ({"enum": [1, "1"]}, "1"),
        ({"enum": ["1", "2"]}, "1"),
        ({"const": "null"}, "null"),
        ({"allOf": [{"minLength": 1}]}, "[]"),
        ({"format": "date"}, "5"),
        ({"additionalProperties": {"type": "integer"}}, "5"),
    ],
)
def test_a_string_stays_one_where_it_may_be_meant(schema: object, given: object) -> None:
    made = raw({"properties": {"value": schema, "bad": {"type": "integer"}}})
    assert give(made, value=given, bad="1") == {"value": given, "bad": 1}


BROKEN: list[tuple[object, object, str]] = [
    ({"type": "integer"}, "five", '"five" should be of type integer'),
    ({"type": "integer"}, "5.5", '"5.5" should be of type integer'),
    ({"type": "integer"}, "", '"" should be of type integer'),
    ({"type": "integer"}, "[5]", '"[5]" should be of type integer'),
    ({"type": "integer"}, True, "true should be of type integer"),
    ({"type": "integer"}, "NaN", '"NaN" should be of type integer'),
    ({"type": "integer"}, "\\ud83d", '"\\\\ud83d" should be of type integer'),
    ({"type": ["integer", "null"]}, [], "an array should be of type integer or null"),
    ({"minimum": 1}, 0, "0 should be at least 1"),
    ({"exclusiveMaximum": 1}, 1, "1 should be less than 1"),
    ({"multipleOf": 2}, 1, "1 should be a multiple of 2"),
    ({"pattern": "^a"}, "b", '"b" should match the pattern "^a"'),
    ({"minLength": 2}, "b", '"b" should have at least 2 characters'),
    ({"maxItems": 0}, [1], "an array should have at most 0 items"),
    ({"const": {"a": 1}}, 1, "1 should be an object"),
    ({"enum": ["a", 1]}, 2, '2 should be one of "a", 1'),
    ({"not": {}}, {}, "an object breaks the rule 'not' of the schema"),
    ({"oneOf": [{}, {}]}, 1, "1 breaks the rule 'oneOf' of the schema"),
    ({"anyOf": [{"type": "integer"}, {"const": "x"}]}, "y", '"y" should be of type integer or should be "x"'),
]


@pytest.mark.parametrize(("schema", "given", "told"), BROKEN)
def test_what_breaks_a_rule_is_told_by_field_and_rule(schema: object, given: object, told: str) -> None:
    assert refused(value(schema), value=given) == f"value: {told}"


def test_of_an_object_missing_and_unknown_fields_are_named() -> None:
    schema: object = {"properties": {"a": {}}, "required": ["a", "b"], "additionalProperties": False}
    assert refused(value(schema), value={"c": 1}) == (
        "value.a: field required; value.b: field required; value.c: unknown argument"
    )


def test_a_value_that_a_schema_forbids_altogether_is_told() -> None:
    schema = {"properties": {"a": False}}
    assert refused(raw(schema), a=1) == "1 is not allowed"


def test_of_an_alternative_that_is_no_object_the_fields_are_named() -> None:
    schema = {"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}
    assert refused(value(schema), value={}) == "value.a: field required; value.b: field required"


def test_fields_of_several_possible_objects_are_left_alone() -> None:
    number, text = {"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "string"}}}
    made = raw({"properties": {"value": {"anyOf": [number, text]}, "bad": {"type": "integer"}}})
    assert give(made, value={"a": "1"}, bad="1") == {"value": {"a": "1"}, "bad": 1}


@pytest.mark.parametrize("loop", [{"allOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}]}])
def test_a_schema_that_leads_only_to_itself_takes_nothing(loop: dict[str, object]) -> None:
    assert refused_text(raw(loop), "{}") == "the arguments are nested too deeply"


def test_a_place_may_be_named_by_any_pointer() -> None:
    schema = {
        "properties": {"a/b~": {"type": "integer"}, "c": {"$ref": "#/properties/a~1b~0"}, "d": {"$ref": "#/allOf/0"}},
        "allOf": [{"properties": {"c": {"type": ["integer", "null"]}}}],
    }
    assert give(raw(schema), c="5", d={"c": "6"}) == {"c": 5, "d": {"c": 6}}


def test_the_error_of_a_schema_is_the_same_each_time() -> None:
    made = raw({"type": 5})
    assert str(undefinable(made)) == str(undefinable(made))


def test_a_valid_schema_stays_valid() -> None:
    Draft7Validator.check_schema(raw(CITY).parameters)
