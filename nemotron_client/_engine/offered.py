"""The tools that a request offers: names that the model takes, schemas of draft 7; and what an answer makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from pydantic_core import from_json, to_json

from nemotron_client._json import is_array, is_object
from nemotron_client.completions import CUT_SHORT, ChatCompletion, ChatCompletionChunk, Choice
from nemotron_client.errors import ToolDefinitionError
from nemotron_client.messages import Repair

from .naming import Substitutes
from .raw_calls import recovered_calls

_NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}
_LONGEST_REASON = 200


def names_of(tools: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the tools' names, of those that have one."""
    functions = [tool.get("function") for tool in tools]
    names = [function.get("name") for function in functions if is_object(function)]
    return [name for name in names if isinstance(name, str)]


def wire_tools(
    tools: Sequence[Mapping[str, object]], names: Substitutes, repairs: list[Repair]
) -> list[Mapping[str, object]]:
    """Check the tools and put right what can be.

    Args:
        tools: The caller's; they are not changed.
        names: What is sent for their names.
        repairs: Each repair is added to it.

    Raises:
        ToolDefinitionError: A tool without a name, two of one name, or parameters that are no schema.
    """
    places: dict[str, str] = {}
    return [_wire_tool(tool, f"tools[{index}]", names, places, repairs) for index, tool in enumerate(tools)]


def _wire_tool(
    tool: Mapping[str, object], place: str, names: Substitutes, places: dict[str, str], repairs: list[Repair]
) -> Mapping[str, object]:
    function = tool.get("function")
    if not is_object(function):
        msg = f'{place} has no function: give {{"type": "function", "function": {{"name": ..., "parameters": ...}}}}.'
        raise ToolDefinitionError(msg, parameter=f"{place}.function")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        msg = f"{place} has the name {name!r}: give one of up to 64 letters, digits, underscores and dashes."
        raise ToolDefinitionError(msg, parameter=f"{place}.function.name")
    if name in places:
        msg = f"{place} has the name {name!r}, which {places[name]} has too: give each tool a name of its own."
        raise ToolDefinitionError(msg, parameter=f"{place}.function.name")
    places[name] = place
    changed: dict[str, object] = {}
    sent = names.of(name)
    if sent != name:
        changed["name"] = sent
        repairs.append(Repair("tool_name", None, f"{refused_name(name)}; {place} is sent as {sent!r}."))
    if function.get("parameters") is None:
        changed["parameters"] = _NO_PARAMETERS
        repairs.append(
            Repair("parameters", None, f"The tool {name!r} has no parameters; it is sent as one that takes none.")
        )
    else:
        _check_schema(function["parameters"], name, f"{place}.function.parameters")
    return {**tool, "function": {**function, **changed}} if changed else tool


def refused_name(name: object) -> str:
    """Say what is wrong with a name."""
    return f"The tool name {name!r} is not up to 64 letters, digits, underscores and dashes"


def wire_choice(choice: object, offered: Sequence[str], names: Substitutes) -> object:
    """Return ``tool_choice`` with the name that is sent for the tool.

    Raises:
        ToolDefinitionError: There are tools, and it names none of them.
    """
    function = choice.get("function") if is_object(choice) else None
    name = function.get("name") if is_object(function) else None
    if not offered or not is_object(choice) or not is_object(function) or not isinstance(name, str):
        return choice
    if name not in offered:
        msg = f"tool_choice names the tool {name!r}, which is not among tools: {', '.join(offered)}."
        raise ToolDefinitionError(msg, parameter="tool_choice")
    sent = names.of(name)
    return choice if sent == name else {**choice, "function": {**function, "name": sent}}


def restore_names(answer: ChatCompletion | ChatCompletionChunk, names: Mapping[str, str]) -> None:
    """Give the called tools of an answer the caller's names again, in place.

    Args:
        answer: Fresh from the server; a chunk's names are known if they came in one piece.
        names: The caller's name for each name that was sent in its place.
    """
    for choice in answer.choices:
        part = choice.message if isinstance(choice, Choice) else choice.delta
        for call in part.tool_calls or ():
            function = call.function
            if function is not None and function.name is not None:
                function.name = names.get(function.name, function.name)


def restore(
    answer: ChatCompletion, *, offered: Collection[str], names: Mapping[str, str], ran_out: bool = False
) -> None:
    """Put a whole answer right, in place: calls out of its text or cut before their arguments, names of its tools.

    Args:
        answer: Fresh from the server.
        offered: The names of the tools, as they were sent.
        names: The caller's name for each name that was sent in its place.
        ran_out: Whether it has all the tokens that it could have.
    """
    for choice in answer.choices:
        _mark_cut(choice, ran_out=ran_out and len(answer.choices) == 1)  # usage is that of all of them
    if offered:
        for choice in answer.choices:
            message = choice.message
            found = None if message.tool_calls else recovered_calls(message.content or "", offered, seed=answer.id)
            if found is not None and found.calls:
                message.content, message.tool_calls = found.text or None, list(found.calls)
            elif found is not None:
                choice.finish_reason = "length"  # a call that was cut off: it stays text, and the answer isn't whole
    if names:
        restore_names(answer, names)


def _mark_cut(choice: Choice, *, ran_out: bool) -> None:
    # vLLM tells of a call that was cut before its arguments, in its name even, as of one without any, and says
    # "tool_calls" where the model called of its own accord; a stream has what it is given here
    # (docs/explanation/protocol.md, "Answers"). A whole one that ends with the last token can't be told from it.
    function = choice.message.tool_calls[-1].function if choice.message.tool_calls else None
    if function is None or function.arguments != "{}":
        return
    if choice.finish_reason in CUT_SHORT:
        function.arguments = ""
    elif ran_out and choice.finish_reason == "tool_calls":
        function.arguments, choice.finish_reason = "", "length"


def _check_schema(schema: object, name: str, place: str) -> None:
    if not is_object(schema):
        msg = f"The tool {name!r} has parameters of type {type(schema).__name__}: give a JSON Schema of an object."
        raise ToolDefinitionError(msg, parameter=place)
    text = as_json(schema)
    problem = None if text is None else _problem(text)
    if problem is not None:
        where, reason = problem
        msg = f"The tool {name!r} has parameters that are no JSON Schema of draft 7: {place}{where}: {reason}."
        raise ToolDefinitionError(msg, parameter=place + where)


def as_json(value: object) -> bytes | None:
    """Write a value as JSON; None if it can't be, which is told where the whole request is written."""
    try:
        return to_json(value, fallback=_plain)
    except ValueError:
        return None


def _plain(value: object) -> object:
    if is_object(value):
        return dict(value)
    if is_array(value):
        return list(value)
    raise ValueError(value)


@lru_cache(maxsize=256)  # an agent offers the same tools with each request
def _problem(text: bytes) -> tuple[str, str] | None:
    """Find where a schema is none, as a path into it, and why."""
    from jsonschema import Draft7Validator  # 60 ms to import
    from jsonschema.exceptions import SchemaError

    try:
        Draft7Validator.check_schema(from_json(text))
    except SchemaError as error:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        reason = error.message
        return path, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
    except (ValueError, RecursionError):
        return "", "it is nested too deeply"
    return None
