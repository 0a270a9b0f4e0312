"""Start a run of the agent loop, or go on with a paused one: what is checked before anything is sent or run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ._json import is_bool
from .checking import check, picked, refuse_taken, without
from .errors import InvalidRequestError
from .loop import ToolLoop
from .messages import Message
from .options import CallOptions, ChatParameters, LoopOptions, RunOptions
from .runs import Approval, ToolRun

Claim: TypeAlias = Callable[[str], bool]
"""Notes the id of a paused run, and tells whether it was new."""


def started(
    messages: str | Sequence[Message] | ToolRun,
    tools: Sequence[Callable[..., object]],
    options: Mapping[str, object],
    *,
    approvals: Sequence[Approval],
) -> tuple[ToolLoop, dict[str, object]]:
    """Start a run, or go on with a paused one; all that can be checked is, before anything runs.

    Args:
        messages: The conversation, or the paused run.
        tools: What the model may call.
        options: All that the caller gave.
        approvals: A decision on each pending call of the paused run.

    Returns:
        The loop, and the options that are for the requests.

    Raises:
        ToolDefinitionError: A tool can't be offered.
        InvalidRequestError: Something is not possible.
    """
    given, rest = picked(options, LoopOptions), without(options, LoopOptions)
    refuse_taken(rest, RunOptions, "the agent loop asks for one answer a turn, with the tools that are given as tools=")
    check(rest, ChatParameters)
    picked(rest, CallOptions)
    if isinstance(messages, ToolRun):
        return ToolLoop.resumed(messages, approvals, tools, **given), rest
    if approvals:
        msg = "approvals are given, but no paused run to use them on: give it as messages."
        raise InvalidRequestError(msg, parameter="approvals")
    return ToolLoop(messages, tools, **given), rest


def claim_run(messages: str | Sequence[Message] | ToolRun, claim: Claim | None) -> None:
    """Make sure, just before anything runs, that a paused run was never resumed; a new run needs nothing.

    Args:
        messages: The conversation, or the paused run.
        claim: Notes the run's id and tells whether it was new. None will do for a run that has not left this process.

    Raises:
        InvalidRequestError: It was resumed before, or nobody can know.
    """
    if not isinstance(messages, ToolRun):
        return
    if claim is None and messages.saved:
        msg = "This run was saved, so somebody else may resume it too: give claim=..., such as FileClaims(directory)."
        raise InvalidRequestError(msg, parameter="claim")
    new = claim is None or claim(messages.id)
    if not is_bool(new):
        msg = f"claim returned {new!r:.100}: give a plain function that returns True if the id was new, or else False."
        raise InvalidRequestError(msg, parameter="claim")
    if not new or not messages.take():
        msg = "This run was resumed before: each paused state can be resumed once, or its tools would run twice."
        raise InvalidRequestError(msg, parameter="messages")
