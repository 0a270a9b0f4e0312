"""What users must not get away with; checked by `checkers.py`, never run, and kept from this project's own checks.

`# E: word` marks a line that every checker must refuse with that word in what it says, `# E strict: word` one that only
strict checking refuses. No other line may be refused.
"""

from collections.abc import Iterator

import httpx
import httpx2

from nemotron_client import (
    AsyncNemotron,
    AsyncStream,
    ChatCompletion,
    ChatCompletionChunk,
    ChatOptions,
    HookEvent,
    Message,
    Nemotron,
    ParsedCompletion,
    ParseEvent,
    RetryPolicy,
    StreamEvent,
    StreamInterruptedError,
    TextDelta,
    Timeout,
    TokenBudget,
    TokenCounter,
    UserMessage,
)
from nemotron_client.tools import BoundCall, Tool, ToolContext, tool


def options_that_do_not_exist(client: Nemotron) -> None:
    client.chat.completions.create(messages="Hi", temprature=0.2)  # E: create
    client.chat.completions.create(messages="Hi", stream=True, temprature=0.2)  # E: create
    client.chat.completions.create(messages="Hi", suffix="!")  # E: create
    client.chat.completions.stream(messages="Hi", temprature=0.2)  # E: temprature
    client.chat.completions.stream(messages="Hi", stream=True)  # E: stream
    client.completions.create(prompt="Once", tools=[{"type": "function"}])  # E: create
    client.with_options(temperature=0.2)  # E: temperature
    client.with_options(budget=32_768)  # E: budget
    client.chat.completions.stream(messages="Hi", budget=32_768)  # E: budget
    client.tokens.fit("Hi", reserve=9)  # E: reserve
    TokenBudget(on_overflow="cut")  # E: on_overflow
    TokenCounter("v3")  # E: v3
    Nemotron(apikey="made-up")  # E: apikey
    Timeout(read=5)  # E: read
    RetryPolicy(retries=5)  # E: retries
    UserMessage(content="Hi", contents="Hi")  # E: contents


def options_prepared_beforehand_that_do_not_exist(options: ChatOptions) -> None:
    options["temprature"] = 0.2  # E: temprature
    options["temperature"] = "hot"  # E: float


def values_of_another_type(client: Nemotron) -> None:
    client.chat.completions.create(messages="Hi", temperature="hot")  # E: create
    client.chat.completions.create(messages="Hi", max_tokens=2.5)  # E: create
    client.chat.completions.create(messages="Hi", stream="yes")  # E: create
    client.chat.completions.create(messages="Hi", tool_choice="any")  # E: create
    client.chat.completions.create(messages="Hi", stop=[1])  # E: str
    client.chat.completions.create(messages="Hi", timeout="5")  # E: create
    client.chat.completions.stream(messages="Hi", temperature="hot")  # E: temperature
    client.completions.create(prompt=3)  # E: create
    client.models.retrieve(7)  # E: retrieve
    Nemotron(timeout="5")  # E: timeout
    Nemotron(retry=3)  # E: retry
    Nemotron(headers={"x-team": 1})  # E: int
    Nemotron(on_event="print")  # E: on_event
    Timeout(connect="10")  # E: connect
    RetryPolicy(wait=5)  # E: wait
    UserMessage(content=3)  # E: content


def hooks_of_another_event(told: list[str]) -> None:
    def of_a_stream(event: StreamEvent) -> None:
        told.append(event.type)

    def of_two(event: HookEvent, other: HookEvent) -> None:
        told.extend([event.type, other.type])

    Nemotron(on_event=of_a_stream)  # E: on_event
    AsyncNemotron(on_event=of_two)  # E: on_event


def messages_that_are_none(client: Nemotron, one: Message, some: Iterator[Message]) -> None:
    client.chat.completions.create("Hi")  # E: create
    client.chat.completions.stream("Hi")  # E: positional
    client.chat.completions.create()  # E: create
    client.chat.completions.stream(temperature=0.2)  # E: messages
    client.chat.completions.create(messages=None)  # E: create
    client.chat.completions.create(messages=one)  # E: create
    client.chat.completions.create(messages=some)  # E: create
    client.chat.completions.create(messages=["Hi"])  # E: str
    client.chat.completions.create(messages={"role": "user", "content": "Hi"})  # E: create
    UserMessage("Hi")  # E: positional


def an_http_client_of_the_other_kind() -> None:
    Nemotron(http_client=httpx2.AsyncClient())  # E: http_client
    Nemotron(http_client=httpx.AsyncClient())  # E: http_client
    AsyncNemotron(http_client=httpx2.Client())  # E: http_client
    AsyncNemotron(http_client=httpx.Client())  # E: http_client
    Nemotron(http_client=httpx2)  # E: http_client


async def blocking_results_are_not_awaited(client: Nemotron) -> None:
    await client.chat.completions.create(messages="Hi")  # E: ChatCompletion
    await client.models.list()  # E: ModelList
    await client.close()  # E: None
    async with client:  # E: __aenter__
        pass
    async with client.chat.completions.stream(messages="Hi"):  # E: __aenter__
        pass


