"""Asking a server about itself, at no cost: its models, whether it is ready, its version."""

import pickle
from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import pytest

from nemotron_client._engine import calls, counting, flows, server
from nemotron_client._engine.exchange import Flow, Reply
from nemotron_client._engine.sending import Client
from nemotron_client.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    InternalServerError,
    InvalidRequestError,
    InvalidResponseError,
    ModelGoneError,
    NotFoundError,
    PermissionDeniedError,
)
from nemotron_client.servers import Model, Readiness
from tests.captures import load
from tests.engine.driving import HOSTED, KEY, OWN, Talk, client, close, config, failure, first, reply

MODEL = {"id": "m", "object": "model", "created": 5, "owned_by": "vllm", "max_model_len": 4096}
LIST = reply(200, {"object": "list", "data": [MODEL, {"id": "org/other name"}]})
NO_ROUTE = reply(404, {"detail": "Not Found"})
OK = reply(200)


def test_the_models_are_listed_with_retries() -> None:
    talk = Talk(server.models(client(), now=0.0))
    models = talk.end(reply(503), LIST)
    assert [(each.id, each.max_model_len) for each in models.data] == [("m", 4096), ("org/other name", None)]
    assert [(request.method, request.url) for request in talk.requests] == [("GET", f"{OWN}/models")] * 2


@pytest.mark.parametrize("name", ["vllm-v3/get_models", "llamacpp/get_models"])
def test_recorded_lists_are_read(name: str) -> None:
    (only,) = Talk(server.models(client(), now=0.0)).end(reply(200, load(name).body))
    assert only.id == "mistralai/mistral-nemotron"


def test_a_model_without_a_name_is_left_out_of_the_list() -> None:
    listed = reply(200, {"data": [{"id": None}, {**MODEL, "created": None}, {"object": "model"}]})
    (only,) = Talk(server.models(client(), now=0.0)).end(listed)
    assert (type(only), only.id, only.max_model_len) == (Model, "m", 4096)


def test_a_model_is_asked_for_by_its_name() -> None:
    talk = Talk(server.model(client(), "org/a name?", now=0.0))
    assert talk.end(reply(200, MODEL)).max_model_len == 4096
    assert talk.paths == ["/v1/models/org/a%20name%3F"]


def test_a_server_without_a_route_for_one_model_is_asked_for_the_list() -> None:
    talk = Talk(server.model(client(), "org/other name", now=0.0))
    assert talk.end(NO_ROUTE, LIST).id == "org/other name"
    assert talk.paths == ["/v1/models/org/other%20name", "/v1/models"]


@pytest.mark.parametrize(
    ("replies", "kind", "words"),
    [
        pytest.param([NO_ROUTE, LIST], NotFoundError, "It offers m, org/other name.", id="not-in-the-list"),
        pytest.param([NO_ROUTE, reply(200, {"data": []})], NotFoundError, "It offers none at all.", id="an-empty-list"),
        pytest.param(
            [reply(404, b"404 page not found")], NotFoundError, "404 page not found", id="the-hosted-models-words"
        ),
        pytest.param(
            [reply(410, {"detail": "The model has reached its end of life"})], ModelGoneError, "end of life", id="gone"
        ),
        pytest.param([reply(200, b"<html>")], InvalidResponseError, "HTML", id="HTML"),
        pytest.param(
            [reply(200, {"object": "model"})],
            InvalidResponseError,
            "is not a model: id: Field required",
            id="something-else",
        ),
    ],
)
def test_a_model_that_is_not_there_is_told(replies: Sequence[Reply], kind: type[APIError], words: str) -> None:
    with pytest.raises(kind, match=words):
        Talk(server.model(client(), "nope", now=0.0)).end(*replies)


# Ready: one's own server.


def ready(*replies: Reply) -> tuple[Readiness, list[str]]:
    talk = Talk(server.ready(client(), now=0.0))
    state, now = talk.end(*replies)
    assert now == replies[-1].now
    assert talk.delays == [0.0] * len(replies)
    return state, talk.paths


