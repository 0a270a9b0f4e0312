"""What is sent again, after which wait, and what is not. No test waits: the clock is moved on instead."""

import pytest

from nemotron_client import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    DegradedError,
    GatewayTimeoutError,
    HookEvent,
    InternalServerError,
    InvalidResponseError,
    RateLimited,
    RateLimitError,
    RequestSent,
    ResponseReceived,
    RetryPolicy,
    RetryScheduled,
    StreamInterruptedError,
    Timeout,
)
from nemotron_client.testing import MockServer, Reply, cut, error, problem, text
from tests.client.conftest import Clock, Connect
from tests.client.either import Either

RESET = Reply(status=0, end="reset")
LIMITED = problem(429, "Too Many Requests")
DEGRADED = problem(400, "Bad Request", "Function id '0': DEGRADED function cannot be invoked")

pytestmark = pytest.mark.usefixtures("clock")


@pytest.mark.parametrize(
    "reply", [error(500, "Oops"), error(502, "Oops"), problem(503, "Service Unavailable"), RESET, DEGRADED]
)
async def test_an_outage_is_tried_again(reply: Reply, client: Either, server: MockServer, clock: Clock) -> None:
    server.reply(reply)
    done = await client.create()
    assert [attempt.status_code for attempt in done.response.attempts] == [reply.status or None, 200]
    assert done.response.attempts[0].reason
    assert done.response.attempts[1].waited == clock.waits[0]
    assert 0.5 <= clock.waits[0] <= 0.75
    assert server.posts == 2


async def test_a_stream_is_tried_again_before_it_begins(client: Either, server: MockServer) -> None:
    server.reply(RESET, error(500, "Oops"))
    async with client.stream() as stream:
        await stream.until_done()
    assert [attempt.status_code for attempt in stream.response.attempts] == [None, 500, 200]
    assert server.posts == 3


async def test_an_outage_that_stays_is_raised_with_all_attempts(
    client: Either, server: MockServer, clock: Clock
) -> None:
    server.always(error(500, "Oops"))
    with pytest.raises(InternalServerError, match=r"Oops \(3 attempts") as caught:
        await client.create()
    assert [attempt.status_code for attempt in caught.value.attempts] == [500, 500, 500]
    assert len(clock.waits) == 2
    assert clock.waits[0] < clock.waits[1]
    assert server.posts == 3


async def test_degraded_is_an_outage(client: Either, server: MockServer) -> None:
    server.always(DEGRADED)
    with pytest.raises(DegradedError, match="DEGRADED"):
        await client.create()
    assert server.posts == 3


async def test_resets_that_go_on_are_a_connection_error(client: Either, server: MockServer) -> None:
    server.always(RESET)
    with pytest.raises(APIConnectionError, match="closed before an answer came") as caught:
        await client.create()
    assert not isinstance(caught.value, APITimeoutError)
    assert server.posts == 3


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=504), GatewayTimeoutError),
        (error(400, "No"), BadRequestError),
        (Reply(status=500, headers={"x-should-retry": "false"}, body="No"), InternalServerError),
        (cut(text("Hello"), after=1), APIConnectionError),
        (cut(text("Hello"), after=1, end="reset"), APIConnectionError),
        (Reply(body="<html>"), InvalidResponseError),
    ],
    ids=["504", "400", "should-not", "cut-body", "reset-body", "html"],
)
async def test_what_may_have_run_is_not_sent_again(
    reply: Reply, kind: type[Exception], client: Either, server: MockServer, clock: Clock
) -> None:
    server.reply(reply)
    with pytest.raises(kind):
        await client.create()
    assert server.posts == 1
    assert clock.waits == []


async def test_a_stream_that_began_is_not_sent_again(client: Either, server: MockServer) -> None:
    server.reply(cut(text("one two"), after=2))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.until_done()
    assert server.posts == 1


async def test_a_server_may_ask_to_be_asked_again(client: Either, server: MockServer) -> None:
    server.reply(Reply(status=400, headers={"x-should-retry": "true"}))
    assert (await client.create()).text
    assert server.posts == 2


async def test_a_bare_429_is_waited_out(client: Either, server: MockServer, clock: Clock) -> None:
    server.reply(LIMITED, LIMITED)
    assert (await client.create()).text
    assert 2 <= clock.waits[0] <= 3
    assert 4 <= clock.waits[1] <= 6
    assert server.posts == 3


async def test_429s_are_given_up_by_the_time(connect: Connect, server: MockServer, clock: Clock) -> None:
    server.always(LIMITED)
    with pytest.raises(RateLimitError) as caught:
        await connect(retry=RetryPolicy(rate_limit_wait=5)).create()
    assert sum(clock.waits) == pytest.approx(5, abs=0.5)
    assert len(caught.value.attempts) == server.posts == 3


