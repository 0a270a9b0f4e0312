"""When a failed request is sent again: rules given the time, with no clock and no waiting."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import (
    RetryCallState,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    wait_exponential,
    wait_fixed,
    wait_random_exponential,
)

from nemotron_client import errors
from nemotron_client._engine import calls, flows
from nemotron_client._engine.exchange import Reply, Request
from nemotron_client.errors import APIError, APIStatusError, ConfigurationError, RateLimitError
from nemotron_client.retry import Brake, Retries, RetryPolicy, is_outage
from nemotron_client.timeouts import LONGEST
from tests.engine.driving import answer, client, close, config, first, reply, then


def refused(status: int, *, retry_after: float | None = None, should_retry: bool | None = None) -> APIStatusError:
    error = errors.status_error(status)("refused")
    error.status_code, error.retry_after, error.should_retry = status, retry_after, should_retry
    return error


def lost(*, may_pass: bool) -> errors.APIConnectionError:
    error = errors.APIConnectionError("lost")
    error.may_pass = may_pass
    return error


def retries(policy: RetryPolicy | None = None, *, deadline: float | None = None, seed: int = 1) -> Retries:
    return Retries(policy or RetryPolicy(), started=0.0, deadline=deadline, jitter=Random(seed))


def waits(rule: Retries, error: APIError, *, took: float = 0.0, limit: int = 100) -> list[float]:
    """Let a request fail in the same way until the rule gives up; return what it waited."""
    now, waited = 0.0, list[float]()
    for attempt in range(1, limit):
        now += took
        delay = rule.delay(error, attempt=attempt, now=now)
        if delay is None:
            break
        waited.append(delay)
        now += delay
    return waited


@pytest.mark.parametrize(("name", "what"), [("max_retries", "a whole number"), ("rate_limit_wait", "a number")])
@pytest.mark.parametrize(
    "value", [-1, nan, "1", None, True, -(10**5000)], ids=["-1", "nan", "text", "None", "True", "huge"]
)
def test_what_is_no_limit_is_refused(name: str, what: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"RetryPolicy\({name}=.*give {what} from 0"):
        RetryPolicy(**{name: value})  # type: ignore[arg-type] # on purpose


def test_half_a_retry_is_refused() -> None:
    half: Any = 2.5
    with pytest.raises(ConfigurationError, match=r"max_retries=2\.5\): give a whole number from 0"):
        RetryPolicy(max_retries=half)


def test_no_wait_is_longer_than_a_system_can_wait() -> None:
    rule = retries(RetryPolicy(rate_limit_wait=inf))
    assert rule.delay(refused(429, retry_after=1e300), attempt=1, now=0.0) == LONGEST


@pytest.mark.parametrize("seed", range(5))
def test_a_wait_that_the_purse_just_covers_is_waited(seed: int) -> None:
    rule = retries(RetryPolicy(rate_limit_wait=60), seed=seed)
    assert rule.delay(refused(429, retry_after=60), attempt=1, now=0.0) == 60


def of_kind(kind: type[APIStatusError], status: int) -> APIStatusError:
    error = kind("x")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        *(pytest.param(refused(status), True, id=str(status)) for status in (408, 500, 502, 503, 529)),
        *(
            pytest.param(refused(status), False, id=str(status))
            for status in (400, 401, 402, 403, 404, 409, 410, 413, 422, 501, 504)
        ),
        pytest.param(of_kind(errors.DegradedError, 400), True, id="an-outage-in-the-words-of-a-mistake"),
        pytest.param(of_kind(errors.ContextLengthExceededError, 500), False, id="a-mistake-in-the-words-of-an-outage"),
        pytest.param(refused(400, should_retry=True), True, id="400-that-the-server-wants-again"),
        pytest.param(refused(504, should_retry=True), True, id="504-that-the-server-wants-again"),
        pytest.param(refused(500, should_retry=False), False, id="500-that-the-server-does-not-want-again"),
        pytest.param(lost(may_pass=True), True, id="a-connection-that-was-not-made"),
        pytest.param(lost(may_pass=False), False, id="a-connection-lost-in-the-middle"),
        pytest.param(errors.APITimeoutError("x"), False, id="no-answer-in-time"),
        pytest.param(errors.StreamInterruptedError("x"), False, id="a-stream-that-began"),
        pytest.param(errors.StreamTimeoutError("x"), False, id="a-stream-that-fell-silent"),
        pytest.param(errors.InvalidResponseError("x"), False, id="another-answer"),
    ],
)
def test_only_what_may_pass_and_surely_is_not_running_is_sent_again(error: APIError, *, again: bool) -> None:
    assert is_outage(error) is again
    assert (retries().delay(error, attempt=1, now=0.0) is not None) is again


def test_outages_are_tried_again_a_number_of_times_with_growing_jittered_waits() -> None:
    assert len(waits(retries(), refused(500))) == 2
    assert waits(retries(RetryPolicy(max_retries=0)), refused(500)) == []
    waited = waits(retries(RetryPolicy(max_retries=8)), refused(500))
    for wait, least in zip(waited, [0.5, 1, 2, 4, 8, 8, 8, 8], strict=True):
        assert least <= wait <= 1.5 * least
    assert waited == waits(retries(RetryPolicy(max_retries=8)), refused(500))  # the randomness is the caller's
    assert waited != waits(retries(RetryPolicy(max_retries=8), seed=2), refused(500))


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_the_waits_stay_in_their_bounds_for_any_seed(seed: int, max_retries: int) -> None:
    waited = waits(retries(RetryPolicy(max_retries=max_retries), seed=seed), refused(503))
    assert len(waited) == max_retries
    assert all(0.5 <= wait <= 12 for wait in waited)


def test_trying_for_ever_never_breaks() -> None:
    rule = retries(RetryPolicy(max_retries=10**6, rate_limit_wait=inf))
    for error in (refused(500), refused(429)):
        assert len(waits(rule, error, limit=2000)) == 1999


def test_rate_limits_are_waited_out_by_time_and_the_last_try_is_made_at_the_very_end() -> None:
    waited = waits(retries(RetryPolicy(rate_limit_wait=60)), refused(429), took=0.1)
    assert all(least <= wait <= 1.5 * least for wait, least in zip(waited[:3], [2, 4, 8], strict=True))
    assert 60 <= sum(waited) + 0.1 * len(waited) <= 60.2
    assert waits(retries(RetryPolicy(rate_limit_wait=0)), refused(429)) == []


def test_each_purse_is_for_its_own_failures() -> None:
    rule = retries(RetryPolicy(max_retries=1, rate_limit_wait=30))
    assert rule.delay(refused(429), attempt=1, now=0.0) is not None
    assert rule.delay(refused(500), attempt=2, now=5.0) is not None
    assert rule.delay(refused(429), attempt=3, now=10.0) is not None
    assert rule.delay(refused(500), attempt=4, now=15.0) is None


def test_the_time_for_rate_limits_begins_with_the_first_of_them() -> None:
    rule = retries(RetryPolicy(rate_limit_wait=10))
    assert rule.delay(refused(429), attempt=1, now=500.0) is not None
    assert rule.delay(refused(429), attempt=2, now=509.0) == 1.0
    assert rule.delay(refused(429), attempt=3, now=510.0) is None


@pytest.mark.parametrize(("asked", "waited"), [(0, 0), (7, 7), (60, 60), (60.1, None), (3600, None)])
def test_what_the_server_asks_to_wait_is_honoured_or_given_up_at_once(asked: float, waited: float | None) -> None:
    delay = retries().delay(refused(429, retry_after=asked), attempt=1, now=0.0)
    if waited is None:
        assert delay is None
    else:
        assert delay is not None
        assert waited <= delay <= waited + 0.25


def test_what_the_server_asks_to_wait_must_fit_into_what_is_left() -> None:
    rule = retries(RetryPolicy(rate_limit_wait=10))
    assert rule.delay(refused(429, retry_after=6), attempt=1, now=0.0) is not None
    assert rule.delay(refused(429, retry_after=6), attempt=2, now=6.0) is None


@pytest.mark.parametrize(("asked", "least"), [(0.1, 0.5), (5, 5), (60, 60), (61, None), (10800, None)])
def test_after_an_outage_a_longer_wait_that_the_server_asks_for_counts(asked: float, least: float | None) -> None:
    delay = retries().delay(refused(503, retry_after=asked), attempt=1, now=0.0)
    assert delay is None if least is None else delay is not None and least <= delay <= max(0.75, asked)


def test_a_rate_limit_that_the_server_does_not_want_tried_again_is_not() -> None:
    assert retries().delay(refused(429, should_retry=False), attempt=1, now=0.0) is None
    assert retries().delay(refused(429, should_retry=True), attempt=1, now=0.0) is not None


@pytest.mark.parametrize(
    "error", [refused(500), refused(429), refused(429, retry_after=2)], ids=["outage", "limit", "asked"]
)
def test_no_wait_ends_after_the_deadline(error: APIError) -> None:
    assert retries(deadline=0.4).delay(error, attempt=1, now=0.0) is None
    assert retries(deadline=4.0).delay(error, attempt=1, now=0.0) is not None
    assert retries(deadline=4.0).delay(error, attempt=1, now=3.6) is None


def ten_each(state: RetryCallState) -> float:
    return 10.0 * state.attempt_number


def at_the_second(state: RetryCallState) -> bool:
    return state.attempt_number == 2


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (wait_fixed(3), [3, 3, 3]),
        (wait_exponential(multiplier=1, max=3), [1, 2, 3]),
        (wait_fixed(1) + wait_exponential(multiplier=1), [2, 3, 5]),
        (ten_each, [10, 20, 30]),
    ],
    ids=["fixed", "exponential", "a-sum", "a-function"],
)
def test_wait_strategies_of_tenacity_take_the_place_of_the_built_in_waits(
    wait: Callable[[RetryCallState], float], expected: list[float]
) -> None:
    assert waits(retries(RetryPolicy(max_retries=3, wait=wait)), refused(500)) == expected
    assert waits(retries(RetryPolicy(wait=wait, rate_limit_wait=1000)), refused(429), limit=4) == expected


def test_a_wait_strategy_with_jitter_stays_in_its_bounds() -> None:
    assert all(
        0 <= each <= 5
        for each in waits(retries(RetryPolicy(max_retries=9, wait=wait_random_exponential(max=5))), refused(500))
    )


def test_a_longer_wait_that_the_server_asks_for_counts_beside_a_strategy() -> None:
    policy = RetryPolicy(wait=wait_fixed(1))
    assert retries(policy).delay(refused(503, retry_after=7), attempt=1, now=0.0) == 7
    limited = retries(policy).delay(refused(429, retry_after=7), attempt=1, now=0.0)
    assert limited is not None
    assert limited >= 7


@pytest.mark.parametrize(
    ("stop", "count"),
    [
        (stop_after_attempt(3), 2),
        (stop_after_delay(3.5), 4),
        (stop_before_delay(3.5), 3),
        (stop_after_attempt(3) | stop_after_delay(1), 1),
        (stop_after_attempt(3) & stop_after_delay(100), 9),
        (at_the_second, 1),
    ],
    ids=["attempts", "delay", "before-delay", "either", "both", "a-function"],
)
def test_stop_strategies_of_tenacity_stand_beside_the_limits(
    stop: Callable[[RetryCallState], bool], count: int
) -> None:
    assert waits(retries(RetryPolicy(max_retries=9, wait=wait_fixed(1), stop=stop)), refused(500)) == [1] * count


def test_a_strategy_sees_the_attempt_its_outcome_and_the_time() -> None:
    seen: list[tuple[int, BaseException | None, float | None, float]] = []

    def stop(state: RetryCallState) -> bool:
        assert state.outcome is not None
        seen.append((state.attempt_number, state.outcome.exception(), state.seconds_since_start, state.upcoming_sleep))
        return False

    error = refused(500)
    retries(RetryPolicy(wait=wait_fixed(2), stop=stop)).delay(error, attempt=3, now=7.0)
    assert seen == [(3, error, 7.0, 2.0)]


def limited(brake: Brake, *, sent: float, now: float | None = None, delay: float = 1.0) -> None:
    brake.limited(sent=sent, now=sent if now is None else now, delay=delay)


def test_while_the_brake_is_off_nothing_waits_but_for_its_own_reasons() -> None:
    brake = Brake()
    assert [brake.reserve(0.0), brake.reserve(0.0), brake.reserve(0.0, 3.0)] == [0.0, 0.0, 3.0]
    brake.passed()
    assert brake.reserve(0.0) == 0.0


def test_one_refusal_holds_every_request_back_and_then_spaces_them() -> None:
    brake = Brake()
    limited(brake, sent=10.0, delay=2.0)
    slots = [10.0 + (brake.reserve(10.0) or 0.0) for _ in range(4)]
    assert close(slots, [12.0, 12.05, 12.1, 12.15])
    assert brake.reserve(20.0) == 0.0


def test_a_request_that_waits_longer_by_itself_keeps_its_own_wait() -> None:
    brake = Brake()
    limited(brake, sent=0.0, delay=1.0)
    assert brake.reserve(0.0, 5.0) == 5.0


def test_refusals_of_requests_already_on_their_way_do_not_widen_the_spacing() -> None:
    brake = Brake()
    for _ in range(20):
        limited(brake, sent=0.0, now=0.5)
    assert close([gap(brake)], [0.05])


def test_nor_do_those_of_the_few_requests_after_it() -> None:
    brake = Brake()
    for sent in (0.0, 0.1, 0.19):
        limited(brake, sent=sent)
    assert close([gap(brake)], [0.05])
    limited(brake, sent=0.2)
    assert close([gap(brake)], [0.1])


def gap(brake: Brake, now: float = 1000.0) -> float:
    """Measure the spacing, which takes two slots."""
    first, second = brake.reserve(now), brake.reserve(now)
    assert first is not None
    assert second is not None
    return second - first


def test_each_refusal_after_that_doubles_the_spacing_up_to_a_limit() -> None:
    brake = Brake()
    gaps: list[float] = []
    for turn in range(8):
        limited(brake, sent=10 * turn)
        gaps.append(gap(brake, now=100.0 * (turn + 1)))
    assert close(gaps, [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_each_success_lets_go_a_little_until_the_brake_is_off() -> None:
    brake = Brake()
    limited(brake, sent=0.0)
    gaps: list[float] = []
    for turn in range(20):
        gaps.append(gap(brake, now=100.0 * (turn + 1)))
        brake.passed()
    assert all(close([later], [sooner * 0.8]) or later == 0.0 for sooner, later in pairwise(gaps))
    assert gaps[-1] == 0.0
    assert brake.reserve(0.0) == 1.0  # what the server asked for still stands, until its time has come


@dataclass
class Limiter:
    """A server in made-up time that takes a number of requests in any window, and says 429 to the others."""

    count: int
    window: float
    posts: int = 0
    taken: deque[float] = field(default_factory=deque[float])

    def __call__(self, _: Request, now: float) -> Reply:
        self.posts += 1
        while self.taken and self.taken[0] <= now - self.window:
            self.taken.popleft()
        if len(self.taken) == self.count:
            return reply(429, {"status": 429, "title": "Too Many Requests"}, sent=now - 0.02, now=now + 0.02)
        self.taken.append(now)
        return reply(200, answer(), sent=now - 0.02, now=now + 0.3)


def simulate(tasks: int, server: Callable[[Request, float], Reply], *, seed: int, policy: RetryPolicy) -> float:
    """Run as many flows of one client side by side, in made-up time; return when the last one was answered."""
    together = client(config(max_retries=0))
    together.shared.jitter.seed(seed)
    call = calls.chat_call(together.config, "Hi", {"retry": policy}, stream=False)
    flows_at_work = [flows.chat(together, call, now=0.0) for _ in range(tasks)]
    agenda: list[tuple[float, int, Request]] = []
    replies: list[tuple[float, int, Reply]] = []
    for index, flow in enumerate(flows_at_work):
        request = first(flow)
        heapq.heappush(agenda, (request.delay, index, request))
    last, answered = 0.0, list[str]()
    while agenda or replies:
        # What happens first: a request arrives, or an answer does.
        if agenda and (not replies or agenda[0][0] <= replies[0][0]):
            now, index, request = heapq.heappop(agenda)
            got = server(request, now)
            heapq.heappush(replies, (got.now, index, got))
            continue
        last, index, got = heapq.heappop(replies)
        try:
            request = then(flows_at_work[index], got)
        except StopIteration as done:
            answered.append(done.value.text)
        else:
            heapq.heappush(agenda, (last + request.delay, index, request))
    assert answered == ["Hello"] * tasks
    return last


@pytest.mark.parametrize("seed", range(20))
def test_twenty_tasks_are_answered_by_a_server_that_allows_ten_in_two_seconds(seed: int) -> None:
    server = Limiter(10, 2.0)
    finished = simulate(20, server, seed=seed, policy=RetryPolicy())
    assert server.posts <= 30
    assert finished < 20


def test_a_client_that_is_limited_hard_neither_gives_up_nor_hammers() -> None:
    server = Limiter(5, 10.0)
    finished = simulate(30, server, seed=1, policy=RetryPolicy(rate_limit_wait=600))
    assert server.posts <= 4.5 * 30
    assert finished < 150


@pytest.mark.parametrize("tasks", [20, 50, 200])
@pytest.mark.parametrize("seconds", [5.0, 20.0])
def test_however_many_tasks_run_each_waits_a_limit_out_for_as_long_as_its_policy_says(
    tasks: int, seconds: float
) -> None:
    def refuse_at_first(_: Request, now: float) -> Reply:
        if now < seconds:
            return reply(429, {"status": 429, "title": "Too Many Requests"}, sent=now, now=now + 0.1)
        return reply(200, answer(), sent=now, now=now + 0.1)

    finished = simulate(tasks, refuse_at_first, seed=1, policy=RetryPolicy())
    assert finished < 5 * seconds + 10
    assert finished < 61


def test_two_hundred_tasks_get_most_of_what_the_server_allows() -> None:
    assert simulate(200, Limiter(10, 2.0), seed=1, policy=RetryPolicy(rate_limit_wait=600)) < 150  # 40 s at best


def test_without_patience_for_limits_each_task_is_told_at_once() -> None:
    with pytest.raises(RateLimitError):
        simulate(3, Limiter(2, 2.0), seed=1, policy=RetryPolicy(rate_limit_wait=0))


@pytest.mark.parametrize(("asked", "delay"), [(3.0, 8.0), (9.0, 9.0), (10.0, 10.0), (11.0, None)])
def test_after_a_429_the_longer_of_a_strategys_wait_and_the_servers_counts(asked: float, delay: float | None) -> None:
    rule = retries(RetryPolicy(rate_limit_wait=10, wait=wait_fixed(8)))
    assert rule.delay(refused(429, retry_after=asked), attempt=1, now=0.0) == delay


@pytest.mark.parametrize("limit", ["last", "within"])
def test_a_slot_that_comes_too_late_is_left_to_others(limit: str) -> None:
    brake = Brake()
    limited(brake, sent=0.0, delay=5.0)
    assert brake.reserve(0.0, **{limit: 4.9}) is None
    assert brake.reserve(0.0, **{limit: 5.0}) == 5.0


def test_a_last_try_does_not_wait_for_its_turn_nor_take_it() -> None:
    brake = Brake()
    limited(brake, sent=0.0, delay=5.0)
    assert brake.reserve(0.0, last=8.0) == 5.0
    assert brake.reserve(0.0, last=5.01) == 5.01
    assert brake.reserve(0.0, last=5.01, within=5.0) is None
    assert brake.reserve(0.0, last=8.0) == 5.05


def test_others_may_put_off_a_retry_for_as_long_as_its_purse_and_its_deadline_allow() -> None:
    rule = retries(RetryPolicy(rate_limit_wait=10), deadline=25.0)
    assert rule.delay(refused(429), attempt=1, now=10.0) is not None
    assert rule.longest_wait(refused(429), 12.0) == 8.0
    assert rule.longest_wait(refused(429), 19.0) == 1.0
    assert rule.longest_wait(refused(503), 19.0) == inf
    assert rule.time_left(19.0) == 6.0
    assert retries().time_left(19.0) == inf
