"""The bytes of a streamed answer to the items its reader gets, and to a verdict: whole, or broken and how.

Fed by both clients alike; knows nothing of sockets. A stream is whole when it said ``[DONE]`` or ended, and every
choice has its finish reason; anything else is an error that keeps what had arrived, never a short answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, Protocol

from typing_extensions import TypeVar

from nemotron_client.config import redact
from nemotron_client.errors import (
    APIError,
    StreamInterruptedError,
    StreamTimeoutError,
)
from nemotron_client.events import StreamEvent
from nemotron_client.messages import ChatCompletion, ChatCompletionChunk, Completion, ResponseInfo

from . import refusals, wire
from .accumulate import Accumulator, TextAccumulator
from .exchange import Failure
from .sse import MAX_EVENT_BYTES, EventTooLargeError, SSEDecoder, SSEEvent

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion, default=ChatCompletion)
AnswerT_co = TypeVar("AnswerT_co", bound=ChatCompletion | Completion, covariant=True)

_CLOSED = "This stream is closed: its with block has ended, or close() was called"
_DONE = b"[DONE]"
_BLANK = b" \t\r\n\xef\xbb\xbf"


class _Accumulator(Protocol[AnswerT_co]):
    response: ResponseInfo

    @property
    def finished(self) -> bool: ...
    def completion(self) -> AnswerT_co: ...


class StreamReader(Generic[ItemT, AnswerT]):
    """Read one streamed answer.

    Attributes:
        ended: Whether nothing more is to be read.
        error: What was wrong, to be raised after the items that came before it.
    """

    def __init__(
        self,
        accumulator: _Accumulator[AnswerT],
        secrets: Mapping[str, str],
        *,
        read: Callable[[bytes], Sequence[ItemT]],
        mend: Callable[[bytes], Iterable[ItemT]],
        finish: Callable[[], Iterable[ItemT]],
        read_whole: Callable[[bytes], Iterable[ItemT]],
    ) -> None:
        """Begin; use :func:`chat_chunks`, :func:`chat_events` or :func:`text_chunks`.

        Args:
            accumulator: What collects the answer.
            secrets: The request's headers, whose secrets are taken out of errors.
            read: An event's JSON to items, quickly; raises ValueError where it isn't a chunk to the letter.
            mend: The same, leniently; raises ValueError if it can't be read as a chunk.
            finish: The items that end the answer.
            read_whole: The JSON of a whole completion, sent instead of a stream, to items; raises ValueError if it is
                none.
        """
        self.ended = False
        self.error: APIError | None = None
        self.progress = 0  # pieces of content; a driver compares it to tell content from keep-alives
        self._sse = SSEDecoder()
        self._accumulator = accumulator
        self._read_chunk, self._mend_chunk, self._finish, self._read_whole = read, mend, finish, read_whole
        self._not_a_stream: bytearray | None = None
        self._looked = False
        self._secrets = secrets

    def begin(self, response: ResponseInfo) -> None:
        """Take note of the answer's headers."""
        self._accumulator.response = response

    @property
    def response(self) -> ResponseInfo:
        """What is known of the HTTP answer."""
        return self._accumulator.response

    def completion(self) -> AnswerT:
        """Return the answer as far as it has come."""
        return self._accumulator.completion()

    def feed(self, piece: bytes | Failure | None) -> Sequence[ItemT]:
        """Take what the next read gave.

        Args:
            piece: Bytes, as many as the network gave; None for the orderly end of the body; or why there is no more.

        Returns:
            The items in it; :attr:`error` and :attr:`ended` tell whether more may follow.
        """
        if not isinstance(piece, bytes):
            return self._end_of_body(piece)
        data = self._sse.only_data(piece)
        if data is not None and b'"choices"' in data and b'"error"' not in data:
            # The way of nearly every chunk. Whatever is out of the ordinary takes the longer one.
            try:
                items = self._read_chunk(data)
            except ValueError:  # it is mended below
                pass
            else:
                self.progress += 1
                return items
        if not self._looked:
            self._look(piece)
        if self._not_a_stream is not None:
            self._not_a_stream += piece
            return self._end_of_body(None) if len(self._not_a_stream) > MAX_EVENT_BYTES else []
        try:
            events, too_large = self._sse.feed(piece), None
        except EventTooLargeError as error:
            events, too_large = error.events, error
        found = self._read(events)
        if too_large is not None and not self.ended:
            self._break(f"The server sent {too_large}")
        return found

    def _read(self, events: list[SSEEvent]) -> list[ItemT]:
        items: list[ItemT] = []
        for event in events:
            data = event.data
            has_choices = b'"choices"' in data
            if not has_choices or b'"error"' in data or event.event != "message":
                self._check(event)
                if self.ended:
                    break
                if not has_choices and event.event != "message":
                    continue  # a ping or the like
            try:
                items.extend(self._read_chunk(data))
            except ValueError:
                if not data:
                    continue  # no content, so no progress either
                self._mend(data, items)
                if self.ended:
                    break
            self.progress += has_choices
        return items

    def _check(self, event: SSEEvent) -> None:
        if event.event == "error" or refusals.is_refusal(event.data):
            self._refuse(event.data)

    def _mend(self, data: bytes, items: list[ItemT]) -> None:
        """Take what isn't a chunk to the letter: the end mark, or a chunk of a sloppy server."""
        if data.strip() == _DONE:
            self._end(items)
            return
        try:
            items.extend(self._mend_chunk(data))
        except ValueError as error:
            start = redact(data, self._secrets)[:200]
            self._break(f"The server sent a chunk that can't be read ({error}): {start!r}", body=data)

    def _end_of_body(self, failure: Failure | None) -> list[ItemT]:
        items: list[ItemT] = []
        if failure is not None and self._accumulator.finished:
            self._end(items)  # only the end mark is missing
        elif failure is not None:
            self._fail(failure)
        elif self._not_a_stream is not None:
            self._take_whole(bytes(self._not_a_stream), items)
        else:
            last = self._sse.close()
            if last is not None and (last.event == "error" or refusals.is_refusal(last.data)):
                self._refuse(last.data)
                return items
            if last is not None:
                # Where its end is missing, what matters is whether the answer was whole before it.
                with suppress(ValueError):
                    items.extend(self._mend_chunk(last.data))
            self._end(items)
        return items

    def _fail(self, failure: Failure) -> None:
        if failure.problem == "closed":
            self._break(_CLOSED, hint="Read it inside the block. What had arrived is in error.partial.")
        elif failure.problem in {"timeout", "total"}:
            self._break(
                f"The stream began, and then nothing more came in time ({failure.detail})",
                hint="Raise Timeout(first_event=..., idle=..., total=...) if the server may take so long.",
                kind=StreamTimeoutError,
            )
        else:
            self._break(f"The stream began, and then the connection was lost ({failure.detail})")

    def _look(self, data: bytes) -> None:
        # No line of an event stream that means anything begins like this; the content type is not to be trusted.
        start = data.lstrip(_BLANK)
        self._looked = bool(start)
        if start.startswith((b"{", b"<", b"[")):
            self._not_a_stream = bytearray()

    def _end(self, items: list[ItemT]) -> None:
        if not self._accumulator.finished:
            self._break("The stream ended without a finish reason: the answer is not whole")
            return
        self.ended = True
        items.extend(self._finish())

    def _take_whole(self, body: bytes, items: list[ItemT]) -> None:
        if refusals.is_refusal(body):
            self._refuse(body)
            return
        try:
            items.extend(self._read_whole(body))
        except ValueError as error:
            self.error = wire.not_expected(redact(body, self._secrets), f"an event stream: {error}")
            self.error.request_id = self.response.request_id
            self.ended = True
        else:
            self._end(items)

    def _refuse(self, data: bytes) -> None:
        refusal = refusals.read(redact(data, self._secrets))
        code = "" if refusal.code is None else f" (code {refusal.code})"
        self._break(
            f"The server reported an error in the stream{code}: {refusal.message}".rstrip(": "), body=refusal.body
        )

    def _break(
        self,
        message: str,
        *,
        body: object = None,
        hint: str = "What had arrived is in error.partial. Ask again, or go on with that.",
        kind: type[StreamInterruptedError] = StreamInterruptedError,
    ) -> None:
        if isinstance(body, bytes):
            body = redact(body, self._secrets).decode("utf-8", "replace")
        error = kind(
            message if message.endswith(".") else f"{message}.",
            body=body,
            request_id=self.response.request_id,
            attempts=self.response.attempts,
            hint=hint,
        )
        error.partial = self.completion()
        self.error = error
        self.ended = True


