"""Typed answers: whole, and while they grow."""

import copy
import itertools
import pickle

import pytest
from pydantic import BaseModel, JsonValue

from nemotron_client import (
    ChatCompletion,
    Finished,
    InvalidRequestError,
    ParsedCompletion,
    ParsedDelta,
    ParsedDone,
    ResponseFormatError,
    StreamInterruptedError,
    TextDelta,
    TextDone,
    UsageReported,
)
from nemotron_client.testing import MockServer, Reply, cut, error, text
from tests.client.conftest import Connect
from tests.client.either import Either, in_thread


class Person(BaseModel):
    name: str
    age: int


ADA = Person(name="Ada", age=1)
ADA_TEXT = '{"name": "Ada", "age": 1}'
YOUNG = '{"name": "Ada", "age": "young"}'
SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1}


async def test_parse_gives_a_value_of_the_type(client: Either, server: MockServer) -> None:
    done = await client.parse(Person)
    assert done.parsed == ADA
    assert type(done) is ParsedCompletion
    assert (done.text, done.discarded, done.truncated) == (ADA_TEXT, (), False)
    assert done.usage is not None
    assert done.response.status_code == 200
    assert server.posts == 1


async def test_a_list_and_a_union_come_without_what_they_travel_in(client: Either) -> None:
    assert (await client.parse(list[Person] | None)).parsed == []
    assert (await client.parse(Person | None)).parsed == ADA


async def test_a_schema_gives_plain_json(client: Either) -> None:
    assert (await client.parse_schema(SCHEMA)).parsed == ["Ada"]


async def test_an_invalid_answer_is_asked_for_again_with_its_errors(client: Either, server: MockServer) -> None:
    server.reply(text(YOUNG), text(ADA_TEXT))
    done = await client.parse(Person, temperature=0.5)
    assert done.parsed == ADA
    assert [each.text for each in done.discarded] == [YOUNG]
    assert done.discarded[0].usage is not None
    first, second = (request.json for request in server.requests)
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert "age: Input should be a valid integer" in second["messages"][-1]["content"]
    assert first["temperature"] == second["temperature"] == 0.5


async def test_an_answer_that_never_is_of_the_form_is_an_error_with_all_there_was(
    client: Either, server: MockServer
) -> None:
    server.always(text(YOUNG))
    with pytest.raises(ResponseFormatError, match="not of the form Person, asked 2 times: age: ") as caught:
        await client.parse(Person, reasks=1)
    assert caught.value.text == YOUNG
    assert caught.value.completion is not None
    assert caught.value.completion.usage is not None
    assert [each.text for each in caught.value.discarded] == [YOUNG]
    assert server.posts == 2


async def test_the_way_that_worked_is_known_to_the_client_and_its_copies(client: Either, server: MockServer) -> None:
    server.reply(error(400, "Unsupported parameter(s): response_format"), text("Ada is a person."))
    server.always(text(ADA_TEXT))
    done = await client.parse(Person)
    assert (done.parsed, server.posts) == (ADA, 3)
    copied = Either(client.inner.with_options(timeout=5))
    assert (await copied.parse(Person)).parsed == ADA
    assert server.posts == 4
    assert [request.json.get("response_format", {}).get("type") for request in server.requests] == [
        "json_schema",
        None,
        "json_object",
        "json_object",
    ]


async def test_what_can_t_be_given_is_an_error_before_anything_is_sent(client: Either, server: MockServer) -> None:
    with pytest.raises(InvalidRequestError, match="has no JSON schema"):
        await client.parse(MockServer)
    with pytest.raises(InvalidRequestError, match="n can't be given"):
        await client.parse(Person, extra_body={"n": 2})
    with pytest.raises(InvalidRequestError, match="reasks can't be given"):
        client.stream_parse(Person, reasks=1)
    assert server.posts == 0


# While it grows


async def test_a_value_grows_and_ends_as_one_of_the_type(client: Either, server: MockServer) -> None:
    async with client.stream_parse(Person) as stream:
        events = await stream.items()
        done = await stream.get_final_completion()
    kinds = [key for key, _ in itertools.groupby(events, key=type)]
    assert set(kinds[:-4]) == {TextDelta, ParsedDelta}
    assert kinds[-4:] == [TextDone, UsageReported, ParsedDone, Finished]
    values = [event.value for event in events if isinstance(event, ParsedDelta)]
    assert values[0] == {"name": "Ada"}
    assert values[-1] == {"name": "Ada", "age": 1}
    *_, whole, end = events
    assert whole == ParsedDone(ADA)
    assert isinstance(whole, ParsedDone)
    assert end == Finished(done)
    assert whole.value is done.parsed
    assert (done.text, done.usage is None) == (ADA_TEXT, False)
    assert server.posts == 1


