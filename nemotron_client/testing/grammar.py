"""What vLLM makes of a schema, a pattern or a grammar that an answer shall follow, and what it has against one.

Its compiler is llguidance, which is asked here too. Pure.
"""

import json
import re
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import lcm
from string import ascii_lowercase, ascii_uppercase, digits, punctuation

from nemotron_client._json import is_object
from nemotron_client.testing.forms import Body, ChatBody, Function, NamedChoice, ResponseFormat, StructuredOutputs
from nemotron_client.testing.schemas import Schema, is_deep, of_format, schema_of
from nemotron_client.testing.tokenizing import ARGUMENTS, CALL

try:
    from llguidance import LLMatcher, LLTokenizer, grammar_from
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "To answer by a schema, a pattern or a grammar a test server needs llguidance, which is not installed: "
        "pip install '.[testing]' in a copy of nemotron-client, or script the answer"
    ) from missing

_ANY_OBJECT: Schema = {"type": "object"}
_ANY_JSON: Schema = {"anyOf": [{"type": "object"}, {"type": "array"}]}
_NO_ARGUMENTS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
_REST = "content: (/(.|\\n)+/)+\n\nSAFE_WS: /[ \\t\\r\\n]{1,8}/"
_MOST_REFERENCES, _MOST_ITEMS, _LONGEST = 1000, 10_000, 4000
_STACK, _SIZING = 64 * 1024**2, threading.Lock()  # bytes; a reference takes 10,000
# llguidance walks through the remainders that a number can leave before it says what may come next.
_MOST_REMAINDERS = 100_000
_STEP = re.compile(r'"multipleOf"\s*:\s*(\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?)')
_ITEMS = re.compile(r'"(?:min|max)Items"\s*:\s*0*(\d{1,9})')
_PATTERN = re.compile(r'"pattern"\s*:\s*"((?:[^"\\]|\\.)*)"')
_LONGEST_END = 1000  # bytes
_FREE = 64  # bytes to choose among: more is text, as between quotation marks
_QUOTE, _ENDS = b'"', b'}]",:'
# Blanks may stand wherever one may in JSON, so they lead nowhere. A dot comes before a letter, as in an address.
_CHARACTERS = f"{ascii_lowercase}{digits}{ascii_uppercase} {punctuation.replace('.', '')}.".encode()


def grammar_error(body: Body) -> str | None:
    """Say of a request what no grammar can be made of, in the words of vLLM; None if that is nothing."""
    if _is_too_deep(body):
        return "The JSON schema is nested too deeply: objects and arrays may nest at most 64 levels"
    try:
        grammar = _grammar(body)
        (grammar or "").encode()
    except ValueError as wrong:
        return f"Invalid grammar specification: {wrong}"
    if grammar is None:
        return None
    if (what := _overwhelming(body, grammar)) is not None:
        return f"A test server makes no grammar of {what}: the compiler, which is vLLM's too, may break down."
    told = _with_room(lambda: LLMatcher.validate_grammar(grammar, _tokenizer())).rstrip()
    return f"Grammar error: {told}" if told else None


def _overwhelming(body: Body, grammar: str) -> str | None:
    """Say what would take the compiler, and the process with it, down, or keep it busy for many seconds.

    It calls itself for each reference, makes room for each item, and takes a time that grows as the square of a
    pattern's length.
    """
    plain = _unescaped(grammar)
    if plain.count("$ref") > _MOST_REFERENCES:
        return f"more than {_MOST_REFERENCES:,} references"
    if sum(min(int(count), _MOST_ITEMS) for count in _ITEMS.findall(plain)) >= _MOST_ITEMS:
        return f"minItems and maxItems of {_MOST_ITEMS:,} together"
    outputs = body.structured_outputs or StructuredOutputs()
    longest = max(map(len, (outputs.regex or "", outputs.grammar or "", *_PATTERN.findall(plain))))
    return f"a pattern or a grammar of more than {_LONGEST:,} characters" if longest > _LONGEST else None


def _unescaped(grammar: str) -> str:
    """Return a grammar with the letters of JSON within it as they are, however they are written."""
    return re.sub(r"\\u00([0-7][0-9a-fA-F])", lambda found: chr(int(found[1], 16)), grammar)


def _with_room(work: Callable[[], str]) -> str:
    """Work in a thread with a large stack, since the compiler calls itself for each reference and rule."""
    done: list[str] = []
    with _SIZING:  # the size is the process's: of two that change it one would put back the other's
        before = threading.stack_size(_STACK)
        try:
            thread = threading.Thread(target=lambda: done.append(work()), name="grammar")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return done[0]


def _is_too_deep(body: Body) -> bool:
    """Tell a schema that vLLM itself finds nested too deeply; what mistral-common writes it doesn't look at."""
    outputs = body.structured_outputs
    text = None if outputs is None or not isinstance(outputs.json_, str) else outputs.json_
    schema = text if isinstance(body, ChatBody) else text or schema_of(body)
    return schema is not None and is_deep(schema)