def chat_chunks(secrets: Mapping[str, str]) -> StreamReader[ChatCompletionChunk]:
    """Read a chat answer as its chunks."""
    accumulator = Accumulator()
    add, parse = accumulator.add, _chunk_parser()

    def read(data: bytes) -> tuple[ChatCompletionChunk]:
        chunk = parse(data)
        add(chunk)
        return (chunk,)

    def push(chunk: ChatCompletionChunk) -> tuple[ChatCompletionChunk]:
        add(chunk)
        return (chunk,)

    return StreamReader(
        accumulator,
        secrets,
        read=read,
        mend=lambda data: push(wire.parse(ChatCompletionChunk, data)),
        finish=tuple,
        read_whole=lambda body: push(_as_chunk(body)),
    )


def chat_events(secrets: Mapping[str, str]) -> StreamReader[StreamEvent]:
    """Read a chat answer as events."""
    accumulator = Accumulator()
    push, parse = accumulator.push, _chunk_parser()
    return StreamReader(
        accumulator,
        secrets,
        read=lambda data: push(parse(data)),
        mend=lambda data: push(wire.parse(ChatCompletionChunk, data)),
        finish=accumulator.finish,
        read_whole=lambda body: push(_as_chunk(body)),
    )


def _chunk_parser() -> Callable[[bytes], ChatCompletionChunk]:
    """Return ``model_validate_json`` without its frame, which every chunk would pay for."""
    ChatCompletionChunk.model_rebuild()  # where nothing was parsed yet, there is only a stand-in to take it from
    return ChatCompletionChunk.__pydantic_validator__.validate_json


