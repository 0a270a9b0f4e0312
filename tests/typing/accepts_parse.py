"""What the value of a typed answer is to a user's checker; checked by `checkers.py`, never run."""

from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar, assert_never, assert_type

from pydantic import BaseModel, Field, JsonValue
from typing_extensions import TypedDict

from nemotron_client import (
    AsyncNemotron,
    AsyncParseStream,
    ChatCompletion,
    Finished,
    Nemotron,
    ParsedCompletion,
    ParsedDelta,
    ParsedDone,
    ParseEvent,
    ParseOptions,
    ParseStream,
    ResponseFormatError,
    TextDelta,
)

T = TypeVar("T")


class Person(BaseModel):
    name: str


class Company(BaseModel):
    title: str


class Box(BaseModel, Generic[T]):
    inside: T


class Movie(TypedDict):
    title: str


class Pair(NamedTuple):
    left: int
    right: int


class Color(Enum):
    RED = "red"


@dataclass
class Point:
    x: float


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def parse_gives_what_the_type_says(client: Nemotron) -> None:
    parse = client.chat.completions.parse
    assert_type(parse(messages="Hi", response_format=Person), ParsedCompletion[Person])
    assert_type(parse(messages="Hi", response_format=Person).parsed, Person)
    assert_type(parse(messages="Hi", response_format=list[Person]).parsed, list[Person])
    assert_type(parse(messages="Hi", response_format=Person | None).parsed, Person | None)
    assert_type(parse(messages="Hi", response_format=Person | Company).parsed, Person | Company)
    assert_type(parse(messages="Hi", response_format=list[Person] | None).parsed, list[Person] | None)
    assert_type(
        parse(messages="Hi", response_format=Annotated[Person | Company, Field(description="Who.")]).parsed,
        Person | Company,
    )
    assert_type(parse(messages="Hi", response_format=Box[int]).parsed, Box[int])
    assert_type(parse(messages="Hi", response_format=Movie).parsed, Movie)
    assert_type(parse(messages="Hi", response_format=Point).parsed, Point)
    assert_type(parse(messages="Hi", response_format=Pair).parsed, Pair)
    assert_type(parse(messages="Hi", response_format=Color).parsed, Color)
    assert_type(parse(messages="Hi", response_format=Literal["yes", "no"]).parsed, Literal["yes", "no"])
    assert_type(parse(messages="Hi", response_format=dict[str, int]).parsed, dict[str, int])
    assert_type(parse(messages="Hi", response_format=tuple[int, str]).parsed, tuple[int, str])
    assert_type(parse(messages="Hi", response_format=date).parsed, date)
    assert_type(parse(messages="Hi", response_format=bool).parsed, bool)


def a_schema_gives_json(client: Nemotron, schema: dict[str, JsonValue]) -> None:
    parse = client.chat.completions.parse
    assert_type(parse(messages="Hi", response_format=SCHEMA).parsed, JsonValue)
    assert_type(parse(messages="Hi", response_format=schema).parsed, JsonValue)
    assert_type(parse(messages="Hi", response_format={"type": "array"}).parsed, JsonValue)
    with client.chat.completions.stream_parse(messages="Hi", response_format=SCHEMA) as stream:
        assert_type(stream, ParseStream[JsonValue])


async def the_asynchronous_parse_gives_the_same(client: AsyncNemotron) -> None:
    parse = client.chat.completions.parse
    assert_type((await parse(messages="Hi", response_format=Person)).parsed, Person)
    assert_type((await parse(messages="Hi", response_format=list[Person])).parsed, list[Person])
    assert_type((await parse(messages="Hi", response_format=Person | None)).parsed, Person | None)
    assert_type((await parse(messages="Hi", response_format=Movie)).parsed, Movie)
    assert_type((await parse(messages="Hi", response_format=Point)).parsed, Point)
    assert_type((await parse(messages="Hi", response_format=Literal["yes", "no"])).parsed, Literal["yes", "no"])
    assert_type((await parse(messages="Hi", response_format=SCHEMA)).parsed, JsonValue)


def a_type_that_is_given_along_is_kept(client: Nemotron, kind: type[T]) -> T:
    done = client.chat.completions.parse(messages="Hi", response_format=kind)
    assert_type(done, ParsedCompletion[T])
    return done.parsed


def options_go_along(client: Nemotron, options: ParseOptions) -> None:
    parse = client.chat.completions.parse
    assert_type(parse(messages="Hi", response_format=Person, **options).parsed, Person)
    assert_type(parse(messages="Hi", response_format=Person, method="prompt", reasks=0, temperature=0).parsed, Person)


def a_typed_answer_is_an_answer(done: ParsedCompletion[Person]) -> None:
    assert_type(done.text, str)
    assert_type(done.discarded, tuple[ChatCompletion, ...])
    answer: ChatCompletion = done
    assert_type(answer.truncated, bool)


def a_stream_ends_with_the_value(client: Nemotron) -> None:
    with client.chat.completions.stream_parse(messages="Hi", response_format=Person) as stream:
        assert_type(stream, ParseStream[Person])
        for event in stream:
            assert_type(event, ParseEvent[Person])
            if event.type == "parsed.delta":
                assert_type(event.value, JsonValue)
            elif event.type == "parsed.done":
                assert_type(event.value, Person)
        assert_type(stream.get_final_completion(), ParsedCompletion[Person])
        assert_type(stream.get_final_completion().parsed, Person)
        assert_type(stream.snapshot, ChatCompletion)
        for delta in stream.text_deltas():
            assert_type(delta, str)
    stream_parse = client.chat.completions.stream_parse
    with stream_parse(messages="Hi", response_format=list[Person] | None) as other:
        assert_type(other, ParseStream[list[Person] | None])


async def an_asynchronous_stream_ends_with_the_value(client: AsyncNemotron) -> None:
    async with client.chat.completions.stream_parse(messages="Hi", response_format=Person | None) as stream:
        assert_type(stream, AsyncParseStream[Person | None])
        async for event in stream:
            assert_type(event, ParseEvent[Person | None])
        assert_type((await stream.get_final_completion()).parsed, Person | None)


def its_events_are_told_apart(event: ParseEvent[Person]) -> None:
    match event:
        case ParsedDelta(value=so_far):
            assert_type(so_far, JsonValue)
        case ParsedDone(value=person):
            assert_type(person, Person)
        case TextDelta(delta=delta):
            assert_type(delta, str)
        case Finished(completion=completion):
            assert_type(completion, ChatCompletion)
        case _:
            pass


def a_match_on_type_knows_when_it_is_complete(event: ParseEvent[Person]) -> str:
    match event.type:
        case "text.delta" | "reasoning.delta" | "tool_call.delta" | "parsed.delta":
            return "delta"
        case "text.done" | "tool_call.done" | "parsed.done" | "finished":
            return "done"
        case "usage":
            return "usage"
        case _:
            assert_never(event.type)


def the_error_has_typed_attributes(error: ResponseFormatError) -> None:
    assert_type(error.text, str)
    assert_type(error.errors, tuple[str, ...])
    assert_type(error.completion, ChatCompletion | None)
    assert_type(error.discarded, tuple[ChatCompletion, ...])
