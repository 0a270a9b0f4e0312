"""Conversations with a server, driven by hand: what is asked, in which order, and what comes of the answers."""

from collections.abc import Mapping

import pytest

from nemotron_client import RetryPolicy, Timeout
from nemotron_client._engine import calls, flows
from nemotron_client._engine.exchange import Problem, Reply
from nemotron_client._engine.sending import Client
from nemotron_client.completions import ChatCompletion, Completion
from nemotron_client.config import MODEL, Config
from nemotron_client.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    ConfigurationError,
    DegradedError,
    GatewayTimeoutError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
)
from nemotron_client.events import (
    DeprecationNoticed,
    HookEvent,
    RateLimited,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
)
from tests.engine.driving import (
    HOSTED,
    KEY,
    OWN,
    Talk,
    answer,
    client,
    close,
    config,
    failure,
    first,
    reply,
    then,
)

URL = f"{OWN}/chat/completions"
OK = reply(200, answer())
BUSY = {"status": 429, "title": "Too Many Requests"}


def asking(
    who: Client | None = None, *, now: float = 0.0, given: Mapping[str, object] | None = None, **options: object
) -> Talk[ChatCompletion]:
    who = who or client()
    return Talk(flows.chat(who, calls.chat_call(who.config, "Hi", {**(given or {}), **options}, stream=False), now=now))


def test_an_answer_comes_with_what_is_known_of_its_http_answer() -> None:
    talk = asking(now=10.0)
    headers = {"nvcf-reqid": "r1", "set-cookie": "secret", "x-a": "b"}
    done = talk.end(reply(200, answer(), headers, sent=10.25, now=10.5))
    assert (done.text, done.response.status_code, done.response.request_id) == ("Hello", 200, "r1")
    assert done.response.headers == {"nvcf-reqid": "r1", "x-a": "b"}
    assert done.response.attempts == (Attempt(1, 200, None, 0.25),)
    assert done.response.elapsed == 0.5
    (request,) = talk.requests
    assert (request.method, request.url, request.delay, request.expect) == ("POST", URL, 0.0, "body")


@pytest.mark.parametrize(
    "refusal", [reply(500, b"on fire"), reply(502), reply(503), failure("reset"), failure("refused"), failure("dns")]
)
def test_an_outage_or_a_lost_connection_is_tried_again(refusal: Reply) -> None:
    talk = asking()
    done = talk.end(refusal, OK)
    assert talk.posts == 2
    assert talk.requests[0].body == talk.requests[1].body
    assert [attempt.reason is None for attempt in done.response.attempts] == [False, True]


def test_an_outage_that_lasts_is_an_error_with_the_earlier_attempts() -> None:
    talk = asking()
    with pytest.raises(InternalServerError) as caught:
        talk.end(
            reply(500, sent=0.0, now=0.25),
            failure("reset", sent=1.0, now=1.5),
            reply(503, b"", {"x-request-id": "r3"}, sent=4.0, now=4.125),
        )
    assert talk.posts == 3
    assert caught.value.attempts == (
        Attempt(1, 500, "InternalServerError (500)", 0.25, 0.0),
        Attempt(2, None, "APIConnectionError", 0.5, talk.delays[1]),
        Attempt(3, 503, "InternalServerError (503)", 0.125, talk.delays[2]),
    )
    assert caught.value.request_id == "r3"
    assert "(3 attempts, request id r3)" in str(caught.value)
    assert close(talk.delays, [0, 0.625, 1.25], by=0.25)


@pytest.mark.parametrize(
    ("options", "posts"),
    [({"max_retries": 0}, 1), ({"max_retries": 4}, 5), ({"retry": RetryPolicy(max_retries=1)}, 2), ({}, 3)],
    ids=["never", "more", "policy", "default"],
)
def test_how_often_is_said_per_call(options: dict[str, object], posts: int) -> None:
    talk = asking(given=options)
    with pytest.raises(InternalServerError):
        talk.end(*[reply(500)] * posts)
    assert talk.posts == posts


