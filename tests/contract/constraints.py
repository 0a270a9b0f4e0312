"""What an answer may be held to: JSON schemas, patterns, choices, and what is none of these."""

from functools import reduce
from typing import Any

from tests.engine.histories import tool

Schema = dict[str, Any]


def formed(schema: Schema) -> dict[str, Any]:
    """Return the option that asks for an answer of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def nested(depth: int) -> Schema:
    """Return a schema of arrays within each other."""
    innermost: Schema = {"type": "integer"}
    return reduce(lambda inner, _: {"type": "array", "items": inner}, range(depth), innermost)


def having(**properties: object) -> Schema:
    """Return a schema of an object that has just these."""
    return {"type": "object", "properties": properties, "required": [*properties]}


STREAMED: dict[str, Schema] = {
    "type unknown": {"type": "objekt"},
    "one type of two unknown": {"type": ["string", "x"]},
    "type of a property": {"type": "object", "properties": {"a": {"type": "strin"}}, "required": ["a"]},
    "points nowhere": {"$ref": "#/$defs/x"},
    "not": {"not": {}, "uniqueItems": True},
    "within a union": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"not": {}}}]},
    "nothing to choose": {"enum": []},
    "not reached": {"type": "string", "$defs": {"x": {"not": {}}}},
}
SCHEMAS: dict[str, Schema] = {
    **STREAMED,
    "empty": {},
    "nested deeply": nested(200),
    "nested a little": nested(20),
    "type a number": {"type": 5},
    "types that are none": {"type": ["string", 5]},
    "no type of any": {"type": []},
    "choices a number": {"enum": 5},
    "union a number": {"anyOf": 5},
    "union of a number": {"anyOf": [5]},
    "union of nothing": {"anyOf": []},
    "one of nothing": {"oneOf": []},
    "properties a number": {"properties": 5},
    "property a number": {"properties": {"a": 5}},
    "patterns a number": {"patternProperties": 5},
    "required a number": {"required": 5},
    "required numbers": {"required": [5]},
    "reference a number": {"$ref": 5},
    "reference elsewhere": {"$ref": "http://localhost/x"},
    "reference to a name": {"$ref": "a"},
    "reference to itself": {"$ref": "#"},
    "items a number": {"items": 5},
    "items first a number": {"prefixItems": 5},
    "count with a fraction": {"minItems": 2.0},
    "count below zero": {"minLength": -1},
    "count a text": {"maxProperties": "x"},
    "count of another type": {"type": "string", "minItems": 2.0},
    "range a text": {"type": "integer", "minimum": "x"},
    "range of nothing": {"type": "integer", "minimum": 5, "maximum": 2},
    "length of nothing": {"type": "string", "minLength": 5, "maxLength": 2},
    "items of nothing": {"type": "array", "minItems": 5, "maxItems": 2},
    "range of no type": {"minimum": 5, "maximum": 2},
    "multiple of zero": {"type": "number", "multipleOf": 0},
    "format unknown": {"type": "string", "format": "foo"},
    "format known": {"type": "string", "format": "date-time"},
    "format a number": {"format": 5},
    "format of another type": {"type": "integer", "format": "foo"},
    "pattern that is none": {"type": "string", "pattern": "("},
    "pattern a number": {"pattern": 5},
    "pattern with a slash": {"type": "string", "pattern": "a/b("},
    "pattern of a range": {"type": "string", "pattern": "[z-a]"},
    "pattern of letters": {"type": "string", "pattern": r"\p{L}"},
    "pattern of a word": {"type": "string", "pattern": r"\bx"},
    **{
        f"pattern with an edge: {pattern}": {"type": "string", "pattern": pattern}
        for pattern in (
            *("^a$", "(^a)", "(a$)", "a|^b", "^a|b$", "(?:^a|b)c", "(?i)(?s)^a", "[^^]a", r"a\^b", r"\Aa\z"),
            *("a^b", "a$b", "^^a", "a$$", "a^b$c", "a$b^c", "(?m)^a", r"a\Ab", r"a\zb", r"\ba\B"),
        )
    },
    "never": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "never one of the choices": having(a={"enum": []}),
    "never, but not needed": {"type": "object", "properties": {"a": {"enum": []}}},
    "never an item": {"type": "array", "items": {"enum": []}, "minItems": 1},
    "no item": {"type": "array", "items": {"enum": []}},
    "nothing more, but needed": {"type": "object", "required": ["a"], "additionalProperties": False},
    "more of no type": {"type": "object", "additionalProperties": {"type": "objekt"}},
    "both at once": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "either by type": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "either of one type": {"oneOf": [{"type": "string"}, {"type": "string"}]},
    "either a number": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
    "either by value": {"oneOf": [{"const": "a"}, {"enum": ["b", None, True, 1, [], {}]}]},
    "either by a value that both have": {"oneOf": [{"enum": ["a", "b"]}, {"const": "b"}]},
    "either by value and type": {"oneOf": [{"const": "a"}, {"type": "integer"}]},
    "either by a property": {"oneOf": [having(k={"const": "a"}), having(k={"const": "b"})]},
    "either by another property": {"oneOf": [having(k={"const": "a"}), having(j={"const": "b"})]},
    "either by what is plain of values": {"oneOf": [{"enum": [[], {}, None, True, 1]}, {"type": "string"}]},
    "either by what is never": {"oneOf": [False, {"type": "string"}]},
    "a list for the items": {"type": "array", "items": [{"type": "string"}]},
}
PATTERNS = {
    "fits": "a+",
    "open": "(",
    "closed": "a)",
    "class": "[a",
    "repeated": "*a",
    "ahead": "(?=a)b",
    "back": r"(a)\1",
    "back by a name": "(?P<n>a)(?P=n)",
    "back after a backslash": r"a\\1",
    "letters": r"a\p{L}",  # not alone: two tokens may be too few for one letter, and the answer is empty then
    "end": r"a\z",
    "name": "(?<n>a)",
    "named class": "[[:alpha:]]",
    "classes both of": "[a-z&&[^b]]",
    "range": "[z-a]",
    "count": "a{2,1}",
    "count too long": "a{99999999999999999999}",
    "count high": "a{1001}",
    "escape": r"\q(",
    "flag": "(?Z)a",
    "slash": "a/b(",
    "slash escaped": r"a\/b(",
    "slash after a backslash": r"\\/(",
    "line": "a\n\r\t(b",
    "letter of two bytes": "é(",
    "word": r"\bword\b",
    "no word": r"a\B",
    "edges of lines": "(?m)^a",
    "ends of lines": "(?m)a$",
    "edges within": "xa?^b",
    "edges within, any case": "(?i)a^b",
    "unknown escape": r"a\q",
    "unknown escape in a class": r"a[\q]",
    "unknown escape beside a word's": r"a\q\b",
    "older end": r"a\Z",
    "range to a class": r"[a-\d]",
}
GRAMMARS = (
    # Neither GBNF nor Lark.
    *("x", "a b", "a = b", ":", "::=", "# a\n x\n", "a long name = b", "start: @x", "root ::= \\d"),
    # GBNF
    *('foo ::= "a"', 'root ::= "aa" | "bb"', '# a\nroot ::= "aa"', "root ::= x", 'root ::= "a', "root ::= [a-z]+"),
    *('root ::= "aa" | b\nb ::= "cc"', "root ::= (", 'root ::= "a"{2,1}', "root ::= [z-a]", 'root ::= ""', "root ::="),
    *('root::="aa"', 'root ::= "aa" # c', 'root ::= "é"', 'root ::= "\\q"', '// c\nroot ::= "aa"'),
    # Lark
    *(
        'foo: "a"',
        '?start: "a"',
        'start: "aa"',
        '%ignore " "\nstart: "aa"',
        "start: x",
        'start: "a',
        "start: (",
        *("start:", 'root ::= "\\x41"'),
    ),
    *('start: "a"{2,1}', 'start: A\nA: "x" | B', 'start: %json {"type": "objekt"}', 'start: "aa" "b"?', "start: /(/"),
    *("?start: x\nx: /[0-9]{2}/", "start: A\n%import common.INT -> A", 'start[capture]: "aa"', "start: /a(?=b)/"),
    *('start: "aa"i', 'start: "a".."c"', '%llguidance {}\nstart: "aa"'),
)
OUTPUTS: dict[str, object] = {
    "empty": {},
    "null": None,
    "of no known kind": {"foo": 1},
    "regex a number": {"regex": 1},
    "regex with NUL": {"regex": "\x00"},
    "regex and grammar": {"regex": "a", "grammar": "x"},
    "grammar empty": {"grammar": " "},
    **{f"grammar: {grammar}": {"grammar": grammar} for grammar in GRAMMARS},
    "choices": {"choice": ["yes", "no"]},
    "choices a text": {"choice": "x"},
    "choices numbers": {"choice": [1]},
    "json": {"json": {"type": "object"}},
    "json as text": {"json": '{"type": "object"}'},
    "json as text, broken": {"json": "{"},
    "json as text, empty": {"json": " "},
    "json as text, of a list": {"json": "[]"},
    "json as text, a number": {"json": "5"},
    "json as text, null": {"json": "null"},
    "json a number": {"json": 5},
    "json of no type": {"json": {"type": "objekt"}},
    "json object": {"json_object": True},
    "tag": {"structural_tag": "x"},
    "tag of a list": {"structural_tag": "[]"},
    "whitespace": {"json": {}, "disable_any_whitespace": "x"},
    **{f"pattern, {name}": {"regex": pattern} for name, pattern in PATTERNS.items()},
}
LOOK = {"type": "function", "function": {"name": "look"}}
HELD: dict[str, dict[str, Any]] = {
    **{f"schema: {name}": {"response_format": formed(schema)} for name, schema in SCHEMAS.items()},
    **{
        f"schema in a stream: {name}": {"response_format": formed(schema), "stream": True, "max_tokens": 20}
        for name, schema in STREAMED.items()
    },
    "schema null": {"response_format": {"type": "json_object", "json_schema": None}},
    **{f"held to: {name}": {"structured_outputs": outputs} for name, outputs in OUTPUTS.items()},
    "held to a pattern that is none, in a stream": {"structured_outputs": {"regex": "("}, "stream": True},
    "held to a pattern and an object": {
        "structured_outputs": {"regex": "a"},
        "response_format": {"type": "json_object"},
    },
    "held to a choice beside a named tool": {
        "structured_outputs": {"choice": ["yes"]},
        "tools": [tool()],
        "tool_choice": LOOK,
    },
    "tag of no known kind": {"response_format": {"type": "structural_tag", "format": {"type": "x"}}},
    "tag of nothing": {"response_format": {"type": "structural_tag", "structures": [], "triggers": []}},
}


def strictly(schema: Schema) -> object:
    """Return a tool whose arguments are held to a schema."""
    return tool(strict=True, parameters=schema)


STRICT: dict[str, dict[str, Any]] = {
    **{f"strict: {name}": {"tools": [strictly(schema)]} for name, schema in {**STREAMED, "deep": nested(50)}.items()},
    "strict beside another": {"tools": [tool("find"), strictly({"type": "objekt"})], "tool_choice": "required"},
    "strict one of two": {
        "tools": [tool("find"), strictly({"type": "objekt"})],
        "tool_choice": LOOK,
        "parallel_tool_calls": False,
    },
    "strict one that is not chosen": {
        "tools": [tool(), tool("find", strict=True, parameters={"type": "objekt"})],
        "tool_choice": LOOK,
    },
    "strict but not to be called": {"tools": [strictly({"type": "objekt"})], "tool_choice": "none"},
    "strict of anything": {"tools": [tool(strict=True, parameters=None)]},
    "strict beside a schema": {"tools": [strictly({"type": "objekt"})], "response_format": formed({"type": "string"})},
    "a schema that is not strict": {"tools": [tool(parameters={"type": "objekt"})]},
}
