"""A streamed answer of a given form. As in ``streams.py``, the two differ in nothing but ``await``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from .events import ParsedDelta, ParsedDone, StreamEvent
from .messages import ChatCompletion, ParsedCompletion, ResponseInfo
from .streams import AsyncChatStream, ChatStream

if TYPE_CHECKING:
    from ._engine.reader import StreamReader
    from ._transport.blocking import Body
    from ._transport.nonblocking import AsyncBody

T = TypeVar("T")

ParseEvent: TypeAlias = StreamEvent | ParsedDelta | ParsedDone[T]
"""What ``chat.completions.stream_parse()`` gives."""


class ParseStream(ChatStream[ParseEvent[T]], Generic[T]):
    """A chat answer of a given form as typed events; opened by ``with``."""

    def __init__(
        self,
        reader: StreamReader[ParseEvent[T]],
        start: Callable[[], tuple[ResponseInfo, Body]],
        final: Callable[[ChatCompletion], ParsedCompletion[T]],
    ) -> None:
        """Prepare; for the client, which sends nothing before ``with``."""
        super().__init__(reader, start)
        self._final = final

    def get_final_completion(self) -> ParsedCompletion[T]:
        """Read to the end and return the whole answer, with its value.

        Raises:
            ResponseFormatError: It is not of the form.
        """
        return self._final(super().get_final_completion())


class AsyncParseStream(AsyncChatStream[ParseEvent[T]], Generic[T]):
    """A chat answer of a given form as typed events; opened by ``async with``."""

    def __init__(
        self,
        reader: StreamReader[ParseEvent[T]],
        start: Callable[[], Awaitable[tuple[ResponseInfo, AsyncBody]]],
        final: Callable[[ChatCompletion], ParsedCompletion[T]],
    ) -> None:
        """Prepare; for the client, which sends nothing before ``async with``."""
        super().__init__(reader, start)
        self._final = final

    async def get_final_completion(self) -> ParsedCompletion[T]:
        """Read to the end and return the whole answer, with its value.

        Raises:
            ResponseFormatError: It is not of the form.
        """
        return self._final(await super().get_final_completion())
