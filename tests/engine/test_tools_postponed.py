"""Functions of a module whose annotations are all strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from nemotron_client.tools import ToolContext, tool
from tests.engine.calling import give, give_text, undefinable

if TYPE_CHECKING:
    from tests.engine.tool_functions import Place


@tool
def order(what: Item, count: Annotated[int, Field(le=9)] = 1, *, context: ToolContext[int] | None = None) -> object:
    return what, count, context.value if context else None


class Item(BaseModel):
    name: str
    parts: list[Item] = []


def test_names_may_be_defined_later() -> None:
    item = Item(name="a", parts=[Item(name="b")])
    assert give(order, what={"name": "a", "parts": [{"name": "b"}]}, count="2") == (item, 2, None)


def test_a_context_is_found() -> None:
    assert give_text(order, '{"what": {"name": "a"}}', context=5) == (Item(name="a"), 1, 5)


def test_classes_of_the_place_where_the_tool_is_made_are_found() -> None:
    class Local(BaseModel):
        x: int

    @tool
    def use(local: Local, others: list[Local]) -> object:
        return local, others

    assert give(use, local={"x": 1}, others=[{"x": 2}]) == (Local(x=1), [Local(x=2)])


def test_what_only_type_checkers_import_is_asked_for() -> None:
    def go(place: Place) -> None: ...

    reason = "define or import what it names in the function's module, not for type checkers only"
    assert str(undefinable(go)) == f"Tool go: the annotation 'Place' of place can't be read: {reason}."
