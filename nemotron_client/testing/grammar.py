"""What vLLM has against the JSON schema that an answer shall follow: it must make a grammar of it. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from nemotron_client._json import is_array, is_object

Schema: TypeAlias = Mapping[str, object]

_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
# What llguidance, vLLM's compiler, knows of JSON schema and can't do.
_UNIMPLEMENTED = frozenset(
    {
        *("$dynamicRef", "contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if"),
        *("maxContains", "minContains", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
        "uniqueItems",
    }
)


def grammar_error(fields: Schema) -> str | None:
    """Say of a request what no grammar can be made of, in the words of vLLM; None if that is nothing."""
    schema: object = fields
    for name in ("response_format", "json_schema", "schema"):
        schema = schema.get(name) if is_object(schema) else None
    wrong = next(_wrong(schema, schema, set()), None) or malformed(schema) if is_object(schema) else None
    if wrong is None:
        return None
    told = f"Grammar error: at 1(8): failed to compile JSON schema: {wrong}"
    return (
        f"{told}\n   1 | start: SAFE_WS? %json {json.dumps(schema)}\n{' ' * 14}^\n   2 | body: content\n   3 | fcalls:"
    )


def pointed(ref: str, root: Schema) -> Schema | None:
    """Return the part of a schema that a reference points at, None if there is no such part."""
    part: object = root
    for name in ref.removeprefix("#").split("/")[1:]:
        part = part.get(name.replace("~1", "/").replace("~0", "~")) if is_object(part) else None
    return part if is_object(part) else None


def _wrong(schema: object, root: Schema, seen: set[str]) -> Iterator[str]:
    if not is_object(schema):
        return
    if unimplemented := sorted(_UNIMPLEMENTED & schema.keys()):
        yield f"Unimplemented keys: {json.dumps(unimplemented)}"
    for kind in _each(schema.get("type", ())):
        if isinstance(kind, str) and kind not in _TYPES:
            yield f"Invalid type: {kind}"
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref not in seen:
        seen.add(ref)
        target = pointed(ref, root)
        if target is None:
            yield f"Pointer '{ref.removeprefix('#')}' does not exist"
        yield from _wrong(target, root, seen)
    if [] in (schema.get("anyOf"), schema.get("enum")):
        yield "Unsatisfiable schema: anyOf is empty"
    for part in _parts(schema):
        yield from _wrong(part, root, seen)


def _parts(schema: Schema) -> Iterator[object]:
    for name in ("properties", "patternProperties"):
        if is_object(named := schema.get(name)):
            yield from named.values()
    for name in ("items", "additionalProperties", "anyOf", "oneOf", "allOf", "prefixItems"):
        yield from _each(schema.get(name))


def _each(value: object) -> Sequence[object]:
    return value if is_array(value) else [value]


def malformed(schema: Schema) -> str | None:
    """Say why something is no JSON schema; None if it is one."""
    from jsonschema import Draft202012Validator, SchemaError  # 60 ms to import

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as wrong:
        return wrong.message
    return None