@pytest.mark.parametrize(
    ("replies", "is_ready", "asked"),
    [
        pytest.param([OK], True, ["/v1/health/ready"], id="NIM"),
        pytest.param([reply(503)], False, ["/v1/health/ready"], id="NIM-loading"),
        pytest.param([NO_ROUTE, OK], True, ["/v1/health/ready", "/health"], id="vLLM"),
        pytest.param(
            [reply(401, {"error": "Unauthorized"}), OK], True, ["/v1/health/ready", "/health"], id="vLLM-with-a-key"
        ),
        pytest.param(
            [NO_ROUTE, reply(503, {"error": {"message": "Loading model"}})],
            False,
            ["/v1/health/ready", "/health"],
            id="llama.cpp-loading",
        ),
        pytest.param(
            [reply(405), reply(403), LIST], True, ["/v1/health/ready", "/health", "/v1/models"], id="neither-route"
        ),
        pytest.param(
            [NO_ROUTE, NO_ROUTE, reply(401)], False, ["/v1/health/ready", "/health", "/v1/models"], id="no-key"
        ),
        pytest.param([failure("refused")], False, ["/v1/health/ready"], id="nothing-listens"),
    ],
)
def test_a_server_of_ones_own_is_asked_by_its_health_route(
    replies: Sequence[Reply], asked: list[str], *, is_ready: bool
) -> None:
    state, routes = ready(*replies)
    assert (bool(state), routes) == (is_ready, asked)


def test_readiness_tells_what_the_server_said() -> None:
    assert ready(OK)[0] == Readiness(ready=True, detail="ready", status_code=200)
    assert ready(reply(503, {"detail": "Loading"}))[0].status_code == 503
    assert "Loading" in ready(reply(503, {"detail": "Loading"}))[0].detail
    nothing = ready(failure("refused"))[0]
    assert (nothing.status_code, "nothing listens there" in nothing.detail) == (None, True)


def test_questions_about_health_are_short_and_sent_once() -> None:
    talk = Talk(server.ready(client(), now=100.0, delay=2.0))
    talk.end(reply(500, now=103.0))
    (request,) = talk.requests
    assert (request.method, request.delay, request.timeout.connect, request.deadline) == ("GET", 2.0, 5, 117.0)


def test_only_the_first_route_is_waited_for() -> None:
    talk = Talk(server.ready(client(), now=100.0, delay=2.0))
    talk.end(NO_ROUTE, NO_ROUTE, LIST)
    assert talk.delays == [2.0, 0.0, 0.0]


def test_the_routes_are_found_beside_v1_wherever_that_is() -> None:
    talk = Talk(server.ready(client(config("https://gpu.example.com/nim/v1")), now=0.0))
    talk.end(OK)
    assert talk.paths == ["https://gpu.example.com/nim/v1/health/ready"]


# Ready: the hosted model, by a question that costs nothing.


def hosted(model: str | None = None) -> Client:
    return client(config(HOSTED, model=model))


def test_the_hosted_model_is_asked_for_by_its_own_route() -> None:
    talk = Talk(server.ready(hosted(), now=0.0))
    state, _ = talk.end(reply(200, MODEL))
    assert state
    assert [request.url for request in talk.requests] == [f"{HOSTED}/models/mistralai/mistral-nemotron"]
    other = Talk(server.ready(hosted("a/b c"), now=0.0))
    other.end(OK)
    assert other.requests[0].url == f"{HOSTED}/models/a/b%20c"


