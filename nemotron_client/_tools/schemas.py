"""JSON schemas: written compactly for the model, and used to read what it meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from pydantic import JsonValue
from pydantic_core import from_json

Schema: TypeAlias = dict[str, JsonValue]

# Where a schema holds schemas: by name, and directly or in a list. All else in it is data, whatever it looks like.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependencies"})
_NESTED = frozenset(
    {"items", "prefixItems", "additionalItems", "additionalProperties", "contains", "propertyNames"}
    | {"anyOf", "oneOf", "allOf", "not", "if", "then", "else"}
)
_DEFINITION = "#/$defs/"


def rewritten(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Copy a schema, with a change made to it and then to each schema inside of what came out."""
    copied = dict(change(schema))
    for key, value in copied.items():
        if key in _NAMED and isinstance(value, dict):
            copied[key] = {name: _part(each, change) for name, each in value.items()}
        elif key in _NESTED:
            copied[key] = [_part(each, change) for each in value] if isinstance(value, list) else _part(value, change)
    return copied


def _part(value: JsonValue, change: Callable[[Schema], Schema]) -> JsonValue:
    return rewritten(value, change) if isinstance(value, dict) else value


def all_schemas(schema: Schema) -> list[Schema]:
    """List a schema and all that are inside."""
    found: list[Schema] = []

    def note(each: Schema) -> Schema:
        found.append(each)
        return each

    rewritten(schema, note)
    return found


def compact(schema: Schema) -> Schema:
    """Write a schema of pydantic's as a model reads it best.

    Titles that repeat names go. Definitions are put where they are used, if that is in one place or they hold no
    fields; their description is added to that of the field. Others, and those that hold themselves, stay in ``$defs``.
    """
    whole = rewritten(schema, _without_noise)
    definitions = {name: body for name, body in as_object(whole.pop("$defs", {})).items() if isinstance(body, dict)}
    uses = Counter(_defined_names(whole))
    for body in definitions.values():
        uses.update(_defined_names(body))
    kept = {
        name
        for name, body in definitions.items()
        if (uses[name] > 1 and "properties" in body) or name in _reached(name, definitions)
    }

    def put_in(each: Schema) -> Schema:
        name = _defined_name(each)
        if name is None or name in kept:
            return each
        return put_in(_beside(each, definitions[name]))

    inlined = rewritten(whole, put_in)
    if kept:
        inlined["$defs"] = {name: rewritten(definitions[name], put_in) for name in definitions if name in kept}
    return inlined


def _without_noise(schema: Schema) -> Schema:
    quiet = {key: value for key, value in schema.items() if key not in {"title", "discriminator"}}
    items = schema.get("prefixItems")
    if isinstance(items, list):  # of a named tuple: there a title is all that tells what an item is
        quiet["prefixItems"] = [
            {"description": each["title"], **each} if isinstance(each, dict) and "title" in each else each
            for each in items
        ]
    return quiet


def _beside(reference: Schema, body: Schema) -> Schema:
    """Put a definition in the place of a reference to it, and keep what stood beside that."""
    merged = body | {key: value for key, value in reference.items() if key != "$ref"}
    texts = [text for text in (reference.get("description"), body.get("description")) if isinstance(text, str)]
    return merged | {"description": "\n".join(texts)} if texts else merged


def as_object(value: JsonValue) -> dict[str, JsonValue]:
    """Give the object that something should be; an empty one in its place."""
    return value if isinstance(value, dict) else {}


def _defined_name(schema: Schema) -> str | None:
    reference = schema.get("$ref")
    return reference.removeprefix(_DEFINITION) if isinstance(reference, str) else None


def _defined_names(schema: Schema) -> Iterator[str]:
    for each in all_schemas(schema):
        name = _defined_name(each)
        if name is not None:
            yield name


