"""Whether a request may be sent: proved by its bytes, else counted; judged by mistral-common."""

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client._engine.admission import Admitted, Candidate, Templates
from nemotron_client.budget import OnOverflow, TokenBudget
from nemotron_client.errors import InvalidRequestError, TokenBudgetExceededError
from nemotron_client.tokens import TEMPLATES, TokenCounter
from tests.engine import conversations, judge
from tests.engine.judge import Conversation, Wire

CALL: Wire = {"id": "abcdefgh1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
CALLED: Conversation = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "abcdefgh1", "content": "found"},
]
LEAST, MIDDLE, MOST = sorted(TokenCounter(template).count(CALLED).total for template in TEMPLATES)


def body(words: int = 100, **fields: object) -> Wire:
    """Make a request of so many words and three tokens more."""
    return {"messages": [{"role": "user", "content": " word" * words}], **fields}


def budget(limit: int | None = None, on_overflow: OnOverflow = "raise", reserve: int = 1) -> TokenBudget:
    return TokenBudget(limit=limit, on_overflow=on_overflow, reserve=reserve)


def proven(request: Mapping[str, object], limit: TokenBudget, window: int | None = None) -> bool:
    return Candidate(request, limit).proven(window)


def admit(
    request: Mapping[str, object],
    limit: TokenBudget,
    window: int | None = None,
    templates: Templates | None = None,
    *,
    kept: int = 1,
) -> Admitted:
    return Candidate(request, limit, templates or Templates(), kept=kept).admit(window)


def test_what_surely_fits_is_proved_with_nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client._tekken")
    monkeypatch.delattr("nemotron_client._tekken")
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    request = body(20_000, max_tokens=20_000, tools=[{"type": "function", "function": {"name": "f"}}])
    assert proven(request, budget())
    admitted = admit(request, budget())
    assert admitted.body is request
    assert (admitted.dropped, admitted.warning, admitted.report) == ((), None, None)
    with pytest.raises(ModuleNotFoundError):
        admit(body(30_000), budget())


@pytest.mark.parametrize(
    ("limit", "window", "proved"),
    [(None, None, True), (None, 1000, False), (1000, None, False), (1000, 100_000, False), (100_000, 1000, True)],
)
def test_the_limit_is_ones_own_or_the_servers_or_the_widest(
    limit: int | None, window: int | None, *, proved: bool
) -> None:
    assert proven(body(1000), budget(limit), window) is proved


@pytest.mark.parametrize(
    "fields",
    [{"max_tokens": 131_000}, {"max_completion_tokens": 131_000}, {"max_completion_tokens": 131_000, "max_tokens": 1}],
)
def test_the_answer_that_is_asked_for_counts(fields: Mapping[str, object]) -> None:
    assert proven(body(10, **fields), budget())
    assert not proven(body(100, **fields), budget())
    with pytest.raises(TokenBudgetExceededError) as caught:
        admit(body(100, **fields), budget())
    assert (caught.value.prompt_tokens, caught.value.completion_tokens, caught.value.excess) == (103, 131_000, 31)


def test_where_both_are_given_the_newer_name_counts() -> None:
    assert proven(body(10, max_completion_tokens=1, max_tokens=1_000_000), budget())


@pytest.mark.parametrize("max_tokens", [None, "100"], ids=str)
def test_without_a_number_the_reserve_counts(max_tokens: object) -> None:
    request = body(100, max_tokens=max_tokens)
    assert admit(request, budget(200, reserve=97)).report is not None
    with pytest.raises(TokenBudgetExceededError, match="must have room for 98"):
        admit(request, budget(200, reserve=98))


@pytest.mark.parametrize(
    ("request_body", "limit"),
    [
        pytest.param(body(1000), budget(100, "off"), id="nobody-wants-to-know"),
        pytest.param(body(1000, truncate_prompt_tokens=50), budget(100), id="the-server-is-told-to-cut"),
        pytest.param({"messages": None}, budget(100, "off"), id="not-even-whether-it-is-a-request"),
    ],
)
def test_what_needs_no_look_passes(request_body: Wire, limit: TokenBudget) -> None:
    assert proven(request_body, limit)
    assert admit(request_body, limit).body is request_body


