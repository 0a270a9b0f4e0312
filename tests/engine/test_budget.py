"""Whether a conversation fits, and what is left of one that doesn't: rules over counts, judged by mistral-common."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client.budget import NOTHING_MORE, WINDOW, BudgetReport, Fitted, TokenBudget, check, exceeded, shortened
from nemotron_client.errors import ConfigurationError, InvalidRequestError
from nemotron_client.messages import Message, SystemMessage, UserMessage, read_messages
from nemotron_client.tokens import TEMPLATES, Template, TokenCount
from tests.engine import conversations, judge
from tests.engine.judge import Conversation, Wire


def said(role: str, words: int = 10) -> Wire:
    """Make a message of so many words."""
    return {"role": role, "content": " word" * words}


CALL: Wire = {"id": "abcdefgh1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
CALLING: Wire = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT: Wire = {"role": "tool", "tool_call_id": "abcdefgh1", "content": "found"}


def fit(
    messages: Sequence[Message],
    tools: Conversation | None = None,
    *,
    limit: int,
    answer: int = 1,
    templates: Sequence[Template] = TEMPLATES,
) -> Fitted:
    """Take what is left of a conversation for all that there is."""
    left, told = shortened(messages, tools, limit=limit, answer=answer, templates=templates)
    dropped = [message for index, message in enumerate(messages) if index not in left]
    return Fitted([messages[index] for index in left], dropped, told)


def report(totals: tuple[int, ...], limit: int, answer: int = 10) -> BudgetReport:
    counts = zip(TEMPLATES, totals, strict=False)
    return BudgetReport(limit, answer, ("user",), tuple(TokenCount(n, (n - 1,), 0, template) for template, n in counts))


def test_a_budget_is_by_default_a_refusal_of_what_leaves_no_room_for_one_token() -> None:
    budget = TokenBudget()
    assert (budget.limit, budget.on_overflow, budget.reserve) == (None, "raise", 1)


@pytest.mark.parametrize("name", ["limit", "reserve"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "100", True], ids=str)
def test_what_is_no_number_of_tokens_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"TokenBudget\({name}={value!r}\): give a whole number from 1"):
        TokenBudget(**{name: value})  # type: ignore[arg-type] # on purpose


def test_a_reserve_that_leaves_nothing_for_the_prompt_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"limit=100, reserve=100\): leave something"):
        TokenBudget(limit=100, reserve=100)


def test_an_unknown_way_to_deal_with_an_overflow_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"on_overflow='cut'\): give one of raise, fit, warn, off"):
        TokenBudget(on_overflow="cut")  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize(
    ("totals", "left", "fits", "overflows"),
    [
        ((80, 85, 90), 10, True, False),
        ((80, 85, 91), 9, False, False),
        ((91, 95, 101), -1, False, True),
        ((90,), 10, True, False),
        ((91,), 9, False, True),
    ],
)
def test_a_report_tells_what_holds_for_all_the_templates(
    totals: tuple[int, ...], left: int, *, fits: bool, overflows: bool
) -> None:
    told = report(totals, limit=100)
    assert (told.used, told.left, told.fits, told.overflows) == (max(totals), left, fits, overflows)
    assert told.excess == min(totals) + 10 - 100


def test_a_report_prints_as_a_table() -> None:
    tool = {"type": "function", "function": {"name": "look_up"}}
    messages = [said("system"), said("user", 2000), CALLING, RESULT, said("user")]
    assert (
        f"\n{check(messages, [tool], limit=5000, answer=100)}"
        == """
           messages  tokens