def _reached(name: str, definitions: Mapping[str, Schema]) -> set[str]:
    """Name every definition that a definition leads to."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = set(_defined_names(definitions[ahead.pop()])) - found
        found |= new
        ahead += new
    return found


def target(reference: JsonValue, root: Schema) -> Schema | None:
    """Follow a reference inside of a schema; None if it leads nowhere."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: JsonValue = root
    for step in reference[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = dict(enumerate(found)).get(int(key)) if key.isdecimal() else None
        else:
            found = as_object(found).get(key)
    return found if isinstance(found, dict) else None


def mended(value: JsonValue, schema: JsonValue, root: Schema) -> JsonValue:
    """Read what a model wrote as what it can only have meant.

    A string is taken as the JSON that it holds, where a schema allows that and no string; a null that isn't allowed is
    left out, where nothing needs to be there.

    Args:
        value: What the model wrote.
        schema: What it should be.
        root: What references in the schema are relative to.

    Returns:
        A copy. What leaves a doubt stays as it is.
    """
    if isinstance(value, str):
        held = _held(value, _types(schema, root))
        return value if isinstance(held, str) else mended(held, schema, root)
    if isinstance(value, dict):
        for form in _forms(schema, "object", root):
            named, others = as_object(form.get("properties")), form.get("additionalProperties", True)
            optional = named.keys() - as_list(form.get("required", []))
            given = {
                key: each
                for key, each in value.items()
                if each is not None or key not in optional or "null" in _types(named[key], root)
            }
            value = {key: mended(each, named.get(key, others), root) for key, each in given.items()}
    elif isinstance(value, list):
        for form in _forms(schema, "array", root):
            first, others = form.get("prefixItems"), form.get("items", True)
            if isinstance(others, list):  # draft 7's way to give each place its own
                first, others = others, form.get("additionalItems", True)
            schemas = first if isinstance(first, list) else []
            value = [mended(each, (schemas[n : n + 1] or [others])[0], root) for n, each in enumerate(value)]
    return value


def _held(text: str, allowed: frozenset[str]) -> JsonValue:
    if "string" in allowed:
        return text
    try:
        value: JsonValue = from_json(text.lower() if text in {"True", "False"} else text, allow_inf_nan=False)
    except (ValueError, TypeError):
        return text
    types = {_type(value)}
    if types == {"integer"} or (isinstance(value, float) and value.is_integer()):
        types = {"integer", "number"}
    return value if types & allowed else text


_ALL = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_TYPES: Mapping[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _type(value: JsonValue) -> str:
    return _TYPES[type(value)]


def _types(schema: JsonValue, root: Schema) -> frozenset[str]:
    """Name the JSON types that a schema leaves possible, or more of them."""
    if not isinstance(schema, dict):
        return _ALL
    if "$ref" in schema:
        return _types(target(schema["$ref"], root), root)
    left = _ALL
    if "type" in schema:
        left &= {str(each) for each in as_list(schema["type"])}
    if "const" in schema:
        left &= {_type(schema["const"])}
    if "enum" in schema:
        left &= {_type(each) for each in as_list(schema["enum"])}
    for key in ("anyOf", "oneOf"):
        if key in schema:
            left &= frozenset[str]().union(*(_types(each, root) for each in as_list(schema[key])))
    for each in as_list(schema.get("allOf", [])):
        left &= _types(each, root)
    return left


def as_list(value: JsonValue) -> list[JsonValue]:
    """Give a list, be it of one."""
    return value if isinstance(value, list) else [value]


def _forms(schema: JsonValue, kind: str, root: Schema) -> Iterator[Schema]:
    """Give the schemas that surely speak of a value of this type: of alternatives, the only one for the type."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from _forms(target(schema["$ref"], root), kind, root)
        return
    yield schema
    for each in as_list(schema.get("allOf", [])):
        yield from _forms(each, kind, root)
    for key in ("anyOf", "oneOf"):
        fitting = [each for each in as_list(schema.get(key, [])) if kind in _types(each, root)]
        if len(fitting) == 1:
            yield from _forms(fitting[0], kind, root)
