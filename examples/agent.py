"""An agent with three tools: one asynchronous, one that fails at first, and one that somebody has to approve.

python examples/agent.py [--async] [--stream] [--yes]
"""

import sys
from collections.abc import Callable
from itertools import count
from typing import Annotated, Literal

import anyio
import anyio.lowlevel
from pydantic import Field

from nemotron_client import (
    Approval,
    AsyncNemotron,
    Nemotron,
    RunEvent,
    RunFinished,
    TextDelta,
    ToolError,
    ToolFinished,
    ToolRun,
    tool,
)

TASK = "How is the weather in Paris, and which hotel is there? Book that hotel for two nights, then sum it all up."


async def get_weather(city: str, unit: Literal["c", "f"] = "c") -> str:
    """Get the weather in a city."""
    await anyio.lowlevel.checkpoint()  # an HTTP request, in real life
    return f"{18 if unit == 'c' else 64} degrees and sunny in {city}"


_tries = count()


def find_hotel(city: str) -> dict[str, object]:
    """Find a hotel in a city."""
    if next(_tries) == 0:
        msg = "The hotel directory is busy: try again."
        raise ToolError(msg)
    return {"hotel": "Hotel du Nord", "city": city, "price_per_night": 120}


@tool(needs_approval=True)
def book_hotel(hotel: str, nights: Annotated[int, Field(ge=1, le=30)]) -> str:
    """Book a hotel.

    Args:
        hotel: Its name.
        nights: For how long.
    """
    return f"{hotel} is booked for {nights} nights."


TOOLS: list[Callable[..., object]] = [get_weather, find_hotel, book_hotel]


def decided(run: ToolRun) -> list[Approval]:
    """Ask the user about each call that waits."""
    approvals: list[Approval] = []
    for call in run.pending:
        shown = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
        agreed = "--yes" in sys.argv or input(f"{call.name}({shown})? [y/n] ").startswith("y")
        approvals.append(call.approve() if agreed else call.deny("The user doesn't want that."))
    return approvals


def show(event: RunEvent) -> None:
    """Print what happens."""
    if isinstance(event, TextDelta):
        print(event.delta, end="", flush=True)
    elif isinstance(event, ToolFinished):
        result = event.result
        print(f"-> {result.tool_call.function.name}({result.tool_call.function.arguments}): {result.text}")
    elif isinstance(event, RunFinished):
        print(f"\n[{event.run.status} after {event.run.turns} turns]")


def main(*, streamed: bool) -> ToolRun:
    """Run the agent with the blocking client."""
    with Nemotron() as client:
        agent = client.chat.completions

        def go_on(so_far: str | ToolRun, approvals: list[Approval]) -> ToolRun:
            if not streamed:
                return agent.run_tools(messages=so_far, tools=TOOLS, approvals=approvals)
            with agent.stream_tools(messages=so_far, tools=TOOLS, approvals=approvals) as events:
                for event in events:
                    show(event)
            return events.run

        run = go_on(TASK, [])
        while run.status == "paused":
            run = go_on(run, decided(run))
        return run


async def main_async(*, streamed: bool) -> ToolRun:
    """Run the agent with the asynchronous client."""
    async with AsyncNemotron() as client:
        agent = client.chat.completions

        async def go_on(so_far: str | ToolRun, approvals: list[Approval]) -> ToolRun:
            if not streamed:
                return await agent.run_tools(messages=so_far, tools=TOOLS, approvals=approvals)
            async with agent.stream_tools(messages=so_far, tools=TOOLS, approvals=approvals) as events:
                async for event in events:
                    show(event)
            return events.run

        run = await go_on(TASK, [])
        while run.status == "paused":
            run = await go_on(run, decided(run))
        return run


if __name__ == "__main__":
    stream = "--stream" in sys.argv
    final = anyio.run(lambda: main_async(streamed=stream)) if "--async" in sys.argv else main(streamed=stream)
    if not stream:
        print(final.text)
    print(f"({final.status}: {final.turns} turns, {len(final.results)} calls, {final.usage})", file=sys.stderr)