@pytest.mark.parametrize(
    ("refusal", "kind", "posts"),
    [
        pytest.param(reply(400, {"detail": "DEGRADED function cannot be invoked"}), DegradedError, 3, id="DEGRADED"),
        pytest.param(reply(504), GatewayTimeoutError, 1, id="504"),
        pytest.param(reply(404), NotFoundError, 1, id="404"),
        pytest.param(reply(503, b"", {"retry-after": "10800"}), InternalServerError, 1, id="503-for-hours"),
        pytest.param(reply(500, b"", {"x-should-retry": "false"}), InternalServerError, 1, id="x-should-retry-false"),
        pytest.param(reply(504, b"", {"x-should-retry": "true"}), GatewayTimeoutError, 3, id="x-should-retry-true"),
        pytest.param(reply(429, BUSY, {"retry-after": "3600"}), RateLimitError, 1, id="429-for-an-hour"),
        pytest.param(
            reply(200, {"error": {"code": 502, "message": "full"}}), InternalServerError, 3, id="502-inside-a-200"
        ),
        pytest.param(
            reply(200, {"error": {"code": "server_error", "message": "x"}}), APIStatusError, 1, id="a-word-inside-a-200"
        ),
        pytest.param(
            reply(200, {"status": 503, "title": "Unavailable"}), InternalServerError, 3, id="a-503-problem-inside-a-200"
        ),
        pytest.param(reply(200, b"<html>"), InvalidResponseError, 1, id="HTML"),
        pytest.param(reply(200, b""), InvalidResponseError, 1, id="nothing"),
        pytest.param(reply(200, b'{"choices": ['), InvalidResponseError, 1, id="broken-JSON"),
        pytest.param(reply(200, {"choices": []}), InvalidResponseError, 1, id="no-choices"),
        pytest.param(failure("timeout"), APITimeoutError, 1, id="no-answer-in-time"),
        pytest.param(failure("total"), APITimeoutError, 1, id="not-done-in-time"),
        pytest.param(failure("read"), APIConnectionError, 1, id="lost-in-the-middle"),
        pytest.param(failure("tls"), APIConnectionError, 1, id="TLS"),
    ],
)
def test_what_is_sent_again_and_what_is_not(refusal: Reply, kind: type[APIError], posts: int) -> None:
    talk = asking()
    with pytest.raises(kind) as caught:
        talk.end(*[refusal] * posts)
    assert talk.posts == posts == len(caught.value.attempts)


def test_a_200_that_is_something_else_shows_itself_but_no_key() -> None:
    with pytest.raises(InvalidResponseError, match=r"is not a chat completion: it has no choices") as caught:
        asking().end(reply(200, {"choices": [], "you": KEY}, {"x-request-id": "r1"}))
    assert '"you": "***"' in str(caught.value)
    assert caught.value.request_id == "r1"
    assert [each.status_code for each in caught.value.attempts] == [200]


@pytest.mark.parametrize("error", [{"error": {"message": "cut off"}}, {"object": "error", "message": "cut off"}])
def test_an_answer_with_an_error_beside_it_is_an_error_that_keeps_the_answer(error: dict[str, object]) -> None:
    with pytest.raises(APIStatusError, match=r"200 with an error inside from POST .*: cut off") as caught:
        asking().end(reply(200, answer("Hel") | error, {"x-request-id": "r1"}))
    body = ChatCompletion.model_validate(caught.value.body)
    assert (body.text, caught.value.request_id) == ("Hel", "r1")


def test_429_without_a_word_is_waited_out() -> None:
    talk = asking()
    done = talk.end(reply(429, BUSY, sent=0.0, now=0.1), reply(429, BUSY, sent=3.0, now=3.1), OK)
    assert done.text == "Hello"
    assert talk.posts == 3
    assert close(talk.delays, [0, 2.5, 5], by=1)


def test_429_for_ever_ends_when_the_time_for_it_is_over() -> None:
    talk = asking(retry=RetryPolicy(rate_limit_wait=5))
    with pytest.raises(RateLimitError) as caught:
        talk.end(reply(429, BUSY, now=0.0), reply(429, BUSY, now=2.5), reply(429, BUSY, now=5.0))
    assert 4.5 <= sum(attempt.waited for attempt in caught.value.attempts) <= 5.5


def test_429_that_says_how_long_is_sent_again_just_after_that() -> None:
    talk = asking()
    talk.end(reply(429, BUSY, {"retry-after": "7"}), OK)
    assert 7 <= talk.delays[1] <= 7.25


