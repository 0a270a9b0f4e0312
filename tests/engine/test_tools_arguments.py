"""What is made of the arguments that a model writes, and what it is told when nothing can be made of them."""

import json
import re
from datetime import date
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from nemotron_client.errors import ToolArgumentsError
from nemotron_client.tools import Tool, tool
from tests.engine.calling import called, give_text, refused, refused_text
from tests.engine.tool_functions import Cat, Dog, Pet, Place, Unit


@tool
def get_weather(city: str, days: Annotated[int, Field(ge=1, le=10)] = 3) -> object:
    return city, days


RAW = Tool.from_schema(
    "get_weather",
    {
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 10}},
        "required": ["city"],
        "additionalProperties": False,
    },
    lambda arguments: (arguments["city"], arguments.get("days", 3)),
)
both = pytest.mark.parametrize("made", [get_weather, RAW], ids=["function", "schema"])


@both
@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"city": "Paris"}', ("Paris", 3)),
        (' {"city":"Paris","days":5}\n', ("Paris", 5)),
        ('{"city": "Paris", "days": "5"}', ("Paris", 5)),
        ('{"city": "Paris", "days": 5.0}', ("Paris", 5)),
        ('{"city": "5"}', ("5", 3)),
        ('{"city": "Paris", "days": null}', ("Paris", 3)),
        ('{"city": "Rome", "city": "Paris"}', ("Paris", 3)),
        ('{"city": "\\ud83d\\ude00"}', ("😀", 3)),
        (json.dumps('{"city": "Paris", "days": "5"}'), ("Paris", 5)),
    ],
)
def test_arguments_are_read_as_they_can_only_be_meant(made: Tool[..., object], text: str, result: object) -> None:
    assert give_text(made, text) == result


@pytest.mark.parametrize("text", ["", "  \n", "{}", "null", '""', '"{}"'])
def test_nothing_at_all_is_no_arguments(text: str) -> None:
    def now() -> str:
        return "12:00"

    assert give_text(now, text) == "12:00"
    assert give_text(Tool.from_schema("now", {}, lambda arguments: arguments), text) == {}


@both
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "city: field required"),
        ('{"cty": "Paris"}', "city: field required; cty: unknown argument"),
        ("[1]", "the arguments should be a JSON object, not an array"),
        ("5", "the arguments should be a JSON object, not 5"),
        ('{"city": "Par', "the JSON of the arguments ends early, so nothing was run: write the whole call again"),
        ('"{', "the JSON of the arguments ends early, so nothing was run: write the whole call again"),
        ("{city: 1}", "the arguments are not valid JSON: key must be a string at line 1 column 2"),
        ('{"city": "a"}{"city": "b"}', "the arguments are not valid JSON: trailing characters at line 1 column 14"),
        ('{"city": "a", "days": NaN}', "the arguments are not valid JSON: expected value at line 1 column 23"),
        ("Paris", "the arguments are not valid JSON: expected value at line 1 column 1"),
    ],
)
def test_the_model_is_told_what_is_wrong(made: Tool[..., object], text: str, told: str) -> None:
    assert refused_text(made, text) == told


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (get_weather, "city: 5 should be a valid string; days: 12 should be less than or equal to 10"),
        (RAW, "city: 5 should be of type string; days: 12 should be at most 10"),
    ],
)
def test_fields_are_named_with_what_was_given(made: Tool[..., object], told: str) -> None:
    assert refused(made, city=5, days=12) == told


def test_a_lone_surrogate_is_malformed() -> None:
    for text in ('{"city": "\ud83d"}', '{"city": "\\ud83d"}'):
        assert refused_text(get_weather, text).startswith("the arguments are not valid JSON: ")


class Box(BaseModel):
    place: Place
    pets: list[Pet] = []


NO_DATE = "should be a valid date or datetime, input is too short"
NO_INTEGER = "should be a valid integer, unable to parse string as an integer"


def pack(
    box: Box, unit: Unit = Unit.CELSIUS, pair: tuple[int, str] = (1, "a"), key: date | int | None = None
) -> None: ...


