"""What a streamed answer looks like to the caller: iterate it, leave it, ask it for the whole.

Thin shells over the pure :class:`StreamReader`; the two pairs differ in nothing but ``await``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, Self
from warnings import warn

from typing_extensions import TypeVar

from .completions import ChatCompletion, Completion, ResponseInfo
from .errors import ConfigurationError
from .events import StreamEvent, TextDelta

if TYPE_CHECKING:
    from types import TracebackType

    from ._engine.reader import StreamReader
    from ._transport.blocking import Body
    from ._transport.nonblocking import AsyncBody

ItemT = TypeVar("ItemT")
EventT = TypeVar("EventT", default=StreamEvent)
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion, default=ChatCompletion)

_OPENED = "This was opened before, and is for one answer: call stream(...) again for another one."


class _Closing(Protocol):
    def close(self) -> None: ...


class _AsyncClosing(Protocol):
    async def close(self) -> None: ...


StreamT = TypeVar("StreamT", bound=_Closing)
AsyncStreamT = TypeVar("AsyncStreamT", bound=_AsyncClosing)


class UnopenedStream(Generic[StreamT]):
    """A stream that is checked and not sent yet; ``with`` sends it and gives what can be iterated."""

    def __init__(self, start: Callable[[], StreamT]) -> None:
        """Prepare; for the client."""
        self._start = start
        self._opened: list[StreamT] = []  # none, or the one

    def __enter__(self) -> StreamT:
        """Send the request (of a run of tools, with its first event) and give the stream.

        Raises:
            APIError: It was refused, or no answer came.
            ContextOverflowError: It doesn't fit the window.
            ConfigurationError: It was opened before.
            InvalidRequestError: It goes on with a paused run that was resumed before.
        """
        if self._opened:
            raise ConfigurationError(_OPENED)
        self._opened.append(self._start())
        return self._opened[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back at once; cancel the tools that can be, and leave the others to themselves."""
        self._opened[0].close()


