"""A streamed answer of a given form. As in ``streams.py``, the two differ in nothing but ``await``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from .completions import ChatCompletion, ParsedCompletion
from .events import ParsedDelta, ParsedDone, StreamEvent
from .streams import AsyncChatStream, ChatStream

if TYPE_CHECKING:
    from ._engine.reader import StreamReader
    from ._transport.blocking import Body
    from ._transport.nonblocking import AsyncBody

T = TypeVar("T")

ParseEvent: TypeAlias = StreamEvent | ParsedDelta | ParsedDone[T]
"""What ``chat.completions.stream_parse()`` gives."""


class ParseStream(ChatStream[ParseEvent[T]], Generic[T]):
    """A chat answer of a given form as typed events, open."""

    def __init__(
        self,
        reader: StreamReader[ParseEvent[T]],
        body: Body,
        final: Callable[[ChatCompletion], ParsedCompletion[T]],
    ) -> None:
        """Take over an open body; for the clients."""
        super().__init__(reader, body)
        self._final = final

    def get_final_completion(self) -> ParsedCompletion[T]:
        """Read to the end and return the whole answer, with its value.

        Raises:
            ResponseFormatError: It is not of the form.
        """
        return self._final(super().get_final_completion())


class AsyncParseStream(AsyncChatStream[ParseEvent[T]], Generic[T]):
    """A chat answer of a given form as typed events, open."""

    def __init__(
        self,
        reader: StreamReader[ParseEvent[T]],
        body: AsyncBody,
        final: Callable[[ChatCompletion], ParsedCompletion[T]],
    ) -> None:
        """Take over an open body; for the clients."""
        super().__init__(reader, body)
        self._final = final

    async def get_final_completion(self) -> ParsedCompletion[T]:
        """Read to the end and return the whole answer, with its value.

        Raises:
            ResponseFormatError: It is not of the form.
        """
        return self._final(await super().get_final_completion())