@pytest.mark.parametrize(
    ("box", "others", "told"),
    [
        ({}, {}, "box.place: field required"),
        (5, {}, "box: 5 should be an object"),
        (
            {"place": {"latitude": 91}},
            {},
            "box.place.latitude: 91 should be less than or equal to 90; box.place.longitude: field required",
        ),
        ({"place": []}, {}, "box.place: an array should be an object"),
        (None, {"unit": "k"}, "unit: \"k\" should be 'c' or 'f'"),
        (None, {"unit": {"a": 1}}, "unit: an object should be 'c' or 'f'"),
        (None, {"pair": [1, 2]}, "pair[1]: 2 should be a valid string"),
        (None, {"pair": []}, "pair[0]: field required; pair[1]: field required"),
        (None, {"pair": 5}, "pair: 5 should be a valid array"),
        (None, {"key": "2020-13"}, f'key: "2020-13" {NO_DATE} or {NO_INTEGER}'),
    ],
)
def test_nested_fields_are_named_by_their_path(box: object, others: dict[str, object], told: str) -> None:
    good = {"place": {"latitude": 1, "longitude": 2}}
    said = refused(pack, box=good if box is None else box, **others)
    assert said == told
    assert "pydantic" not in said


@pytest.mark.parametrize(
    ("pet", "told"),
    [
        ({"kind": "cow"}, "box.pets[0].kind: \"cow\" should be one of 'cat', 'dog'"),
        ({"lives": 9}, "box.pets[0].kind: field required"),
        ({"kind": "cat", "lives": 10}, "box.pets[0].lives: 10 should be less than or equal to 9"),
        ({"kind": "dog"}, "box.pets[0].breed: field required"),
    ],
)
def test_of_tagged_alternatives_the_one_that_was_meant_is_spoken_of(pet: object, told: str) -> None:
    assert refused(pack, box={"place": {"latitude": 1, "longitude": 2}, "pets": [pet]}) == told


def test_of_other_alternatives_all_are_spoken_of() -> None:
    def feed(pet: Cat | Dog) -> None: ...

    assert refused(feed, pet={"lives": 1}) == "pet.kind: field required; pet.breed: field required"


def test_what_is_told_is_short_however_much_is_wrong() -> None:
    def many(numbers: dict[str, int]) -> None: ...

    huge = {f"key {number} {'x' * 1000}": "y" * 10_000 for number in range(1000)}
    for made in (many, Tool.from_schema("many", dict(Tool.from_function(many).parameters), lambda _: None)):
        said = refused(made, numbers=huge)
        assert said.endswith("; and 995 more")
        assert len(said) < 2000
        assert "y" * 50 not in said


def test_a_long_list_of_choices_is_cut() -> None:
    schema = {"properties": {"a": {"enum": [f"choice {number}" for number in range(1000)]}}}
    said = refused(Tool.from_schema("choose", schema, lambda _: None), a="x")
    assert said.startswith('a: "x" should be one of "choice 0", "choice 1"')
    assert len(said) < 250


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, min_size=1, max_size=4)


def anything(**values: Any) -> object:  # noqa: ANN401 - that is the point
    return values


ANYTHING = Tool.from_function(anything)


@given(OBJECTS)
def test_what_json_says_arrives_as_it_is(value: dict[str, object]) -> None:
    assert give_text(ANYTHING, json.dumps(value)) == value
    assert give_text(ANYTHING, json.dumps(value, ensure_ascii=False)) == value
    assert give_text(ANYTHING, json.dumps(json.dumps(value))) == value


@given(OBJECTS, st.data())
def test_arguments_that_were_cut_off_never_run(value: dict[str, object], data: st.DataObject) -> None:
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    for made in (ANYTHING, Tool.from_schema("any", {}, lambda arguments: arguments)):
        with pytest.raises(ToolArgumentsError, match=r"ends early|not valid JSON"):
            made.bind(called(cut))


def given_or_told(made: Tool[..., object], text: str) -> object:
    try:
        return give_text(made, text)
    except ToolArgumentsError as error:
        return error


@given(st.text())
def test_whatever_a_model_writes_is_run_or_refused(text: str) -> None:
    for made in (get_weather, RAW, ANYTHING):
        said = given_or_told(made, text)
        assert not isinstance(said, ToolArgumentsError) or len(str(said)) < 1000


@given(JSON, JSON)
def test_whatever_values_a_model_gives_are_taken_or_refused(city: object, days: object) -> None:
    for made in (get_weather, RAW):
        said = given_or_told(made, json.dumps({"city": city, "days": days}))
        if isinstance(said, ToolArgumentsError):
            assert re.search("city: |days: ", str(said))
        else:
            assert said in [(city, number) for number in range(1, 11)]


@given(st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_string_stays_a_string_where_a_string_is_allowed(value: object) -> None:
    def keep(value: int | str | bool | None) -> object:  # noqa: FBT001 - all there is
        return value

    schema = {"properties": {"value": {"type": ["integer", "number", "boolean", "null", "string"]}}}
    raw = Tool.from_schema("keep", schema, lambda arguments: arguments["value"])
    for made in (Tool.from_function(keep), raw):
        assert give_text(made, json.dumps({"value": json.dumps(value)})) == json.dumps(value)
