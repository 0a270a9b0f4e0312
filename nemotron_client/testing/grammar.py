"""What vLLM has against what an answer shall follow, a JSON schema a pattern or a grammar.

Its compiler is llguidance: of JSON schema it knows most, and says what it can't do. Pure.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import Body, ChatBody, NamedChoice, StructuredOutputs
from nemotron_client.testing.patterns import refused_pattern, wrong_pattern, wrong_rules

Schema: TypeAlias = Mapping[str, object]

_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "unknown"}
)
_UNIMPLEMENTED = frozenset(
    {
        *("$dynamicRef", "contains", "dependencies", "dependentRequired", "dependentSchemas", "else", "if"),
        *("maxContains", "minContains", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
        "uniqueItems",
    }
)
_DEEPEST = 127  # objects and arrays within each other
_NO_ONE_OF = "oneOf constraints are not supported. Enable 'coerce_one_of' option to approximate oneOf with anyOf"


def grammar_error(body: Body) -> str | None:
    """Say of a request what no grammar can be made of, in the words of vLLM; None if that is nothing."""
    outputs = body.structured_outputs
    unusable = None if outputs is None else next(_unusable(outputs), None)
    if unusable is not None:
        return unusable
    schema = schema_of(body)
    if schema is not None:
        return _error_of_schema(schema, body)
    return None if outputs is None or outputs.regex is None else refused_pattern(outputs.regex)


def _unusable(outputs: StructuredOutputs) -> Iterator[str]:
    if outputs.choice == []:
        yield "Choice '[]' cannot be an empty list"
    if outputs.grammar is not None and not outputs.grammar.strip():
        yield "structured_outputs.grammar cannot be an empty string"
    elif outputs.grammar is not None and (wrong := wrong_rules(outputs.grammar)) is not None:
        yield f"Invalid grammar specification: Failed to convert the grammar from GBNF to Lark: {wrong}"
    if "\x00" in (outputs.regex or ""):
        yield "structured_outputs.regex must not contain a NUL character ('\\x00')"
    if isinstance(outputs.json_, str):
        try:
            json.loads(outputs.json_)
        except (ValueError, RecursionError) as wrong:
            yield str(wrong)


def schema_of(body: Body) -> Schema | None:
    """Return the JSON schema that the answer shall follow; None if there is none."""
    outputs, wanted = body.structured_outputs, body.response_format
    given: str | Schema | None
    if outputs is not None and outputs.json_ is not None:
        given = outputs.json_
    elif wanted is not None and wanted.type == "json_schema" and wanted.json_schema is not None:
        given = wanted.json_schema.json_schema
    else:
        return None
    read: object = json.loads(given) if isinstance(given, str) else given
    return read if is_object(read) else None


def pointed(ref: str, root: Schema) -> object:
    """Return the part of a schema that a reference points at, None if there is no such part."""
    part: object = root
    for name in ref.removeprefix("#").split("/")[1:]:
        part = part.get(name.replace("~1", "/").replace("~0", "~")) if is_object(part) else None
    return part


def malformed(schema: Schema) -> str | None:
    """Say why something is no JSON schema; None if it is one."""
    from jsonschema import Draft202012Validator, SchemaError  # 60 ms to import

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as wrong:
        return wrong.message
    except RecursionError as wrong:
        return str(wrong)
    return None


def _error_of_schema(schema: Schema, body: Body) -> str | None:
    text = json.dumps(schema)
    too_deep = _too_deep(text)
    if too_deep is not None:
        return f'Grammar error: failed to parse "%json": recursion limit exceeded at line 1 column {too_deep}'
    compiler = _Compiler(schema)
    try:
        wrong = next(compiler.wrong(schema), None) or compiler.unsatisfiable(schema)
    except RecursionError:  # of references to references, hundreds of them
        wrong = "recursion limit exceeded"
    if wrong is None:
        return None
    if not isinstance(body, ChatBody):
        return f"Grammar error: {wrong}"
    start, rest, calls = "SAFE_WS? %json", "content", ""
    if body.tools and body.tool_choice != "none":
        start = f"body | {start}"
        rest = "content | (content? fcalls)" if body.tool_choice in (None, "auto") else "content? fcalls"
        name = json.dumps(body.tool_choice.function.name) if isinstance(body.tool_choice, NamedChoice) else "/.+/"
        calls = f' (<[9]> SAFE_WS? {name} <[32]> SAFE_WS? %json {{"type": "object"}} SAFE_WS?)+'
    return (
        f"Grammar error: at 1(8): failed to compile JSON schema: {wrong}\n"
        f"   1 | start: {start} {text}\n{' ' * 14}^\n   2 | body: {rest}\n   3 | fcalls:{calls}"
    )


def _too_deep(text: str) -> int | None:
    """Return the column at which JSON is nested too deeply; None if it isn't."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _DEEPEST:
            return found.start() + 2  # from 1, and after a blank
    return None


