"""The agent loop as data: answers go in, jobs come out, and no model or tool is waited for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import pytest
from pydantic import AfterValidator

from nemotron_client import (
    Approval,
    ChatCompletion,
    InvalidConversationError,
    InvalidRequestError,
    ToolContext,
    ToolDefinitionError,
    ToolError,
    ToolLoop,
    ToolMessage,
    ToolResult,
    ToolRun,
    Usage,
    UserMessage,
    tool,
)
from nemotron_client._engine.mistral import prepare
from nemotron_client.completions import PromptTokensDetails
from nemotron_client.messages import read_messages
from tests.engine.driving import answer, calling

TOOLS: list[Callable[..., object]] = []
BOOKED: list[int] = []


def offered(function: Callable[..., object]) -> Callable[..., object]:
    TOOLS.append(function)
    return function


@offered
def get_weather(city: str = "Paris") -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


@offered
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def is_long(arguments: Mapping[str, object]) -> bool:
    """Tell whether a stay is so long that somebody must be asked."""
    nights = arguments["nights"]
    assert isinstance(nights, int)
    return nights > 3


@offered
@tool(needs_approval=is_long)
def book(nights: int) -> str:
    """Book the hotel."""
    BOOKED.append(nights)
    return f"{nights} nights"


def said(text: str = "Done.", **fields: object) -> ChatCompletion:
    return ChatCompletion.model_validate(answer(text, **fields))


def begun(**options: object) -> ToolLoop:
    return ToolLoop("Hello", TOOLS, **options)  # type: ignore[arg-type] # of any kind, on purpose


def after(*calls: tuple[str, str]) -> ToolLoop:
    """Return a loop whose model has made these calls."""
    loop = begun()
    loop.received(calling(*calls))
    return loop


def carry_out(loop: ToolLoop) -> str:
    """Run what may run, the last first, since the order is the loop's business, and return what comes next."""
    for job in reversed(list(loop.jobs)):
        loop.answered(job, job.succeeded(job.start(), 0.25))
    return loop.status


def paused(*calls: tuple[str, str]) -> ToolRun:
    loop = after(*calls)
    assert carry_out(loop) == "paused"
    return loop.run


def outcomes(results: Sequence[ToolResult]) -> list[tuple[str, str]]:
    return [(result.outcome, result.text) for result in results]


LONG, SHORT = ("book", '{"nights": 9}'), ("book", '{"nights": 2}')


def test_a_string_is_one_user_message() -> None:
    loop = begun()
    assert loop.messages == [UserMessage(content="Hello")]
    assert loop.status == "answering"
    assert [each["function"] for each in loop.definitions] == [
        each.definition["function"] for each in loop.tools.values()
    ]


def test_the_callers_list_of_messages_stays_as_it_is() -> None:
    messages = [UserMessage(content="Hello")]
    loop = ToolLoop(messages, TOOLS)
    loop.received(said())
    assert (len(messages), len(loop.messages)) == (1, 2)


def test_an_answer_without_calls_ends_the_run_and_tells_that_no_tool_was_called() -> None:
    loop = begun()
    loop.received(said("18 degrees, I guess."))
    run = loop.run
    assert (loop.status, run.status, run.text, run.turns) == ("completed", "completed", "18 degrees, I guess.", 1)
    assert not run.called_tools
    assert not run.results
    assert not run.pending


def test_results_keep_the_order_of_the_calls_whichever_is_done_first() -> None:
    loop = after(("add", '{"a": 1, "b": 2}'), ("get_weather", "{}"), ("add", '{"a": 3, "b": 4}'))
    assert loop.status == "running"
    assert carry_out(loop) == "answering"
    assert outcomes(loop.run.results) == [("ok", "3"), ("ok", "sunny in Paris"), ("ok", "7")]
    assert loop.messages[2:] == [
        ToolMessage(content="3", tool_call_id="call-0"),
        ToolMessage(content="sunny in Paris", tool_call_id="call-1"),
        ToolMessage(content="7", tool_call_id="call-2"),
    ]
    loop.received(said())
    assert loop.run.called_tools
    assert loop.run.results[0].elapsed == 0.25


def test_two_calls_that_are_the_same_in_all_get_a_result_each() -> None:
    loop = begun()
    twice = calling(("get_weather", "{}"), ("get_weather", "{}"))
    for call in twice.tool_calls:
        call.id = "same"
    loop.received(twice)
    first, second = loop.jobs
    loop.answered(second, second.succeeded("second", 0.0))
    assert loop.jobs == [first]
    loop.answered(first, first.succeeded("first", 0.0))
    assert [result.text for result in loop.run.results] == ["first", "second"]


