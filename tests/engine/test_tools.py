"""Tools: what they are made of, what they tell the model, how a call is read and run."""

import asyncio
import inspect
import pydoc
from collections.abc import Callable, Hashable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from datetime import date
from enum import Enum
from functools import partial, wraps
from types import MethodType
from typing import Annotated, Any, Literal, SupportsInt

import pytest
from pydantic import BaseModel

from nemotron_client.errors import ToolArgumentsError, ToolDefinitionError
from nemotron_client.tools import Tool, ToolContext, as_tool, result_text, tool
from tests.engine.calling import called, give, give_text, refused, undefinable


@tool
def get_weather(city: str, days: int = 3) -> str:
    """Get the weather.

    Made by hand.

    Args:
        city: Name of the city.
        days: How many days.

    Returns:
        A sentence.

    Raises:
        ValueError: There is no such city.
    """
    return f"{city}: {days}"


@tool(name="look_up", description="Look it up.", needs_approval=True, timeout=2.5)
async def search(query: str) -> list[str]:
    return [query]


def test_a_tool_tells_the_model_what_its_function_says() -> None:
    assert get_weather.definition == {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the weather.\n\nMade by hand.\n\nReturns:\n    A sentence.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city."},
                    "days": {"type": "integer", "description": "How many days.", "default": 3},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    assert (get_weather.needs_approval, get_weather.timeout, get_weather.is_async) == (False, None, False)


def test_what_the_decorator_is_told_counts_more() -> None:
    assert (search.name, search.description) == ("look_up", "Look it up.")
    assert (search.needs_approval, search.timeout, search.is_async) == (True, 2.5, True)


def test_without_a_docstring_there_is_no_description() -> None:
    def silent() -> None: ...

    made = Tool.from_function(silent)
    assert made.description == ""
    assert "description" not in str(made.definition)


def test_a_tool_can_be_called_like_its_function() -> None:
    assert get_weather("Paris", days=1) == "Paris: 1"
    assert asyncio.run(search("x")) == ["x"]  # asyncio itself: no clock, no network


def test_a_tool_is_documented_like_its_function() -> None:
    assert list(inspect.signature(get_weather).parameters) == ["city", "days"]
    assert get_weather.__name__ == "get_weather"
    assert get_weather.__doc__ is not None
    assert "Name of the city." in pydoc.plain(pydoc.render_doc(get_weather))
    assert repr(get_weather) == "<Tool get_weather>"


def test_nothing_runs_before_the_bound_call_is_called() -> None:
    ran: list[str] = []
    bound = Tool.from_function(ran.append, name="note").bind(called('{"object": "x"}'))
    assert ran == []
    assert bound() is None
    assert ran == ["x"]


def test_the_bound_call_of_an_async_tool_gives_what_to_await() -> None:
    bound = search.bind(called('{"query": "x"}'))
    waiting = bound()
    assert inspect.iscoroutine(waiting)
    assert asyncio.run(waiting) == ["x"]


def test_a_bad_call_says_so_before_anything_runs() -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        get_weather.bind(called('{"days": 1}'))
    assert str(caught.value) == "get_weather: city: field required"
    assert (caught.value.tool_name, caught.value.arguments) == ("get_weather", '{"days": 1}')


@dataclass
class User:
    name: str


def test_a_context_is_passed_and_never_shown() -> None:
    def greet(context: ToolContext[User], word: str) -> str:
        return f"{word}, {context.value.name} ({context.tool_call.id})"

    made = tool(greet)
    assert list(made.parameters["properties"]) == ["word"]  # type: ignore[call-overload] # a schema has them
    assert give_text(made, '{"word": "Hi"}', User("Ann")) == "Hi, Ann (abcdefghi)"
    assert refused(made, word="Hi", context=1) == "context: unknown argument"


@pytest.mark.parametrize(
    "annotation",
    [ToolContext, ToolContext[User], ToolContext[User] | None, Annotated[ToolContext[User], "described"]],
    ids=str,
)
def test_a_context_is_known_by_its_annotation(annotation: object) -> None:
    def greet(*, hidden: object = None) -> object:
        return hidden

    greet.__annotations__["hidden"] = annotation
    assert tool(greet).parameters["properties"] == {}
    assert give_text(greet, "{}", 5) == ToolContext(5, called("{}"))


@pytest.mark.parametrize(
    ("annotation", "needed"),
    [
        (ToolContext[User], True),
        (Annotated[ToolContext[User], "described"], True),
        (ToolContext[dict[str, int]], True),
        (ToolContext[User | str], True),
        (ToolContext[User | None], False),
        (ToolContext[User] | None, False),
        (ToolContext[None], False),
        (ToolContext[object], False),
        (ToolContext[Any], False),
        (ToolContext[Annotated[User | None, "described"]], False),
        (ToolContext[Annotated[Any, "described"]], False),
        (ToolContext[Annotated[User, "described"]], True),
        (ToolContext[Hashable], False),  # which None is
        (ToolContext[SupportsInt], False),  # of protocols nothing is certain
        (ToolContext[Literal["a"]], False),  # which is more than is looked at
        (ToolContext, False),
        (str, False),
    ],
    ids=str,
)
def test_a_context_is_needed_where_its_type_says_that_it_is_never_none(annotation: object, *, needed: bool) -> None:
    def greet(word: str, hidden: object) -> object:
        return word, hidden

    def read(arguments: dict[str, object], hidden: object) -> object:
        return arguments, hidden

    for function in (greet, read):
        function.__annotations__["hidden"] = annotation
    assert tool(greet).needs_context is needed
    assert Tool.from_schema("read", {"type": "object"}, read).needs_context is needed


def test_a_function_of_no_module_can_be_a_tool() -> None:
    code = "@tool\ndef double(x: int) -> int:\n    return 2 * x\n"
    names: dict[str, Any] = {"tool": tool}
    exec(code, names)  # noqa: S102 - as a sandbox or a runner of documentation does it
    assert names["double"].parameters["required"] == ["x"]


def test_a_context_does_not_change() -> None:
    context = ToolContext(1, called("{}"))
    with pytest.raises(FrozenInstanceError):
        context.value = 2  # type: ignore[misc] # that is the point


def over_100(arguments: Mapping[str, object]) -> bool:
    return isinstance(arguments["amount"], int) and arguments["amount"] > 100


@pytest.mark.parametrize(
    ("needs_approval", "arguments", "needed"),
    [
        (False, '{"amount": 500}', False),
        (True, '{"amount": 5}', True),
        (over_100, '{"amount": 100}', False),
        (over_100, '{"amount": "101"}', True),  # the function sees what the tool will get
        (over_100, "{}", True),  # with its defaults
    ],
)
def test_a_function_may_decide_which_calls_need_approval(
    needs_approval: bool | Callable[[Mapping[str, object]], bool],  # noqa: FBT001 - a case of the table
    arguments: str,
    needed: bool,  # noqa: FBT001
) -> None:
    def pay(amount: int = 500) -> None: ...

    bound = Tool.from_function(pay, needs_approval=needs_approval).bind(called(arguments))
    assert bound.needs_approval is needed


def test_who_decides_about_a_call_can_not_change_it() -> None:
    bound = get_weather.bind(called('{"city": "Paris"}'))
    assert bound.arguments == {"city": "Paris", "days": 3}
    with pytest.raises(TypeError):
        bound.arguments["city"] = "Rome"  # type: ignore[index] # that is the point


class Agent:
    """Something with methods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def plain(self, query: str) -> str:
        """Search plainly."""
        return f"{self.name}: {query}"

    @tool(needs_approval=True, timeout=1)
    def search(self, query: str, times: int = 1) -> str:
        """Search.

        Args:
            query: Words.
        """
        return f"{self.name}: {query}" * times

    @classmethod
    @tool(needs_approval=True)
    def of_class(cls, query: str) -> str:
        return f"{cls.__name__}: {query}"

    @staticmethod
    @tool
    def of_nobody(query: str) -> str:
        return query

    @tool
    @staticmethod
    def of_nobody_either(query: str) -> str:
        return query

    def __call__(self, query: str) -> str:
        """Ask the agent.

        Args:
            query: Words.
        """
        return f"{self.name}? {query}"

    weather = get_weather


def echo(arguments: dict[str, object]) -> object:
    return arguments


class HasRaw:
    raw = Tool.from_schema("raw", {}, echo)


def test_a_bound_method_is_a_tool() -> None:
    made = as_tool(Agent("A").plain)
    assert (made.name, made.description) == ("plain", "Search plainly.")
    assert give(made, query="x") == "A: x"


def test_a_method_can_be_declared_a_tool_in_its_class() -> None:
    one, other = Agent("A").search, Agent("B").search
    assert give(one, query="x", times="2") == "A: xA: x"
    assert (one("x"), other("x"), Agent.search(Agent("C"), "x")) == ("A: x", "B: x", "C: x")
    assert (one.name, one.needs_approval, one.timeout) == ("search", True, 1)
    assert one.parameters["properties"] == {
        "query": {"type": "string", "description": "Words."},
        "times": {"type": "integer", "default": 1},
    }


def test_a_method_without_its_object_is_no_tool() -> None:
    error = undefinable(Agent.search)
    assert str(error) == "Tool search: self is missing: give the method of an object, like agent.search."
    assert error.parameter == "self"
    assert undefinable(Agent.plain).parameter == "self"


def test_class_methods_and_static_methods_are_tools() -> None:
    made = as_tool(Agent.of_class)
    assert (give(made, query="x"), made.needs_approval) == ("Agent: x", True)
    bound = as_tool(MethodType(Agent.search, Agent("A")))  # as Python 3.13 binds a tool below @classmethod
    assert (give(bound, query="x"), bound.needs_approval) == ("A: x", True)
    assert give(Agent.of_nobody, query="x") == "x"
    assert give(Agent("A").of_nobody, query="x") == "x"
    assert give(Agent("A").of_nobody_either, query="x") == "x"


def test_a_tool_from_elsewhere_is_no_method_of_a_class_that_has_it_as_attribute() -> None:
    weather: object = get_weather
    assert Agent("A").weather is weather
    raw: object = vars(HasRaw)["raw"]
    assert HasRaw().raw is raw


def test_an_object_that_can_be_called_is_a_tool_named_like_its_class() -> None:
    made = as_tool(Agent("A"))
    assert (made.name, made.description) == ("Agent", "Ask the agent.")
    assert give(made, query="x") == "A? x"
    assert "Words." in str(made.parameters)


def test_an_object_without_a_docstring_is_described_by_its_class() -> None:
    class Asker:
        """Ask."""

        async def __call__(self, query: str) -> str:
            return query

    made = as_tool(Asker())
    assert (made.description, made.is_async) == ("Ask.", True)


def test_what_a_partial_gives_the_model_neither_sees_nor_changes() -> None:
    def pay(key: str, amount: int, to: str = "Ann") -> str:
        """Pay."""
        return f"{key} {amount} {to}"

    for made in (as_tool(partial(pay, "secret", to="Bob")), as_tool(partial(partial(pay, to="Bob"), key="secret"))):
        assert (made.name, made.description) == ("pay", "Pay.")
        assert "secret" not in str(made.definition)
        assert "Bob" not in str(made.definition)
        assert give(made, amount=5) == "secret 5 Bob"
        assert refused(made, amount=5, key="k", to="Eve") == "key: unknown argument; to: unknown argument"


def test_what_a_partial_gives_is_safe_where_any_argument_is_taken() -> None:
    def pay(amount: int, key: str = "", ctx: ToolContext[int] | None = None, **more: int) -> object:
        return amount, key, ctx, more

    made = as_tool(partial(pay, key="secret"))
    text = '{"amount": 5, "more": 1, "made": 2}'
    context = ToolContext(None, called(text))
    assert give_text(made, text) == (5, "secret", context, {"more": 1, "made": 2})
    assert refused(made, amount=5, key=1, ctx=2) == "ctx: unknown argument; key: unknown argument"


def test_a_decorated_function_is_described_by_the_function_inside() -> None:
    def loud(function: Callable[..., str]) -> Callable[..., str]:
        @wraps(function)
        def wrapper(*args: object, **kwargs: object) -> str:
            return function(*args, **kwargs).upper()

        return wrapper

    @loud
    def speak(word: str) -> str:
        """Speak."""
        return word

    made = as_tool(speak)
    assert (made.name, made.description) == ("speak", "Speak.")
    assert give(made, word="a") == "A"


@pytest.mark.parametrize(
    "hidden",
    [
        lambda: partial(search, "x"),
        lambda: tool(search),
        lambda: wraps(search)(echo),
        lambda: Tool.from_function(search, name="other"),
    ],
    ids=["partial", "twice", "decorated", "renamed"],
)
def test_no_settings_are_lost_by_putting_something_around_a_tool(hidden: Callable[[], Callable[..., object]]) -> None:
    with pytest.raises(ToolDefinitionError, match="whose settings would be lost"):
        as_tool(hidden())


def yields() -> object:
    yield 1


async def yields_asynchronously() -> object:
    yield 1


def unreadable() -> None: ...


vars(unreadable)["__signature__"] = "none"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda: 1, "Tool <lambda>: a lambda has no name: give name=."),
        (User, "Tool User: it is a class: give a function that makes one."),
        (yields, "Tool yields: it yields: return a list instead."),
        (partial(yields_asynchronously), "Tool yields_asynchronously: it yields: return a list instead."),
        ("get_weather", "Tool 'get_weather': it is no function: give the function itself, without calling it."),
        (print, "Tool print: the model can't give *args, which has no names: take a list instead."),
        (unreadable, "Tool unreadable: its signature can't be read: wrap it in a function of your own."),
        (
            {"type": "function"},
            "Tool defined by a dict: there is no function to run: use Tool.from_schema(name, parameters, function).",
        ),
    ],
)
def test_what_can_not_be_a_tool_is_told_why(value: Callable[..., object], text: str) -> None:
    assert str(undefinable(value)) == text


def test_a_lambda_with_a_name_is_a_tool() -> None:
    shout: Callable[[str], str] = lambda word: word.upper()  # noqa: E731 - that is the point
    assert give(Tool.from_function(shout, name="shout"), word="x") == "X"


async def decided_later(arguments: Mapping[str, object]) -> bool:
    return bool(arguments)


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1.5}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"needs_approval": "yes"}, "needs_approval"),
        ({"needs_approval": None}, "needs_approval"),
        ({"needs_approval": decided_later}, "needs_approval"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(options: dict[str, object], parameter: str) -> None:
    with pytest.raises(ToolDefinitionError, match=parameter) as caught:
        Tool.from_function(no_arguments, **options)  # type: ignore[arg-type] # that is the point
    assert caught.value.parameter == parameter


def no_arguments() -> None: ...


def test_a_tool_stays_the_tool_it_is() -> None:
    assert as_tool(get_weather) is get_weather


class Color(str, Enum):  # noqa: UP042 - people write it
    RED = "red"


class Place(BaseModel):
    name: str
    since: date | None = None


class Odd:
    def __str__(self) -> str:
        return "an odd thing"

    def __repr__(self) -> str:
        return "Odd()"


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("18 °C", "18 °C"),
        ("", ""),
        (Color.RED, "red"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ([Place(name="Zürich", since=date(2020, 1, 2))], '[{"name":"Zürich","since":"2020-01-02"}]'),
        (User("Ann"), '{"name":"Ann"}'),
        (date(2020, 1, 2), '"2020-01-02"'),
        (b"abc", '"abc"'),
        (b"\xff", "b'\\xff'"),
        ({"odd": Odd()}, '{"odd":"an odd thing"}'),
        (CYCLE, "[[...]]"),
        ("half \ud83d", "half �"),
        ("whole \ud83d\ude00", "whole 😀"),
        (["half \ud83d"], "['half \\ud83d']"),
    ],
    ids=ascii,
)
def test_a_result_is_text_as_it_is_and_anything_else_json(value: object, text: str) -> None:
    assert result_text(value).encode() == text.encode()