class AsyncUnopenedStream(Generic[AsyncStreamT]):
    """A stream that is checked and not sent yet; ``async with`` sends it and gives what can be iterated."""

    def __init__(self, start: Callable[[], Awaitable[AsyncStreamT]]) -> None:
        """Prepare; for the client."""
        self._start = start
        self._opened: list[AsyncStreamT] = []  # none, or the one
        self._is_opening = False

    async def __aenter__(self) -> AsyncStreamT:
        """Send the request (of a run of tools, with its first event) and give the stream.

        Raises:
            APIError: It was refused, or no answer came.
            ContextOverflowError: It doesn't fit the window.
            ConfigurationError: It was opened before.
            InvalidRequestError: It goes on with a paused run that was resumed before.
        """
        if self._opened or self._is_opening:
            raise ConfigurationError(_OPENED)
        self._is_opening = True
        try:
            self._opened.append(await self._start())
        finally:
            self._is_opening = False
        return self._opened[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back at once; cancel the tools that can be, and leave the others to themselves."""
        await self._opened[0].close()


def _tell_who_forgot(kind: type, opening: str, *methods: str) -> None:
    """Say at run time too how it is opened: not in the class, or type checkers would take it for what it isn't yet."""
    hint = f"This isn't sent yet: open it first, as in `{opening} client.chat.completions.stream(...) as stream:`."

    def refuse(*_: object) -> NoReturn:
        """Tell how it is opened."""
        raise TypeError(hint)

    def miss(_: object, name: str) -> NoReturn:
        msg = f"{kind.__name__!r} object has no attribute {name!r}. {hint}"
        raise AttributeError(msg)

    for name, method in {**dict.fromkeys(methods, refuse), "__getattr__": miss}.items():
        setattr(kind, name, method)


_tell_who_forgot(UnopenedStream, "with", "__iter__", "__aiter__", "__aenter__", "__aexit__")
_tell_who_forgot(AsyncUnopenedStream, "async with", "__iter__", "__aiter__", "__enter__", "__exit__")


class _State(Generic[ItemT, AnswerT]):
    """What the blocking and the asynchronous stream share."""

    def __init__(self, reader: StreamReader[ItemT, AnswerT]) -> None:
        self._reader = reader
        self._items: deque[ItemT] = deque()

    @property
    def response(self) -> ResponseInfo:
        """Request id, headers, attempts and elapsed time up to the headers."""
        return self._reader.response

    @property
    def snapshot(self) -> AnswerT:
        """The answer as far as it has arrived."""
        return self._reader.completion()


class Stream(_State[ItemT, AnswerT]):
    """A streamed answer, open: iterate it, best within ``with``."""

    def __init__(self, reader: StreamReader[ItemT, AnswerT], body: Body) -> None:
        """Take over an open body; for the clients."""
        super().__init__(reader)
        self._body = body

    def __iter__(self) -> Iterator[ItemT]:
        """Iterate once over what arrives."""
        return self

    def __next__(self) -> ItemT:
        """Wait for the next piece.

        Raises:
            StreamInterruptedError: Something went wrong; what had arrived is in ``partial``.
            InvalidResponseError: It is no event stream at all.
            ContextLengthExceededError: Instead of an answer, the server says that the request overflows its window.
            ResponseFormatError: Of a stream of a given form: the whole answer is not of that form.
        """
        items, reader, body = self._items, self._reader, self._body
        while not items:
            if reader.ended:
                if reader.error is not None:
                    body.close()
                    raise reader.error
                body.drain()
                raise StopIteration
            fed = reader.feed(body.read(reader.progress))
            if len(fed) == 1:
                return fed[0]  # as nearly always: no need to queue
            items.extend(fed)
        return items.popleft()

    def __enter__(self) -> Self:
        """Give the stream."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back at once."""
        self.close()

    def __del__(self) -> None:
        """Close a stream that was left open, and complain of it."""
        body = getattr(self, "_body", None)
        if body is not None and not body.closed:
            body.abandon()
            warn(
                f"{type(self).__name__} was left open: use it in a with block, or close() it.",
                ResourceWarning,
                stacklevel=1,
            )

    def close(self) -> None:
        """Give the connection back at once; may be called from another thread, and more than once."""
        self._body.close()


class ChatStream(Stream[EventT]):
    """A chat answer as typed events, open."""

    def text_deltas(self) -> Iterator[str]:
        """Iterate over the first choice's text as it arrives."""
        for event in self:
            if isinstance(event, TextDelta) and event.choice == 0:
                yield event.delta

    def until_done(self) -> Self:
        """Read to the end."""
        for _ in self:
            pass
        return self

    def get_final_completion(self) -> ChatCompletion:
        """Read to the end and return the whole answer."""
        self.until_done()
        return self.snapshot

    def get_final_text(self) -> str:
        """Read to the end and return the first choice's text."""
        return self.get_final_completion().text


class AsyncStream(_State[ItemT, AnswerT]):
    """A streamed answer, open: iterate it, best within ``async with``."""

    def __init__(self, reader: StreamReader[ItemT, AnswerT], body: AsyncBody) -> None:
        """Take over an open body; for the clients."""
        super().__init__(reader)
        self._body = body

    def __aiter__(self) -> AsyncIterator[ItemT]:
        """Iterate once over what arrives."""
        return self

    async def __anext__(self) -> ItemT:
        """Wait for the next piece.

        Raises:
            StreamInterruptedError: Something went wrong; what had arrived is in ``partial``.
            InvalidResponseError: It is no event stream at all.
            ContextLengthExceededError: Instead of an answer, the server says that the request overflows its window.
            ResponseFormatError: Of a stream of a given form: the whole answer is not of that form.
        """
        items, reader, body = self._items, self._reader, self._body
        while not items:
            if reader.ended:
                if reader.error is not None:
                    await body.close()
                    raise reader.error
                await body.drain()
                raise StopAsyncIteration
            fed = reader.feed(await body.read(reader.progress))
            if len(fed) == 1:
                return fed[0]  # as nearly always: no need to queue
            items.extend(fed)
        return items.popleft()

    async def __aenter__(self) -> Self:
        """Give the stream."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back at once."""
        await self.close()

    def __del__(self) -> None:
        """Hang up a stream that was left open, which only its own event loop could close, and complain of it."""
        body = getattr(self, "_body", None)
        if body is not None and not body.closed:
            body.abandon()
            warn(
                f"{type(self).__name__} was left open: use it in an async with block, or await close().",
                ResourceWarning,
                stacklevel=1,
            )

    async def close(self) -> None:
        """Give the connection back at once; may be called from another task, and more than once."""
        await self._body.close()


class AsyncTextDeltas(AsyncIterator[str]):
    """The first choice's text; no generator, since trio complains of each one that is left by ``break``."""

    def __init__(self, events: AsyncIterator[object]) -> None:
        """Read it out of these events."""
        self._events = events

    async def __anext__(self) -> str:
        """Wait for the next piece."""
        async for event in self._events:
            if isinstance(event, TextDelta) and event.choice == 0:
                return event.delta
        raise StopAsyncIteration


class AsyncChatStream(AsyncStream[EventT]):
    """A chat answer as typed events, open."""

    def text_deltas(self) -> AsyncIterator[str]:
        """Iterate over the first choice's text as it arrives."""
        return AsyncTextDeltas(aiter(self))

    async def until_done(self) -> Self:
        """Read to the end."""
        async for _ in self:
            pass
        return self

    async def get_final_completion(self) -> ChatCompletion:
        """Read to the end and return the whole answer."""
        await self.until_done()
        return self.snapshot

    async def get_final_text(self) -> str:
        """Read to the end and return the first choice's text."""
        return (await self.get_final_completion()).text
