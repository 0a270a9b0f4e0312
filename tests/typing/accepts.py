"""What answers, events and errors are to a user's checker; checked by `checkers.py`, never run."""

from collections.abc import Mapping
from typing import assert_never, assert_type

from pydantic import JsonValue

from nemotron_client import (
    APIConnectionError,
    APIError,
    APIStatusError,
    AssistantMessage,
    AsyncChatStream,
    AsyncNemotron,
    AsyncStream,
    Attempt,
    BudgetReport,
    ChatCompletion,
    ChatCompletionChunk,
    ChatStream,
    Completion,
    ContextLengthExceededError,
    ContextOverflowError,
    Fitted,
    InvalidRequestError,
    Message,
    Model,
    ModelList,
    Nemotron,
    NemotronError,
    RateLimitError,
    Readiness,
    ResponseInfo,
    ServerVersion,
    Stream,
    StreamEvent,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    TokenBudget,
    TokenBudgetExceededError,
    TokenCount,
    TokenCounter,
    ToolCall,
    ToolCallDone,
    Usage,
)


def stream_decides_what_create_returns(client: Nemotron, *, either: bool) -> None:
    create = client.chat.completions.create
    assert_type(create(messages="Hi"), ChatCompletion)
    assert_type(create(messages="Hi", stream=False), ChatCompletion)
    assert_type(create(messages="Hi", stream=True), Stream[ChatCompletionChunk])
    assert_type(create(messages="Hi", stream=either), ChatCompletion | Stream[ChatCompletionChunk])

    done = create(messages="Hi", stream=either)
    if isinstance(done, ChatCompletion):
        assert_type(done, ChatCompletion)
    else:
        assert_type(done, Stream[ChatCompletionChunk])


async def stream_decides_what_the_asynchronous_create_returns(client: AsyncNemotron, *, either: bool) -> None:
    create = client.chat.completions.create
    assert_type(await create(messages="Hi"), ChatCompletion)
    assert_type(await create(messages="Hi", stream=False), ChatCompletion)
    assert_type(await create(messages="Hi", stream=True), AsyncStream[ChatCompletionChunk])
    assert_type(await create(messages="Hi", stream=either), ChatCompletion | AsyncStream[ChatCompletionChunk])


def an_answer_has_typed_parts(done: ChatCompletion) -> None:
    assert_type(done.text, str)
    assert_type(done.tool_calls, list[ToolCall])
    assert_type(done.tool_calls[0].function.arguments, str)
    assert_type(done.truncated, bool)
    assert_type(done.usage, Usage | None)
    assert_type(done.choices[0].message, AssistantMessage)
    assert_type(done.choices[0].message.content, str | None)
    assert_type(done.choices[0].finish_reason, str | None)
    assert_type(done.response, ResponseInfo)
    assert_type(done.response.request_id, str | None)
    assert_type(done.response.headers, Mapping[str, str])
    assert_type(done.response.attempts, tuple[Attempt, ...])


def chunks_are_iterated(client: Nemotron) -> None:
    with client.chat.completions.create(messages="Hi", stream=True) as chunks:
        for chunk in chunks:
            assert_type(chunk, ChatCompletionChunk)
            assert_type(chunk.choices[0].delta.content, str | None)
        assert_type(chunks.snapshot, ChatCompletion)
        assert_type(chunks.response, ResponseInfo)
    for chunk in client.chat.completions.create(messages="Hi", stream=True):
        assert_type(chunk, ChatCompletionChunk)


async def chunks_are_iterated_asynchronously(client: AsyncNemotron) -> None:
    async with await client.chat.completions.create(messages="Hi", stream=True) as chunks:
        async for chunk in chunks:
            assert_type(chunk, ChatCompletionChunk)
        assert_type(chunks.snapshot, ChatCompletion)
    async for chunk in await client.chat.completions.create(messages="Hi", stream=True):
        assert_type(chunk, ChatCompletionChunk)


def events_are_told_apart_by_type(event: StreamEvent) -> None:
    if event.type == "text.delta":
        assert_type(event, TextDelta)
        assert_type(event.delta, str)
    elif event.type == "tool_call.done":
        assert_type(event.tool_call, ToolCall)
    elif event.type == "usage":
        assert_type(event.usage, Usage)
    elif event.type == "finished":
        assert_type(event.completion, ChatCompletion)


def events_are_told_apart_by_class(event: StreamEvent) -> None:
    if isinstance(event, TextDelta):
        assert_type(event.choice, int)
    match event:
        case TextDelta(delta=delta):
            assert_type(delta, str)
        case ToolCallDone(tool_call=call):
            assert_type(call, ToolCall)
        case _:
            pass


def a_match_on_type_knows_when_it_is_complete(event: StreamEvent) -> str:
    match event.type:
        case "text.delta" | "reasoning.delta" | "tool_call.delta":
            return "delta"
        case "text.done" | "tool_call.done" | "finished":
            return "done"
        case "usage":
            return "usage"
        case _:
            assert_never(event.type)


def a_chat_stream_is_opened_by_with(client: Nemotron) -> None:
    with client.chat.completions.stream(messages="Hi", temperature=0.2) as stream:
        assert_type(stream, ChatStream)
        for event in stream:
            assert_type(event, StreamEvent)
        for delta in stream.text_deltas():
            assert_type(delta, str)
        assert_type(stream.snapshot, ChatCompletion)
        assert_type(stream.until_done(), ChatStream)
        assert_type(stream.get_final_completion(), ChatCompletion)
        assert_type(stream.get_final_text(), str)