@pytest.mark.parametrize(
    "problem",
    [reply(503, b"", {"retry-after": "10800"}), reply(500), reply(429), failure("timeout")],
    ids=["503", "500", "429", "silence"],
)
def test_a_hosted_model_that_may_come_back_is_not_ready(problem: Reply) -> None:
    state, _ = Talk(server.ready(hosted(), now=0.0)).end(problem)
    assert not state


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFoundError), (410, ModelGoneError), (401, AuthenticationError), (403, PermissionDeniedError)],
)
def test_a_hosted_model_that_will_not_come_back_is_an_error(status: int, kind: type[APIStatusError]) -> None:
    for flow in (server.ready(hosted(), now=0.0), server.wait_until_ready(hosted(), timeout=60, now=0.0)):
        with pytest.raises(kind):
            Talk[object](flow).end(reply(status))


# Waiting for it.


def test_waiting_ends_when_the_server_is_ready() -> None:
    talk = Talk(server.wait_until_ready(client(), timeout=60, now=0.0))
    assert talk.end(*[reply(503, now=float(n)) for n in range(1, 9)], reply(200, now=30.0))
    assert close(talk.delays, [0, 0.5, 0.75, 1.125, 1.6875, 2.53, 3.8, 5.0, 5.0], by=0.01)


def test_a_server_that_comes_up_is_waited_for_from_the_first_refused_connection() -> None:
    talk = Talk(server.wait_until_ready(client(), timeout=60, now=0.0))
    assert talk.end(failure("refused", now=0.1), failure("refused", now=0.7), reply(404, now=1.0), reply(200, now=1.1))


def test_waiting_that_is_in_vain_says_what_the_server_said_last() -> None:
    talk = Talk(server.wait_until_ready(client(), timeout=3, now=100.0))
    with pytest.raises(APITimeoutError, match=r"was not ready within 3 s\. It last said: .*Loading") as caught:
        talk.end(reply(503, now=100.5), reply(503, now=101.5), reply(503, {"detail": "Loading"}, now=102.2))
    assert caught.value.hint
    assert talk.delays == [0, 0.5, 0.75]


def test_a_server_that_says_nothing_is_not_waited_for_longer_than_asked() -> None:
    talk = Talk(server.wait_until_ready(client(), timeout=20, now=100.0))
    with pytest.raises(APITimeoutError, match="was not ready within 20 s"):
        talk.end(failure("timeout", now=110.0), failure("total", now=120.0))
    assert [request.deadline for request in talk.requests] == [115.0, 120.0]


# Alive, version, metadata.


@pytest.mark.parametrize(
    ("replies", "alive", "asked"),
    [
        ([OK], True, ["/v1/health/live"]),
        ([NO_ROUTE, OK], True, ["/v1/health/live", "/health"]),
        ([NO_ROUTE, reply(503)], True, ["/v1/health/live", "/health"]),
        ([NO_ROUTE, NO_ROUTE], False, ["/v1/health/live", "/health"]),
        ([failure("refused")], False, ["/v1/health/live"]),
    ],
    ids=["NIM", "vLLM", "not-ready", "neither", "nothing-listens"],
)
def test_alive_is_another_question_than_ready(replies: Sequence[Reply], asked: list[str], *, alive: bool) -> None:
    talk = Talk(server.live(client(), now=0.0))
    assert talk.end(*replies) is alive
    assert talk.paths == asked


@pytest.mark.parametrize(
    ("replies", "version", "api"),
    [
        ([reply(200, {"release": "1.8.0", "api": "1.2"})], "1.8.0", "1.2"),
        ([NO_ROUTE, reply(200, load("vllm-v3/get_version").body)], "0.32.0", None),
        ([reply(401), reply(200, {"version": "1", "new": 1})], "1", None),
    ],
    ids=["NIM", "vLLM", "vLLM-with-a-key"],
)
def test_a_version_is_asked_of_nim_and_then_of_vllm(replies: Sequence[Reply], version: str, api: str | None) -> None:
    got = Talk(server.version(client(), now=0.0)).end(*replies)
    assert (got.version, got.api) == (version, api)


def test_metadata_is_whatever_a_nim_says() -> None:
    talk = Talk(server.metadata(client(), now=0.0))
    assert talk.end(reply(200, {"assetInfo": [1, {"a": None}]})) == {"assetInfo": [1, {"a": None}]}
    assert talk.paths == ["/v1/metadata"]


