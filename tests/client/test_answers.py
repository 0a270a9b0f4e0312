"""Ask and get an answer: whole, as chunks, or as events."""

import gzip
import json

import pytest

from nemotron_client import (
    Finished,
    InvalidRequestError,
    Message,
    TextDelta,
    TextDone,
    ToolCallDone,
    UsageReported,
)
from nemotron_client.testing import MockServer, Reply, text, tool_calls
from tests.client.conftest import Connect
from tests.client.either import Either

GREETING = "Hello! How can I help you today?"
WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


async def test_create_gives_a_typed_answer(client: Either, server: MockServer) -> None:
    done = await client.create("Hello")
    assert done.text == done.choices[0].message.content == GREETING
    assert done.choices[0].finish_reason == "stop"
    assert not done.truncated
    assert done.usage is not None
    assert done.usage.completion_tokens == 10
    assert server.posts == 1


async def test_an_answer_tells_of_its_http_response(client: Either, server: MockServer) -> None:
    server.reply(Reply(headers={"nvcf-reqid": "r-1", "Set-Cookie": "a=b"}, body={"choices": [{"index": 0}]}))
    response = (await client.create()).response
    assert response.status_code == 200
    assert response.request_id == "r-1"
    assert response.headers["content-type"] == "application/json"
    assert "set-cookie" not in response.headers
    assert [attempt.status_code for attempt in response.attempts] == [200]
    assert 0 < response.attempts[0].elapsed <= response.elapsed < 5


async def test_only_what_the_caller_set_is_sent(client: Either, server: MockServer) -> None:
    await client.create("Hello", temperature=0.2, extra_body={"unheard_of": 1}, extra_headers={"X-Trace": "t"})
    request = server.requests[0]
    assert request.json == {
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.2,
        "model": "mistralai/mistral-nemotron",
        "unheard_of": 1,
    }
    assert request.headers["x-trace"] == "t"
    assert request.headers["accept"] == "application/json"
    assert "authorization" not in request.headers


async def test_headers_of_the_client_and_its_key_go_with_every_request(connect: Connect, server: MockServer) -> None:
    client = connect(api_key="made-up", headers={"X-Team": "blue"})
    await client.create()
    await client.models()
    for request in server.requests:
        assert request.headers["authorization"] == "Bearer made-up"
        assert request.headers["x-team"] == "blue"


async def test_a_bad_option_is_told_before_anything_is_sent(client: Either, server: MockServer) -> None:
    with pytest.raises(InvalidRequestError, match="temperature=3") as caught:
        await client.create(temperature=3)
    assert caught.value.parameter == "temperature"
    with pytest.raises(InvalidRequestError):
        client.stream([])
    with pytest.raises(InvalidRequestError):
        await client.complete("Hello", n=0)
    assert server.requests == []


async def test_an_answer_is_a_valid_input_message(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"})))
    messages: list[Message] = [{"role": "user", "content": "What is the weather in Paris?"}]
    done = await client.create(messages, tools=[WEATHER])
    call = done.tool_calls[0]
    messages += [done.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18"}]
    assert (await client.create(messages)).text == "The answer is 18."
    assert server.requests[1].json["messages"][1]["tool_calls"][0]["function"]["name"] == "get_weather"


async def test_a_server_that_clamps_the_answer_shows_in_truncated(client: Either) -> None:
    done = await client.create("Tell me a story", max_tokens=3)
    assert done.truncated
    assert done.choices[0].finish_reason == "length"


async def test_stream_true_gives_the_chunks_and_asks_for_nothing_more(client: Either, server: MockServer) -> None:
    async with await client.create_stream("Hello") as stream:
        chunks = await stream.items()
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == GREETING
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert stream.snapshot.text == GREETING
    assert server.requests[0].json["stream"] is True
    assert "stream_options" not in server.requests[0].json
    assert server.requests[0].headers["accept"] == "text/event-stream"


async def test_events_come_in_order_and_end_with_the_whole(client: Either) -> None:
    async with client.stream("Hello") as stream:
        events = await stream.items()
    assert "".join(event.delta for event in events if isinstance(event, TextDelta)) == GREETING
    done, usage, finished = events[-3:]
    assert done == TextDone(GREETING)
    assert isinstance(usage, UsageReported)
    assert usage.usage.completion_tokens == 10
    assert isinstance(finished, Finished)
    assert finished.completion == stream.snapshot
    assert stream.response.status_code == 200
    assert finished.completion.response is stream.response


async def test_events_ask_for_usage_unless_told_otherwise(client: Either, server: MockServer) -> None:
    async with client.stream() as stream:
        await stream.until_done()
    async with client.stream(stream_options={"include_usage": False}) as stream:
        await stream.until_done()
    assert [request.json["stream_options"]["include_usage"] for request in server.requests] == [True, False]


async def test_a_streamed_tool_call_comes_whole(client: Either) -> None:
    async with client.stream("What is the weather in Paris?", tools=[WEATHER]) as stream:
        calls = [event.tool_call async for event in stream if isinstance(event, ToolCallDone)]
    assert [(call.function.name, call.function.arguments) for call in calls] == [("get_weather", '{"city": "Paris"}')]
    assert stream.snapshot.tool_calls == calls


async def test_text_deltas_are_those_of_the_first_choice(client: Either) -> None:
    async with client.stream("Hello", n=2) as stream:
        assert "".join([delta async for delta in stream.text_deltas()]) == GREETING
    assert [choice.message.content for choice in stream.snapshot.choices] == [GREETING, GREETING]


async def test_text_deltas_pass_over_everything_else(client: Either, server: MockServer) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), text="I look it up."))
    async with client.stream() as stream:
        assert [delta async for delta in stream.text_deltas()] == ["I", " look", " it", " up."]
    assert len(stream.snapshot.tool_calls) == 1


async def test_the_rest_of_a_stream_can_be_had_at_once(client: Either) -> None:
    async with client.stream("Hello") as stream:
        first = await anext(aiter(stream))
        assert first == TextDelta("Hello!")
        assert stream.snapshot.choices[0].finish_reason is None
        done = await stream.get_final_completion()
        assert done.text == await stream.get_final_text() == GREETING
        assert await stream.until_done() is stream.inner
        assert await stream.items() == []


async def test_nothing_is_sent_before_a_stream_is_opened(client: Either, server: MockServer) -> None:
    client.stream()
    assert server.requests == []


async def test_a_prompt_is_continued(client: Either, server: MockServer) -> None:
    server.reply(text("upon a time"), text("upon a time"))
    done = await client.complete("Once", max_tokens=3, extra_body={"best_of": 1})
    assert done.text == "upon a time"
    assert done.response.status_code == 200
    async with await client.complete_stream("Once") as stream:
        pieces = await stream.items()
    assert "".join(piece.text for piece in pieces) == stream.snapshot.text == "upon a time"
    assert stream.snapshot.choices[0].finish_reason == "stop"
    assert [request.path for request in server.requests] == ["/v1/completions"] * 2
    assert server.requests[0].json["prompt"] == "Once"


async def test_a_compressed_answer_is_read(client: Either, server: MockServer) -> None:
    whole = gzip.compress(json.dumps({"choices": [{"message": {"content": "Hi"}}]}).encode())
    event = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    server.reply(
        Reply(headers={"content-encoding": "gzip"}, body=whole),
        Reply(headers={"content-encoding": "gzip"}, chunks=[gzip.compress(event)]),
    )
    assert (await client.create()).text == "Hi"
    async with client.stream() as stream:
        assert await stream.get_final_text() == "Hi"
