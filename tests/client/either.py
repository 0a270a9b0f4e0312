"""Either client behind one asynchronous face, so that each behaviour is written once and runs on both.

The blocking client's calls run in a worker thread.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from anyio import to_thread
from pydantic import JsonValue
from typing_extensions import TypeForm, TypeIs

from nemotron_client import (
    Approval,
    AsyncChatStream,
    AsyncNemotron,
    AsyncParseStream,
    AsyncStream,
    AsyncToolStream,
    AsyncUnopenedStream,
    ChatCompletion,
    ChatCompletionChunk,
    ChatOptions,
    ChatStream,
    Completion,
    Message,
    Model,
    ModelList,
    Nemotron,
    ParsedCompletion,
    ParseEvent,
    ParseOptions,
    ParseStream,
    Readiness,
    ResponseInfo,
    RunEvent,
    RunOptions,
    ServerVersion,
    Stream,
    StreamEvent,
    TextOptions,
    ToolRun,
    ToolStream,
    UnopenedStream,
)
from nemotron_client.async_resources import AsyncTokens
from nemotron_client.options import Function, Prompt
from nemotron_client.resources import Tokens
from nemotron_client.start import Claim

T = TypeVar("T")
OpenedT = TypeVar("OpenedT")
SyncT = TypeVar("SyncT", bound=Stream[Any, Any] | ToolStream)
AsyncT = TypeVar("AsyncT", bound=AsyncStream[Any, Any] | AsyncToolStream)
ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion)
Messages = str | Sequence[Message]
Tools = Sequence[Callable[..., object]]


async def in_thread(call: Callable[[], T]) -> T:
    """Run what blocks."""
    return await to_thread.run_sync(call)


async def _each(iterator: Iterator[T]) -> AsyncIterator[T]:
    while items := await in_thread(lambda: [item for _, item in zip(range(1), iterator, strict=False)]):
        yield items[0]


class EitherUnopened(Generic[OpenedT]):
    """What `.stream()` and its like give, before `async with`."""

    def __init__(
        self, inner: UnopenedStream[SyncT] | AsyncUnopenedStream[AsyncT], opened: Callable[[SyncT | AsyncT], OpenedT]
    ) -> None:
        async def enter() -> OpenedT:
            if isinstance(inner, UnopenedStream):
                return opened(await in_thread(inner.__enter__))
            return opened(await inner.__aenter__())

        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            if isinstance(inner, UnopenedStream):
                await in_thread(partial(inner.__exit__, kind, error, trace))
            else:
                await inner.__aexit__(kind, error, trace)

        self._enter, self._leave = enter, leave

    async def __aenter__(self) -> OpenedT:
        return await self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave(kind, error, trace)


class EitherStream(Generic[ItemT, AnswerT]):
    """A stream of either client, open after `async with`."""

    def __init__(self, inner: Stream[ItemT, AnswerT] | AsyncStream[ItemT, AnswerT]) -> None:
        self.inner = inner

    async def __aenter__(self) -> Self:
        if isinstance(self.inner, Stream):
            await in_thread(self.inner.__enter__)
        else:
            await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self.inner, Stream):
            await in_thread(partial(self.inner.__exit__, kind, error, trace))
        else:
            await self.inner.__aexit__(kind, error, trace)

    def __aiter__(self) -> AsyncIterator[ItemT]:
        return _each(self.inner) if isinstance(self.inner, Stream) else aiter(self.inner)

    async def close(self) -> None:
        if isinstance(self.inner, Stream):
            await in_thread(self.inner.close)
        else:
            await self.inner.close()

    async def items(self) -> list[ItemT]:
        return [item async for item in self]

    @property
    def snapshot(self) -> AnswerT:
        return self.inner.snapshot

    @property
    def response(self) -> ResponseInfo:
        return self.inner.response


class EitherChatStream(EitherStream[StreamEvent, ChatCompletion]):
    """The same for `.stream()`."""

    def __init__(self, inner: ChatStream | AsyncChatStream) -> None:
        super().__init__(inner)
        self._chat = inner

    def text_deltas(self) -> AsyncIterator[str]:
        deltas = self._chat.text_deltas()
        return _each(deltas) if isinstance(deltas, Iterator) else deltas

    async def until_done(self) -> object:
        return await _finish(self._chat, self._chat.until_done)

    async def get_final_completion(self) -> ChatCompletion:
        return await _finish(self._chat, self._chat.get_final_completion)

    async def get_final_text(self) -> str:
        return await _finish(self._chat, self._chat.get_final_text)


class EitherParseStream(EitherStream[ParseEvent[T], ChatCompletion]):
    """The same for `.stream_parse()`."""

    def __init__(self, inner: ParseStream[T] | AsyncParseStream[T]) -> None:
        super().__init__(inner)
        self._parse = inner

    async def get_final_completion(self) -> ParsedCompletion[T]:
        return await _finish(self._parse, self._parse.get_final_completion)


class EitherToolStream:
    """The same for `.stream_tools()`."""

    def __init__(self, inner: ToolStream | AsyncToolStream) -> None:
        self.inner = inner

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        return _each(self.inner) if isinstance(self.inner, ToolStream) else aiter(self.inner)

    def text_deltas(self) -> AsyncIterator[str]:
        deltas = self.inner.text_deltas()
        return _each(deltas) if isinstance(deltas, Iterator) else deltas

    async def until_done(self) -> ToolRun:
        return await _finish(self.inner, self.inner.until_done)

    async def close(self) -> None:
        await _finish(self.inner, self.inner.close)

    @property
    def run(self) -> ToolRun:
        return self.inner.run


class Either:
    """One of the two clients."""

    def __init__(self, inner: Nemotron | AsyncNemotron) -> None:
        self.inner = inner

    async def create(self, messages: Messages = "Hello", **options: Unpack[ChatOptions]) -> ChatCompletion:
        completions = self.inner.chat.completions
        return await _finish(self.inner, lambda: completions.create(messages=messages, **options))

    async def create_stream(
        self, messages: Messages = "Hello", **options: Unpack[ChatOptions]
    ) -> EitherStream[ChatCompletionChunk, ChatCompletion]:
        completions = self.inner.chat.completions
        return EitherStream(
            await _finish(self.inner, lambda: completions.create(messages=messages, stream=True, **options))
        )

    def stream(self, messages: Messages = "Hello", **options: Unpack[ChatOptions]) -> EitherUnopened[EitherChatStream]:
        return EitherUnopened(self.inner.chat.completions.stream(messages=messages, **options), EitherChatStream)

    async def parse(
        self, form: TypeForm[T], messages: Messages = "Who is Ada?", **options: Unpack[ParseOptions]
    ) -> ParsedCompletion[T]:
        completions = self.inner.chat.completions
        return await _finish(self.inner, lambda: completions.parse(messages=messages, response_format=form, **options))

    def stream_parse(
        self, form: TypeForm[T], messages: Messages = "Who is Ada?", **options: Unpack[ParseOptions]
    ) -> EitherUnopened[EitherParseStream[T]]:
        completions = self.inner.chat.completions
        stream = completions.stream_parse(messages=messages, response_format=form, **options)
        return EitherUnopened(stream, EitherParseStream[T])

    async def parse_schema(
        self, schema: Mapping[str, object], messages: Messages = "Who is Ada?", **options: Unpack[ParseOptions]
    ) -> ParsedCompletion[JsonValue]:
        completions = self.inner.chat.completions
        return await _finish(
            self.inner, lambda: completions.parse(messages=messages, response_format=schema, **options)
        )

    def stream_parse_schema(
        self, schema: Mapping[str, object], messages: Messages = "Who is Ada?", **options: Unpack[ParseOptions]
    ) -> EitherUnopened[EitherParseStream[JsonValue]]:
        completions = self.inner.chat.completions
        stream = completions.stream_parse(messages=messages, response_format=schema, **options)
        return EitherUnopened(stream, EitherParseStream[JsonValue])

    async def run_tools(
        self,
        messages: Messages | ToolRun = "Hello",
        tools: Tools = (),
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> ToolRun:
        run_tools = self.inner.chat.completions.run_tools
        return await _finish(
            self.inner,
            lambda: run_tools(messages=messages, tools=tools, approvals=approvals, claim=claim, **options),
        )

    def stream_tools(
        self,
        messages: Messages | ToolRun = "Hello",
        tools: Tools = (),
        approvals: Sequence[Approval] = (),
        claim: Claim | None = None,
        **options: Unpack[RunOptions],
    ) -> EitherUnopened[EitherToolStream]:
        stream_tools = self.inner.chat.completions.stream_tools
        stream = stream_tools(messages=messages, tools=tools, approvals=approvals, claim=claim, **options)
        return EitherUnopened(stream, EitherToolStream)

    async def complete(self, prompt: Prompt = "Hello", **options: Unpack[TextOptions]) -> Completion:
        completions = self.inner.completions
        return await _finish(self.inner, lambda: completions.create(prompt=prompt, **options))

    async def complete_stream(
        self, prompt: Prompt = "Hello", **options: Unpack[TextOptions]
    ) -> EitherStream[Completion, Completion]:
        completions = self.inner.completions
        return EitherStream(
            await _finish(self.inner, lambda: completions.create(prompt=prompt, stream=True, **options))
        )

    @property
    def tokens(self) -> Tokens | AsyncTokens:
        return self.inner.tokens

    async def count_on_server(
        self, messages: Messages = "Hello", offered: Sequence[Function | Mapping[str, object]] | None = None
    ) -> int:
        count = self.inner.tokens.count_on_server
        return await _finish(self.inner, lambda: count(messages=messages, tools=offered))

    async def models(self) -> ModelList:
        return await _finish(self.inner, self.inner.models.list)

    async def model(self, name: str) -> Model:
        return await _finish(self.inner, partial(self.inner.models.retrieve, name))

    async def ready(self) -> Readiness:
        return await _finish(self.inner, self.inner.server.ready)

    async def wait_until_ready(self, timeout: float = 600.0) -> Readiness:
        return await _finish(self.inner, partial(self.inner.server.wait_until_ready, timeout))

    async def live(self) -> bool:
        return await _finish(self.inner, self.inner.server.live)

    async def version(self) -> ServerVersion:
        return await _finish(self.inner, self.inner.server.version)

    async def metadata(self) -> dict[str, JsonValue]:
        return await _finish(self.inner, self.inner.server.metadata)

    async def close(self) -> None:
        await _finish(self.inner, self.inner.close)


async def _finish(client: object, call: Callable[[], T | Awaitable[T]]) -> T:
    result = await in_thread(call) if isinstance(client, Nemotron | Stream | ToolStream) else call()
    return await result if _is_awaitable(result) else result


def _is_awaitable(result: T | Awaitable[T]) -> TypeIs[Awaitable[T]]:
    return isinstance(result, Awaitable)