def test_an_unknown_tool_is_told_with_those_that_there_are() -> None:
    loop = after(("get_wether", "{}"))
    told = "There is no tool named 'get_wether'. There are: get_weather, add, book."
    assert outcomes(loop.settled) == outcomes(loop.run.results) == [("invalid", told)]
    assert loop.status == "answering"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": 1, "b"', "add: the JSON of the arguments ends early, so nothing was run: write the whole call again"),
        ("a=1", "add: the arguments are not valid JSON: expected value at line 1 column 1"),
        ('{"a": 1}', "add: b: field required"),
        ('{"a": 1, "b": "two"}', 'add: b: "two" should be a valid integer, unable to parse string as an integer'),
    ],
)
def test_arguments_that_are_cut_off_or_impossible_never_run(arguments: str, told: str) -> None:
    loop = after(("add", arguments))
    assert loop.jobs == []
    assert outcomes(loop.settled) == [("invalid", told)]


def test_a_call_that_was_cut_off_before_its_arguments_is_not_one_without_arguments() -> None:
    loop = begun()
    loop.received(calling(("get_weather", ""), ("get_weather", ""), finish_reason="length"))
    told = "The answer was cut short before the arguments, so nothing was run: write the whole call again."
    assert [job.tool_call.id for job in loop.jobs] == ["call-0"]
    assert outcomes(loop.settled) == [("invalid", told)]
    loop.received(calling(("get_weather", "")))
    assert len(loop.jobs) == 2


def positive(number: int) -> int:
    if number < 0:
        raise KeyError(number)  # neither ValueError nor AssertionError: pydantic lets it through
    return number


def test_an_exception_in_a_callers_validator_is_a_failure_of_the_tool() -> None:
    def root(number: Annotated[int, AfterValidator(positive)]) -> None:
        """Draw the root."""

    loop = ToolLoop("Hello", [root])
    loop.received(calling(("root", '{"number": -1}')))
    (job,) = loop.jobs
    with pytest.raises(KeyError):
        job.start()


def test_an_exception_in_the_rule_for_approval_keeps_the_tool_from_running() -> None:
    def broken(arguments: Mapping[str, object]) -> bool:
        raise LookupError(arguments)

    ran: list[int] = []
    loop = ToolLoop("Hello", [tool(ran.append, name="note", needs_approval=broken)])
    loop.received(calling(("note", '{"object": 1}')))
    (job,) = loop.jobs
    with pytest.raises(LookupError):
        job.start()
    assert ran == []


def test_the_model_is_told_the_text_of_a_tool_error_and_else_only_the_type() -> None:
    for show_errors, told in ((False, "The tool failed: KeyError"), (True, "The tool failed: KeyError: 'x'")):
        loop = begun(show_errors=show_errors)
        loop.received(calling(("get_weather", "{}")))
        (job,) = loop.jobs
        assert job.failed(ToolError("It is busy."), 1.5) == ToolResult(job.tool_call, "It is busy.", "failed", 1.5)
        assert job.failed(KeyError("x"), 1.5) == ToolResult(job.tool_call, told, "failed", 1.5)


def test_the_model_is_told_that_a_tool_took_too_long() -> None:
    loop = ToolLoop("Hello", [tool(get_weather, timeout=5)])
    loop.received(calling(("get_weather", "{}")))
    (job,) = loop.jobs
    result = job.timed_out(5.1)
    assert result == ToolResult(job.tool_call, "get_weather did not finish within 5 s.", "timed_out", 5.1)


def test_a_tool_that_asks_for_it_is_given_the_context_and_the_call() -> None:
    def who(context: ToolContext[str]) -> str:
        """Tell who asks."""
        return f"{context.value} in {context.tool_call.id}"

    loop = ToolLoop("Hello", [who], context="Ada")
    loop.received(calling(("who", "{}")))
    assert loop.jobs[0].start() == "Ada in call-0"


def test_a_tool_that_needs_a_context_is_not_begun_without() -> None:
    def who(context: ToolContext[str]) -> str:
        """Tell who asks."""
        return context.value

    with pytest.raises(InvalidRequestError, match="who takes a ToolContext, but there is no context: give context="):
        ToolLoop("Hello", [who])
    assert ToolLoop("Hello", [who], context="").status == "answering"


