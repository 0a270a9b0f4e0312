"""The bytes of a streamed answer to the items its reader gets, and to a verdict: whole, or broken and how.

Fed by both clients alike; knows nothing of sockets. A stream is whole when it said ``[DONE]`` or ended, and every
choice has its finish reason; anything else is an error that keeps what had arrived, never a short answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Generic, Protocol

from typing_extensions import TypeVar

from nemotron_client.completions import ChatCompletion, ChatCompletionChunk, Completion, ResponseInfo
from nemotron_client.config import redact
from nemotron_client.errors import (
    NemotronError,
    ResponseFormatError,
    StreamInterruptedError,
    StreamTimeoutError,
)

from . import refusals, wire
from .exchange import Failure
from .sse import MAX_EVENT_BYTES, EventTooLargeError, SSEDecoder, SSEEvent

T = TypeVar("T")
ItemT = TypeVar("ItemT")
ChunkT = TypeVar("ChunkT", bound=ChatCompletionChunk | Completion)
AnswerT = TypeVar("AnswerT", bound=ChatCompletion | Completion, default=ChatCompletion)
AnswerT_co = TypeVar("AnswerT_co", bound=ChatCompletion | Completion, covariant=True)

_NOT_WHOLE = "The stream ended without a finish reason: the answer is not whole"
_CLOSED = "This stream is closed: its with block has ended, or close() was called"
_DONE = b"[DONE]"
_BLANK = b" \t\r\n\xef\xbb\xbf"
_MOST_KEPT = 64 * 1024  # bytes of what is no event, to be shown if none comes


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
        mend: Callable[[bytes], tuple[Iterable[ItemT], bool]],
        finish: Callable[[], Iterable[ItemT]],
    ) -> None:
        """Begin; ``readers.py`` does.

        Args:
            accumulator: What collects the answer.
            secrets: The request's headers, whose secrets are taken out of errors.
            read: An event's JSON to items, quickly; raises ValueError where it isn't a chunk to the letter that adds
                to a choice.
            mend: The same, leniently, and of a whole completion too; with whether it adds to a choice. Raises
                ValueError if it is neither.
            finish: The items that end the answer.
        """
        self.ended = False
        self.error: NemotronError | None = None
        self.progress = 0  # pieces of content; a driver compares it to tell content from keep-alives
        self._sse = SSEDecoder()
        self._accumulator = accumulator
        self._read_chunk, self._mend_chunk, self._finish = read, mend, finish
        self._start: bytearray | None = bytearray()  # what came before the first event that took the longer way
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
            return self._with_end(self._end_of_body(piece))
        data = self._sse.only_data(piece)
        if data is not None:
            # The way of nearly every chunk. Whatever is out of the ordinary takes the longer one.
            try:
                items = self._read_chunk(data)
            except ValueError:  # it is looked at more closely below
                pass
            else:
                self.progress += 1
                return items
        return self._with_end(self._take_apart(piece))

    def _with_end(self, items: list[ItemT]) -> list[ItemT]:
        if self.ended and self.error is None:
            try:
                items.extend(self._finish())
            except ResponseFormatError as error:
                self.error = error
        return items

    def _take_apart(self, piece: bytes) -> list[ItemT]:
        if not self._looked:
            self._look(piece)
        if self._not_a_stream is not None:
            self._not_a_stream += piece
            return self._end_of_body(None) if len(self._not_a_stream) > MAX_EVENT_BYTES else []
        try:
            events, too_large = self._sse.feed(piece), None
        except EventTooLargeError as error:
            events, too_large = error.events, error
        if events:
            self._start = None
        elif self._start is not None and len(self._start) < _MOST_KEPT:
            self._start += piece
        found = self._read(events)
        if too_large is not None and not self.ended:
            self._end(f"The server sent {too_large}")
        return found

    def _read(self, events: list[SSEEvent]) -> list[ItemT]:
        items: list[ItemT] = []
        for event in events:
            if event.event == "message":
                try:
                    items.extend(self._read_chunk(event.data))
                except ValueError:
                    pass
                else:
                    self.progress += 1
                    continue
            self._read_closely(event, items)
            if self.ended:
                break
        return items

    def _read_closely(self, event: SSEEvent, items: list[ItemT]) -> None:
        data = event.data
        if event.event == "error" or refusals.is_refusal(data):
            self._refuse(data)
        elif data and (event.event == "message" or b'"choices"' in data):  # anything else is a ping or the like
            self._mend(data, items)

    def _mend(self, data: bytes, items: list[ItemT]) -> None:
        """Take what isn't a chunk to the letter: the end mark, a chunk of a sloppy server, a whole completion."""
        if data.strip() == _DONE:
            self._end(_NOT_WHOLE)
            return
        try:
            found, adds = self._mend_chunk(data)
        except ValueError as error:
            start = redact(data, self._secrets)[:200]
            self._end(f"The server sent a chunk that can't be read ({error}): {start!r}", body=data)
        else:
            items.extend(found)
            self.progress += adds

    def _end_of_body(self, failure: Failure | None) -> list[ItemT]:
        items: list[ItemT] = []
        if failure is not None:
            self._fail(failure)
        elif self._not_a_stream is not None:
            self._take_whole(bytes(self._not_a_stream), items)
        else:
            last = self._sse.close()
            if last is None and self._start is not None and not self.progress:
                self._not_expected(bytes(self._start), "there is no event in it")
            elif last is not None and (last.event == "error" or refusals.is_refusal(last.data)):
                self._refuse(last.data)
            else:
                if last is not None:
                    # Where its end is missing, what matters is whether the answer was whole before it.
                    with suppress(ValueError):
                        items.extend(self._mend_chunk(last.data)[0])
                self._end(_NOT_WHOLE)
        return items

    def _fail(self, failure: Failure) -> None:
        if failure.problem == "closed":
            self._end(_CLOSED, hint="Read it inside the block. What had arrived is in error.partial.")
        elif failure.problem == "total":
            self._end(
                f"The stream began, and was not at its end in time ({failure.detail})",
                hint="Raise timeout=... or Timeout(total=...), which covers the whole stream.",
                kind=StreamTimeoutError,
            )
        elif failure.problem == "timeout":
            self._end(
                f"The stream began, and then nothing more came in time ({failure.detail})",
                hint="Raise Timeout(first_event=..., idle=...) if the server may take so long.",
                kind=StreamTimeoutError,
            )
        else:
            self._end(f"The stream began, and then the connection was lost ({failure.detail})")

    def _look(self, data: bytes) -> None:
        # No line of an event stream that means anything begins like this; the content type is not to be trusted.
        start = data.lstrip(_BLANK)
        self._looked = bool(start)
        if start.startswith((b"{", b"<", b"[")):
            self._not_a_stream = bytearray()

    def _take_whole(self, body: bytes, items: list[ItemT]) -> None:
        if refusals.is_refusal(body):
            self._refuse(body)
            return
        try:
            found, adds = self._mend_chunk(body)
        except ValueError as error:
            self._not_expected(body, str(error))
            return
        if adds:
            items.extend(found)
            self._end(_NOT_WHOLE)
        else:
            self._not_expected(body, "it has no choices")

    def _not_expected(self, body: bytes, why: str) -> None:
        error = wire.not_expected(body, f"an event stream: {why}", self._secrets)
        error.request_id, error.attempts = self.response.request_id, self.response.attempts
        self.error, self.ended = error, True

    def _refuse(self, data: bytes) -> None:
        refusal = refusals.read(redact(data, self._secrets))
        code = "" if refusal.code is None else f" (code {refusal.code})"
        message = f"The server reported an error in the stream{code}: {refusal.message}".rstrip(": ")
        overflow = None if self.progress else refusals.overflow_inside(refusal, message)
        if overflow is None:
            self._end(message, body=refusal.body)
        else:
            overflow.request_id, overflow.attempts = self.response.request_id, self.response.attempts
            self.error, self.ended = overflow, True

    def _end(
        self,
        message: str,
        *,
        body: object = None,
        hint: str = "What had arrived is in error.partial. Ask again, or go on with that.",
        kind: type[StreamInterruptedError] = StreamInterruptedError,
    ) -> None:
        """End the stream: in this error, unless the answer is whole, from which nothing can be taken any more."""
        self.ended = True
        if self._accumulator.finished:
            return
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