def test_an_overflow_is_refused_by_default_with_advice() -> None:
    with pytest.raises(TokenBudgetExceededError, match=r'Cut as much.*TokenBudget\(on_overflow="fit"\)'):
        admit(body(100), budget(103))
    assert admit(body(100), budget(104)).body == body(100)


def test_an_overflow_may_be_sent_with_a_warning() -> None:
    admitted = admit(body(100), budget(100, "warn"))
    assert admitted.body == body(100)
    assert "The prompt takes 103 tokens" in str(admitted.warning)


def test_an_overflow_may_lose_its_oldest_messages() -> None:
    old: Conversation = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    request = {**body(100), "messages": [*old, {"role": "user", "content": " word" * 100}], "seed": 1}
    admitted = admit(request, budget(104, "fit"))
    assert admitted.body == {**body(100), "seed": 1}
    assert (admitted.dropped, len(request["messages"])) == (old, 3)  # type: ignore[arg-type] # a list
    assert admitted.report is not None
    assert admitted.report.fits
    with pytest.raises(TokenBudgetExceededError, match="Nothing more can be dropped"):
        admit(request, budget(103, "fit"))


@pytest.mark.parametrize("on_overflow", ["raise", "warn", "fit"])
def test_what_overflows_by_some_templates_only_is_sent_with_a_warning(on_overflow: OnOverflow) -> None:
    admitted = admit({"messages": CALLED}, budget(LEAST + 1, on_overflow))
    assert admitted.body["messages"] == CALLED
    assert f"The prompt takes {MOST} by v7, {MIDDLE} by v11, {LEAST} by v13, the answer" in str(admitted.warning)


def test_what_may_overflow_loses_messages_where_that_was_asked_for() -> None:
    messages = [*CALLED, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Thanks"}]
    admitted = admit({"messages": messages}, budget(LEAST + 10, "fit"))
    assert admitted.body["messages"] == messages[-1:]
    assert admitted.warning is None


@pytest.mark.parametrize(("limit", "warned"), [(10_001, True), (10_077, True), (10_078, False), (50_000, False)])
def test_little_room_for_an_answer_of_any_length_is_told(limit: int, *, warned: bool) -> None:
    admitted = admit(body(10_000 - 3), budget(limit))  # 78 is a 128th of 10,078
    assert (admitted.warning is not None) is warned


def test_little_room_is_told_also_where_the_bytes_alone_would_fit() -> None:
    request = {"messages": [{"role": "user", "content": "\x01\x02" * 5000}]}  # each byte is a token
    assert TokenCounter.bound(**request) == TokenCounter().count(**request).total + 1 < 10_050
    assert admit(request, budget(10_050)).warning is not None


def test_the_warning_tells_how_little_it_is() -> None:
    assert "takes 12,803 of 12,850 tokens: the answer will be cut off after 47" in str(
        admit(body(12_800), budget(12_850)).warning
    )
    assert admit(body(12_800, max_tokens=47), budget(12_850)).warning is None


def test_tools_are_counted() -> None:
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    report = admit(body(100, tools=tools), budget(140)).report
    assert report is not None
    assert (report.most.tools, report.used) == (29, 132)


@pytest.mark.parametrize("messages", [None, [], [{"role": "bot", "content": 1}]], ids=["none", "empty", "unknown-role"])
def test_what_is_no_conversation_is_refused(messages: object) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        admit({"messages": messages}, budget())


def answered(*evidence: tuple[object, int]) -> Templates:
    templates = Templates()
    for request, prompt_tokens in evidence:
        templates.answered(request if isinstance(request, bytes) else json.dumps(request).encode(), prompt_tokens)
    return templates


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_real_answer_tells_the_template(template: str) -> None:
    count = {"v7": MOST, "v11": MIDDLE, "v13": LEAST}[template]
    assert answered(({"messages": CALLED}, count)).possible == (template,)


@pytest.mark.parametrize(
    ("request_body", "prompt_tokens"),
    [
        pytest.param(body(1), 4, id="all-count-alike"),
        pytest.param({"messages": CALLED}, 1, id="none-counts-so"),
        pytest.param({"messages": [{"role": "function", "name": '"tool_calls"'}]}, 1, id="a-role-of-another-server"),
    ],
)
def test_some_answers_tell_nothing(request_body: object, prompt_tokens: int) -> None:
    assert answered((request_body, prompt_tokens)).possible == TEMPLATES


def test_what_was_told_once_holds() -> None:
    templates = answered(({"messages": CALLED}, LEAST))
    assert templates.possible == ("v13",)
    templates.answered(json.dumps({"messages": CALLED}).encode(), MOST)
    assert templates.possible == ("v13",)


def test_a_known_template_decides_what_was_in_doubt() -> None:
    request, limit = {"messages": CALLED}, budget(LEAST + 1)
    known = admit(request, limit, templates=answered(({"messages": CALLED}, LEAST)))
    assert known.report is not None
    assert known.report.fits
    with pytest.raises(TokenBudgetExceededError, match="chat template v7"):
        admit(request, limit, templates=answered(({"messages": CALLED}, MOST)))


# Text completions


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        pytest.param(" word" * 100, 101, id="a-text"),
        pytest.param([" word" * 10, " word" * 100, "a"], 101, id="the-longest-of-several"),
        pytest.param(list(range(101)), 101, id="token-ids"),
        pytest.param([[1, 2], list(range(101))], 101, id="the-longest-of-several-in-token-ids"),
        pytest.param([], 0, id="nothing"),
        pytest.param(None, 0, id="what-no-client-knows"),
    ],
)
def test_a_text_completion_fits_with_each_of_its_prompts(prompt: object, tokens: int) -> None:
    request: Wire = {"prompt": prompt, "max_tokens": 20}
    assert admit(request, budget(tokens + 20)).body is request
    assert not proven(request, budget(tokens + 19))
    with pytest.raises(
        TokenBudgetExceededError, match=f"takes {tokens} tokens.* must have room for 20: that is 1 more"
    ):
        admit(request, budget(tokens + 19))