def test_a_forced_choice_holds_for_the_first_turn() -> None:
    loop = begun()
    named = {"type": "function", "function": {"name": "add"}}
    assert loop.asking({"tool_choice": "required", "seed": 1}) == {
        "tool_choice": "required",
        "seed": 1,
        "tools": loop.definitions,
    }
    assert loop.asking({"tool_choice": named})["tool_choice"] == named
    loop.received(calling(("get_weather", "{}")))
    carry_out(loop)
    for forced in ("required", named, None):
        assert loop.asking({"tool_choice": forced}) == {"tools": loop.definitions}
    for free in ("auto", "none"):
        assert loop.asking({"tool_choice": free})["tool_choice"] == free


def test_a_message_is_continued_in_the_first_turn() -> None:
    loop = begun()
    continuing = {"continue_final_message": True, "add_generation_prompt": False}
    assert loop.asking(continuing) == {**continuing, "tools": loop.definitions}
    loop.received(calling(("get_weather", "{}")))
    assert loop.asking(continuing) == {"tools": loop.definitions}


def test_strictness_is_for_what_the_caller_wrote_and_not_for_the_servers_ids() -> None:
    loop = begun()
    prepare(read_messages(loop.messages), loop.definitions, mode="strict")
    assert loop.asking({"repair": "strict"})["repair"] == "strict"
    loop.received(calling(("get_weather", "{}")))  # whose id has six characters
    carry_out(loop)
    assert loop.asking({"repair": "strict"}) == {"tools": loop.definitions}
    assert loop.asking({"repair": "off"})["repair"] == "off"
    with pytest.raises(InvalidConversationError, match="changes nothing"):
        prepare(read_messages(loop.messages), loop.definitions, mode="strict")


def test_at_the_last_turn_its_tools_run_so_that_the_history_is_whole() -> None:
    loop = begun(max_turns=2)
    for _ in range(2):
        assert loop.status == "answering"
        loop.received(calling(("get_weather", "{}")))
        carry_out(loop)
    run = loop.run
    assert (loop.status, run.status, run.turns, len(run.results)) == ("max_turns", "max_turns", 2, 2)
    assert isinstance(run.messages[-1], ToolMessage)


def test_a_run_that_is_not_over_is_interrupted() -> None:
    loop = begun()
    assert (loop.run.status, loop.run.completion, loop.run.text) == ("interrupted", None, "")
    loop.received(calling(("get_weather", "{}"), ("add", '{"a": 1, "b": 2}')))
    first, _ = loop.jobs
    loop.answered(first, first.succeeded("sunny", 0.0))
    assert loop.run.status == "interrupted"
    assert outcomes(loop.run.results) == [("ok", "sunny")]
    assert loop.run.pending == ()


def test_the_messages_of_an_interrupted_run_have_the_results_so_far_and_can_be_continued() -> None:
    loop = after(("add", '{"a": 1, "b": 2}'), ("get_weather", "{}"))
    _, second = loop.jobs
    loop.answered(second, second.succeeded("sunny", 0.0))
    messages = loop.run.messages
    assert messages[2:] == (ToolMessage(content="sunny", tool_call_id="call-1"),)
    sent = prepare(read_messages(messages), loop.definitions, mode="fill").messages[2:]
    assert [message["content"] for message in sent] == [
        "sunny",
        "There is no result: it is not known whether this call was carried out.",
    ]
    carry_out(loop)
    assert [message.content for message in loop.run.messages[2:] if isinstance(message, ToolMessage)] == ["3", "sunny"]


FIVE = Usage(total_tokens=5)