VERSION_AND_METADATA: list[Callable[..., Flow[object]]] = [server.version, server.metadata]


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (NO_ROUTE, NotFoundError),
        (reply(500), InternalServerError),
        (failure("refused"), APIConnectionError),
        (reply(200, b"[1]"), InvalidResponseError),
        (reply(200, b"x"), InvalidResponseError),
    ],
    ids=["no-route", "500", "nothing-listens", "a-list", "no-JSON"],
)
@pytest.mark.parametrize("question", VERSION_AND_METADATA, ids=["version", "metadata"])
def test_a_server_that_cannot_tell_is_an_error(
    question: Callable[..., Flow[object]], last: Reply, kind: type[APIError]
) -> None:
    before = [NO_ROUTE] if question is server.version else []
    with pytest.raises(kind):
        Talk(question(client(), now=0.0)).end(*before, last)


def test_a_server_that_is_no_nim_is_told_so() -> None:
    with pytest.raises(NotFoundError, match="Only a NIM has this route"):
        Talk(server.metadata(client(), now=0.0)).end(NO_ROUTE)


def without_a_name() -> Flow[object]:
    who = client(config(model=None))
    return flows.chat(who, calls.chat_call(who.config, "Hi", {}, stream=False), now=0.0)


@pytest.mark.parametrize(
    "body", [f"Who is Bearer {KEY}?".encode(), f'{{"who": "{KEY}"}}'.encode()], ids=["text", "JSON"]
)
@pytest.mark.parametrize(
    "question",
    [
        pytest.param(lambda: server.models(client(), now=0.0), id="models"),
        pytest.param(lambda: server.model(client(), "m", now=0.0), id="model"),
        pytest.param(lambda: counting.count_on_server(client(), "Hi", None, now=0.0), id="count"),
        pytest.param(without_a_name, id="the-models-name"),
    ],
)
def test_a_200_that_is_something_else_shows_no_key(question: Callable[[], Flow[object]], body: bytes) -> None:
    told(question(), body)


@pytest.mark.parametrize("question", VERSION_AND_METADATA, ids=["version", "metadata"])
def test_a_200_without_json_shows_no_key(question: Callable[..., Flow[object]]) -> None:
    told(question(client(), now=0.0), f"Who is Bearer {KEY}?".encode())


def told(flow: Flow[object], body: bytes) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        Talk(flow).end(reply(200, body))
    assert KEY not in f"{caught.value!s}{caught.value!r}{pickle.dumps(caught.value)!r}"
    assert "***" in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", [5, None, "", "..", "../../admin", "org/../../admin", "./m"], ids=repr)
def test_what_is_no_name_of_a_model_is_refused_before_anything_is_sent(name: object) -> None:
    given: Any = name
    with pytest.raises(InvalidRequestError, match="is no name of a model") as caught:
        first(server.model(client(), given, now=0.0))
    assert caught.value.parameter == "model"


@pytest.mark.parametrize("name", ["/models/nemotron", "org/name.v2", "..."])
def test_a_name_may_have_slashes_and_dots(name: str) -> None:
    assert first(server.model(client(), name, now=0.0)).url.endswith(f"/v1/models/{name}")


@pytest.mark.parametrize("timeout", ["5", None, True, nan, -1], ids=repr)
def test_a_time_to_wait_that_is_none_is_refused(timeout: object) -> None:
    given: Any = timeout
    with pytest.raises(InvalidRequestError, match="give a number of seconds") as caught:
        first(server.wait_until_ready(client(), timeout=given, now=0.0))
    assert caught.value.parameter == "timeout"


@pytest.mark.parametrize("timeout", [inf, 10**400])
def test_one_may_wait_very_long(timeout: float) -> None:
    assert first(server.wait_until_ready(client(), timeout=timeout, now=0.0)).url
