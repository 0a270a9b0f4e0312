"""The form of an answer: its schema, what is read as a value of it, what is said of one that isn't, how it grows."""

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, field_validator
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict, TypeForm

from nemotron_client._tools.schemas import all_schemas, target
from nemotron_client.errors import InvalidRequestError
from nemotron_client.events import ParsedDelta, TextDelta, TextDone
from nemotron_client.structured import (
    Format,
    Growing,
    InvalidAnswerError,
    for_grammar,
    format_of_schema,
    format_of_type,
)

T = TypeVar("T")


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int = Field(ge=0, description="In years.")


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(alias="dogName")


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Node(BaseModel):
    name: str
    kids: "list[Node]" = []


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Point:
    x: float
    y: float = 0.0


class Movie(TypedDict, total=False):
    title: str
    year: int


class Pair(NamedTuple):
    left: int
    right: str


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    day: date
    count: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Box(BaseModel, Generic[T]):
    inside: T


class Named(BaseModel):
    name: str = Field(validation_alias=AliasChoices("fullName", "name"))

    @field_validator("name")
    @classmethod
    def has_two_words(cls, name: str) -> str:
        if " " not in name:
            raise ValueError("give the first and the last name")
        return name


ANYTHING: Format[Any] = format_of_type(Any)


def wrong(form: Format[Any], text: str) -> list[str]:
    with pytest.raises(InvalidAnswerError) as caught:
        form.read(text)
    return caught.value.problems


def takes(schema: Mapping[str, JsonValue], text: str, draft: str = "http://json-schema.org/draft-07/schema#") -> bool:
    try:
        jsonschema.validate(json.loads(text), {**schema, "$schema": draft})
    except jsonschema.ValidationError:
        return False
    return True


# What a form takes, as the answer's text, and what becomes of it.
TAKEN: list[tuple[object, str, object]] = [
    (Person, '{"name": "Ada", "age": 36}', Person(name="Ada", age=36)),
    (list[Person], '{"value": [{"name": "Ada", "age": 36}]}', [Person(name="Ada", age=36)]),
    (Person | None, '{"value": null}', None),
    (Person | None, '{"value": {"name": "Ada", "age": 36}}', Person(name="Ada", age=36)),
    (Pet, '{"value": {"kind": "dog", "dogName": "Rex"}}', Dog(kind="dog", dogName="Rex")),
    (list[Cat | Dog], '{"value": [{"kind": "cat"}]}', [Cat(kind="cat")]),
    (Node, '{"name": "a", "kids": [{"name": "b"}]}', Node(name="a", kids=[Node(name="b")])),
    (Node | None, '{"value": {"name": "a"}}', Node(name="a")),
    (list[Node], '{"value": [{"name": "a", "kids": [{"name": "b"}]}]}', [Node(name="a", kids=[Node(name="b")])]),
    (Color, '{"value": 2}', Color.BLUE),
    (Literal["yes", "no"], '{"value": "no"}', "no"),
    (Point, '{"x": 1}', Point(1.0)),
    (Movie, '{"year": 1902}', {"year": 1902}),
    (Pair, '{"value": [1, "a"]}', Pair(1, "a")),
    (tuple[int, ...], '{"value": [1, 2]}', (1, 2)),
    (set[str], '{"value": ["a"]}', {"a"}),
    (dict[str, int], '{"a": 1, "value": 2}', {"a": 1, "value": 2}),
    (dict[str, int], '{"value": 2}', {"value": 2}),
    (date, '{"value": "2026-01-02"}', date(2026, 1, 2)),
    (datetime, '{"value": "2026-01-02T03:04:05"}', datetime(2026, 1, 2, 3, 4, 5)),  # noqa: DTZ001 - as it came
    (timedelta, '{"value": "PT5S"}', timedelta(seconds=5)),
    (Decimal, '{"value": "0.1000000000000000000000001"}', Decimal("0.1000000000000000000000001")),
    (UUID, '{"value": "12345678-1234-5678-1234-567812345678"}', UUID("12345678-1234-5678-1234-567812345678")),
    (IPv4Address, '{"value": "127.0.0.1"}', IPv4Address("127.0.0.1")),
    (Strict, '{"day": "2026-01-02", "count": 1}', Strict(day=date(2026, 1, 2), count=1)),
    (Open, '{"name": "a", "more": [1]}', Open.model_validate({"name": "a", "more": [1]})),
    (Box[list[int]], '{"inside": [1]}', Box[list[int]](inside=[1])),
    (Named, '{"fullName": "Ada L"}', Named.model_validate({"name": "Ada L"})),
    (int, '{"value": 123456789012345678901234567890}', 123456789012345678901234567890),
    (str, ' {"value" : "a:}{b" } ', "a:}{b"),
    (bytes, '{"value": "abc"}', b"abc"),
    (Any, '{"value": {"value": 1}}', {"value": 1}),
    (Annotated[int, Field(ge=3)], '{"value": 3}', 3),
]
FORMS = [form for form, _, _ in TAKEN]