def test_one_429_slows_the_other_requests_of_the_client() -> None:
    events: list[HookEvent] = []
    who = client(events=events)
    one, second = asking(who), asking(who, now=1.1)
    refused = first(one.flow)
    assert refused.delay == 0
    again = then(one.flow, reply(429, BUSY, sent=0.0, now=1.0))
    second.end(OK)
    (held,) = second.delays
    assert close([held], [again.delay - 0.1 + 0.05])  # just behind the first one's next try
    assert RateLimited(held) in events


def test_a_success_lets_the_brake_go() -> None:
    who = client()
    asking(who).end(reply(429, BUSY, now=1.0), reply(200, answer(), now=9.0))
    for turn in range(20):
        asking(who, now=100.0 * turn + 100).end(OK)
    talks = [asking(who, now=9000.0) for _ in range(3)]
    assert [talk.end(OK).response.attempts[0].waited for talk in talks] == [0.0] * 3


def test_no_wait_ends_after_the_total() -> None:
    talk = asking(timeout=10, now=100.0)
    with pytest.raises(InternalServerError):
        talk.end(reply(500, sent=100.0, now=109.9))
    assert talk.requests[0].deadline == 110.0


def test_every_step_is_told_before_it_happens() -> None:
    events: list[HookEvent] = []
    talk = asking(client(events=events))
    talk.end(reply(500, b"", {"nvcf-reqid": "r1"}, sent=0.0, now=0.5), reply(200, answer(), sent=2.0, now=2.5))
    assert events == [
        RequestSent("POST", URL, 1),
        ResponseReceived(500, "r1", 0.5, 1),
        RetryScheduled(talk.delays[1], "InternalServerError (500)", 1),
        RequestSent("POST", URL, 2),
        ResponseReceived(200, None, 0.5, 2),
    ]


def test_a_lost_connection_is_told_without_an_answer() -> None:
    events: list[HookEvent] = []
    talk = asking(client(events=events))
    talk.end(failure("reset"), OK)
    assert [each.type for each in events] == ["request.sent", "retry.scheduled", "request.sent", "response.received"]


def test_the_end_of_a_model_is_told_once() -> None:
    events: list[HookEvent] = []
    who = client(events=events)
    for options in ({}, {}, {"model": "other"}):
        asking(who, given=options).end(reply(200, answer(), {"deprecation": "2027-01-01T00:00:00Z"}))
    told = [each for each in events if isinstance(each, DeprecationNoticed)]
    assert told == [
        DeprecationNoticed("m", "2027-01-01T00:00:00Z"),
        DeprecationNoticed("other", "2027-01-01T00:00:00Z"),
    ]


def test_a_text_completion_is_asked_for_in_the_same_way() -> None:
    who = client()
    talk = Talk(flows.text(who, calls.text_call(who.config, "Once", {}, stream=False), now=0.0))
    done = talk.end(reply(500), reply(200, {"choices": [{"text": " upon"}]}))
    assert isinstance(done, Completion)
    assert (done.text, len(done.response.attempts), talk.requests[0].url) == (" upon", 2, f"{OWN}/completions")


def test_a_text_completion_that_is_something_else_is_told() -> None:
    who = client()
    with pytest.raises(InvalidResponseError, match="is not a text completion"):
        Talk(flows.text(who, calls.text_call(who.config, "Once", {}, stream=False), now=0.0)).end(reply(200, b"x"))


def test_a_stream_is_opened_with_retries_until_it_begins() -> None:
    who = client()
    talk = Talk(flows.open_stream(who, calls.chat_call(who.config, "Hi", {}, stream=True), now=0.0))
    info = talk.end(reply(503), reply(200, b"", {"x-request-id": "r1"}, sent=2.0, now=2.25))
    assert (info.request_id, len(info.attempts), info.elapsed) == ("r1", 2, 2.25)
    assert [request.expect for request in talk.requests] == ["stream", "stream"]


# 202: the answer is asked for later (docs/explanation/protocol.md, "Long requests, 202 and 504").

LATER = reply(202, b"", {"nvcf-reqid": "id-1", "nvcf-status": "in-progress"})
STATUS = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status/id-1"


def test_a_202_is_asked_again_for_its_result_with_one_post() -> None:
    talk = asking(client(config(HOSTED)))
    done = talk.end(LATER, *[reply(202, b"", {"nvcf-reqid": "id-1"})] * 5, OK)
    assert done.text == "Hello"
    assert [(r.method, r.url, r.body) for r in talk.requests[1:]] == [("GET", STATUS, None)] * 6
    assert talk.delays == [0, 0.5, 1, 2, 4, 5, 5]
    assert talk.posts == len(done.response.attempts) == 1


