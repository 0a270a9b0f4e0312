"""Events are values that are told apart by their type."""

from dataclasses import FrozenInstanceError, fields
from typing import get_args

import pytest

from nemotron_client.events import HookEvent, ParsedDelta, ParsedDone, StreamEvent, TextDelta
from nemotron_client.toolstreams import RunFinished, ToolFinished, ToolStarted, TurnFinished

RUN = [ToolStarted, ToolFinished, TurnFinished, RunFinished]
CLASSES = [*get_args(StreamEvent), *get_args(HookEvent), ParsedDelta, ParsedDone, *RUN]


def test_every_event_has_a_type_of_its_own() -> None:
    types = [next(each.default for each in fields(kind) if each.name == "type") for kind in CLASSES]
    assert types == [
        "text.delta",
        "text.done",
        "reasoning.delta",
        "tool_call.delta",
        "tool_call.done",
        "usage",
        "finished",
        "request.sent",
        "response.received",
        "retry.scheduled",
        "poll.scheduled",
        "rate_limited",
        "deprecation.noticed",
        "conversation.repaired",
        "conversation.fitted",
        "budget.warned",
        "parsed.delta",
        "parsed.done",
        "tool.started",
        "tool.finished",
        "turn.finished",
        "run.finished",
    ]


def test_an_event_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        TextDelta("a").delta = "b"  # type: ignore[misc] # what is refused