async def asynchronous_results_are_awaited(client: AsyncNemotron) -> None:
    client.chat.completions.create(messages="Hi")  # E: used
    client.close()  # E: used
    _ = client.chat.completions.create(messages="Hi").text  # E: text
    with client:  # E: __enter__
        pass
    with client.chat.completions.stream(messages="Hi"):  # E: __enter__
        pass
    async with client.chat.completions.stream(messages="Hi") as stream:
        _ = stream.get_final_text().upper()  # E: upper


async def an_asynchronous_stream_is_not_for_a_blocking_loop(chunks: AsyncStream[ChatCompletionChunk]) -> None:
    for _ in chunks:  # E: __iter__
        pass


def a_stream_is_no_answer(client: Nemotron, *, either: bool) -> None:
    _ = client.chat.completions.create(messages="Hi", stream=True).text  # E: text
    _ = client.chat.completions.create(messages="Hi", stream=either).text  # E: text
    _ = client.chat.completions.create(messages="Hi")[0]  # E: ChatCompletion
    with client.chat.completions.stream(messages="Hi") as stream:
        for event in stream:
            _ = event.upper()  # E: upper


def a_stream_is_opened_by_with(client: Nemotron) -> None:
    for _ in client.chat.completions.stream(messages="Hi"):  # E: __iter__
        pass
    for _ in client.chat.completions.stream_parse(messages="Hi", response_format=int):  # E: __iter__
        pass
    for _ in client.chat.completions.stream_tools(messages="Hi", tools=[print]):  # E: __iter__
        pass
    _ = client.chat.completions.stream(messages="Hi").get_final_text()  # E: get_final_text


def what_may_be_missing_is_looked_at_first(done: ChatCompletion, error: StreamInterruptedError) -> None:
    _ = done.choices[0].message.content.upper()  # E: upper
    _ = done.usage.total_tokens  # E: total_tokens
    _ = error.partial.text  # E: text
    _ = done.txt  # E: txt


def events_are_told_apart_first(event: StreamEvent) -> None:
    _ = event.delta  # E: delta
    if event.type == "text.delta":
        _ = event.text  # E: text
    if event.type == "text-delta":  # E strict: text-delta
        pass


def events_do_not_change(event: TextDelta, limits: Timeout, policy: RetryPolicy) -> None:
    event.delta = "other"  # E: delta
    limits.total = 5  # E: total
    policy.max_retries = 5  # E: max_retries


@tool
def get_weather(city: str, days: int = 3) -> str:
    return f"{city}: {days}"


class Agent:
    @tool
    def method(self, query: str) -> list[str]:
        return [query]


def a_tool_is_called_otherwise_than_its_function(agent: Agent) -> None:
    get_weather(5)  # E: str
    get_weather("Paris", hours=1)  # E: hours
    get_weather()  # E: city
    get_weather("Paris").append("x")  # E: append
    agent.method(5)  # E: str
    agent.method("x").upper()  # E: upper


def tools_that_are_none(schema: dict[str, object]) -> None:
    tool(5)  # E: tool
    tool(get_weather, "name")  # E: tool
    tool(timeout="5")  # E: tool
    tool(needs_approval="yes")  # E: tool
    Tool.from_function("get_weather")  # E: from_function
    Tool.from_schema("x", schema)  # E: function
    Tool.from_schema("x", ["a"], lambda arguments: arguments)  # E: list
    Tool.from_schema("x", schema, get_weather.upper)  # E: upper


def what_is_known_of_a_call_does_not_change(bound: BoundCall, context: ToolContext[int]) -> None:
    bound.arguments["city"] = "Rome"  # E: Mapping
    context.value = 5  # E: value
    _ = context.value.upper()  # E: upper


def forms_that_are_none(client: Nemotron) -> None:
    client.chat.completions.parse(messages="Hi", response_format=3)  # E: parse
    client.chat.completions.parse(messages="Hi", response_format="json")  # E: parse
    client.chat.completions.parse(messages="Hi", response_format=Timeout())  # E: parse
    client.chat.completions.parse(messages="Hi")  # E: parse
    client.chat.completions.stream_parse(messages="Hi", response_format=3)  # E: stream_parse


def options_that_typed_answers_do_not_take(client: Nemotron) -> None:
    client.chat.completions.parse(messages="Hi", response_format=int, tools=[])  # E: parse
    client.chat.completions.parse(messages="Hi", response_format=int, n=2)  # E: parse
    client.chat.completions.parse(messages="Hi", response_format=int, stream=True)  # E: parse
    client.chat.completions.parse(messages="Hi", response_format=int, method="yaml")  # E: parse
    client.chat.completions.parse(messages="Hi", response_format=int, reasks="2")  # E: parse
    client.chat.completions.create(messages="Hi", method="prompt")  # E: create


def a_value_is_of_its_type(done: ParsedCompletion[int], event: ParseEvent[int]) -> None:
    _ = done.parsed.upper()  # E: upper
    done.parsed = 4  # E: parsed
    if event.type == "parsed.delta":
        _ = event.value + 1  # E: +
    if event.type == "parsed.done":
        _ = event.value.upper()  # E: upper


async def a_typed_answer_is_awaited(client: AsyncNemotron) -> None:
    _ = client.chat.completions.parse(messages="Hi", response_format=int).parsed  # E: parsed
    with client.chat.completions.stream_parse(messages="Hi", response_format=int):  # E: __enter__
        pass
