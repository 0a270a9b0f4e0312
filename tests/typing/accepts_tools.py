"""What tools are to a user's checker; checked by `checkers.py`, never run."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, assert_type

from nemotron_client import ToolCall
from nemotron_client.errors import ToolArgumentsError, ToolDefinitionError, ToolError
from nemotron_client.tools import BoundCall, Tool, ToolContext, as_tool, result_text, tool


@tool
def get_weather(city: str, days: int = 3) -> str:
    if not city:
        raise ToolError("Which city?")
    return f"{city}: {days}"


@tool(name="look_up", description="Look it up.", needs_approval=True, timeout=5)
async def search(query: str) -> list[str]:
    return [query]


@tool()
def plain() -> None: ...


class User:
    name = "Ann"


def greet(context: ToolContext[User], word: str) -> str:
    assert_type(context.value.name, str)
    assert_type(context.tool_call, ToolCall)
    return word + context.value.name


def approves(arguments: Mapping[str, object]) -> bool:
    return bool(arguments)


async def a_tool_is_called_like_its_function() -> None:
    assert_type(get_weather("Paris"), str)
    assert_type(get_weather("Paris", days=1), str)
    assert_type(get_weather(city="Paris"), str)
    assert_type(await search("x"), list[str])
    assert_type(tool(greet, needs_approval=approves)(word="Hi", context=ToolContext(User(), ToolCall())), str)
    plain()


class Agent:
    @tool
    def method(self, query: str, limit: int = 10) -> list[str]:
        return [query] * limit


def a_method_becomes_a_tool_of_its_object(agent: Agent) -> None:
    assert_type(agent.method("x", limit=2), list[str])
    assert_type(agent.method(query="x"), list[str])
    assert_type(Agent.method(agent, "x"), list[str])
    assert_type(agent.method.name, str)


def tools_are_offered_together(agent: Agent) -> None:
    functions: list[Callable[..., object]] = [get_weather, search, agent.method, greet, partial(greet, word="x")]
    tools: list[Tool[..., object]] = [get_weather, search, agent.method]
    assert_type([as_tool(each) for each in functions], list[Tool[..., object]])
    assert_type([each.definition for each in tools], list[dict[str, object]])


def a_tool_may_come_with_a_schema(schema: dict[str, Any], session: Callable[[str, object], Awaitable[str]]) -> None:
    def call(arguments: dict[str, object]) -> int:
        return len(arguments)

    async def call_with_context(arguments: dict[str, Any], context: ToolContext[User]) -> str:
        return await session(context.value.name, arguments)

    def call_read_only(arguments: Mapping[str, object]) -> int:
        return len(arguments)

    assert_type(Tool.from_schema("call", schema, call, description="Call.")({"a": 1}), int)
    Tool.from_schema("call", {"type": "object"}, call_with_context, needs_approval=True, timeout=5)
    Tool.from_schema("call", {"type": "object"}, call_read_only)
    Tool.from_schema("call", {"type": "object"}, lambda arguments: session("call", arguments))


def what_is_known_of_a_tool_is_typed() -> None:
    assert_type(get_weather.name, str)
    assert_type(get_weather.description, str)
    assert_type(get_weather.parameters, Mapping[str, object])
    assert_type(get_weather.definition, dict[str, object])
    assert_type(get_weather.needs_approval, bool | Callable[[Mapping[str, object]], bool])
    assert_type(get_weather.timeout, float | None)
    assert_type(get_weather.is_async, bool)


def a_call_is_bound_and_run(call: ToolCall, user: User) -> None:
    try:
        bound = get_weather.bind(call, user)
    except ToolArgumentsError as error:
        assert_type(error.tool_name, str)
        assert_type(error.arguments, str)
    except ToolDefinitionError as error:
        assert_type(error.parameter, str | None)
    else:
        assert_type(bound, BoundCall)
        assert_type(bound.needs_approval, bool)
        assert_type(bound.arguments, Mapping[str, object])
        assert_type(result_text(bound()), str)