async def an_asynchronous_chat_stream_is_opened_by_async_with(client: AsyncNemotron) -> None:
    async with client.chat.completions.stream(messages="Hi", temperature=0.2) as stream:
        assert_type(stream, AsyncChatStream)
        async for event in stream:
            assert_type(event, StreamEvent)
        async for delta in stream.text_deltas():
            assert_type(delta, str)
        assert_type(stream.snapshot, ChatCompletion)
        assert_type(await stream.until_done(), AsyncChatStream)
        assert_type(await stream.get_final_completion(), ChatCompletion)
        assert_type(await stream.get_final_text(), str)


def a_prompt_is_continued(client: Nemotron, *, either: bool) -> None:
    create = client.completions.create
    assert_type(create(prompt="Once"), Completion)
    assert_type(create(prompt=["Once", "Twice"], max_tokens=5, suffix=None), Completion)
    assert_type(create(prompt=[1, 2], logprobs=2), Completion)
    assert_type(create(prompt=[[1, 2], [3]]), Completion)
    assert_type(create(prompt="Once", stream=True), Stream[Completion, Completion])
    assert_type(create(prompt="Once", stream=either), Completion | Stream[Completion, Completion])
    with create(prompt="Once", stream=True) as chunks:
        for chunk in chunks:
            assert_type(chunk.text, str)
        assert_type(chunks.snapshot, Completion)


async def a_prompt_is_continued_asynchronously(client: AsyncNemotron) -> None:
    assert_type(await client.completions.create(prompt="Once"), Completion)
    assert_type(await client.completions.create(prompt="Once", stream=True), AsyncStream[Completion, Completion])


def the_server_is_asked(client: Nemotron) -> None:
    assert_type(client.models.list(), ModelList)
    assert_type(client.models.list().data, list[Model])
    assert_type([model.id for model in client.models.list()], list[str])
    assert_type(client.models.retrieve("a-model"), Model)
    assert_type(client.server.ready(), Readiness)
    assert_type(client.server.wait_until_ready(timeout=5), Readiness)
    assert_type(client.server.live(), bool)
    assert_type(client.server.version(), ServerVersion)
    assert_type(client.server.metadata(), dict[str, JsonValue])


async def the_server_is_asked_asynchronously(client: AsyncNemotron) -> None:
    assert_type(await client.models.list(), ModelList)
    assert_type(await client.models.retrieve("a-model"), Model)
    assert_type(await client.server.ready(), Readiness)
    assert_type(await client.server.wait_until_ready(5), Readiness)
    assert_type(await client.server.live(), bool)
    assert_type(await client.server.version(), ServerVersion)
    assert_type(await client.server.metadata(), dict[str, JsonValue])


def errors_have_typed_attributes(client: Nemotron) -> None:
    try:
        client.chat.completions.create(messages="Hi")
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
        assert_type(error.status_code, int)
        assert_type(error.code, str | int | None)
        assert_type(error.type, str | None)
    except StreamTimeoutError as error:
        assert_type(error.partial, ChatCompletion | Completion | None)
    except ContextLengthExceededError as error:
        assert_type(error.limit, int | None)
        assert_type(error.status_code, int)
    except (APIStatusError, APIConnectionError) as error:
        assert_type(error.request_id, str | None)
    except APIError as error:
        assert_type(error.body, object)
        assert_type(error.attempts, tuple[Attempt, ...])
        assert_type(error.attempts[0].waited, float)
        assert_type(error.hint, str | None)
    except ContextOverflowError as error:
        assert_type(error.prompt_tokens, int | None)
    except InvalidRequestError as error:
        assert_type(error.parameter, str | None)
    except NemotronError as error:
        raise SystemExit(str(error)) from error


def budgets_are_typed(client: Nemotron, messages: list[Message]) -> None:
    client.with_options(budget=TokenBudget(limit=32_768, on_overflow="fit", reserve=1000))
    done = client.chat.completions.create(messages=messages, budget=TokenBudget(on_overflow="warn"))
    assert_type(done.response.dropped, tuple[Message, ...])
    assert_type(client.tokens.count(messages="Hi"), TokenCount)
    assert_type(client.tokens.check(messages=messages, tools=[len, {"type": "function"}], max_tokens=9), BudgetReport)
    fitted = client.tokens.fit(messages, max_tokens=9)
    assert_type(fitted, Fitted)
    assert_type(fitted.messages, list[Message])
    assert_type(client.tokens.count_on_server(messages="Hi"), int)
    assert_type(TokenCounter("v11").count(messages).messages, tuple[int, ...])


async def the_asynchronous_client_counts_without_await_and_asks_with_it(client: AsyncNemotron) -> None:
    assert_type(client.tokens.count(messages="Hi"), TokenCount)
    assert_type(client.tokens.check(messages="Hi"), BudgetReport)
    assert_type(client.tokens.fit("Hi"), Fitted)
    assert_type(await client.tokens.count_on_server(messages="Hi"), int)


def what_is_too_much_is_in_the_error(error: ContextOverflowError) -> None:
    if isinstance(error, TokenBudgetExceededError):
        assert_type(error.excess, int)
        assert_type(error.heaviest, tuple[tuple[int, int], ...])


def what_had_arrived_is_in_the_error(error: StreamInterruptedError) -> str:
    if error.partial is None:
        return ""
    if isinstance(error.partial, ChatCompletion):
        assert_type(error.partial.tool_calls, list[ToolCall])
    return error.partial.text
