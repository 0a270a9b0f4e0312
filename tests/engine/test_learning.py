"""What a server of one's own is asked before a call: only what the call needs, once, and never at the call's cost."""

from dataclasses import replace

import pytest

from nemotron_client import Timeout
from nemotron_client._engine import flows, server
from nemotron_client._engine.exchange import Reply
from nemotron_client._engine.sending import Client
from nemotron_client.budget import TokenBudget
from nemotron_client.completions import ChatCompletion
from nemotron_client.config import MODEL, Config
from nemotron_client.errors import APIConnectionError, APITimeoutError, TokenBudgetExceededError
from tests.engine.driving import HOSTED, OWN, Talk, answer, client, config, failure, reply

OK = reply(200, answer())
LONG = "word " * 1000  # 5,000 bytes, 1,001 tokens


def offering(*models: dict[str, object], now: float = 1.0) -> Reply:
    return reply(200, {"object": "list", "data": list(models)}, now=now)


def asking(who: Client, messages: str = LONG, *, now: float = 0.0, **options: object) -> Talk[ChatCompletion]:
    return Talk(flows.chat(who, flows.chat_call(who, messages, options, stream=False), now=now))


def paths(talk: Talk[ChatCompletion]) -> list[str]:
    return [path.removeprefix("/v1") for path in talk.paths]


def own(budget: TokenBudget | None = None, model: str | None = "m") -> Client:
    return client(replace(config(model=model), budget=budget or TokenBudget()))


def test_a_server_of_ones_own_is_asked_once_for_its_windows_by_a_call_that_may_overflow() -> None:
    who = own()
    talk = asking(who)
    talk.end(offering({"id": "m", "max_model_len": 4096}), OK)
    assert paths(talk) == ["/models", "/chat/completions"]
    again = asking(who)
    again.end(OK)
    assert paths(again) == ["/chat/completions"]
    with pytest.raises(TokenBudgetExceededError) as caught:
        asking(who, LONG * 5).end()
    assert (caught.value.limit, caught.value.prompt_tokens) == (4096, 5004)


@pytest.mark.parametrize(
    ("who", "options"),
    [
        pytest.param(own(), {"messages": "Hi"}, id="a-small-request"),
        pytest.param(own(), {"messages": "Hi", "max_tokens": 1000}, id="with-a-small-answer"),
        pytest.param(own(TokenBudget(limit=50_000)), {}, id="a-limit-of-ones-own"),
        pytest.param(own(), {"budget": TokenBudget(limit=50_000)}, id="a-limit-of-the-calls-own"),
        pytest.param(own(TokenBudget(on_overflow="off")), {}, id="a-budget-that-is-off"),
        pytest.param(own(), {"truncate_prompt_tokens": 100}, id="a-server-that-is-told-to-cut"),
        pytest.param(client(config(HOSTED)), {}, id="the-hosted-model"),
    ],
)
def test_nobody_is_asked_for_what_the_call_can_do_without(who: Client, options: dict[str, object]) -> None:
    talk = asking(who, **{"messages": LONG, **options})  # type: ignore[arg-type] # messages is a str
    talk.end(OK)
    assert talk.posts == len(talk.requests) == 1


def test_a_large_answer_is_a_reason_to_ask() -> None:
    talk = asking(own(), "Hi", max_tokens=4000)
    with pytest.raises(TokenBudgetExceededError, match="the limit of 2,048"):
        talk.end(offering({"id": "m", "max_model_len": 2048}))


def test_the_name_and_the_windows_come_with_one_question() -> None:
    who = own(model=None)
    asking(who, "Hi").end(offering({"id": "only", "max_model_len": 1000}), OK)
    with pytest.raises(TokenBudgetExceededError, match="the limit of 1,000"):
        asking(who).end()


@pytest.mark.parametrize(
    ("models", "windows"),
    [
        ([{"id": "a", "max_model_len": 10}, {"id": "b", "max_model_len": 20}], {"a": 10, "b": 20}),
        ([{"id": "lora", "parent": "base"}, {"id": "base", "max_model_len": 10}], {"lora": 10, "base": 10}),
        ([{"id": "a"}, {"id": "lora", "parent": "gone"}], {}),
        ([{"id": "a", "max_model_len": None}, {"id": "b", "max_model_len": 0}, {"id": "c", "max_model_len": -1}], {}),
        ([], {}),
    ],
    ids=["each-its-own", "an-adapter-that-of-its-base", "not-told", "no-windows", "no-models"],
)
def test_windows_are_known_by_model(models: list[dict[str, object]], windows: dict[str, int]) -> None:
    who = own()
    asking(who).end(offering(*models), OK)
    assert who.shared.windows == windows


def test_a_model_that_the_server_doesnt_list_has_the_widest_window() -> None:
    who = own()
    talk = asking(who, LONG * 5, model="other")
    talk.end(offering({"id": "m", "max_model_len": 4096}), OK)
    assert talk.posts == 1


def test_the_list_of_models_tells_the_windows_too() -> None:
    who = own()
    Talk(server.models(who, now=0.0)).end(offering({"id": "m", "max_model_len": 1000}))
    with pytest.raises(TokenBudgetExceededError):
        asking(who).end()


