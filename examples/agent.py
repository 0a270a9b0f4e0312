"""An agent with three tools: one that fails at first, one asynchronous, and one that somebody has to approve.

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
    ToolResult,
    ToolRun,
    tool,
)

QUESTIONS = ["What is the weather in Paris and Oslo?", "What time is it?", 'Search the docs for "context window".']

_tries = count()


def get_weather(city: str, unit: Literal["c", "f"] = "c") -> dict[str, object]:
    """Get the current weather in a city."""
    if next(_tries) == 0:
        msg = "The weather service is busy: try again."
        raise ToolError(msg)
    return {"city": city, "degrees": 12 if unit == "c" else 54, "sky": "clear"}


async def get_time(tz: str) -> str:
    """Get the time in a time zone, such as Europe/Paris."""
    await anyio.lowlevel.checkpoint()  # an HTTP request, in real life
    return f"It is 14:05 in {tz}."


@tool(needs_approval=True)
def search_docs(query: str, limit: Annotated[int, Field(ge=1, le=20)] = 5) -> list[str]:
    """Search the documents."""  # and each search costs something
    return [f"Document {number} of {limit} about {query!r}" for number in range(1, limit + 1)]


TOOLS: list[Callable[..., object]] = [get_weather, get_time, search_docs]


def answers_yes(question: str) -> bool:
    """Ask whoever sits at the terminal; nobody there is a no."""
    try:
        return input(question).startswith("y")
    except EOFError:
        return False


def decided(run: ToolRun) -> list[Approval]:
    """Ask the user about each call that waits."""
    approvals: list[Approval] = []
    for call in run.pending:
        shown = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
        agreed = "--yes" in sys.argv or answers_yes(f"{call.name}({shown})? [y/n] ")
        approvals.append(call.approve() if agreed else call.deny("The user doesn't want that."))
    return approvals


def show(event: RunEvent) -> None:
    """Print what happens."""
    if isinstance(event, TextDelta):
        print(event.delta, end="", flush=True)
    elif isinstance(event, ToolFinished):
        show_result(event.result)
    elif isinstance(event, RunFinished):
        print(f"\n[{event.run.status} after {event.run.turns} turns]")


def show_result(result: ToolResult) -> None:
    """Print what became of a call."""
    function = result.tool_call.function
    print(f"-> {function.name}({function.arguments}) {result.outcome}: {result.text}")


def show_run(run: ToolRun) -> None:
    """Print what has happened."""
    for result in run.results:
        show_result(result)
    print(f"{run.text}\n[{run.status} after {run.turns} turns]")


def main(*, streamed: bool) -> None:
    """Run the agent with the blocking client."""
    with Nemotron() as client:
        agent = client.chat.completions

        def go_on(so_far: str | ToolRun, approvals: list[Approval]) -> ToolRun:
            if not streamed:
                return agent.run_tools(messages=so_far, tools=TOOLS, approvals=approvals, temperature=0)
            with agent.stream_tools(messages=so_far, tools=TOOLS, approvals=approvals, temperature=0) as events:
                for event in events:
                    show(event)
            return events.run

        for question in QUESTIONS:
            print(f"\n> {question}")
            run = go_on(question, [])
            while run.status == "paused":
                run = go_on(run, decided(run))
            if not streamed:
                show_run(run)


async def main_async(*, streamed: bool) -> None:
    """Run the agent with the asynchronous client."""
    async with AsyncNemotron() as client:
        agent = client.chat.completions

        async def go_on(so_far: str | ToolRun, approvals: list[Approval]) -> ToolRun:
            if not streamed:
                return await agent.run_tools(messages=so_far, tools=TOOLS, approvals=approvals, temperature=0)
            async with agent.stream_tools(messages=so_far, tools=TOOLS, approvals=approvals, temperature=0) as events:
                async for event in events:
                    show(event)
            return events.run

        for question in QUESTIONS:
            print(f"\n> {question}")
            run = await go_on(question, [])
            while run.status == "paused":
                run = await go_on(run, decided(run))
            if not streamed:
                show_run(run)


if __name__ == "__main__":
    if "--async" in sys.argv:
        anyio.run(lambda: main_async(streamed="--stream" in sys.argv))
    else:
        main(streamed="--stream" in sys.argv)