system            1      12
user              2   2,014
assistant         1      24
tool              1       8
tools                    29
start                     1
prompt                2,088
limit                 5,000
left                  2,912
With 100 for the answer it fits. The prompt takes 2,088 by v7, 2,075 by v11, 2,065 by v13."""
    )


@pytest.mark.parametrize(("limit", "verdict"), [(100, "it fits"), (95, "it may overflow"), (90, "it overflows")])
def test_the_table_ends_with_a_verdict(limit: int, verdict: str) -> None:
    assert verdict in str(report((81, 85, 90), limit))


def test_a_conversation_is_checked_against_the_widest_window_and_all_templates() -> None:
    told = check("Hello")
    assert (told.limit, told.answer, told.roles, told.used) == (WINDOW, 1, ("user",), 4)
    assert [count.template for count in told.counts] == list(TEMPLATES)


def test_a_conversation_that_fits_is_left_as_it_is() -> None:
    messages: list[Message] = [SystemMessage(content="Be brief."), UserMessage(content="Hello")]
    fitted = fit(messages, limit=20)
    assert fitted.messages == messages
    assert fitted.messages[0] is messages[0]
    assert (fitted.dropped, fitted.report.used) == ([], 9)


U1, U2, U3 = (said("user", words) for words in (11, 12, 13))
A1, A2 = said("assistant", 14), said("assistant", 15)
SYSTEM, DEVELOPER = said("system"), said("developer")
LAST: list[Wire] = [{**CALLING}, {**RESULT}]


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        pytest.param([SYSTEM, U1, A1, U2, A2, U3], [SYSTEM, U3], id="system-messages-stay"),
        pytest.param([U1, SYSTEM, A1, U2, DEVELOPER], [SYSTEM, U2, DEVELOPER], id="wherever-they-stand"),
        pytest.param([U1, CALLING, RESULT, A1, U2], [U2], id="calls-go-with-their-results"),
        pytest.param([U1, A1, U2, CALLING, RESULT], [U2, CALLING, RESULT], id="all-after-the-last-question-stays"),
        pytest.param([U1, A1, U2, U3], [U2, U3], id="all-of-the-last-question-stays"),
        pytest.param([U1, A1, U2, SYSTEM, U3], [U2, SYSTEM, U3], id="also-around-a-system-message"),
        pytest.param([A1, U1], [U1], id="a-greeting-goes-first"),
        pytest.param([U1, CALLING, U2, RESULT, U3], [U2, U3], id="calls-go-with-results-that-come-late"),
        pytest.param([U1, A1, U2, CALLING, RESULT, *LAST], [U2, *LAST], id="of-a-run-the-last-calls-stay"),
        pytest.param([U1, U2, *LAST, SYSTEM, A1], [U1, U2, SYSTEM, A1], id="or-the-last-answer"),
    ],
)
def test_what_may_be_dropped_goes(messages: list[Wire], kept: list[Wire]) -> None:
    least = check(kept).used
    fitted = fit(messages, limit=least + 1)
    assert fitted.messages == kept
    assert same([message for message in messages if not any(message is one for one in fitted.messages)], fitted.dropped)
    assert fitted.report == check(kept, limit=least + 1)


def test_no_more_is_dropped_than_has_to_be_and_the_oldest_goes_first() -> None:
    messages = [U1, A1, U2, A2, U3]
    used = check(messages).used
    assert fit(messages, limit=used + 1).dropped == []
    assert fit(messages, limit=used).dropped == [U1, A1]


def test_room_for_the_answer_is_made_too() -> None:
    messages = [U1, A1, U2]
    assert fit(messages, limit=200, answer=150).messages == messages
    assert fit(messages, limit=200, answer=180).messages == [U2]


def test_what_has_to_stay_and_does_not_fit_is_an_error_that_tells_where_to_cut() -> None:
    tool = {"type": "function", "function": {"name": "look_up"}}
    messages = [said("system", 30), U1, A1, said("user", 50), CALLING, RESULT]
    left, told = shortened(messages, [tool], limit=100, answer=20, templates=["v13"])
    error = exceeded(told, NOTHING_MORE, left)
    assert (error.limit, error.prompt_tokens, error.completion_tokens) == (100, 123, 20)
    assert (error.excess, error.template) == (43, "v13")
    assert error.heaviest == ((3, 52), (0, 32), (4, 6))
    assert str(error) == (
        "The prompt takes 123 tokens and the answer must have room for 20: that is 43 more than the limit of 100 "
        "(by chat template v13, the shortest that the model may have). The heaviest are messages[3] (user) with 52, "
        "messages[0] (system) with 32, messages[4] (assistant) with 6, the tools with 29. "
        "Nothing more can be dropped: shorten these, or ask for fewer max_tokens."
    )


def test_what_overflows_by_some_templates_is_told_by_the_longest() -> None:
    told = check([U1, CALLING, RESULT])
    fitted = fit([U1, CALLING, RESULT], limit=told.least.total + 1)
    assert fitted.messages == [U1, CALLING, RESULT]
    assert not fitted.report.fits
    assert not fitted.report.overflows
    error = exceeded(fitted.report)
    assert (error.prompt_tokens, error.template) == (told.used, "v7")
    assert "(by chat template v7, the longest that the model may have)" in str(error)


@pytest.mark.parametrize("function", [check, shortened])
def test_what_is_no_conversation_is_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(InvalidRequestError, match="messages is empty"):
        function([])


def droppable(messages: Conversation) -> list[list[Wire]]:
    """Cut what isn't the system's where a user begins to speak, and the last part where the assistant does."""
    exchanges, rounds = list[list[Wire]](), list[list[Wire]]()
    before = ""
    for message in messages:
        role = str(message["role"])
        if role not in {"system", "developer"}:
            if role != before == "user":
                rounds.clear()
            if role == "user" != before:
                exchanges.append([])
            elif role == "assistant" != before:
                rounds.append([])
            exchanges[-1].append(message)
            if role != "user":
                rounds[-1].append(message)
            before = role
    return exchanges[:-1] + (rounds[:-1] if before != "user" else [])


def without(messages: Conversation, groups: list[list[Wire]]) -> list[Wire]:
    gone = {id(message) for group in groups for message in group}
    return [message for message in messages if id(message) not in gone]


def same(messages: Sequence[Message], others: Sequence[Message]) -> bool:
    return list(map(id, messages)) == list(map(id, others))


@settings(max_examples=settings().max_examples // 2)  # each takes a dozen judgements
@given(st.randoms(use_true_random=True), st.integers(0, 40))
def test_a_fitted_conversation_fits_keeps_what_it_must_and_passes_the_rules(random: Random, answer: int) -> None:
    messages, tools = conversations.conversation(random), conversations.tools(random)
    groups = droppable(messages)

    @cache
    def judged(dropped: int) -> frozenset[tuple[str, int]]:
        rest = without(messages, groups[:dropped])
        return frozenset((each, judge.tokens(each, rest, tools)) for each in TEMPLATES)

    def most(dropped: int) -> int:
        return max(tokens for _, tokens in judged(dropped))

    least = min(tokens for _, tokens in judged(len(groups)))
    limit = random.randrange(least - 5, check(messages, tools).used + answer + 5)
    copy = deepcopy(messages)
    fitted = fit(messages, tools, limit=limit, answer=answer)
    number = next(n for n in range(len(groups) + 1) if sum(map(len, groups[:n])) == len(fitted.dropped))
    assert same(fitted.messages, without(messages, groups[:number]))
    assert same(fitted.dropped, [each for each in messages if not any(each is kept for kept in fitted.messages)])
    assert {(count.template, count.total) for count in fitted.report.counts} == judged(number)
    assert fitted.report.fits is (most(number) + answer <= limit)
    assert fitted.report.fits or number == len(groups)
    assert fitted.report.overflows is (least + answer > limit)
    assert not number or most(number - 1) + answer > limit
    rest = read_messages(fitted.messages)
    assert [judge.refusal(each, rest, tools) for each in TEMPLATES] == [None] * 3
    assert messages == copy
