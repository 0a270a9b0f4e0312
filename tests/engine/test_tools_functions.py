"""Functions as tools: which signatures there may be, what they become, and which can't be read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required, TypeVar
from uuid import UUID

import pytest
from jsonschema import Draft7Validator
from pydantic import AliasChoices, BaseModel, Field, ValidationInfo, field_validator
from typing_extensions import ReadOnly, TypedDict, Unpack

from nemotron_client.tools import Tool, ToolContext, as_tool, tool
from tests.engine.calling import called, give, give_text, refused, undefinable
from tests.engine.tool_functions import (
    FUNCTIONS,
    Address,
    Cat,
    Filters,
    Page,
    Place,
    Point,
    Priority,
    Tree,
    Trip,
    Unit,
)

T = TypeVar("T")


def properties(function: Callable[..., object]) -> dict[str, Any]:
    schema: Any = as_tool(function).parameters
    found: dict[str, Any] = schema["properties"]
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_schema_is_draft_7_and_json(name: str) -> None:
    parameters = as_tool(FUNCTIONS[name]).parameters
    Draft7Validator.check_schema(parameters)
    assert json.loads(json.dumps(parameters)) == parameters


HERE = {"latitude": 1, "longitude": 2}
VALUES: list[tuple[object, object, object]] = [
    (int, 5, 5),
    (int, "5", 5),
    (float, 5, 5.0),
    (bool, "true", True),
    (str, "5", "5"),
    (int | str, "5", "5"),
    (int | None, "5", 5),
    (int | None, None, None),
    (Literal["5"] | int, "5", "5"),
    (date, "2020-01-02", date(2020, 1, 2)),
    (datetime, "2020-01-02T03:04:05Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (timedelta, "PT5M", timedelta(minutes=5)),
    (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
    (Decimal, "1.10", Decimal("1.10")),
    (bytes, "abc", b"abc"),
    (Path, "../x", Path("../x")),
    (Unit, "c", Unit.CELSIUS),
    (Priority, 2, Priority.HIGH),
    (set[str], ["a", "a"], {"a"}),
    (tuple[int, ...], [1, 2], (1, 2)),
    (dict[str, int], {"a": "1"}, {"a": 1}),
    (Place, HERE, Place(latitude=1, longitude=2)),
    (Place, json.dumps(HERE), Place(latitude=1, longitude=2)),
    (list[Place], [HERE], [Place(latitude=1, longitude=2)]),
    (list[int], "[1, 2]", [1, 2]),
    (Address, {"street": "A", "zip_code": "12345"}, Address("A", "12345", [])),
    (Filters, {"year": "2020"}, {"year": 2020}),
    (Point, [1, 2], Point(1, 2)),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree(name="a", children=[Tree(name="b")])),
    (Page[int], {"items": ["1"], "number": 1}, Page[int](items=[1], number=1)),
    (Annotated[Cat | None, Field(description="A cat.")], {"kind": "cat", "lives": 9}, Cat(kind="cat", lives=9)),
    (object, {"a": [1]}, {"a": [1]}),
    (T, {"a": [1]}, {"a": [1]}),
]


@pytest.mark.parametrize(("kind", "given", "value"), VALUES, ids=repr)
def test_a_function_gets_python_values(kind: object, given: object, value: object) -> None:
    def keep(value: object) -> object:
        return value

    keep.__annotations__["value"] = kind
    got = give(keep, value=given)
    assert got == value
    assert type(got) is type(value)


def test_defaults_are_the_functions_own() -> None:
    lock = Lock()

    def work(place: Place = Place(latitude=1, longitude=2), lock: object = lock, unit: Unit = Unit.CELSIUS) -> object:  # noqa: B008
        return place, lock, unit

    assert give(work) == (Place(latitude=1, longitude=2), lock, Unit.CELSIUS)
    assert properties(work)["place"]["default"] == {"latitude": 1.0, "longitude": 2.0, "label": None}
    assert properties(work)["lock"] == {}
    assert properties(work)["unit"]["default"] == "c"


def test_a_field_may_stand_for_a_default_or_in_an_annotation() -> None:
    def work(
        days: int = Field(default=3, ge=1, description="How many."),
        names: Annotated[list[str], Field(default_factory=lambda: ["a"])] = Field(),  # noqa: B008
        times: Annotated[int, Field(default=2)] = Field(le=5),
    ) -> object:
        return days, names, times

    assert give(work) == (3, ["a"], 2)
    assert properties(work)["days"] == {"type": "integer", "minimum": 1, "default": 3, "description": "How many."}
    assert properties(work)["times"] == {"type": "integer", "maximum": 5, "default": 2}


def test_a_bare_text_in_an_annotation_is_a_description() -> None:
    def work(
        city: Annotated[str, "Its name."],
        days: Annotated[int, Field(ge=1), "Ahead."] = 3,
        unit: Annotated[str, "Of what.", Field(description="Of temperature.")] = "c",
    ) -> object:
        """Work.

        Args:
            city: Unseen.
        """
        return city, days, unit

    described = {name: each["description"] for name, each in properties(work).items()}
    assert described == {"city": "Its name.", "days": "Ahead.", "unit": "Of temperature."}


def test_an_alias_is_the_name_for_the_model() -> None:
    def move(
        from_: Annotated[str, Field(alias="from")],
        to: Annotated[str, Field(validation_alias=AliasChoices("to", "into"))],
        by: str = Field(default="train", alias="with"),
    ) -> object:
        """Move.

        Args:
            from_: The start.
        """
        return from_, to, by

    assert list(properties(move)) == ["from", "to", "with"]
    assert properties(move)["from"]["description"] == "The start."
    assert give(move, **{"from": "a", "into": "b", "with": "c"}) == ("a", "b", "c")
    assert refused(move, from_="a", to="b") == "from: field required; from_: unknown argument"


def test_a_null_for_what_need_not_be_given_is_the_default() -> None:
    def work(days: int = 3, city: str = None, unit: Unit | None = Unit.CELSIUS) -> object:  # type: ignore[assignment] # noqa: RUF013 - people write it
        return days, city, unit

    assert give(work, days=None, city=None, unit=None) == (3, None, None)


def test_a_null_for_what_must_be_given_is_refused() -> None:
    def work(days: int) -> object:
        raise NotImplementedError

    assert refused(work, days=None) == "days: null should be a valid integer"


def test_parameters_may_have_any_name() -> None:
    def odd(*, schema: int, copy: int, json: int, _x: int, y_: int, model_config: int, p0: int, self_: int) -> object:
        return schema, copy, json, _x, y_, model_config, p0, self_

    names = ["schema", "copy", "json", "_x", "y_", "model_config", "p0", "self_"]
    assert list(properties(odd)) == names
    assert give(odd, **{name: n for n, name in enumerate(names)}) == tuple(range(8))


def test_positional_and_named_parameters_are_all_given_by_name() -> None:
    def work(ctx: ToolContext[int], a: int, /, b: int, *, c: int = 3) -> object:
        return ctx.value, a, b, c

    assert give_text(work, '{"b": 2, "a": 1}', context=0) == (0, 1, 2, 3)


def test_further_arguments_are_taken_where_the_function_takes_them() -> None:
    def label(name: str, **labels: int) -> object:
        return name, labels

    def note(**anything: object) -> object:
        return anything

    note.__annotations__.clear()
    assert give(label, name="a", x="1", labels=2) == ("a", {"x": 1, "labels": 2})
    assert refused(label, name="a", x="y").startswith('x: "y" should be a valid integer')
    assert as_tool(label).parameters["additionalProperties"] == {"type": "integer"}
    assert give(note, a=1, b=[2]) == {"a": 1, "b": [2]}


class Options(TypedDict, total=False):
    query: Required[Annotated[str, Field(description="Words.")]]
    limit: Annotated[int, Field(ge=1)]
    exact: NotRequired[ReadOnly[bool]]


def test_keywords_may_be_those_of_a_typed_dict() -> None:
    def find(**options: Unpack[Options]) -> object:
        return options

    assert as_tool(find).parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "Words."},
            "limit": {"type": "integer", "minimum": 1},
            "exact": {"type": "boolean"},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    assert give(find, query="x") == {"query": "x"}
    assert give(find, query="x", limit=2, exact=True) == {"query": "x", "limit": 2, "exact": True}
    assert refused(find, limit=0, other=1) == (
        "query: field required; limit: 0 should be greater than or equal to 1; other: unknown argument"
    )


def test_validators_of_the_users_models_are_heard() -> None:
    class Order(BaseModel):
        count: int

        @field_validator("count")
        @classmethod
        def even(cls, count: int, _: ValidationInfo) -> int:
            if count % 2:
                raise ValueError("count must be even")
            return count

    def order(order: Order) -> object:
        return order

    assert refused(order, order={"count": 3}) == "order.count: count must be even"


def test_one_class_used_twice_stays_a_definition_and_once_does_not() -> None:
    def plan(trip: Trip) -> None: ...

    parameters = as_tool(plan).parameters
    trip = properties(plan)["trip"]
    definitions: Any = parameters["$defs"]
    assert list(definitions) == ["Place"]
    assert trip["properties"]["start"] == {"$ref": "#/$defs/Place", "description": "Where it begins."}
    assert trip["properties"]["unit"]["enum"] == ["c", "f"]


def test_a_class_that_holds_itself_stays_a_definition() -> None:
    def grow(tree: Tree) -> None: ...

    assert properties(grow)["tree"] == {"$ref": "#/$defs/Tree"}
    assert "$defs" in as_tool(grow).parameters


def test_descriptions_of_a_parameter_and_of_its_class_stand_together() -> None:
    def go(place: Annotated[Place, Field(description="Where to go.")]) -> None: ...

    assert properties(go)["place"]["description"] == "Where to go.\nA place on earth."


def test_fields_that_are_named_like_words_of_json_schema_keep_their_names() -> None:
    class Book(BaseModel):
        title: str
        discriminator: int = 1
        properties: dict[str, str] = {}

    def read(book: Book) -> None: ...

    assert properties(read)["book"]["properties"] == {
        "title": {"type": "string"},
        "discriminator": {"type": "integer", "default": 1},
        "properties": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
    }


def test_items_of_a_named_tuple_keep_their_names() -> None:
    def draw(point: Point, pair: tuple[int, Annotated[str, Field(description="b")]]) -> None: ...

    assert [item.get("description") for item in properties(draw)["point"]["prefixItems"]] == ["X", "Y"]
    assert [item.get("description") for item in properties(draw)["pair"]["prefixItems"]] == [None, "b"]


def test_a_class_may_be_defined_after_the_function_that_names_it() -> None:
    assert give(LATER, late={"x": "1"}) == Late(1)
    assert tool(wait_for_it).name == "wait_for_it"


def wait_for_it(late: "Late") -> object:
    return late


LATER = tool(wait_for_it)


@dataclass
class Late:
    x: int


def test_a_class_of_the_place_where_the_tool_is_made_is_known() -> None:
    @dataclass
    class Local:
        x: int

    @tool
    def plain(local: "Local", many: "list[Local]") -> object:
        return local, many

    @tool(name="other")
    def with_options(local: "Local") -> object:
        return local

    def function(local: "Local") -> object:
        return local

    class Holder:
        @tool
        def method(self, local: "Local") -> object:
            return local

    assert give(plain, local={"x": 1}, many=[{"x": 2}]) == (Local(1), [Local(2)])
    for made in (with_options, Tool.from_function(function), as_tool(function), Holder().method):
        assert give(made, local={"x": 1}) == Local(1)


def test_a_function_of_another_module_knows_nothing_of_the_place_where_the_tool_is_made() -> None:
    local = Late
    function: Callable[..., object] = eval("lambda value: value", {"local": str})  # noqa: S307 - our own
    function.__annotations__["value"] = "local"
    assert give(Tool.from_function(function, name="f"), value="x") == "x"
    assert local is Late


def unknown_type(city: str, days: int) -> None: ...


unknown_type.__annotations__["city"] = "City"


def no_schema(lock: Lock) -> None: ...


def wrong_tag(city: Annotated[str | int, Field(discriminator="kind")]) -> None: ...


def wrong_pattern(city: Annotated[str, Field(pattern="(")]) -> None: ...


def call_back(days: int, then: Callable[[], None]) -> None: ...


def any_lock(**locks: Lock) -> None: ...


class Incomplete(BaseModel):
    if not TYPE_CHECKING:
        other: "Nowhere"  # noqa: F821 - that is the point


def incomplete(model: Incomplete) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter", "text"),
    [
        (unknown_type, "city", "the annotation 'City' of city can't be read: define or import what it names in the"),
        (no_schema, "lock", "no JSON schema can be made of the type of lock (Unable to generate"),
        (wrong_tag, "city", "no JSON schema can be made of the type of city ("),
        (wrong_pattern, "city", "no JSON schema can be made of the type of city ("),
        (call_back, "then", "no JSON schema can be made of the type of then (Cannot generate a JsonSchema for"),
        (incomplete, "model", "no JSON schema can be made of the type of model ("),
        (any_lock, None, "no JSON schema can be made of the type of its parameters (Unable to generate"),
    ],
)
def test_a_type_that_is_of_no_use_is_told_by_its_parameter(
    function: Callable[..., object], parameter: str | None, text: str
) -> None:
    error = undefinable(function)
    assert str(error).startswith(f"Tool {function.__name__}: {text}")
    assert error.parameter == parameter
    assert len(str(error)) < 400
    assert "errors.pydantic.dev" not in str(error)


def test_a_partial_of_a_method_is_a_tool() -> None:
    class Shop:
        def sell(self, what: str, price: int) -> object:
            return what, price

    assert give(partial(Shop().sell, price=5), what="a") == ("a", 5)
    assert give(partial(Shop().sell, "b"), price=5) == ("b", 5)


def test_an_annotation_of_what_is_returned_is_not_read() -> None:
    def work() -> int:
        return 1

    work.__annotations__["return"] = "Nowhere"
    assert give(work) == 1


def test_arguments_are_told_to_who_approves_by_parameter() -> None:
    def asked(arguments: Mapping[str, object]) -> bool:
        return arguments == {"from_": "a", "x": 1}

    def move(from_: Annotated[str, Field(alias="from")], **more: int) -> None: ...

    made = Tool.from_function(move, needs_approval=asked)
    assert made.bind(called('{"from": "a", "x": 1}')).needs_approval


def test_a_long_value_is_not_shown_whole() -> None:
    def work(code: Annotated[str, Field(max_length=3)]) -> None: ...

    assert refused(work, code="a" * 500) == f'code: "{"a" * 39}... should have at most 3 characters'
