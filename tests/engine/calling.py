"""Calls of tools as the model would make them."""

import json
from collections.abc import Callable

import pytest

from nemotron_client.errors import ToolArgumentsError, ToolDefinitionError
from nemotron_client.messages import FunctionCall, ToolCall
from nemotron_client.tools import Tool, as_tool


def called(arguments: str) -> ToolCall:
    return ToolCall(id="abcdefghi", function=FunctionCall(name="any", arguments=arguments))


def give(function: Callable[..., object], /, **arguments: object) -> object:
    """Run a tool with these arguments, and return what it returns."""
    return give_text(function, json.dumps(arguments))


def give_text(function: Callable[..., object], text: str, context: object = None) -> object:
    return as_tool(function).bind(called(text), context)()


def refused(function: Callable[..., object], /, **arguments: object) -> str:
    return refused_text(function, json.dumps(arguments))


def refused_text(function: Callable[..., object], text: str) -> str:
    """Return what the model is told of these arguments."""
    with pytest.raises(ToolArgumentsError) as caught:
        as_tool(function).bind(called(text), None)
    assert caught.value.arguments == text
    assert caught.value.__suppress_context__
    return str(caught.value).removeprefix(f"{caught.value.tool_name}: ")


def undefinable(function: Callable[..., object] | Callable[[], Tool[..., object]]) -> ToolDefinitionError:
    """Return the error that a function, or what makes a tool, ends with at the latest when it is offered."""
    with pytest.raises(ToolDefinitionError) as caught:
        _ = as_tool(function).definition
    return caught.value