def test_usage_is_added_up() -> None:
    loop = begun()
    for cached in (3, 4):
        details = {
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        tokens = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        loop.received(said(usage={**tokens, **details}))
    assert loop.run.usage == Usage.model_validate(
        {
            "prompt_tokens": 20,
            "completion_tokens": 10,
            "total_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 7},
            "completion_tokens_details": {"reasoning_tokens": 4},
        }
    )


@pytest.mark.parametrize(
    ("usages", "total", "cached"),
    [
        ([None, None], None, None),
        ([None, FIVE], 5, None),
        ([FIVE, None], 5, None),
        ([FIVE, Usage(total_tokens=6, prompt_tokens_details=PromptTokensDetails(cached_tokens=2))], 11, 2),
        ([FIVE, Usage(total_tokens=6, prompt_tokens_details=PromptTokensDetails())], 11, None),
    ],
)
def test_usage_is_what_is_known(usages: list[Usage | None], total: int | None, cached: int | None) -> None:
    loop = begun()
    for usage in usages:
        loop.received(said(usage=usage))
    found = loop.run.usage
    assert (found and found.total_tokens) == total
    details = found and found.prompt_tokens_details
    assert (details and details.cached_tokens) == cached


def test_a_rule_decides_by_the_arguments_which_calls_wait() -> None:
    loop = after(LONG, SHORT)
    assert [job.start() for job in loop.jobs] == ["2 nights"]
    assert loop.status == "running"
    carry_out(loop)
    run = loop.run
    assert (loop.status, run.status, run.called_tools) == ("paused", "paused", True)
    assert [(call.name, call.arguments) for call in run.pending] == [("book", {"nights": 9})]
    assert [result and result.text for result in run.answered] == [None, "2 nights"]
    assert outcomes(run.results) == [("ok", "2 nights")]


def test_a_call_that_waits_alone_pauses_the_run_at_once() -> None:
    loop = ToolLoop("Hello", [tool(get_weather, needs_approval=True)])
    loop.received(calling(("get_weather", "")))
    assert loop.status == "paused"
    assert [call.arguments for call in loop.run.pending] == [{}]


def test_each_pause_has_an_id_of_its_own() -> None:
    ids = {paused(LONG).id for _ in range(3)}
    assert len(ids) == 3
    assert all(len(each) == 32 for each in ids)


def test_an_approved_call_runs_and_a_denied_one_is_told_so() -> None:
    run = paused(LONG, SHORT, ("book", '{"nights": 8}'), ("book", '{"nights": 7}'))
    first, second, third = run.pending
    approvals = [third.deny(), second.deny("too expensive"), first.approve()]
    BOOKED.clear()
    loop = ToolLoop.resumed(run, approvals, TOOLS)
    assert loop.status == "running"
    assert outcomes(loop.settled) == [
        ("denied", "The call was declined: too expensive"),
        ("denied", "The call was declined."),
    ]
    assert carry_out(loop) == "answering"
    assert BOOKED == [9]
    assert [result.text for result in loop.run.results] == [
        "9 nights",
        "2 nights",
        "The call was declined: too expensive",
        "The call was declined.",
    ]
    assert [message.content for message in loop.messages[2:] if isinstance(message, ToolMessage)] == [
        result.text for result in loop.run.results
    ]
    assert loop.turns == 1


def test_what_came_before_a_pause_is_kept() -> None:
    loop = begun()
    loop.received(calling(("get_weather", "{}"), usage={"total_tokens": 5}))
    carry_out(loop)
    loop.received(calling(SHORT, LONG, usage={"total_tokens": 6}))
    carry_out(loop)
    run = loop.run
    resumed = ToolLoop.resumed(run, [call.approve() for call in run.pending], TOOLS, max_turns=2)
    carry_out(resumed)
    done = resumed.run
    assert [result.text for result in done.results] == ["sunny in Paris", "2 nights", "9 nights"]
    assert (done.status, done.turns) == ("max_turns", 2)
    assert done.usage == Usage(total_tokens=11)


def test_a_run_may_pause_again() -> None:
    run = paused(LONG)
    loop = ToolLoop.resumed(run, [run.pending[0].approve()], TOOLS)
    carry_out(loop)
    loop.received(calling(LONG))
    assert loop.status == "paused"
    assert loop.run.id != run.id
    assert len(loop.run.results) == 1


@pytest.mark.parametrize(
    ("call_id", "fingerprint"), [("call-0", "0" * 64), ("call-0", ""), ("call-1", None)], ids=["hash", "none", "call"]
)
def test_an_approval_of_another_call_is_refused(call_id: str, fingerprint: str | None) -> None:
    run = paused(LONG)
    approval = run.pending[0].approve()
    other = Approval(call_id, approval.fingerprint if fingerprint is None else fingerprint, approved=True)
    with pytest.raises(InvalidRequestError, match="fits none of the pending calls") as caught:
        ToolLoop.resumed(run, [other], TOOLS)
    assert caught.value.parameter == "approvals"


@pytest.mark.parametrize("other", [("book", '{"nights": 90}'), ("book", '{"nights":9}'), LONG])
def test_an_approval_holds_for_one_pause_and_the_arguments_that_were_looked_at(other: tuple[str, str]) -> None:
    approval = paused(LONG).pending[0].approve()
    with pytest.raises(InvalidRequestError, match="fits none"):
        ToolLoop.resumed(paused(other), [approval], TOOLS)


def test_arguments_that_are_changed_after_the_approval_are_refused() -> None:
    run = paused(LONG)
    approval = run.pending[0].approve()
    assert run.completion is not None
    run.completion.tool_calls[0].function.arguments = '{"nights": 99}'
    with pytest.raises(InvalidRequestError, match="fits none"):
        ToolLoop.resumed(run, [approval], TOOLS)


def test_each_pending_call_needs_a_decision() -> None:
    run = paused(LONG, ("book", '{"nights": 8}'))
    with pytest.raises(InvalidRequestError, match=r"There is no decision on book \(call call-1\)"):
        ToolLoop.resumed(run, [run.pending[0].approve()], TOOLS)


def test_two_calls_that_are_the_same_in_all_are_decided_on_one_by_one() -> None:
    twice = calling(LONG, LONG)
    for call in twice.tool_calls:
        call.id = "same"
    loop = begun()
    loop.received(twice)
    first, second = loop.run.pending
    assert (first.index, second.index) == (0, 1)
    with pytest.raises(InvalidRequestError, match=r"There is no decision on book \(call same\)"):
        ToolLoop.resumed(loop.run, [first.approve()], TOOLS)
    resumed = ToolLoop.resumed(loop.run, [second.deny(), first.approve()], TOOLS)
    carry_out(resumed)
    assert outcomes(resumed.run.results) == [("ok", "9 nights"), ("denied", "The call was declined.")]


def test_contradictory_decisions_are_refused() -> None:
    run = paused(LONG)
    (call,) = run.pending
    with pytest.raises(InvalidRequestError, match="neither yes nor no, or both"):
        ToolLoop.resumed(run, [call.deny(), call.approve()], TOOLS)
    assert ToolLoop.resumed(run, [call.approve(), call.approve()], TOOLS).jobs


@pytest.mark.parametrize("word", ["no", "false", 1, None])
def test_a_decision_that_is_no_bool_is_refused(word: object) -> None:
    run = paused(LONG)
    approval = replace(run.pending[0].approve(), approved=word)  # type: ignore[arg-type] # as from a form of a page
    with pytest.raises(InvalidRequestError, match="neither yes nor no"):
        ToolLoop.resumed(run, [approval], TOOLS)


def test_a_run_that_is_not_paused_can_not_be_resumed() -> None:
    loop = begun()
    loop.received(said())
    with pytest.raises(InvalidRequestError, match="This run is completed, not paused"):
        ToolLoop.resumed(loop.run, [], TOOLS)


def test_an_approved_call_whose_tool_is_missing_is_refused_and_a_denied_one_is_not() -> None:
    run = paused(LONG)
    (call,) = run.pending
    with pytest.raises(InvalidRequestError, match=r"book was approved and is not among tools \(add\)") as caught:
        ToolLoop.resumed(run, [call.approve()], [add])
    assert caught.value.parameter == "tools"
    assert ToolLoop.resumed(run, [call.deny()], [add]).status == "answering"


@pytest.mark.parametrize("tools", [(), get_weather, "add", {"add": add}])
def test_tools_that_are_no_list_or_none_at_all_are_refused(tools: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"tools=.* is not possible: give a list of functions"):
        ToolLoop("Hello", tools)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - on purpose


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolDefinitionError, match=r"tools\[1\] has the name 'add', as another one has") as caught:
        ToolLoop("Hello", [add, tool(get_weather, name="add")])
    assert caught.value.parameter == "tools[1]"


def test_a_tool_that_no_schema_can_be_made_of_is_refused_at_once() -> None:
    def look(at: Callable[[], int]) -> None:
        """Look."""

    with pytest.raises(ToolDefinitionError, match="no JSON schema can be made"):
        ToolLoop("Hello", [look])


@pytest.mark.parametrize("messages", ["", [], 42, [{"role": "wizard", "content": "Hello"}]])
def test_impossible_messages_are_refused_at_once(messages: object) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        ToolLoop(messages, TOOLS)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - on purpose


@pytest.mark.parametrize("options", [{"max_turns": 0}, {"max_turns": "many"}, {"show_errors": 1}])
def test_an_impossible_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError, match="is not possible"):
        begun(**options)
