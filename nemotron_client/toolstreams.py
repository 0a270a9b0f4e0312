"""The agent loop as it happens: the model's pieces, tools that start and finish, turns, and the run at the end.

As in ``streams.py``, the two differ in nothing but ``await``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from .completions import ChatCompletion
from .errors import NemotronError
from .events import Finished, StreamEvent, TextDelta
from .messages import ToolCall
from .runs import ToolResult, ToolRun
from .streams import AsyncTextDeltas

if TYPE_CHECKING:
    from ._transport.tasks import ToolTasks
    from ._transport.threads import ToolThreads
    from .loop import ToolLoop
    from .streams import AsyncChatStream, ChatStream


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool begins to run."""

    tool_call: ToolCall
    type: Literal["tool.started"] = "tool.started"


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """What became of a call is known, whether it ran or not."""

    result: ToolResult
    type: Literal["tool.finished"] = "tool.finished"


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The model's answer is complete; tools may follow.

    Attributes:
        turn: Its number, from 1.
    """

    turn: int
    completion: ChatCompletion
    type: Literal["turn.finished"] = "turn.finished"


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run is over, or paused; always the last event."""

    run: ToolRun
    type: Literal["run.finished"] = "run.finished"


RunEvent: TypeAlias = "StreamEvent | ToolStarted | ToolFinished | TurnFinished | RunFinished"
"""What ``chat.completions.stream_tools()`` gives; ``finished`` of a single answer is ``turn.finished`` here."""


class _State:
    """What the blocking and the asynchronous stream share: the loop, and the events that are due."""

    def __init__(self, loop: ToolLoop) -> None:
        self._loop = loop
        self._events: deque[RunEvent] = deque()
        self._over = False
        self._settled()  # of a run that is resumed

    @property
    def run(self) -> ToolRun:
        """The run as it stands."""
        return self._loop.run

    def _arrived(self, event: StreamEvent) -> None:
        """Take an event of the model's answer."""
        if not isinstance(event, Finished):
            self._events.append(event)
            return
        self._loop.received(event.completion)
        self._events.append(TurnFinished(self._loop.turns, event.completion))
        self._settled()

    def _settled(self) -> None:
        self._events.extend(ToolFinished(result) for result in self._loop.settled)
        self._started = False  # the jobs of this turn

    def _starting(self) -> None:
        self._started = True
        self._events.extend(ToolStarted(job.tool_call) for job in self._loop.jobs)

    def _tell(self, result: ToolResult | None) -> None:
        if result is not None:
            self._events.append(ToolFinished(result))

    def _ending(self) -> None:
        self._over = True
        self._events.append(RunFinished(self._loop.run))


class ToolStream(_State):
    """A run as events, iterated once."""

    def __init__(self, loop: ToolLoop, ask: Callable[[], ChatStream], threads: ToolThreads) -> None:
        """Begin the run; for the client."""
        super().__init__(loop)
        self._ask, self._threads = ask, threads
        self._stream: ChatStream | None = None

    def close(self) -> None:
        """Give the connection back at once, cancel the tools that can be, and leave the others to themselves."""
        self._over = True
        with self._threads:
            if self._stream is not None:
                self._stream.close()

    def __iter__(self) -> Iterator[RunEvent]:
        """Iterate once over what happens."""
        return self

    def __next__(self) -> RunEvent:
        """Wait for the next event.

        Raises:
            NemotronError: Something went wrong; the run as far as it came is in its ``run``.
        """
        try:
            while not self._events:
                if self._over:
                    raise StopIteration
                self._step()
        except NemotronError as error:
            error.run = self._loop.run
            raise
        return self._events.popleft()

    def _step(self) -> None:
        if self._stream is not None:
            event = next(self._stream, None)
            if event is None:  # and not with the last event: read to its end, it leaves its connection to the next turn
                self._stream = None
            else:
                self._arrived(event)
        elif self._loop.status == "answering":
            self._stream = self._ask()
        elif self._loop.status != "running":
            self._ending()
        elif self._started:
            self._tell(self._threads.next())
        else:
            self._starting()
            self._threads.start()

    def text_deltas(self) -> Iterator[str]:
        """Iterate over the text of all turns as it arrives."""
        for event in self:
            if isinstance(event, TextDelta) and event.choice == 0:
                yield event.delta

    def until_done(self) -> ToolRun:
        """Carry the run out to its end and return it."""
        for _ in self:
            pass
        return self.run


class AsyncToolStream(_State):
    """A run as events, iterated once."""

    def __init__(self, loop: ToolLoop, ask: Callable[[], Awaitable[AsyncChatStream]], tasks: ToolTasks) -> None:
        """Begin the run; for the client."""
        super().__init__(loop)
        self._ask, self._tasks = ask, tasks
        self._stream: AsyncChatStream | None = None

    async def close(self) -> None:
        """Give the connection back at once, cancel the tools that can be, and leave the others to themselves."""
        self._over = True
        async with self._tasks:
            if self._stream is not None:
                await self._stream.close()

    def __aiter__(self) -> AsyncIterator[RunEvent]:
        """Iterate once over what happens."""
        return self

    async def __anext__(self) -> RunEvent:
        """Wait for the next event.

        Raises:
            NemotronError: Something went wrong; the run as far as it came is in its ``run``.
        """
        try:
            while not self._events:
                if self._over:
                    raise StopAsyncIteration
                await self._step()
        except NemotronError as error:
            error.run = self._loop.run
            raise
        return self._events.popleft()

    async def _step(self) -> None:
        if self._stream is not None:
            event = await anext(self._stream, None)
            if event is None:  # and not with the last event: read to its end, it leaves its connection to the next turn
                self._stream = None
            else:
                self._arrived(event)
        elif self._loop.status == "answering":
            self._stream = await self._ask()
        elif self._loop.status != "running":
            self._ending()
        elif self._started:
            self._tell(await self._tasks.next())
        else:
            self._starting()
            self._tasks.start()

    def text_deltas(self) -> AsyncIterator[str]:
        """Iterate over the text of all turns as it arrives."""
        return AsyncTextDeltas(aiter(self))

    async def until_done(self) -> ToolRun:
        """Carry the run out to its end and return it."""
        async for _ in self:
            pass
        return self.run