def is_text(value: object) -> bool:
    """Tell a text, where a checker of types is sure of it and a caller may not have one."""
    return isinstance(value, str)


_Form: TypeAlias = tuple[Callable[[object], bool], str]


def _expected(what: str, fits: Callable[[object], bool]) -> _Form:
    return fits, f"Expected {what} for '{{name}}', got {{value}}"


_COUNT = _expected("positive integer", lambda value: type(value) is int and value >= 0)
_NUMBER = _expected("f64", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
_STRING = _expected("string", is_text)
_ARRAY: _Form = is_array, "{name} must be an array"
_FORMS: Mapping[str, tuple[str | None, _Form]] = {
    # keyword: the type that it is of, and its form
    "type": (
        None,
        (lambda value: is_text(value) or is_array(value), "type must be a string or array of strings"),
    ),
    "$ref": (None, (is_text, "$ref must be a string, got {value}")),
    **dict.fromkeys(("enum", "anyOf", "oneOf", "allOf"), (None, _ARRAY)),
    **dict.fromkeys(("minLength", "maxLength"), ("string", _COUNT)),
    **dict.fromkeys(("pattern", "format"), ("string", _STRING)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), ("number", _NUMBER)),
    **dict.fromkeys(("minItems", "maxItems"), ("array", _COUNT)),
    "prefixItems": ("array", _ARRAY),
    **dict.fromkeys(("minProperties", "maxProperties"), ("object", _COUNT)),
    "properties": ("object", (is_object, "properties must be an object")),
    "patternProperties": ("object", _expected("object", is_object)),
    "required": ("object", _expected("array", is_array)),
}
_RANGES = {
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
}


class _Compiler:
    """Look at a schema as a compiler does, whose references may point at any part of it."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._seen: set[str] = set()  # references that were followed

    def wrong(self, schema: object) -> Iterator[str]:
        """Yield what is wrong with the form of a schema and of those within."""
        if is_object(schema):
            yield from self._wrong_object(schema)
        elif not isinstance(schema, bool):
            yield "schema must be an object or boolean"

    def _wrong_object(self, schema: Schema) -> Iterator[str]:
        if unimplemented := sorted(_UNIMPLEMENTED & schema.keys()):
            yield f"Unimplemented keys: {json.dumps(unimplemented)}"
        yield from _wrong_type(schema)
        yield from _wrong_values(schema)
        ref = schema.get("$ref")
        if isinstance(ref, str) and ref not in self._seen:
            self._seen.add(ref)
            target = pointed(ref, self._root)
            if not ref.startswith("#"):
                place = ref if "://" in ref else f"json-schema:///{ref}"
                why = (
                    "is not present in a registry and retrieving it failed: Default retriever does not fetch resources"
                )
                yield f"Resource '{place}' {why}"
            elif target is None:
                yield f"Pointer '{ref.removeprefix('#')}' does not exist"
            yield from self.wrong(target)
        for part in _parts(schema):
            yield from self.wrong(part)
        if not all(_are_disjoint(*two) for two in combinations(_array(schema.get("oneOf")), 2)):
            yield _NO_ONE_OF

    def unsatisfiable(self, schema: object) -> str | None:
        """Say why nothing can follow a schema, as far as that is plain; None if something may."""
        reason = self._reason(schema)
        return None if reason is None else f"Unsatisfiable schema: {reason}"

    def _reason(self, schema: object) -> str | None:
        if schema is False:
            return "schema is false"
        if not is_object(schema):
            return None
        if any(name in schema and not _array(schema[name]) for name in ("enum", "anyOf")) or schema.get("type") == []:
            return "anyOf is empty"
        if schema.get("oneOf") == []:
            return "oneOf is empty"
        if any(_are_disjoint(*two) for two in combinations(_array(schema.get("allOf")), 2)):
            return "incompatible types"
        return _empty_range(schema) or self._missing(schema)

    def _missing(self, schema: Schema) -> str | None:
        """Say what an object or array must have and can't."""
        if schema.get("type") == "object":
            named = _named(schema.get("properties"))
            for name in dict.fromkeys(map(str, _array(schema.get("required")))):  # one may be named again and again
                if self._reason(named.get(name, schema.get("additionalProperties"))) is not None:
                    return f"required property '{name}' is unsatisfiable"
        if schema.get("type") == "array" and _count(schema.get("minItems")) and self._reason(schema.get("items")):
            return "required item is unsatisfiable"
        return None


