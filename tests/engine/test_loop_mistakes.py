"""Mistakes in what callers give to a run, and in what their tools raise: told by name, never the end of the run."""

import pytest

from nemotron_client import Approval, InvalidRequestError, TokenCounter, Tool, ToolDefinitionError, ToolError, tool
from nemotron_client.completions import ChatCompletion
from nemotron_client.loop import Job, ToolLoop
from nemotron_client.messages import ToolCall
from nemotron_client.runs import ToolRun
from nemotron_client.tools import as_tool


class SilentError(ValueError):
    def __str__(self) -> str:
        msg = "there are no words for it"
        raise RuntimeError(msg)


def failed(error: Exception) -> str:
    return Job(ToolCall(), as_tool(failed), object, show_errors=True).failed(error, 0.0).text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ToolError("no file caf\udce9.txt"), "no file caf\ufffd.txt"),
        (ValueError("caf\udce9"), "The tool failed: ValueError: caf\ufffd"),
        (SilentError(), "The tool failed: SilentError"),
        (ToolError(), "The tool failed: ToolError"),
    ],
)
def test_whatever_a_tool_raises_the_model_gets_a_text_that_can_be_sent(error: Exception, told: str) -> None:
    assert failed(error) == told


def paused(rule: object) -> ToolRun:
    def pay(amount: int) -> str:
        return str(amount)

    asking = tool(pay, needs_approval=lambda _: rule)  # type: ignore[arg-type, return-value] # pyright: ignore[reportArgumentType, reportCallIssue] - on purpose
    loop = ToolLoop("Pay", [asking])
    call = {"id": "abcdefghi", "function": {"name": "pay", "arguments": '{"amount": 5}'}}
    loop.received(ChatCompletion.model_validate({"choices": [{"message": {"tool_calls": [call]}}]}))
    return loop.run


def test_a_rule_that_forgets_to_answer_lets_nothing_run() -> None:
    assert paused(None).status == "paused"
    assert paused(rule=False).status == "interrupted"  # which runs it


@pytest.mark.parametrize("wrong", [[True], Approval("a", "b", approved=True), [{"approved": True}], None])
def test_approvals_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidRequestError, match="approvals must be a list of what"):
        ToolLoop.resumed(paused(rule=True), wrong, [])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - on purpose


def test_what_is_no_function_is_no_tool() -> None:
    with pytest.raises(ToolDefinitionError, match="it is no function"):
        as_tool(5)
    with pytest.raises(ToolDefinitionError, match="it is no function"):
        Tool.from_function(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - on purpose


def test_a_counter_takes_definitions_only() -> None:
    with pytest.raises(InvalidRequestError, match=r"tools\[0\] is a function: give its definition as a dict"):
        TokenCounter().count("Hi", [failed])  # type: ignore[list-item] # pyright: ignore[reportArgumentType] - on purpose
