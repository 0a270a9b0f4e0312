"""Counting for callers: here, by what the client knows of its server, or by the server."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from json import loads

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client._engine import counting, flows, server
from nemotron_client._engine.calls import Call
from nemotron_client._engine.sending import Client
from nemotron_client.budget import WINDOW, TokenBudget
from nemotron_client.errors import (
    InvalidConversationError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    TokenBudgetExceededError,
    ToolDefinitionError,
)
from nemotron_client.messages import Message
from nemotron_client.tokens import TEMPLATES, TokenCounter
from tests.engine import judge
from tests.engine.driving import HOSTED, KEY, OWN, Talk, answer, client, config, reply
from tests.engine.histories import generated
from tests.engine.judge import Conversation

HISTORY: list[Message] = [
    {"role": "user", "content": "old " * 50},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "new"},
]


def knowing(window: int | None = None, *, model: str | None = "m", budget: TokenBudget | None = None) -> Client:
    who = client(replace(config(model=model), budget=budget or TokenBudget()))
    if window is not None:
        Talk(server.models(who, now=0.0)).end(reply(200, {"data": [{"id": "m", "max_model_len": window}]}))
    return who


@pytest.mark.parametrize(
    ("who", "limit"),
    [
        (knowing(), WINDOW),
        (knowing(1000), 1000),
        (knowing(1000, model="other"), WINDOW),
        (knowing(1000, model=None), 1000),
        (knowing(1000, budget=TokenBudget(limit=2000)), 2000),
    ],
    ids=["the-widest", "the-servers", "of-another-model", "of-the-only-model", "ones-own"],
)
def test_the_limit_is_what_the_client_knows_without_asking(who: Client, limit: int) -> None:
    assert counting.check(who, "Hi", None, None).limit == limit


def test_the_model_that_the_server_was_asked_for_has_its_window() -> None:
    who = knowing(model=None)
    call = flows.chat_call(who, "Hi", {}, stream=False)
    models = reply(200, {"data": [{"id": "m", "max_model_len": 1000}]})
    Talk(flows.chat(who, call, now=0.0)).end(models, reply(200, answer()))
    assert counting.check(who, "Hi", None, None).limit == 1000


@pytest.mark.parametrize(("max_tokens", "answer"), [(None, 7), (20, 20)])
def test_the_answer_takes_max_tokens_or_the_reserve(max_tokens: int | None, answer: int) -> None:
    who = knowing(budget=TokenBudget(reserve=7))
    assert counting.check(who, "Hi", None, max_tokens).answer == answer
    assert counting.fit(who, "Hi", None, max_tokens).report.answer == answer


@pytest.mark.parametrize("max_tokens", [0, -1, True, 1.5, "100"])
def test_an_answer_of_no_length_is_refused(max_tokens: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"max_tokens=.* is not possible: give a whole number from 1"):
        counting.check(knowing(), "Hi", None, max_tokens)  # type: ignore[arg-type] # on purpose


def test_what_an_answer_has_told_of_the_template_is_known() -> None:
    who = knowing()
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called: list[Message] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "x"},
    ]
    assert [count.template for count in counting.check(who, called, None, None).counts] == list(TEMPLATES)
    usage = {"prompt_tokens": TokenCounter("v11").count(called).total}
    asked = flows.chat_call(who, called, {}, stream=False)
    Talk(flows.chat(who, asked, now=0.0)).end(reply(200, answer(usage=usage)))
    assert [count.template for count in counting.check(who, called, None, None).counts] == ["v11"]


def test_a_conversation_is_shortened_to_the_windows_measure() -> None:
    fitted = counting.fit(knowing(50), HISTORY, None, None)
    assert (fitted.messages, fitted.dropped) == (HISTORY[2:], HISTORY[:2])
    with pytest.raises(TokenBudgetExceededError):
        counting.fit(knowing(50), HISTORY, None, 47)


def get_time(zone: str) -> str:
    """Tell the time.

    Args:
        zone: Where.
    """
    return zone


def test_tools_count_as_they_are_sent() -> None:
    who = knowing()
    tools = [get_time, {"type": "function", "function": {"name": "no parameters"}}]
    body = flows.chat_call(who, "Hi", {"tools": tools}, stream=False).body
    sent: list[dict[str, object]] = loads(body or b"")["tools"]
    expected = TokenCounter().count("Hi", sent)
    assert counting.check(who, "Hi", tools, None).most == TokenCounter("v7").count("Hi", sent)
    assert counting.fit(who, "Hi", tools, None).report.used == expected.total
    with pytest.raises(ToolDefinitionError):
        counting.check(who, "Hi", [{"type": "function"}], None)


# Of conversations that have to be put right


def sent_by(who: Client, messages: Sequence[Message], tools: Conversation, *, continues: bool) -> Call:
    """Write what `create` would send."""
    own = {"continue_final_message": True, "add_generation_prompt": False} if continues else {}
    return flows.chat_call(who, messages, {"tools": tools, **own}, stream=False)


def judged(call: Call) -> dict[str, int]:
    """Have mistral-common count it."""
    body = loads(call.body or b"")
    return {template: judge.tokens(template, body["messages"], body.get("tools")) for template in TEMPLATES}


def on(base_url: str, limit: int | None = None, *, bridges: bool = False) -> Client:
    who = client(replace(config(base_url), budget=TokenBudget(limit=limit)))
    who.shared.bridges = bridges
    return who


SERVERS = pytest.mark.parametrize(
    ("base_url", "bridges"), [(HOSTED, False), (OWN, False), (OWN, True)], ids=["hosted", "own", "own-that-is-strict"]
)


@SERVERS
@settings(max_examples=settings().max_examples // 4)  # of three servers each, and each takes a dozen counts
@given(seed=st.integers(0, 10**6))
def test_what_is_counted_is_what_would_be_sent(base_url: str, seed: int, *, bridges: bool) -> None:
    messages, tools, continues = generated(seed)
    who = on(base_url, bridges=bridges)
    call = sent_by(who, messages, tools, continues=continues)
    report = counting.check(who, messages, tools, None)
    assert {count.template: count.total for count in report.counts} == judged(call)
    assert [len(count.messages) for count in report.counts] == [len(messages)] * 3
    assert sum(report.messages) + report.tools + 1 == report.used
    for room, fits in ((report.used + 1, True), (report.least.total, False)):
        limited = on(base_url, room, bridges=bridges)
        talk = Talk(flows.chat(limited, sent_by(limited, messages, tools, continues=continues), now=0.0))
        with nullcontext() if fits else pytest.raises(TokenBudgetExceededError):
            talk.end(*[reply(200, answer())] * fits)


@SERVERS
@settings(max_examples=settings().max_examples // 4)  # of three servers each, and each takes a dozen counts
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 60))
def test_what_is_made_to_fit_is_sent_as_it_is_and_fits(base_url: str, seed: int, cut: int, *, bridges: bool) -> None:
    messages, tools, continues = generated(seed)
    least = counting.check(on(base_url, bridges=bridges), messages, tools, None).used - cut
    who = on(base_url, max(least, 2), bridges=bridges)
    try:
        fitted = counting.fit(who, messages, tools, None)
    except TokenBudgetExceededError as error:
        assert "Nothing more can be dropped" in str(error)  # noqa: PT017 - of some there is little to be dropped
        return
    call = sent_by(who, fitted.messages, tools, continues=continues)
    assert {count.template: count.total for count in fitted.report.counts} == judged(call)
    assert fitted.report.fits
    body = loads(call.body or b"")
    assert [judge.refusal(template, body["messages"], body["tools"]) for template in TEMPLATES] == [None] * 3
    assert len(fitted.report.messages) == len(fitted.report.roles) == len(fitted.messages)
    assert call.candidate is not None
    admitted = call.candidate.admit()
    assert (admitted.dropped, "not known" in str(admitted.warning)) == ((), False)
    kept = {id(message) for message in fitted.messages}
    assert [id(message) for message in fitted.dropped] == [id(each) for each in messages if id(each) not in kept]


def test_what_is_put_in_is_counted_with_the_message_that_it_was_put_in_for() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    messages: list[Message] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "And?"},
    ]
    report, unbridged = (counting.check(on(url), messages, None, None) for url in (HOSTED, OWN))
    bridge = TokenCounter().count([{"role": "assistant", "content": "OK."}, {"role": "user", "content": "x"}]).messages
    assert report.roles == ("developer", "user", "assistant", "tool", "assistant", "user")
    assert report.messages == (*unbridged.messages[:5], unbridged.messages[5] + bridge[0])
    assert report.messages[4] == 0


def test_what_breaks_a_rule_is_counted_as_it_is_but_not_made_to_fit() -> None:
    messages: list[Message] = [*HISTORY, {"role": "tool", "tool_call_id": "abcdefgh1", "content": "x"}]
    assert counting.check(on(OWN), messages, None, None).most == TokenCounter("v7").count(messages)
    talk = Talk(counting.count_on_server(on(OWN), messages, None, now=0.0))
    assert talk.end(reply(200, {"count": 7})) == 7
    assert loads(talk.requests[0].body or b"")["messages"] == messages
    with pytest.raises(InvalidConversationError, match=r"messages\[3\] \(role tool\) answers no call"):
        counting.fit(on(OWN), messages, None, None)


def test_a_missing_result_is_counted_as_one_that_says_so() -> None:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[Message] = [HISTORY[2], {"role": "assistant", "content": "", "tool_calls": [call]}, HISTORY[2]]
    who = on(HOSTED)
    filled = flows.chat_call(who, messages, {"repair": "fill"}, stream=False)
    assert {count.template: count.total for count in counting.check(who, messages, None, None).counts} == judged(filled)


def test_what_overflows_by_one_of_the_templates_is_not_made_to_fit() -> None:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
    messages: list[Message] = [HISTORY[2], asked, {"role": "tool", "tool_call_id": "abcdefgh1", "content": "x"}]
    report = counting.check(on(OWN), messages, None, None)
    with pytest.raises(TokenBudgetExceededError, match="by chat template v7, the longest") as caught:
        counting.fit(on(OWN, report.used), messages, None, None)
    assert (caught.value.excess, caught.value.prompt_tokens) == (1, report.used)
    assert counting.fit(on(OWN, report.used + 1), messages, None, None).messages == messages


# By the server


def ask(who: Client, messages: str | list[Message], *tools: Mapping[str, object]) -> Talk[int]:
    return Talk(counting.count_on_server(who, messages, tools or None, now=0.0))


def test_the_server_is_asked_beside_v1_with_what_the_client_knows() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    talk = ask(knowing(), "Hi", tool)
    assert talk.end(reply(200, {"count": 7, "max_model_len": 10, "tokens": [1]})) == 7
    (request,) = talk.requests
    assert (request.method, request.url) == ("POST", f"{OWN.removesuffix('/v1')}/tokenize")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert loads(request.body or b"") == {
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [tool],
        "model": "m",
    }


def test_a_model_that_nobody_named_is_left_to_the_server() -> None:
    talk = ask(knowing(model=None), "Hi")
    talk.end(reply(200, {"count": 7}))
    assert loads(talk.requests[0].body or b"") == {"messages": [{"role": "user", "content": "Hi"}]}


def test_an_answer_at_the_end_is_counted_as_one_that_goes_on() -> None:
    talk = ask(knowing(), HISTORY[:2])
    talk.end(reply(200, {"count": 7}))
    body = loads(talk.requests[0].body or b"")
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


def test_an_answer_at_the_end_that_says_nothing_is_left_out_as_it_would_be() -> None:
    talk = ask(knowing(), [HISTORY[2], {"role": "assistant", "content": ""}])
    talk.end(reply(200, {"count": 7}))
    assert loads(talk.requests[0].body or b"") == {"messages": [HISTORY[2]], "model": "m"}


def test_a_server_that_cant_count_says_so() -> None:
    with pytest.raises(NotFoundError):
        ask(knowing(), "Hi").end(reply(404, {"detail": "Not Found"}))
    with pytest.raises(InvalidResponseError, match="is not a count of tokens"):
        ask(knowing(), "Hi").end(reply(200, {"tokens": []}))
    with pytest.raises(InvalidRequestError):
        ask(knowing(), []).end()


def test_a_text_with_calls_at_the_end_is_counted_with_the_results_that_are_missing() -> None:
    who = knowing()
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: list[Message] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call]},
    ]
    sent = loads(flows.chat_call(who, messages, {"repair": "fill"}, stream=False).body or b"")["messages"]
    assert len(sent) == 3
    used = max(TokenCounter(template).count(sent).total for template in TEMPLATES)
    assert counting.check(who, messages, None, None).used == used
    assert counting.fit(who, messages, None, None).messages == messages
