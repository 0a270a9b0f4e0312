"""What holds against any server of the API: one of your own, a real vLLM (`nox -s vllm`), or MockServer by default.

`nox -s contract -- --base-url=http://localhost:8000/v1` asks yours. The prompts are those that the little model of
`nox -s vllm` has learnt (`dialogues.json`).
"""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from nemotron_client import (
    AsyncNemotron,
    BadRequestError,
    ChatOptions,
    ContextLengthExceededError,
    Message,
    Nemotron,
    NotFoundError,
    TokenBudget,
    ToolCallDone,
)
from nemotron_client.testing import MockServer
from tests.client.conftest import Variant
from tests.client.either import Either

pytestmark = pytest.mark.live

WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}
QUESTION: Message = {"role": "user", "content": "What is the weather in Paris?"}
ASKED: ChatOptions = {"tools": [WEATHER], "temperature": 0.0, "max_tokens": 60}


@pytest.fixture
def base_url(pytestconfig: pytest.Config) -> Iterator[str]:
    given: str | None = pytestconfig.getoption("--base-url", default=None)
    if given is not None:
        yield given
        return
    with MockServer() as server:
        yield server.base_url


@pytest.fixture
async def client(variant: Variant, base_url: str) -> AsyncIterator[Either]:
    client = Either(Nemotron(base_url=base_url) if variant == "sync" else AsyncNemotron(base_url=base_url))
    yield client
    await client.close()


async def test_it_is_ready_and_tells_its_model_and_window(client: Either) -> None:
    assert await client.ready()
    (model,) = await client.models()
    assert model.max_model_len


async def test_it_answers_in_a_body_as_in_a_stream(client: Either) -> None:
    whole = await client.create("Hello", temperature=0.0, max_tokens=30)
    assert whole.text
    async with client.stream("Hello", temperature=0.0, max_tokens=30) as stream:
        assert await stream.get_final_text() == whole.text
    assert stream.snapshot.usage is not None
    assert whole.usage is not None
    assert stream.snapshot.usage.completion_tokens == whole.usage.completion_tokens


async def test_it_counts_tokens_as_this_library_does(client: Either) -> None:
    done = await client.create([QUESTION], **ASKED)
    assert done.usage is not None
    assert done.usage.prompt_tokens == client.inner.tokens.count(messages=[QUESTION], tools=[WEATHER]).total


async def test_it_stops_at_the_limit_and_says_so(client: Either) -> None:
    done = await client.create("Tell me a long story.", temperature=0.0, max_tokens=3)
    assert done.truncated
    assert done.usage is not None
    assert done.usage.completion_tokens == 3


async def test_it_calls_a_tool_and_reads_its_result(client: Either) -> None:
    async with client.stream([QUESTION], **ASKED) as stream:
        (call,) = [event.tool_call for event in await stream.items() if isinstance(event, ToolCallDone)]
    assert (call.function.name, json.loads(call.function.arguments)["city"]) == ("get_weather", "Paris")
    (again,) = (await client.create([QUESTION], **ASKED)).tool_calls
    assert again.function == call.function
    answer: Message = {"role": "tool", "tool_call_id": call.id, "content": "12 degrees"}
    done = await client.create([QUESTION, stream.snapshot.choices[0].message, answer], **ASKED)
    assert "12 degrees" in done.text


async def test_it_takes_what_another_provider_wrote_once_it_is_put_right(client: Either) -> None:
    called: dict[str, object] = {
        "id": "call_9KqY0rJ8RuG5wqQyWbq9TdC3",
        "function": {"name": "weather.get", "arguments": {"city": "Paris"}},
    }
    history: list[Message] = [
        {"role": "developer", "content": "Be brief."},
        QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [called, {"function": {"name": "now"}}]},
        {"role": "tool", "tool_call_id": called["id"], "content": "12 degrees"},
        {"role": "user", "content": "And?"},
        {"role": "tool", "content": None},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Hello"},
    ]
    done = await client.create(history, temperature=0.0, max_tokens=5)
    assert done.text
    rules = ["role", "empty_content", "tool_call_id", "tool_call_type", "tool_name", "arguments", "order"]
    assert {repair.rule for repair in done.repairs} >= {*rules}


async def test_it_calls_the_tool_that_is_named(client: Either) -> None:
    named: ChatOptions = {**ASKED, "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    (call,) = (await client.create([QUESTION], **named)).tool_calls
    assert call.function.name == "get_weather"


async def test_it_writes_json_by_a_schema(client: Either) -> None:
    properties = {"name": {"type": "string"}, "age": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["name", "age"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    done = await client.create("Give me a person as JSON.", temperature=0.0, max_tokens=60, response_format=wanted)
    assert json.loads(done.text).keys() == {"name", "age"}


async def test_an_unknown_model_is_not_found(client: Either) -> None:
    with pytest.raises(NotFoundError):
        await client.create(model="nobody/nothing")


async def test_a_value_that_can_not_be_is_refused(client: Either) -> None:
    with pytest.raises(BadRequestError):
        await client.create(extra_body={"temperature": 9})


async def test_a_prompt_over_the_window_is_told_with_its_numbers(client: Either) -> None:
    (model,) = await client.models()
    window = model.max_model_len or 0
    with pytest.raises(ContextLengthExceededError) as refused:
        await client.create("word " * (window + 100), max_tokens=1, budget=TokenBudget(on_overflow="off"))
    assert refused.value.limit == window