@pytest.mark.parametrize(
    "refusal",
    [reply(404), reply(401), reply(429), reply(500), reply(200, b"<html>"), failure("refused"), failure("timeout")],
    ids=["404", "401", "429", "500", "a-page", "refused", "hangs"],
)
def test_a_question_for_the_windows_that_fails_costs_no_call_and_is_asked_again_in_a_minute(refusal: Reply) -> None:
    who = own()
    talk = asking(who)
    assert talk.end(refusal, OK).text == "Hello"
    assert paths(talk) == ["/models", "/chat/completions"]  # not tried again
    assert who.shared.windows is None
    soon = asking(who, now=60.5)
    soon.end(OK)
    assert paths(soon) == ["/chat/completions"]
    later = asking(who, now=61.5)
    later.end(offering({"id": "m", "max_model_len": 4096}, now=62.0), OK)
    assert paths(later) == ["/models", "/chat/completions"]


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [(Timeout(total=None), 105.0), (Timeout(total=60), 105.0), (Timeout(total=4), 102.0)],
    ids=["no-limit", "a-long-one", "a-short-one"],
)
def test_a_question_for_the_windows_takes_no_more_than_half_the_time_and_five_seconds(
    timeout: Timeout, deadline: float
) -> None:
    talk = asking(own(), timeout=timeout, now=100.0)
    talk.end(failure("total", sent=100.0, now=deadline), OK)
    assert talk.requests[0].deadline == deadline
    assert talk.requests[1].deadline == (None if timeout.total is None else 100.0 + timeout.total)


def test_a_question_for_the_name_may_take_as_long_as_the_call_and_is_tried_as_often() -> None:
    talk = asking(own(model=None), timeout=60, max_retries=1)
    with pytest.raises(APITimeoutError):
        talk.end(reply(500), failure("total"))
    assert [request.deadline for request in talk.requests] == [60.0, 60.0]


def test_a_server_that_lists_no_models_gets_this_models_name_and_is_not_asked_again() -> None:
    who = own(model=None)
    asking(who).end(reply(404, {"detail": "Not Found"}), OK)
    assert who.shared.windows == {}
    again = asking(who)
    again.end(OK)
    assert [request.url for request in again.requests] == [f"{OWN}/chat/completions"]
    assert f'"model":"{MODEL}"'.encode() in (again.requests[0].body or b"")


def test_copies_of_a_client_know_what_it_has_learned() -> None:
    who = own()
    Talk(server.models(who, now=0.0)).end(offering({"id": "m", "max_model_len": 1000}))
    settings: Config = replace(who.config, budget=TokenBudget(reserve=2))
    with pytest.raises(TokenBudgetExceededError, match="the limit of 1,000"):
        asking(Client(settings, who.shared)).end()


def test_a_call_that_waited_for_a_question_that_failed_fails_with_it_and_asks_nothing() -> None:
    who = own(model=None)
    with pytest.raises(APIConnectionError) as first:
        asking(who, max_retries=0).end(failure("refused", now=7.0))
    waited = asking(who, now=6.5, max_retries=0)
    with pytest.raises(APIConnectionError) as second:
        waited.end()
    assert waited.requests == []
    assert str(second.value) == str(first.value)
    assert second.value is not first.value  # each caller has its own traceback


@pytest.mark.parametrize(
    ("now", "options"),
    [(7.0, {"max_retries": 0}), (1.0, {"max_retries": 1}), (1.0, {"max_retries": 0, "timeout": 9})],
    ids=["later", "with-more-tries", "with-another-limit"],
)
def test_any_other_call_asks_again(now: float, options: dict[str, object]) -> None:
    who = own(model=None)
    with pytest.raises(APIConnectionError):
        asking(who, max_retries=0).end(failure("refused", now=7.0))
    again = asking(who, now=now, **options)  # type: ignore[arg-type] # messages is given
    again.end(offering({"id": "m"}), OK)
    assert paths(again) == ["/models", "/chat/completions"]


def test_what_one_caller_notes_on_its_error_is_in_no_other_s() -> None:
    who = own(model=None)
    with pytest.raises(APIConnectionError) as first:
        asking(who, max_retries=0).end(failure("refused", now=7.0))
    vars(first.value)["run"] = "what only the first caller may see"
    with pytest.raises(APIConnectionError) as second:
        asking(who, now=6.5, max_retries=0).end()
    assert second.value.run is None
    assert who.shared.unanswered is not None
    assert who.shared.unanswered.error.__traceback__ is not first.value.__traceback__


def test_a_call_that_has_time_left_asks_itself_where_another_s_was_up() -> None:
    who = own(model=None)
    with pytest.raises(APITimeoutError):
        asking(who, max_retries=0, timeout=7).end(failure("total", now=7.0))
    again = asking(who, now=6.5, max_retries=0, timeout=7)
    again.end(offering({"id": "m"}, now=8.0), OK)
    assert paths(again) == ["/models", "/chat/completions"]