def test_a_retry_without_a_wait_does_not_make_the_questions_after_a_202_faster() -> None:
    talk = asking(client(config(HOSTED)), retry=RetryPolicy(wait=lambda _: 0.0))
    talk.end(LATER, reply(503), *[reply(202, b"", {"nvcf-reqid": "id-1"})] * 2, OK)
    assert talk.delays == [0, 0.5, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("base_url", "asked"),
    [
        (HOSTED, STATUS),
        ("https://integrate.api.nvidia.com/other/v1", STATUS),
        ("https://ai.api.nvidia.com/v1", "https://ai.api.nvidia.com/v1/status/id-1"),
        (OWN, f"{OWN}/status/id-1"),
        (
            "https://integrate.api.nvidia.com.example.com/v1",
            "https://integrate.api.nvidia.com.example.com/v1/status/id-1",
        ),
    ],
)
def test_the_key_goes_only_to_where_it_went_before_or_to_nvidias_own_status_host(base_url: str, asked: str) -> None:
    talk = asking(client(config(base_url)))
    elsewhere = {"nvcf-reqid": "id-1", "location": "https://evil.example/status/id-1"}
    talk.end(reply(202, b"", elsewhere), OK)
    assert talk.requests[1].url == asked
    assert talk.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "known_as", ["", "../../x", "a/b", "a?b", "a#b", "a b", "a\nb", "a%2fb", "@evil", "x" * 129, "\u00e9"], ids=repr
)
def test_a_202_with_an_id_that_is_none_is_an_error(known_as: str) -> None:
    talk = asking()
    with pytest.raises(InvalidResponseError, match="said 202, but gave no request id") as caught:
        talk.end(reply(202, b"", {"nvcf-reqid": known_as} if known_as else {}))
    assert [attempt.status_code for attempt in caught.value.attempts] == [202]


@pytest.mark.parametrize(
    ("timeout", "deadline"),
    [(Timeout(total=20), 120.0), (Timeout(first_event=30), 130.0), (Timeout(first_event=None), None)],
    ids=["the-total", "first-event-where-there-is-no-total", "none"],
)
def test_asking_again_ends_with_the_total_or_the_time_for_a_first_event(
    timeout: Timeout, deadline: float | None
) -> None:
    talk = asking(timeout=timeout, now=100.0)
    with pytest.raises(APITimeoutError):
        talk.end(LATER, reply(202, now=119.0), failure("total", now=120.0))
    assert [request.deadline for request in talk.requests[1:]] == [deadline] * 2
    assert talk.posts == 1


def test_a_question_for_a_result_that_fails_is_asked_again_and_nothing_is_posted_again() -> None:
    talk = asking()
    done = talk.end(LATER, reply(503), reply(202), OK)
    assert [request.method for request in talk.requests] == ["POST", "GET", "GET", "GET"]
    assert len(done.response.attempts) == 2


def test_a_result_that_never_existed_is_an_error() -> None:
    with pytest.raises(NotFoundError):
        asking().end(LATER, reply(404))


# The model's name, where nobody gave one.


def nameless() -> Config:
    return config(model=None)


def offering(*models: dict[str, object]) -> Reply:
    return reply(200, {"object": "list", "data": list(models)}, sent=0.0, now=5.0)


@pytest.mark.parametrize(
    ("models", "name"),
    [
        pytest.param([{"id": "only"}], "only", id="the-only-one"),
        pytest.param([{"id": "x"}, {"id": MODEL}], MODEL, id="this-one-among-several"),
        pytest.param([{"id": "base"}, {"id": "lora", "parent": "base"}], "base", id="the-one-that-adapters-stand-on"),
        pytest.param([{"id": "base", "parent": None, "max_model_len": 4096}], "base", id="a-null-parent"),
    ],
)
def test_a_server_of_ones_own_is_asked_once_for_its_model(models: list[dict[str, object]], name: str) -> None:
    who = client(nameless())
    talk = asking(who)
    done = talk.end(offering(*models), reply(200, answer(), sent=5.0, now=6.0))
    question, request = talk.requests
    assert (question.method, question.url) == ("GET", f"{OWN}/models")
    assert request.body == f'{{"model":"{name}","messages":[{{"role":"user","content":"Hi"}}]}}'.encode()
    assert done.response.attempts == (Attempt(1, 200, None, 1.0),)
    again = asking(who)
    again.end(OK)
    assert again.posts == len(again.requests) == 1
    assert who.shared.served is not None
    assert who.shared.served.id == name