def _grammar(body: Body) -> str | None:
    """Return the grammar that an answer shall follow in llguidance's form, None if there is none."""
    outputs = body.structured_outputs
    if outputs is not None and outputs.regex is not None:
        return grammar_from("regex", outputs.regex)
    if outputs is not None and outputs.grammar is not None:
        return grammar_from("grammar", outputs.grammar)
    if outputs is not None and outputs.choice:
        return f"start: {' | '.join(map(json.dumps, outputs.choice))}"
    if isinstance(body, ChatBody):
        return of_conversation(body)
    if outputs is not None and isinstance(outputs.json_, str) and of_format(body.response_format) is None:
        return _of_json(outputs.json_)
    schema = schema_of(body)
    return None if schema is None else _of_schema(schema)


def _of_schema(schema: object) -> str:
    return _of_json(json.dumps(schema))


def _of_json(schema: str) -> str:
    return LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": True})


def of_conversation(body: ChatBody) -> str | None:
    """Write the grammar that mistral-common makes of a schema and of strict tools; None if there is neither."""
    schema = _schema_of_conversation(body)
    tools = [] if body.tool_choice == "none" else [tool.function for tool in body.tools or ()]
    if not schema and not any(tool.strict for tool in tools):
        return None
    by_schema = [f"SAFE_WS? %json {_json(schema)}"] if schema else []
    may_talk = body.tool_choice is None or body.tool_choice == "auto"
    start = " | ".join(["body", *by_schema] if tools else by_schema)
    talk = ("content | (content? fcalls)" if may_talk else "content? fcalls") if tools else "content"
    return f"start: {start}\nbody: {talk}\nfcalls: {_calls(tools, body)}\n\n{_REST}"


def _schema_of_conversation(body: ChatBody) -> object:
    outputs, wanted = body.structured_outputs, body.response_format
    asked = outputs is None and isinstance(wanted, ResponseFormat) and wanted.type != "text"
    if (outputs is not None and outputs.json_object is not None) or (asked and schema_of(body) is None):
        return _ANY_JSON
    return schema_of(body)


def _calls(tools: Sequence[Function], body: ChatBody) -> str:
    """Write the rule of calls: by their names and arguments if a tool is strict, and else of any kind."""
    if not tools:
        return ""
    name = body.tool_choice.function.name if isinstance(body.tool_choice, NamedChoice) else None
    if any(tool.strict for tool in tools):
        calls = [_call(f'"{tool.name}"', _arguments(tool)) for tool in tools if name in {None, tool.name}]
    else:
        calls = [_call("/.+/" if name is None else f'"{name}"', _ANY_OBJECT)]
    either = " | ".join(f"({call})" for call in calls) if len(calls) > 1 else calls[0]
    return f"({either})+" if body.parallel_tool_calls else either


def _call(name: str, arguments: Schema) -> str:
    return f"<[{CALL}]> SAFE_WS? {name} <[{ARGUMENTS}]> SAFE_WS? %json {_json(arguments)} SAFE_WS?"


def _arguments(tool: Function) -> Schema:
    return (tool.parameters or _NO_ARGUMENTS) if tool.strict else _ANY_OBJECT


def _json(schema: object) -> str:
    return json.dumps(schema, ensure_ascii=False)


def following(body: Body, said: str) -> str:
    """Return what is said as far as the request's schema, pattern or grammar allows it, and then what ends it soon.

    What has no end in reach, such as a schema that asks for itself, is not followed, nor are large steps of numbers.
    """
    schema = schema_of(body)
    if is_object(schema):  # alone: beside tools the grammar of a conversation lets anything be said
        return fitting(schema, said)
    grammar = _grammar(body)
    return said if grammar is None else _with_room(lambda: _followed(grammar, said, in_json=False))


def fitting(schema: Schema, said: str) -> str:
    """Return JSON as far as a schema allows it, and then what ends it soon."""
    return _with_room(lambda: _followed(_of_schema(schema), said, in_json=True))


def _followed(grammar: str, said: str, *, in_json: bool) -> str:
    if _has_many_remainders(_unescaped(grammar)):
        return said
    matcher = LLMatcher(_tokenizer(), grammar, log_level=0)
    made = bytearray(said.encode())
    del made[matcher.try_consume_tokens([*made]) :]
    taken = len(made)
    while len(made) - taken <= _LONGEST_END:
        if matcher.is_accepting():
            return made.decode(errors="replace")
        more = matcher.compute_ff_bytes()  # all that must come now: a long text at once
        if not more:
            allowed = [byte for byte, bias in enumerate(matcher.compute_logit_bias()[:256]) if bias]
            if not allowed:
                break
            more = bytes([_next(allowed, len(made) - taken, in_json=in_json)])
        made += more
        matcher.consume_tokens([*more])
    return said


def _has_many_remainders(grammar: str) -> bool:
    common = 1
    for step in _STEP.findall(grammar):  # of different numbers as well, since allOf makes one of two
        common = lcm(common, Fraction(step).numerator)
        if common > _MOST_REMAINDERS:
            return True
    return False


def _next(allowed: Sequence[int], step: int, *, in_json: bool) -> int:
    """Choose a byte: what ends a value of JSON if there is such, else one character after the other."""
    if in_json:
        end = next((end for end in (_QUOTE if len(allowed) > _FREE else _ENDS) if end in allowed), None)
        if end is not None:
            return end
    characters = [byte for byte in _CHARACTERS if byte in allowed] or allowed
    return characters[step % len(characters)]


@cache
def _tokenizer() -> LLTokenizer:
    """Return a tokenizer whose tokens are bytes."""
    return LLTokenizer("byte")