def text_chunks(secrets: Mapping[str, str]) -> StreamReader[Completion, Completion]:
    """Read a text completion as its chunks."""
    accumulator = TextAccumulator()

    def push(chunk: Completion) -> tuple[Completion]:
        accumulator.push(chunk)
        return (chunk,)

    def mend(data: bytes) -> tuple[Completion]:
        return push(wire.parse(Completion, data))  # which is quick for what needs no mending

    return StreamReader(
        accumulator,
        secrets,
        read=mend,
        mend=mend,
        finish=tuple,
        read_whole=lambda body: push(_whole(Completion, body)),
    )


def _whole(model: type[AnswerT], body: bytes) -> AnswerT:
    completion = wire.parse(model, body)
    if not completion.choices:
        msg = "it has no choices"
        raise ValueError(msg)
    return completion


def _as_chunk(body: bytes) -> ChatCompletionChunk:
    """Turn a whole completion into the one chunk that says the same."""
    data = _whole(ChatCompletion, body).model_dump(exclude_none=True)
    data["object"] = "chat.completion.chunk"
    for choice in data["choices"]:
        choice["delta"] = choice.pop("message")
        for index, call in enumerate(choice["delta"].get("tool_calls", ())):
            call["index"] = index
    return ChatCompletionChunk.model_validate(data)
