"""A run pauses where somebody has to be asked, and goes on once: here, or in another process."""

from pathlib import Path

import pytest

from nemotron_client import (
    Approval,
    FileClaims,
    InvalidRequestError,
    ToolFinished,
    ToolRun,
    ToolStarted,
    tool,
)
from nemotron_client.testing import MockServer, error, tool_calls
from tests.client.conftest import Agent, Connect
from tests.client.either import Either, Tools

KEY = "a secret of 16 bytes or more"
CALLS = tool_calls(("get_weather", {"city": "Paris"}), ("book", {"nights": 2}), ("book", {"nights": 9}))


class Hotel:
    """Who books, and how often."""

    def __init__(self) -> None:
        self.booked: list[int] = []

    @tool(needs_approval=True)
    def book(self, nights: int) -> str:
        """Book the hotel."""
        self.booked.append(nights)
        return f"booked for {nights} nights"

    async def get_weather(self, city: str) -> str:
        """Get the weather in a city."""
        return f"sunny in {city}"

    @property
    def tools(self) -> Tools:
        return [self.book, self.get_weather]


@pytest.fixture
def hotel() -> Hotel:
    return Hotel()


@pytest.fixture
async def paused(agent: Agent, server: MockServer, hotel: Hotel) -> ToolRun:
    server.reply(CALLS)
    return await agent("Book it", hotel.tools)


def decided(run: ToolRun) -> list[Approval]:
    first, second = run.pending
    return [second.deny("too long"), first.approve()]


async def test_a_run_pauses_before_calls_that_somebody_has_to_approve(
    paused: ToolRun, server: MockServer, hotel: Hotel
) -> None:
    assert (paused.status, paused.turns, server.posts) == ("paused", 1, 1)
    assert [(call.name, call.arguments) for call in paused.pending] == [
        ("book", {"nights": 2}),
        ("book", {"nights": 9}),
    ]
    assert [result.text for result in paused.results] == ["sunny in Paris"]
    assert hotel.booked == []


async def test_what_was_approved_runs_and_the_model_is_told_what_was_not(
    paused: ToolRun, agent: Agent, hotel: Hotel
) -> None:
    run = await agent(paused, hotel.tools, decided(paused))
    assert hotel.booked == [2]
    assert [result.outcome for result in run.results] == ["ok", "ok", "denied"]
    told = "sunny in Paris and booked for 2 nights and The call was declined: too long"
    assert (run.status, run.turns, run.text) == ("completed", 2, f"The answer is {told}.")


async def test_a_saved_run_goes_on_elsewhere(
    paused: ToolRun, agent: Agent, connect: Connect, hotel: Hotel, tmp_path: Path
) -> None:
    saved = paused.to_json(KEY)
    approvals = decided(paused)
    run = await connect().run_tools(ToolRun.from_json(saved, KEY), hotel.tools, approvals, FileClaims(tmp_path))
    assert (run.status, hotel.booked) == ("completed", [2])
    for again in (paused, ToolRun.from_json(saved, KEY)):
        with pytest.raises(InvalidRequestError, match="was resumed before"):
            await agent(again, hotel.tools, approvals, FileClaims(tmp_path))
    assert hotel.booked == [2]


async def test_a_run_goes_on_once_whichever_client_is_asked(
    paused: ToolRun, agent: Agent, connect: Connect, hotel: Hotel
) -> None:
    await agent(paused, hotel.tools, decided(paused))
    for resume in (agent, connect().run_tools):
        with pytest.raises(InvalidRequestError, match="was resumed before"):
            await resume(paused, hotel.tools, decided(paused))
    assert hotel.booked == [2]


async def test_a_saved_run_does_not_go_on_without_a_claim(
    paused: ToolRun, agent: Agent, server: MockServer, hotel: Hotel
) -> None:
    run = ToolRun.from_json(paused.to_json(KEY), KEY)
    with pytest.raises(InvalidRequestError, match="give claim="):
        await agent(run, hotel.tools, decided(run))
    assert (hotel.booked, server.posts) == ([], 1)


async def test_the_claim_is_asked_once_and_after_all_else_is_right(
    paused: ToolRun, agent: Agent, server: MockServer, hotel: Hotel
) -> None:
    claimed: list[str] = []

    def claim(run_id: str) -> bool:
        claimed.append(run_id)
        return True

    for tools, approvals, temperature in (
        ([hotel.get_weather], decided(paused), 0.5),
        (hotel.tools, decided(paused)[1:], 0.5),
        (hotel.tools, decided(paused), 5.0),
    ):
        with pytest.raises(InvalidRequestError):
            await agent(paused, tools, approvals, claim, temperature=temperature)
    assert (claimed, hotel.booked, server.posts) == ([], [], 1)
    await agent(paused, hotel.tools, decided(paused), claim)
    assert (claimed, hotel.booked) == ([paused.id], [2])


async def test_an_approval_does_not_hold_for_other_arguments(
    paused: ToolRun, agent: Agent, server: MockServer, hotel: Hotel
) -> None:
    server.reply(tool_calls(("get_weather", {"city": "Paris"}), ("book", {"nights": 20}), ("book", {"nights": 90})))
    other = await agent("Book it", hotel.tools)
    with pytest.raises(InvalidRequestError, match="fits none of the pending calls"):
        await agent(other, hotel.tools, decided(paused))
    assert hotel.booked == []


async def test_an_error_after_the_approved_calls_has_what_they_gave(
    paused: ToolRun, agent: Agent, server: MockServer, hotel: Hotel
) -> None:
    server.reply(error(400, "no more"))
    with pytest.raises(Exception, match="no more") as caught:
        await agent(paused, hotel.tools, decided(paused))
    run = getattr(caught.value, "run", None)
    assert isinstance(run, ToolRun)
    assert [result.outcome for result in run.results] == ["ok", "ok", "denied"]
    done = await agent(run.messages, hotel.tools)
    assert (done.status, hotel.booked) == ("completed", [2])


async def test_a_stream_that_is_never_opened_claims_nothing(client: Either, server: MockServer, hotel: Hotel) -> None:
    server.reply(CALLS)
    paused = await client.run_tools("Book it", hotel.tools)
    client.stream_tools(paused, hotel.tools, decided(paused))
    assert (await client.run_tools(paused, hotel.tools, decided(paused))).status == "completed"


async def test_events_of_a_resumed_run_begin_where_it_paused(client: Either, server: MockServer, hotel: Hotel) -> None:
    server.reply(CALLS)
    paused = await client.run_tools("Book it", hotel.tools)
    async with client.stream_tools(paused, hotel.tools, decided(paused)) as stream:
        events = [event async for event in stream]
    assert [event.type for event in events[:3]] == ["tool.finished", "tool.started", "tool.finished"]
    finished = [event.result.outcome for event in events if isinstance(event, ToolFinished)]
    started = [event.tool_call.function.arguments for event in events if isinstance(event, ToolStarted)]
    assert (finished, started) == (["denied", "ok"], ['{"nights": 2}'])
    with pytest.raises(InvalidRequestError, match="was resumed before"):
        await client.stream_tools(paused, hotel.tools, decided(paused)).__aenter__()
