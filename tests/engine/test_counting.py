"""Counting for callers: here, by what the client knows of its server, or by the server."""

from collections.abc import Mapping
from dataclasses import replace
from json import loads

import pytest

from nemotron_client._engine import counting, flows, server
from nemotron_client._engine.sending import Client
from nemotron_client.budget import WINDOW, TokenBudget
from nemotron_client.errors import (
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    TokenBudgetExceededError,
    ToolDefinitionError,
)
from nemotron_client.messages import Message
from nemotron_client.tokens import TEMPLATES, TokenCounter
from tests.engine.driving import KEY, OWN, Talk, answer, client, config, reply

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


def test_a_server_that_cant_count_says_so() -> None:
    with pytest.raises(NotFoundError):
        ask(knowing(), "Hi").end(reply(404, {"detail": "Not Found"}))
    with pytest.raises(InvalidResponseError, match="is not a count of tokens"):
        ask(knowing(), "Hi").end(reply(200, {"tokens": []}))
    with pytest.raises(InvalidRequestError):
        ask(knowing(), []).end()
