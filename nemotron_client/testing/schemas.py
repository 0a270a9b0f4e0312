"""The JSON schema that an answer shall follow. Pure."""

import json
import re
from collections.abc import Mapping
from typing import TypeAlias

from nemotron_client._json import is_object
from nemotron_client.testing.forms import Body, ChatBody, ResponseFormat, StructuredOutputs

Schema: TypeAlias = Mapping[str, object]

_DEEPEST = 64


def is_compiled(body: Body) -> bool:
    """Tell a request of which a compiler makes a grammar: of what its answer, or its tools' arguments, must be like."""
    outputs, wanted = body.structured_outputs, body.response_format
    by_outputs = outputs is not None and (
        (outputs.regex, outputs.grammar, outputs.json_) != (None, None, None)
        or any(has_half_character(choice) for choice in outputs.choice or ())  # the only ones that it refuses
    )
    tools = (body.tools or ()) if isinstance(body, ChatBody) else ()
    return (
        by_outputs
        or (isinstance(wanted, ResponseFormat) and wanted.type == "json_schema")
        or any(tool.function.strict for tool in tools)
    )


def has_half_character(text: str) -> bool:
    """Tell a text that UTF-8 can't hold."""
    return text != text.encode(errors="replace").decode()


def schema_of(body: Body) -> object:
    """Return the JSON schema that the answer shall follow, or what stands in its place; None if there is none."""
    by_outputs, by_format = _of_outputs(body.structured_outputs), of_format(body.response_format)
    # vLLM puts the second in the place of the first; of a conversation it refuses both.
    first, second = (by_outputs, by_format) if isinstance(body, ChatBody) else (by_format, by_outputs)
    return second if first is None else first


def _of_outputs(outputs: StructuredOutputs | None) -> object:
    given = None if outputs is None else outputs.json_
    return read(given) if isinstance(given, str) else given


def read(text: str) -> object:
    """Read JSON; None of what is none, or is nested too deeply."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document


def of_format(wanted: object) -> Schema | None:
    """Return the JSON schema of a `response_format`."""
    if not isinstance(wanted, ResponseFormat) or wanted.type != "json_schema" or wanted.json_schema is None:
        return None
    return wanted.json_schema.json_schema


def is_deep(given: object) -> bool:
    """Tell a schema with more objects and arrays within each other than vLLM reads."""
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', given if isinstance(given, str) else json.dumps(given)):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _DEEPEST:
            return True
    return False


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
