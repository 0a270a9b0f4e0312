"""The tokens of prompts and answers themselves, by their ids: those that `counting` only counts.

The vocabulary is loaded with the first use.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import Prompt
from nemotron_client.tokens import content_text

if TYPE_CHECKING:
    from tiktoken import Encoding

VOCABULARY = 131_072

START, END = 1, 2  # <s> and </s>
CONTROLS = 1000  # tokens that no text has, before those of texts
_AROUND = {"user": (3, 4), "tool": (7, 8), "system": (17, 18)}
_TOOLS = (5, 6)
CALL, ARGUMENTS = 9, 32  # [TOOL_CALLS] and [ARGS]
_NAMES = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
]
_LATER_NAMES = {32: "[ARGS]", 33: "[CALL_ID]"}

_PROMPT: TypeAdapter[Prompt] = TypeAdapter(Prompt)

_encode = json.JSONEncoder(ensure_ascii=False).encode


def text_ids(text: str) -> list[int]:
    """Return the tokens of a text."""
    from nemotron_client._tekken import pieces

    return [CONTROLS + rank for piece in pieces(text) for rank in _encoding().encode_ordinary(piece)]


def shared_ids(parts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of a text, shared out among its parts: one that goes over an edge is of the part it ends in."""
    ids = text_ids("".join(parts))
    edges = [*accumulate(len(part.encode(errors="replace")) for part in parts)]
    shared: list[list[int]] = [[] for _ in parts]
    part = end = 0
    for each in ids:
        end += len(_bytes(each))
        while part + 1 < len(parts) and end > edges[part]:
            part += 1
        shared[part].append(each)
    return shared


def call_ids(name: str) -> list[int]:
    """Return the tokens by which a tool call begins, those before its arguments."""
    return [CALL, *text_ids(name), ARGUMENTS]


def prompt_ids(fields: Mapping[str, Any]) -> list[list[int]]:
    """Return the tokens of a request's conversation, or of each of its prompts; none of what no server takes."""
    return [_truncated(ids, fields) for ids in _whole_prompts(fields)]


def _truncated(ids: list[int], fields: Mapping[str, Any]) -> list[int]:
    """Leave out what is too much for a request: the beginning, but not the mark of a text's start, or the end."""
    most, side = fields.get("truncate_prompt_tokens"), fields.get("truncation_side")
    if type(most) is not int or not 0 < most < len(ids):
        return ids
    if side == "right":
        return ids[:most]
    if side is None and isinstance(fields.get("prompt"), str | list) and ids[0] == START:
        return [START, *ids[len(ids) - most + 1 :]]
    return ids[-most:]


def _whole_prompts(fields: Mapping[str, Any]) -> list[list[int]]:
    if "messages" not in fields:
        start = [START] if fields.get("add_special_tokens", True) else []
        return [
            [*start, *text_ids(each)] if isinstance(each, str) else [*each] for each in prompts(fields.get("prompt"))
        ]
    messages = fields["messages"]
    if not messages or not is_array(messages):
        return []
    try:
        return [_conversation(messages, fields.get("tools") or ())]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):  # only a script answers it
        return []


def prompts(prompt: object) -> Sequence[str | Sequence[int]]:
    """Return the prompts of a request, as vLLM reads them; none of what no server takes."""
    try:
        read = _PROMPT.validate_python(prompt)
    except ValidationError:
        return []
    if isinstance(read, str):
        return [read] if read else []
    numbers = [each for each in read if isinstance(each, int)]
    several = [numbers] if numbers else [each for each in read if not isinstance(each, int)]
    is_known = all(token < VOCABULARY for each in several if not isinstance(each, str) for token in each)
    return several if is_known else []


def spelled(ids: Iterable[int]) -> str:
    """Return what tokens spell; half a character is U+FFFD."""
    return b"".join(map(_bytes, ids)).decode(errors="replace")


def first_tokens(text: str, limit: int) -> str:
    """Return what the first tokens of a text spell; a character whose last byte is missing is left out."""
    return b"".join(map(_bytes, text_ids(text)[:limit])).decode(errors="ignore")


def _bytes(token: int) -> bytes:
    if token >= CONTROLS:
        return _encoding().decode_single_token_bytes(token - CONTROLS)
    known = _NAMES[token] if token < len(_NAMES) else _LATER_NAMES.get(token, f"<SPECIAL_{token}>")
    return known.encode()


def _conversation(messages: Sequence[Any], tools: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return what template v13 makes of a conversation (docs/explanation/protocol.md, "Counting tokens")."""
    ids = [START]
    before = ""
    for role, group in groupby(_in_order_of_calls(messages), key=itemgetter("role")):
        run = [*group]
        if before == "assistant":
            ids.append(END)
        if role == "user" and tools:
            ids += _between(_TOOLS, _encode([_definition(tool["function"]) for tool in tools]))
            tools = ()
        texts = [content_text(message) for message in run]
        joined = "\n\n".join(filter(None, texts))
        if role == "assistant":
            ids += [*text_ids(joined.rstrip(" ")), *_calls(run)]
        else:
            each = [joined] if role == "user" else texts
            ids += chain.from_iterable(_between(_AROUND[role], text) for text in each)
        before = role
    return ids


def _in_order_of_calls(messages: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield messages, the results of tools in the order of their calls."""
    order: list[str] = []
    for role, group in groupby(messages, key=itemgetter("role")):
        run = [*group]
        if role == "assistant":
            order += [str(last_nine(call["id"])) for message in run for call in message.get("tool_calls") or ()]
        elif role == "tool":
            places = {known: place for place, known in enumerate(order)}
            places = {**{known: len(order) + place for place, known in enumerate(map(_answered, run))}, **places}
            run.sort(key=lambda message: places[_answered(message)])
            order = []
        yield from run


def _answered(message: Mapping[str, Any]) -> str:
    return str(last_nine(message["tool_call_id"]))


def last_nine(known: object) -> object:
    """Return as much of a call's id as vLLM looks at."""
    return known[-9:] if isinstance(known, str) else known


def _between(marks: tuple[int, int], text: str) -> list[int]:
    return [marks[0], *text_ids(text), marks[1]]


def _calls(messages: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call["function"]
            yield from (*call_ids(function["name"]), *text_ids(read_arguments(function.get("arguments"))))


def read_arguments(given: object) -> str:
    """Write arguments as vLLM shows them to the model: read first, and ``{}`` in place of what is no object."""
    try:
        read = json.loads(given or "{}") if isinstance(given, str | None) else given
    except (ValueError, RecursionError):
        return "{}"
    return _encode(read) if is_object(read) else "{}"


def _definition(function: Mapping[str, Any]) -> dict[str, object]:
    empty: dict[str, object] = {"name": "", "description": "", "parameters": {}}
    return {"type": "function", "function": {name: function.get(name) or none for name, none in empty.items()}}


def _encoding() -> "Encoding":
    from nemotron_client._tekken import ENCODING

    return ENCODING