def test_a_prompt_that_is_too_long_is_told_from_the_others() -> None:
    with pytest.raises(TokenBudgetExceededError, match=r"^prompt\[1\] takes 101 tokens") as caught:
        admit({"prompt": ["a", " word" * 100]}, budget(50, "fit"))
    error = caught.value
    assert (error.limit, error.prompt_tokens, error.completion_tokens, error.excess) == (50, 101, 1, 52)
    assert (error.heaviest, error.template) == (((1, 101),), "")


def test_a_prompt_that_is_too_long_may_be_sent_with_a_warning() -> None:
    admitted = admit({"prompt": " word" * 100}, budget(50, "warn"))
    assert str(admitted.warning).startswith("The prompt takes 101 tokens")
    assert admit({"prompt": " word" * 100}, budget(102)).warning is None


def test_a_prompt_without_the_token_at_the_start_is_one_shorter() -> None:
    assert admit({"prompt": " word" * 100, "add_special_tokens": False}, budget(101)).warning is None


@settings(max_examples=settings().max_examples // 2)
@given(st.randoms(use_true_random=True), st.integers(-3, 3), st.integers(1, 50))
def test_refused_is_what_overflows_by_every_template_and_nothing_else(random: Random, off: int, answer: int) -> None:
    messages, tools = conversations.conversation(random), conversations.tools(random)
    counts = [judge.tokens(each, messages, tools) for each in TEMPLATES]
    limit = max(random.choice(counts) + answer + off, 2)
    request = {"messages": messages, "tools": tools, "max_tokens": answer}
    fits = min(counts) + answer <= limit
    with nullcontext() if fits else pytest.raises(TokenBudgetExceededError):
        admitted = admit(request, budget(limit))
        assert (admitted.warning is None) is (max(counts) + answer <= limit)


@settings(max_examples=settings().max_examples // 2)
@given(st.randoms(use_true_random=True), st.integers(-20, 200))
def test_what_is_proved_to_fit_does(random: Random, off: int) -> None:
    messages, tools = conversations.conversation(random), conversations.tools(random)
    limit = max(TokenCounter.bound(messages, tools) + off, 2)
    if proven({"messages": messages, "tools": tools}, budget(limit)):
        assert max(judge.tokens(template, messages, tools) for template in TEMPLATES) < limit