async def test_the_value_alone_is_had_without_a_loop(client: Either) -> None:
    async with client.stream_parse(list[Person] | None) as stream:
        assert (await stream.get_final_completion()).parsed == []


async def test_a_schema_grows_too(client: Either) -> None:
    async with client.stream_parse_schema(SCHEMA) as stream:
        events = await stream.items()
    values: list[JsonValue] = [event.value for event in events if isinstance(event, ParsedDelta)]
    assert values[-1] == ["Ada"]
    assert isinstance(events[-2], ParsedDone)
    assert events[-2].value == ["Ada"]


async def test_a_stream_that_is_refused_is_opened_in_another_way(client: Either, server: MockServer) -> None:
    server.reply(error(400, "Unsupported parameter(s): response_format"))
    server.always(text(ADA_TEXT))
    async with client.stream_parse(Person) as stream:
        assert (await stream.get_final_completion()).parsed == ADA
    assert "structured_outputs" in server.requests[1].json


@pytest.mark.parametrize(
    ("said", "why"), [(YOUNG, "age: Input should be"), ("Ada.", "no JSON object"), ("", "no text")]
)
async def test_a_stream_that_ends_invalid_is_an_error_with_all_there_was(
    client: Either, server: MockServer, said: str, why: str
) -> None:
    server.always(text(said))
    seen: list[object] = []
    async with client.stream_parse(Person) as stream:
        with pytest.raises(ResponseFormatError, match=why) as caught:  # noqa: PT012 - what came before it counts
            async for event in stream:
                seen.append(event)  # noqa: PERF401 - the same
        with pytest.raises(ResponseFormatError):
            await stream.get_final_completion()
    assert caught.value.text == said
    assert isinstance(caught.value.completion, ChatCompletion)
    assert isinstance(seen[-1], UsageReported)
    assert server.posts == 1


async def test_a_stream_that_breaks_off_keeps_what_had_come(client: Either, server: MockServer) -> None:
    server.always(cut(text(ADA_TEXT), after=5))
    async with client.stream_parse(Person) as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.get_final_completion()
    assert isinstance(caught.value.partial, ChatCompletion)
    assert caught.value.partial.text
    assert ADA_TEXT.startswith(caught.value.partial.text)


async def test_a_stream_may_be_left_early(client: Either, server: MockServer) -> None:
    begun = b'data: {"choices":[{"delta":{"content":"{\\"name\\": \\"Ada"}}]}\n\n'
    server.always(Reply(chunks=itertools.repeat(begun), chunk_delay=0.005))
    async with client.stream_parse(Person) as stream:
        async for event in stream:
            if isinstance(event, ParsedDelta):
                break
        assert stream.snapshot.text.startswith('{"name"')
    assert await in_thread(server.wait_for_disconnect)


async def test_a_stream_without_its_type_s_name_asks_for_a_model_once(connect: Connect, server: MockServer) -> None:
    client = connect(model=None)
    async with client.stream_parse(Person) as stream:
        assert (await stream.get_final_completion()).parsed == ADA
    assert [request.path for request in server.requests] == ["/v1/models", "/v1/chat/completions"]


# Kept, and sent elsewhere


async def test_answers_and_errors_pickle_and_copy_whole(client: Either, server: MockServer) -> None:
    server.reply(text(YOUNG), text(ADA_TEXT))
    done = await client.parse(Person)
    for same in (pickle.loads(pickle.dumps(done)), copy.deepcopy(done), copy.copy(done)):  # noqa: S301 - our own
        assert same == done
        assert (same.parsed, same.discarded, same.response) == (done.parsed, done.discarded, done.response)
    server.always(text(YOUNG))
    with pytest.raises(ResponseFormatError) as caught:
        await client.parse(Person)
    wrong = caught.value
    for other in (pickle.loads(pickle.dumps(wrong)), copy.deepcopy(wrong)):  # noqa: S301
        assert str(other) == str(wrong)
        assert (other.text, other.errors, other.completion) == (wrong.text, wrong.errors, wrong.completion)
        assert other.discarded == wrong.discarded


async def test_fields_that_this_client_does_not_know_are_kept(client: Either, server: MockServer) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": ADA_TEXT}, "finish_reason": "stop"}
    server.always(Reply(body={"id": "x", "choices": [choice], "kv": 1}))
    done = await client.parse(Person)
    assert done.model_extra == {"kv": 1}
    assert done.model_dump(exclude_unset=True)["id"] == "x"
