"""What a model is told of the same functions by this library and by others: `python -m benchmarks.tool_schemas`.

Run in an environment that has the others too, it writes their schemas to a fixture, with which the tests compare ours,
and the page that shows the comparison.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import JsonValue

from nemotron_client.tools import Tool
from tests.engine.tool_functions import FUNCTIONS

ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "tests" / "fixtures" / "tool_schemas.json"
PAGE = ROOT / "docs" / "explanation" / "tool-schemas.md"
OURS = "nemotron-client"
PEERS = ("anthropic", "pydantic-ai-slim", "langchain-core")

Function: TypeAlias = Callable[..., Any]
Schema: TypeAlias = dict[str, Any]
Fact: TypeAlias = tuple[str, str, str]

# Each counts as one; a description is counted sentence by sentence.
_WORDS = (
    *("type", "format", "pattern", "default", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
)


def facts(schema: Schema) -> set[Fact]:
    """List what a schema tells: where, what kind of thing, and what; wherever it is written."""
    return set(_told(schema, "", schema, ()))


def _told(schema: JsonValue, place: str, root: Schema, met: tuple[str, ...]) -> Iterator[Fact]:
    if schema is False:
        yield place, "closed", ""
    if not isinstance(schema, dict):
        return
    reference = str(schema.get("$ref", ""))
    if reference in met:
        yield place, "as above", reference
    elif reference:
        definition = root["$defs"][reference.removeprefix("#/$defs/")]
        yield from _told(definition, place, root, (*met, reference))
    yield from ((place, *said) for said in _said(schema))
    yield from ((f"{place}.{name}", "required", "") for name in _list(schema.get("required")))
    for inside, each in _inside(schema):
        yield from _told(each, place + inside, root, met)


def _said(schema: Schema) -> Iterator[tuple[str, str]]:
    yield from ((key, json.dumps(schema[key])) for key in _WORDS if key in schema)
    yield from (("choice", json.dumps(each)) for each in _list(schema.get("enum")))
    if "const" in schema:
        yield "choice", json.dumps(schema["const"])
    description = " ".join(str(schema.get("description", "")).split())
    yield from (("description", sentence.rstrip(".")) for sentence in description.split(". ") if sentence)


def _inside(schema: Schema) -> Iterator[tuple[str, JsonValue]]:
    properties: JsonValue = schema.get("properties")
    for name, each in properties.items() if isinstance(properties, dict) else ():
        yield f".{name}", each
    for number, each in enumerate(_list(schema.get("prefixItems"))):
        yield f"[{number}]", each
    for key in ("anyOf", "oneOf", "allOf"):
        yield from (("", each) for each in _list(schema.get(key)))
    yield "[]", schema.get("items")
    yield "{}", schema.get("additionalProperties")


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def ours(function: Function) -> Schema:
    """Give the parameters as we describe them."""
    return dict(Tool.from_function(function).parameters)


def _of_anthropic(function: Function) -> Schema:
    anthropic = import_module("anthropic")
    decorate = anthropic.beta_async_tool if function.__name__ == "asynchronous" else anthropic.beta_tool
    schema: Schema = decorate(function).to_dict()["input_schema"]
    return schema


def _of_pydantic_ai(function: Function) -> Schema:
    schema: Schema = import_module("pydantic_ai").Tool(function, takes_ctx=False).tool_def.parameters_json_schema
    return schema


def _of_langchain(function: Function) -> Schema:
    decorate = import_module("langchain_core.tools").tool
    convert = import_module("langchain_core.utils.function_calling").convert_to_openai_tool
    try:  # its reader of Google's docstrings, which is off by default and refuses what it can't read
        made = decorate(parse_docstring=True)(function)
    except ValueError:
        made = decorate(function)
    schema: Schema = convert(made)["function"]["parameters"]
    return schema


def record() -> None:
    """Write down what each library makes of the functions; nothing where it fails."""
    schemas: dict[str, dict[str, Schema]] = {}
    for name, function in FUNCTIONS.items():
        schemas[name] = {OURS: ours(function)}
        for peer, make in zip(PEERS, (_of_anthropic, _of_pydantic_ai, _of_langchain), strict=True):
            try:
                schemas[name][peer] = make(function)
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no schema
                print(f"{peer} {name}: {type(error).__name__}: {error}")
    versions = {name: version(name) for name in (*PEERS, "pydantic")}
    FIXTURE.write_text(json.dumps({"versions": versions, "schemas": schemas}, indent=1) + "\n")


def page(recorded: Mapping[str, Any]) -> str:
    """Write the page that shows the comparison."""
    who = (OURS, *PEERS)
    counts = {name: [len(facts(made.get(each, {}))) for each in who] for name, made in recorded["schemas"].items()}
    rows = [_row(f"`{name}`", (str(count or "-") for count in counts[name])) for name in counts]
    own, *others = (sum(column) for column in zip(*counts.values(), strict=True))
    return _TEXT.format(
        own=own,
        others=", ".join(f"{name} {total}" for name, total in zip(PEERS, others, strict=True)),
        head=_row("function", who),
        line="| --- |" + " ---: |" * len(who),
        rows="\n".join(rows),
        total=_row("all", map(str, (own, *others))),
        versions=", ".join(f"{name} {number}" for name, number in recorded["versions"].items()),
        functions=len(counts),
    )


def _row(first: str, others: Iterable[str]) -> str:
    return f"| {' | '.join([first, *others])} |"


_TEXT = """# What the model is told of a tool

This library tells the model {own} facts about {functions} typical functions. Others tell less:
{others}. A test checks that no fact of theirs is missing here.

The better a model knows what a tool takes, the better it calls it. The table counts the facts in the JSON schema that
each library makes of a function: the types, choices, format, limits and default of each value, each sentence of its
description, whether it is required, whether other names are allowed.

{head}
{line}
{rows}
{total}

A dash: the library makes no schema. Measured with
{versions}.

The functions are in `tests/engine/tool_functions.py`. langchain-core counts more for `open_arguments` since it offers a
parameter `labels`, which the function doesn't have. pydantic-ai counts less for functions of one model, whose fields it
offers in the model's place. `python -m benchmarks.tool_schemas` writes this page.

All of them build on pydantic, so the types come out the same. What differs:

- **Docstrings** may be in Google's, NumPy's or reST's style; the style is recognised. The tool's description keeps only
  what concerns the tool as a whole.
- **Definitions are put where they are used**, so that a model reads about a parameter in one place. Only classes that
  are used more than once, or that contain themselves, stay in `$defs`.
- **A parameter keeps both descriptions.** `place: Place` has what the function's docstring says about `place` and what
  the docstring of `Place` says. Other libraries lose one of them, or put it beside a `$ref`, where draft 7 ignores it.
- **No empty words**: no `title` that repeats a name, no `discriminator` beside choices. Items of a named tuple keep
  their names, as descriptions, since nothing else says what they are.
- **Any name** of a parameter, such as `schema`, `copy`, `model_config`, `_x`.
"""


if __name__ == "__main__":
    record()
    PAGE.write_text(page(json.loads(FIXTURE.read_text())))
    print(PAGE.read_text())