def test_a_name_in_the_call_is_not_asked_for() -> None:
    talk = asking(client(nameless()), model="mine")
    talk.end(OK)
    assert talk.posts == len(talk.requests) == 1


@pytest.mark.parametrize(
    ("models", "names"),
    [([], "none at all"), ([{"id": "a"}, {"id": "b"}], "a, b"), ([{"id": "l", "parent": "b"}], "l")],
    ids=["none", "several", "only-an-adapter"],
)
def test_a_server_that_leaves_the_choice_open_is_told_with_what_it_offers(
    models: list[dict[str, object]], names: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"several models or none \({names}\): pass model="):
        asking(client(nameless())).end(offering(*models))


def test_a_server_without_a_list_of_models_gets_this_models_name() -> None:
    talk = asking(client(nameless()))
    talk.end(reply(404, {"detail": "Not Found"}), OK)
    assert f'"model":"{MODEL}"'.encode() in (talk.requests[1].body or b"")


def test_a_stream_asks_for_the_name_too() -> None:
    who = client(nameless())
    talk = Talk(flows.open_stream(who, calls.chat_call(who.config, "Hi", {}, stream=True), now=0.0))
    talk.end(offering({"id": "only"}), reply(200))
    assert [request.expect for request in talk.requests] == ["body", "stream"]


@pytest.mark.parametrize("problem", ["timeout", "tls"])
def test_a_server_that_cannot_be_asked_is_an_error(problem: Problem) -> None:
    with pytest.raises(APIConnectionError):
        asking(client(nameless())).end(failure(problem))


@pytest.mark.parametrize(
    "body",
    [b"x", b"{}", b'{"data": 5}', b'{"data": [{"object": "model"}]}'],
    ids=["no-JSON", "empty", "no-list", "no-id"],
)
def test_a_list_of_models_that_is_none_is_told(body: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="is not a list of models"):
        asking(client(nameless())).end(reply(200, body))


def test_asking_for_the_models_name_counts_to_the_total_and_to_the_elapsed_time() -> None:
    who = client(config(model=None))
    models = reply(200, {"data": [{"id": "m"}]}, sent=10.0, now=14.0)
    talk = asking(who, now=10.0, timeout=20)
    done = talk.end(models, reply(200, answer(), sent=14.0, now=15.0))
    assert [request.deadline for request in talk.requests] == [30.0, 30.0]
    assert done.response.elapsed == 5.0


def test_a_turn_that_comes_after_the_deadline_is_not_waited_for() -> None:
    who = client()
    who.shared.brake.limited(sent=0.0, now=0.0, delay=0.0)

    def others_come_before_it(_: HookEvent) -> None:
        for _turn in range(100):
            who.shared.brake.reserve(0.0)

    who.shared.notify = others_come_before_it
    with pytest.raises(InternalServerError):
        asking(who, timeout=4).end(reply(500, now=0.1))


def test_a_call_whose_turn_comes_after_its_deadline_fails_at_once() -> None:
    events: list[HookEvent] = []
    who = client(events=events)
    who.shared.brake.limited(sent=0.0, now=0.0, delay=30.0)
    hurried = asking(who, timeout=20, now=1.0)
    with pytest.raises(APITimeoutError, match="after 429s to other calls its turn comes later than in the 20 s it has"):
        hurried.end()
    assert hurried.requests == []
    assert events == []
    assert asking(who, timeout=40, now=1.0).end(OK).response.attempts[0].waited == 29.0


@pytest.mark.parametrize("timeout", [None, 16])
def test_a_call_waits_for_its_turn_from_now_on_and_counts_its_time_from_its_begin(timeout: float | None) -> None:
    who = client()
    who.shared.brake.limited(sent=10.0, now=10.0, delay=15.0)
    options = {} if timeout is None else {"timeout": timeout}
    call = flows.chat_call(who, "Hi", options, stream=False)
    talk = Talk(flows.chat(who, call, now=20.0, began=10.0))  # it waited for something else before
    done = talk.end(reply(200, answer(), sent=25.0, now=25.5))
    assert done.response.attempts[0].waited == 5.0
    assert done.response.elapsed == 15.5