async def test_retry_after_is_honoured(client: Either, server: MockServer, clock: Clock) -> None:
    date = {"date": "Mon, 01 Jan 2026 00:00:00 GMT", "retry-after": "Mon, 01 Jan 2026 00:00:09 GMT"}
    for headers in ({"retry-after": "7"}, {"retry-after-ms": "8000"}, date):
        server.reply(problem(429, "Too Many Requests", headers=headers))
    assert (await client.create()).text
    assert [int(wait) for wait in clock.waits] == [7, 8, 9]


async def test_a_wait_that_is_too_long_is_raised_at_once(client: Either, server: MockServer, clock: Clock) -> None:
    server.reply(problem(429, "Too Many Requests", headers={"retry-after": "3600"}))
    with pytest.raises(RateLimitError, match="3600 s") as caught:
        await client.create()
    assert caught.value.retry_after == 3600
    assert clock.waits == []
    assert server.posts == 1


async def test_one_429_brakes_every_request_of_the_client(connect: Connect, server: MockServer, clock: Clock) -> None:
    seen: list[HookEvent] = []
    client = connect(on_event=seen.append)
    clock.stop()
    server.reply(LIMITED)
    await client.create()
    await client.create()
    assert [event.type for event in seen].count("rate_limited") == 1
    (braked,) = [event for event in seen if isinstance(event, RateLimited)]
    assert 0 < braked.delay == clock.waits[-1] < 0.1


async def test_retries_are_told_before_each_wait(connect: Connect, server: MockServer, clock: Clock) -> None:
    seen: list[tuple[int, HookEvent]] = []
    client = connect(on_event=lambda event: seen.append((len(clock.waits), event)))
    server.reply(error(500, "Oops"))
    await client.create()
    kinds = [type(event) for _, event in seen]
    assert kinds == [RequestSent, ResponseReceived, RetryScheduled, RequestSent, ResponseReceived]
    waits, retry = seen[2]
    assert waits == 0
    assert isinstance(retry, RetryScheduled)
    assert retry.delay == clock.waits[0]
    assert retry.reason == "InternalServerError (500)"


async def test_retries_are_turned_off_per_client_and_per_call(connect: Connect, server: MockServer) -> None:
    server.always(error(500, "Oops"))
    with pytest.raises(InternalServerError):
        await connect(max_retries=0).create()
    with pytest.raises(InternalServerError):
        await connect().create(max_retries=0)
    with pytest.raises(InternalServerError):
        await connect(max_retries=5).create(retry=RetryPolicy(max_retries=0))
    assert server.posts == 3


async def test_the_total_holds_for_waits_too(client: Either, server: MockServer, clock: Clock) -> None:
    server.always(error(500, "Oops"))
    with pytest.raises(InternalServerError):
        await client.create(timeout=1.4, max_retries=9)
    assert sum(clock.waits) < 1.4
    assert server.posts == 2


async def test_a_request_whose_time_is_up_is_not_sent(client: Either, server: MockServer, clock: Clock) -> None:
    clock.stop()
    server.reply(LIMITED)
    await client.create()  # puts the brake on
    server.always(problem(429, "Too Many Requests", headers={"retry-after": "30"}))
    with pytest.raises(RateLimitError):
        await client.create(retry=RetryPolicy(rate_limit_wait=29))
    posts = server.posts
    clock.waits.clear()
    with pytest.raises(APITimeoutError, match="not done in time") as caught:
        await client.create(timeout=Timeout(total=0.001))
    assert server.posts == posts
    assert caught.value.attempts == ()
    assert clock.waits == []


class TestAccepted:
    """A 202 is asked about until it is done."""

    ACCEPTED = Reply(status=202, headers={"nvcf-reqid": "r-1"})

    async def test_an_answer_put_aside_is_fetched(self, client: Either, server: MockServer, clock: Clock) -> None:
        server.reply(self.ACCEPTED)
        server.reply(self.ACCEPTED, Reply(body={"choices": [{"message": {"content": "Hi"}}]}), path="/v1/status/r-1")
        assert (await client.create()).text == "Hi"
        assert [request.method for request in server.requests] == ["POST", "GET", "GET"]
        assert clock.waits == [0.5, 1.0]

    async def test_an_answer_that_stays_aside_is_given_up_at_the_total(
        self, client: Either, server: MockServer, clock: Clock
    ) -> None:
        server.always(self.ACCEPTED)
        server.always(self.ACCEPTED, path="/v1/status/r-1")
        with pytest.raises(APITimeoutError):
            await client.create(timeout=20)
        assert sum(clock.waits) == pytest.approx(20, abs=0.5)
        assert server.posts == 1

    async def test_a_202_without_an_id_is_told(self, client: Either, server: MockServer) -> None:
        server.reply(Reply(status=202, headers={"nvcf-reqid": "../../secrets"}))
        with pytest.raises(InvalidResponseError, match="202"):
            await client.create()
        assert len(server.requests) == 1