def name_of(value: object) -> str:
    return str(value).replace(f"{__name__}.", "")[:60]


def of(form: object) -> Format[Any]:
    given: TypeForm[Any] = form  # type: ignore[assignment] # whatever a caller may give
    return format_of_type(given)


@pytest.mark.parametrize(("form", "text", "value"), TAKEN, ids=name_of)
def test_an_answer_becomes_a_value_of_the_type(form: object, text: str, value: object) -> None:
    read = of(form).read(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(("form", "text", "value"), TAKEN, ids=name_of)
def test_what_the_type_takes_the_schema_takes_too(form: object, text: str, value: object) -> None:
    del value
    for schema in (of(form).schema, for_grammar(of(form).schema)):
        assert takes(schema, text)
        assert takes(schema, text, "https://json-schema.org/draft/2020-12/schema")


@pytest.mark.parametrize("form", FORMS, ids=[f"{n}-{name_of(form)}" for n, form in enumerate(FORMS)])
def test_a_schema_is_one_of_draft_7_and_its_root_is_an_object(form: object) -> None:
    made = of(form)
    for schema in (made.schema, for_grammar(made.schema)):
        jsonschema.Draft7Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert all(target(each["$ref"], schema) for each in all_schemas(schema) if "$ref" in each)
    assert made.name.replace("_", "").isalnum()
    assert made.has_keys('{"value": 1}') == made.wrapped or made.name in {"dict", "Movie"}


JSON: st.SearchStrategy[JsonValue] = st.recursive(
    # A schema calls 1e20 an integer, pydantic doesn't.
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
PEOPLE = st.builds(Person, name=st.text(), age=st.integers(min_value=0))
PETS = st.builds(Cat, kind=st.just("cat")) | st.builds(Dog, kind=st.just("dog"), dogName=st.text())
NODES: st.SearchStrategy[Node] = st.deferred(lambda: st.builds(Node, name=st.text(), kids=st.lists(NODES, max_size=2)))
VALUES: dict[object, st.SearchStrategy[object]] = {
    Person: PEOPLE,
    list[Person]: st.lists(PEOPLE, max_size=3),
    Person | None: st.none() | PEOPLE,
    Pet: PETS,
    dict[str, Cat | Dog]: st.dictionaries(st.text(), PETS, max_size=3),
    Node | None: NODES,
    list[Color]: st.lists(st.sampled_from(Color)),
    Literal["yes", 3]: st.sampled_from(["yes", 3]),
    Point: st.builds(Point, x=st.integers(), y=st.integers()),
    Movie: st.fixed_dictionaries({}, optional={"title": st.text(), "year": st.integers()}),
    tuple[int, ...]: st.lists(st.integers()),
    set[str]: st.sets(st.text()),
    Box[bool]: st.builds(Box[bool], inside=st.booleans()),
}


@st.composite
def changed(draw: st.DrawFn, value: JsonValue) -> JsonValue:
    """Put something else in the place of a part of a value, or take it out."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: each for name, each in value.items() if name != key}
        return rest if draw(st.booleans()) else {**rest, key: draw(changed(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        return [draw(changed(value[0])), *value[1:]]
    return draw(JSON)


@given(st.data())
def test_the_schema_takes_what_the_type_gives_and_nothing_that_the_type_refuses(data: st.DataObject) -> None:
    form, values = data.draw(st.sampled_from(list(VALUES.items())))
    made = of(form)
    given_value: JsonValue = from_json(to_json(data.draw(values), by_alias=True))

    def text(value: JsonValue) -> str:
        return json.dumps({"value": value} if made.wrapped else value)

    assert takes(made.schema, text(given_value))
    made.read(text(given_value))
    other = data.draw(changed(given_value))
    if takes(made.schema, text(other)):
        made.read(text(other))


@pytest.mark.parametrize(
    ("form", "text", "problem"),
    [
        (Person, '{"name": "Ada", "age": -1}', "age: Input should be greater than or equal to 0"),
        (Person, "{}", "name: Field required"),
        (Person, "[]", "the answer: Input should be an object"),
        (list[Person], '{"value": [{"name": "Ada"}]}', "0.age: Field required"),
        (list[Person], '{"value": 3}', "the answer: Input should be a valid array"),
        (Pet, '{"value": {"kind": "cow"}}', "the answer: Input tag 'cow' found using 'kind'"),
        (Dog, '{"kind": "dog", "name": "Rex"}', "dogName: Field required"),
        (Strict, '{"day": "2026-01-02", "count": "1"}', "count: Input should be a valid integer"),
        (Named, '{"fullName": "Ada"}', "fullName: Value error, give the first and the last name"),
        (Literal["yes"], '{"value": "perhaps"}', "the answer: Input should be 'yes'"),
        (str, '{"value": "\\ud800"}', "the answer: Invalid JSON"),
        (Literal["yes"], '{"value": "yes", "value": "no"}', "the answer: Invalid JSON: trailing"),
    ],
    ids=name_of,
)
def test_what_is_wrong_is_told_by_field(form: object, text: str, problem: str) -> None:
    problems = wrong(of(form), text)
    assert problems[0].startswith(problem)
    assert "http" not in str(problems)


def test_what_is_wrong_is_told_in_a_few_short_lines() -> None:
    long = "x" * 1000
    problems = wrong(of(list[Literal["a"]]), json.dumps({"value": [long] * 100}))
    assert len(problems) == 8
    problems = wrong(
        format_of_schema({"type": "object", "additionalProperties": {"type": "integer"}}), f'{{"{long}": 1.5}}'
    )
    assert [len(problem) for problem in problems] == [200]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada", "age": 36}',
        '\n  {"name": "Ada", "age": 36}\n',
        '```json\n{"name": "Ada", "age": 36}\n```',
        '```\n{"name": "Ada", "age": 36}```',
        '```JSON\r\n{"name": "Ada", "age": 36}\r\n```',
        'Sure! Here it is:\n\n```json\n{"name": "Ada", "age": 36}\n```\n\nAnything {else}?',
        'First ```python\nprint({})\n``` and then ```json\n{"name": "Ada", "age": 36}\n```',
        'Here it is: {"name": "Ada", "age": 36}. Anything {else}?',
        '{"name": "Ada", "age": 36}\n\nI took the age from {somewhere}.',
        '"{"name": "Ada", "age": 36}"',
        '{{"name": "Ada", "age": 36}}',
        'As {curly} [1] and [2, p. 3] [say]: {"name": "Ada", "age": 36} [4]',
        '{"thought": "She is [36]."} So: {"name": "Ada", "age": 36}',
        '["Ada", 36] {"name": "Ada"} {"name": "Ada", "age": 36} {}',
        '{"age": 36, "name": "Ada"} or, in other words, {"name": "Ada", "age": 36}',
        '{"name": "Ada", "age": 36} or {"name": "Ada", "age": "thirty-six',
    ],
)
def test_json_is_found_in_a_fence_and_between_words(text: str) -> None:
    assert of(Person).read(text) == Person(name="Ada", age=36)


@pytest.mark.parametrize(
    "text",
    [
        "The primes [below 6] are [2, 3, 5].",
        "{They} are `[2, 3, 5]`",
        'As in [1, p. 2]: {"value": [2, 3, 5]}',
        '{"value": [2, 3, 5]}, that is [2, 3, 5]',
    ],
)
def test_a_list_is_found_between_words(text: str) -> None:
    assert of(list[int]).read(text) == [2, 3, 5]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Person, '{"name": "Ada", "age": 36} {"name": "Eve", "age": 1}'),
        (Person, 'Not {"name": "Ada", "age": 35}: {"name": "Ada", "age": 36}'),
        (list[int], "As said in [1], they are [2, 3, 5]."),
    ],
    ids=name_of,
)
def test_of_two_values_that_fit_none_is_guessed(form: object, text: str) -> None:
    assert wrong(of(form), text) == ["it holds 2 different JSON values that fit: give the one that is meant"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Node, '[{"name": "a"}, {"na'),
        (Node, '{"name": "root", "kids": [{"name": "a"}'),
        (Node, '{"name": "root", kids: [{"name": "a"}]}'),
        (list[str], '{"names": ["Ada"], "age": NaN}'),
        (list[int], '{"ages": [1, 2], oops}'),
        (Node, '["unfinished {"name": "a"}'),
    ],
    ids=name_of,
)
def test_a_piece_of_json_that_breaks_off_is_no_answer(form: object, text: str) -> None:
    with pytest.raises(InvalidAnswerError, match="it is not JSON") as caught:
        of(form).read(text)
    assert not caught.value.is_json


def test_what_is_wrong_is_told_of_the_longest_json() -> None:
    assert wrong(of(Person), '{} {"name": "Ada", "age": -1} []') == ["age: Input should be greater than or equal to 0"]


PIECES = ["As", "[note]", "{curly}", "[2, p. 3]", "[-]", "```json", "\n", "]", "}", "é:"]
WORDS = st.lists(st.sampled_from(PIECES)).map(" ".join)


@given(JSON, WORDS, WORDS)
def test_json_is_found_between_any_words(value: JsonValue, before: str, after: str) -> None:
    assert ANYTHING.read(f"{before} {json.dumps({'value': value})} {after}") == value


def test_a_fence_inside_of_a_text_is_part_of_it() -> None:
    said = "```json\n{}\n```"
    assert of(str).read(f"```json\n{json.dumps({'value': said})}\n```") == said
    assert of(str).read(json.dumps({"value": said})) == said


@pytest.mark.parametrize(
    "text", ['["a", "b"]', '```json\n["a", "b"]\n```', '{"value": ["a", "b"]}', '["a", "b"] It is.']
)
def test_a_list_may_come_without_the_object_around_it(text: str) -> None:
    assert of(list[str]).read(text) == ["a", "b"]


def test_one_of_several_models_may_come_without_the_object_around_it() -> None:
    assert of(Cat | Dog).read('{"kind": "cat", "lives": 3}') == Cat(kind="cat", lives=3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I can't tell.",
        "42",
        '"yes"',
        "null",
        "[Note] I can't tell.",
        '{"name": "Ada", "age": 36',
        "{'name': 'Ada', 'age': 36}",
        '{"name": "Ada", "age": NaN}',
        '{"name": "Ada", "age": Infinity}',
        '{"name": "Ada\n", "age": 36}',
        "{" * 100_000,
        "[1 " * 100_000,
        '{"a":' * 100_000,
        "[" * 100_000,
        "[1, " * 100_000,
        "{[" * 100_000,
        "[ " * 100_000 + "x",
        '{"' * 100_000,
        '{"\\"' * 100_000,
        "```json\n" * 10_000,
        '{"name": "Ada", "age": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json_object_is_told_apart(text: str) -> None:
    with pytest.raises(InvalidAnswerError) as caught:
        of(Person).read(text)
    assert not caught.value.is_json
    assert not of(Person).has_keys(text)


@pytest.mark.parametrize(
    ("form", "text", "has_them"),
    [
        (Person, '{"name": 3, "age": "x"}', True),
        (Person, '{"name": 3}', False),
        (Person, '{"name": 3, "age": 1, "more": 1}', False),
        (Person, '{"person": {"name": "Ada", "age": 36}}', False),
        (Person, "[]", False),
        (list[str], '{"value": 3}', True),
        (list[str], '["a"]', False),
        (Open, '{"name": 3, "more": 1}', True),
        (dict[str, int], '{"anything": "x"}', True),
        (Movie, "{}", True),
        (Movie, '{"director": 1}', False),
    ],
    ids=name_of,
)
def test_an_answer_of_a_server_that_keeps_to_the_schema_has_its_keys(form: object, text: str, has_them: bool) -> None:  # noqa: FBT001
    assert of(form).has_keys(text) is has_them


def test_an_object_is_closed_unless_its_type_is_open() -> None:
    assert of(Person).schema["additionalProperties"] is False
    assert of(Open).schema["additionalProperties"] is True
    assert "additionalProperties" not in format_of_schema({"type": "object", "properties": {}}).schema


def test_a_model_reads_what_fields_mean_and_no_titles() -> None:
    text = json.dumps(of(list[Person]).schema)
    assert "In years." in text
    assert "Somebody." in text
    assert '"title"' not in text


@pytest.mark.parametrize(
    ("form", "name"),
    [(Person, "Person"), (list[Person], "list"), (Person | None, "answer"), (Box[int], "Box_int")],
    ids=name_of,
)
def test_a_form_has_a_name_that_servers_take(form: object, name: str) -> None:
    assert of(form).name == name


@pytest.mark.parametrize(
    ("title", "name"), [("Größe / Zahl", "Gr_e_Zahl"), ("___", "answer"), ("x" * 80, "x" * 64), (3, "answer")]
)
def test_a_schema_with_an_odd_title_has_a_name_that_servers_take(title: object, name: str) -> None:
    # OpenAI's rule: letters, digits, underscores and dashes, up to 64.
    assert format_of_schema({"json_schema": {"name": title, "schema": {"type": "object"}}}).name == name


# What servers can't make a grammar of isn't sent.


@pytest.mark.parametrize(
    ("sent", "instead"),
    [
        ({"type": "array", "uniqueItems": True}, {"type": "array"}),
        ({"type": "string", "format": "password"}, {"type": "string"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "pattern": r"^(?!a)b$"}, {"type": "string"}),
        ({"type": "string", "pattern": r"\bword\b"}, {"type": "string"}),
        ({"type": "string", "pattern": r"(a)\1"}, {"type": "string"}),
        ({"type": "string", "pattern": r"^(?:a|\d)$"}, {"type": "string", "pattern": r"^(?:a|\d)$"}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"oneOf": [{"type": "null"}], "anyOf": [{"type": "null"}, {}]}, {"anyOf": [{"type": "null"}, {}]}),
        ({"if": {}, "then": {}, "else": {}, "not": {}, "type": "object"}, {"type": "object"}),
        ({"enum": [{"uniqueItems": True}]}, {"enum": [{"uniqueItems": True}]}),
    ],
)
def test_what_no_grammar_knows_is_left_out(sent: dict[str, JsonValue], instead: object) -> None:
    def around(inner: object) -> object:
        return {"type": "object", "properties": {"oneOf": inner, "format": inner}, "$defs": {"not": inner}}

    whole: Any = around(sent)
    assert for_grammar(whole) == around(instead)


# A JSON schema


def test_a_schema_gives_plain_json() -> None:
    form = format_of_schema({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]})
    assert form.read('{"name": "Ada", "more": [1, null]}') == {"name": "Ada", "more": [1, None]}
    assert wrong(form, '{"name": 3}') == ["$.name: 3 is not of type 'string'"]
    assert wrong(form, "{}") == ["$: 'name' is a required property"]


def test_openais_object_around_a_schema_is_known() -> None:
    schema = {"type": "object", "title": "T", "properties": {"a": {"type": "integer"}}}
    given = {"type": "json_schema", "json_schema": {"name": "mine", "strict": True, "schema": schema}}
    form = format_of_schema(given)
    assert (form.name, form.schema) == ("mine", schema)
    assert format_of_schema(schema).name == "T"


def test_a_schema_that_is_no_dict_will_do() -> None:
    form = format_of_schema(MappingProxyType({"type": "array", "items": MappingProxyType({"type": "integer"})}))
    assert form.read('{"value": [1]}') == [1]


@pytest.mark.parametrize(
    ("schema", "taken", "refused"),
    [
        (
            {"type": "array", "items": {"$ref": "#/definitions/A"}, "definitions": {"A": {"type": "integer"}}},
            "[1]",
            '["a"]',
        ),
        ({"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "integer"}}}, "[1]", '["a"]'),
        ({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}, "[[null], []]", "[1]"),
        (
            {
                "$ref": "#/definitions/A",
                "definitions": {
                    "A": {"type": "array", "items": {"$ref": "#/definitions/B/items/0"}},
                    "B": {"items": [{"const": 1}]},
                },
            },
            "[1]",
            "[2]",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"$ref": "#/prefixItems/0"}},
            "[1, 2]",
            '[1, "a"]',
        ),
        ({"type": ["object", "null"], "properties": {"$ref": {"type": "integer"}}}, '{"$ref": 1}', '{"$ref": "a"}'),
    ],
)
def test_references_lead_to_the_same_place_in_the_object_around_a_schema(
    schema: Mapping[str, object], taken: str, refused: str
) -> None:
    form = format_of_schema(schema)
    assert form.wrapped
    for text, valid in ((taken, True), (refused, False)):
        whole = f'{{"value": {text}}}'
        assert takes(form.schema, whole) is valid
        if valid:
            assert form.read(whole) == json.loads(text)
        else:
            assert wrong(form, whole)


def test_of_alternatives_the_nearest_tells_what_is_wrong() -> None:
    near = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}}
    form = format_of_schema({"anyOf": [{"type": "string"}, near]})
    assert wrong(form, '{"value": {"a": {"b": "x"}}}') == ["$.a.b: 'x' is not of type 'integer'"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "is no JSON schema"),
        ({"name": "str"}, "is no JSON schema"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "is no JSON schema"),
        ({"type": "json_object"}, r"is for create\(\)"),
        ({"type": "objekt"}, r"\$\.type: 'objekt' is not valid"),
        ({"type": "object", "properties": {"a": {"type": "int"}}}, r"\$\.properties\.a\.type"),
        ({"type": "string", "pattern": "("}, r"\$\.pattern"),
        ({"type": "object", "default": object()}, "object has no form"),
        ({"$ref": "https://example.org/schema.json"}, "refers to 'https://example.org/schema.json'"),
        ({"$ref": "#/definitions/A"}, "refers to '#/definitions/A'"),
    ],
)
def test_what_is_no_schema_of_draft_7_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words) as caught:
        format_of_schema(given)
    assert caught.value.parameter == "response_format"


def test_a_schema_that_holds_itself_is_refused() -> None:
    schema: dict[str, object] = {"type": "object"}
    schema["default"] = schema
    with pytest.raises(InvalidRequestError, match="draft 7"):
        format_of_schema(schema)


@pytest.mark.parametrize("text", ['{"value": "\\ud800"}', '{"value": {"a": "\\ud800"}}'])
def test_half_a_character_is_no_valid_answer_of_a_schema(text: str) -> None:
    assert wrong(format_of_schema({"type": ["object", "string"]}), text)[0].startswith("the answer can't be read")


def test_a_reference_in_a_circle_is_no_endless_loop() -> None:
    assert wrong(format_of_schema({"$ref": "#"}), '{"value": 1}')[0].startswith("the answer can't be read")


# What is no type


def function(name: str) -> str:
    raise AssertionError(name)


Unfit = Annotated[str, Field(pattern="(?!x)")]  # of which pydantic can't make a validator
NO_TYPES = [None, "Person", eval('list["Unheard"]'), 3, Person(name="Ada", age=36), function, len, object(), Unfit]  # noqa: S307 - one that checkers would find


@pytest.mark.parametrize("form", NO_TYPES)
def test_what_is_no_type_is_refused(form: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"^response_format=") as caught:
        of(form)
    assert caught.value.parameter == "response_format"
    assert len(str(caught.value)) < 500


# Growing


def cut(text: str, at: list[int]) -> list[str]:
    places = [0, *sorted(place % (len(text) + 1) for place in at), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def grown(form: Format[Any], pieces: list[str]) -> list[JsonValue]:
    growing = Growing(form)
    deltas = [delta for piece in pieces for delta in growing.grown([TextDelta(piece)])]
    return [delta.value for delta in [*deltas, *growing.rest()]]


@given(
    JSON.filter(lambda value: value is not None),
    st.lists(st.integers(min_value=0)),
    st.sampled_from(["", "```json\n", "Well: "]),
)
def test_however_an_answer_is_cut_it_ends_as_the_whole_value(value: JsonValue, at: list[int], before: str) -> None:
    text = before + json.dumps({"value": value}) + ("\n```" if before else "")
    values = grown(ANYTHING, cut(text, at))
    assert values[-1] == ANYTHING.read(text) == value
    assert all(earlier != later for earlier, later in pairwise(values))


def test_a_value_grows() -> None:
    assert grown(of(Person), ["{", '"name": "A', 'da", "ag', 'e": 3', "6}"]) == [
        {"name": "A"},
        {"name": "Ada"},
        {"name": "Ada", "age": 3},
        {"name": "Ada", "age": 36},
    ]


def test_a_list_grows_with_and_without_the_object_around_it() -> None:
    assert grown(of(list[str]), ["{", '"value', '": [', '"a", "', '"]}']) == [[], ["a", ""]]
    assert grown(of(list[str]), ["[", '"a"', "]"]) == [["a"]]


def test_only_the_answer_grows_among_words() -> None:
    pieces = ["As {curly", "} [", '1] ["says', '"]: {"name": "A', 'da", "age": 36', "} [2] {} {"]
    assert grown(of(Person), pieces) == [{"name": "A"}, {"name": "Ada", "age": 36}]
    assert grown(of(list[int]), ["See [", "1]: ", '{"value": [', "2, 3]} [4"]) == [[1], [], [2, 3]]


@pytest.mark.parametrize("place", ['{"a": 1, "b": ', '{"a": [1, '])
@pytest.mark.parametrize(
    "end", ["", "t", "fals", "nul", "-", "2", "2.", "2e", '"x', '"x\\', '"x\\u12a', "{", "[", '{"c', '{"c"', '{"c": ']
)
def test_what_has_come_is_read_wherever_it_ends(place: str, end: str) -> None:
    values = grown(of(dict[str, Any]), [place + end])
    assert all(isinstance(value, dict) and "a" in value for value in values)
    assert len(values) == 1


@pytest.mark.parametrize("text", ["", "Hello", "Note [that", '{"a": NaN}', '{"value": null}'])
def test_what_has_no_value_does_not_grow(text: str) -> None:
    assert grown(of(list[str]), list(text)) == []


def test_other_choices_and_other_events_are_not_looked_at() -> None:
    growing = Growing(of(dict[str, int]))
    assert growing.grown([TextDelta('{"a": 1}', choice=1), TextDone('{"a": 1}')]) == []
    assert growing.grown([TextDelta('{"a": 2}'), TextDelta("", choice=1)]) == [ParsedDelta({"a": 2})]
    assert growing.rest() == []


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_cost_of_growing_is_linear(size: int) -> None:
    read = 0

    class Counting(Format[Any]):
        def partial(self, text: str) -> JsonValue:
            nonlocal read
            read += len(text)
            return super().partial(text)

    costs: list[float] = []
    for length in (20_000, 80_000):
        text = json.dumps({"value": ["word"] * (length // 8)})
        read = 0
        grown(
            Counting("x", ANYTHING.schema, wrapped=True, validate=ANYTHING.validate),
            [text[n : n + size] for n in range(0, length, size)],
        )
        costs.append(read / len(text))
    assert max(costs) < 70