def _wrong_type(schema: Schema) -> Iterator[str]:
    kinds = schema.get("type", ())
    for kind in kinds if is_array(kinds) else [kinds]:
        if isinstance(kind, str) and kind not in _TYPES:
            yield f"Invalid type: {kind}"
        if is_array(kinds) and not isinstance(kind, str):
            yield "type must be a string"


def _wrong_values(schema: Schema) -> Iterator[str]:
    kind = schema.get("type")
    for name, value in schema.items():
        of, (fits, told) = _FORMS.get(name, (None, (lambda _: True, "")))
        # Where the type is another, the keyword is passed over.
        if of is not None and isinstance(kind, str) and kind != of and (kind, of) != ("integer", "number"):
            continue
        if not fits(value):
            yield told.format(name=name, value=json.dumps(value))
        elif name == "multipleOf" and not value:
            yield "invalid multiple of"
        elif name == "format" and value not in _FORMATS:
            yield f"Unknown format: {value}"
        elif name == "pattern" and (error := wrong_pattern(str(value))) is not None:
            yield error
        elif name == "required" and (odd := [each for each in _array(value) if not isinstance(each, str)]):
            yield f"Expected string for 'required' item, got {json.dumps(odd[0])}"


def _parts(schema: Schema) -> Iterator[object]:
    for name in ("properties", "patternProperties"):
        yield from _named(schema.get(name)).values()
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from _array(schema.get(name))
    for name in ("items", "additionalProperties"):
        if name in schema:
            part = schema[name]
            yield from part if is_array(part) else [part]


def _empty_range(schema: Schema) -> str | None:
    least, most = _RANGES.get(str(schema.get("type")), ("", ""))
    low, high = schema.get(least), schema.get(most)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        return f"{least} ({low}) is greater than {most} ({high})"
    return None


def _are_disjoint(one: object, other: object) -> bool:
    """Tell whether it is plain that nothing follows both schemas."""
    if not is_object(one) or not is_object(other):
        return one is False or other is False
    values, others = _values(one), _values(other)
    if values and others:
        return not any(value in others for value in values)
    kinds, rest = _kinds(one), _kinds(other)
    if kinds and rest and not kinds & rest:
        return True
    both = set(map(str, _array(one.get("required")))) & set(map(str, _array(other.get("required"))))
    named, with_names = _named(one.get("properties")), _named(other.get("properties"))
    return any(_are_disjoint(named.get(name), with_names.get(name)) for name in both)


def _values(schema: Schema) -> Sequence[object]:
    return [schema["const"]] if "const" in schema else _array(schema.get("enum"))


def _kinds(schema: Schema) -> set[str]:
    """Return the types of what follows a schema, whole numbers taken for numbers; none if it doesn't tell."""
    if values := _values(schema):
        return set(map(_kind_of, values))
    kinds = schema.get("type", ())
    named = {str(kind) for kind in (kinds if is_array(kinds) else [kinds])}
    return {"number" if kind == "integer" else kind for kind in named}


def _kind_of(value: object) -> str:
    """Return the type of a value."""
    if value is None or isinstance(value, bool | int | float):
        return "null" if value is None else "boolean" if isinstance(value, bool) else "number"
    return "string" if isinstance(value, str) else "array" if is_array(value) else "object"


def _array(value: object) -> Sequence[object]:
    return value if is_array(value) else ()


def _named(value: object) -> Schema:
    return value if is_object(value) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
