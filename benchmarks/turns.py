"""Runs of the agent loop, and the same written out: ask, read the arguments, call, append."""

import asyncio
import json
from collections.abc import Callable
from time import process_time
from typing import Self

from benchmarks.server import MODEL
from nemotron_client import AsyncNemotron, Message, Nemotron, ToolMessage, UserMessage, tool

TURNS = 10


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"18 degrees and sunny in {city}"


@tool(timeout=60)
def get_weather_in_time(city: str) -> str:
    """Get the weather in a city."""
    return get_weather(city)


@tool
async def get_weather_async(city: str) -> str:
    """Get the weather in a city."""
    return get_weather(city)


_DEFINITIONS = [get_weather.definition]
_QUESTION = f"{TURNS} turns"


class Runs:
    """What both clients run; each returns the CPU seconds of a turn."""

    def __init__(self, url: str, count: int) -> None:
        """Make the clients.

        Args:
            url: Where the server is.
            count: How many runs are measured at a time.
        """
        self._count = count
        self._client = Nemotron(base_url=url, model=MODEL)
        self._async_client = AsyncNemotron(base_url=url, model=MODEL)
        self._loop = asyncio.Runner()

    def __enter__(self) -> Self:
        """Give the runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the clients."""
        self._client.close()
        self._loop.run(self._async_client.close())
        self._loop.close()

    def by_hand(self) -> float:
        """Write the loop out."""
        create = self._client.chat.completions.create

        def once() -> None:
            history: list[Message] = [UserMessage(content=_QUESTION)]
            while (done := create(messages=history, tools=_DEFINITIONS)).tool_calls:
                history.append(done.choices[0].message)
                (call,) = done.tool_calls
                result = get_weather(**json.loads(call.function.arguments))
                history.append(ToolMessage(content=result, tool_call_id=call.id))

        return self._timed(once)

    def run_tools(self, function: Callable[..., object]) -> float:
        """Have the blocking client do it."""
        run_tools = self._client.chat.completions.run_tools
        return self._timed(lambda: run_tools(messages=_QUESTION, tools=[function]))

    def by_hand_async(self) -> float:
        """Write the asynchronous loop out."""
        create = self._async_client.chat.completions.create

        async def once() -> None:
            history: list[Message] = [UserMessage(content=_QUESTION)]
            while (done := await create(messages=history, tools=_DEFINITIONS)).tool_calls:
                history.append(done.choices[0].message)
                (call,) = done.tool_calls
                result = await get_weather_async(**json.loads(call.function.arguments))
                history.append(ToolMessage(content=result, tool_call_id=call.id))

        return self._timed(lambda: self._loop.run(once()))

    def run_tools_async(self, function: Callable[..., object]) -> float:
        """Have the asynchronous client do it."""
        run_tools = self._async_client.chat.completions.run_tools
        return self._timed(lambda: self._loop.run(run_tools(messages=_QUESTION, tools=[function])))

    def _timed(self, once: Callable[[], object]) -> float:
        started = process_time()
        for _ in range(self._count):
            once()
        return (process_time() - started) / self._count / TURNS
