"""Time limits as rules, with no clock."""

from math import inf, nan

import pytest

from nemotron_client.errors import ConfigurationError
from nemotron_client.timeouts import LONGEST, Patience, Timeout, sooner


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Timeout() == Timeout(connect=10.0, first_event=310.0, idle=60.0, total=None)


@pytest.mark.parametrize("name", ["connect", "first_event", "idle", "total"])
@pytest.mark.parametrize("value", [0, -1, nan, inf, True, "5", [5], 1e12, 1e300], ids=str)
def test_what_is_no_time_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"Timeout\({name}=.*give seconds > 0, or None for no limit"):
        Timeout(**{name: value})  # type: ignore[arg-type] # on purpose


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (Timeout(idle=5), Timeout(idle=5)),
        (20, Timeout(total=20)),
        (0.5, Timeout(total=0.5)),
        (None, Timeout(connect=None, first_event=None, idle=None, total=None)),
    ],
    ids=["a-Timeout", "seconds", "a-fraction", "None"],
)
def test_a_number_is_the_total_and_none_is_no_limit_at_all(given: Timeout | float | None, meant: Timeout) -> None:
    assert Timeout.of(given) == meant


def test_a_number_leaves_the_other_limits_of_the_client_as_they_are() -> None:
    assert Timeout.of(5, Timeout(idle=7)) == Timeout(idle=7, total=5)
    assert Timeout.of(None, Timeout(idle=7)) == Timeout.of(None)


@pytest.mark.parametrize("digits", [400, 5000])  # more than a float has, and more than Python writes
def test_a_huge_number_is_refused_like_any_other(digits: int) -> None:
    with pytest.raises(ConfigurationError, match="24 days are the most"):
        Timeout.of(10**digits)
    with pytest.raises(ConfigurationError, match="24 days are the most"):
        Timeout(idle=10**digits)
    assert Timeout.of(LONGEST).total == LONGEST


@pytest.mark.parametrize("value", ["5", True, [5]], ids=str)
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="give a number of seconds"):
        Timeout.of(value)  # type: ignore[arg-type] # on purpose


def patience(timeout: Timeout, *, sent: float = 0.0, now: float = 1.0, deadline: float | None = None) -> Patience:
    return Patience(timeout, sent=sent, now=now, deadline=deadline)


def test_before_the_first_piece_first_event_counts_from_sending_and_afterwards_idle_from_the_last_piece() -> None:
    rule = patience(Timeout(first_event=100, idle=10))
    assert rule.until(0, 1.0) == 100.0
    assert rule.until(0, 90.0) == 100.0
    assert rule.until(1, 95.0) == 105.0
    assert rule.until(1, 104.0) == 105.0  # a keep-alive is no content
    assert rule.until(5, 105.0) == 115.0


def test_a_request_that_had_to_queue_is_given_at_least_a_silence() -> None:
    assert patience(Timeout(first_event=100, idle=10), sent=0.0, now=300.0).until(0, 300.0) == 310.0


@pytest.mark.parametrize(
    ("timeout", "deadline", "shortest"),
    [
        (Timeout(first_event=100, idle=10), None, 10.0),
        (Timeout(first_event=5, idle=10), None, 5.0),
        (Timeout(first_event=5, idle=10), 3.0, 2.0),
        (Timeout.of(None), None, inf),
    ],
    ids=["idle", "first-event", "deadline", "none"],
)
def test_the_shortest_limit_is_known(timeout: Timeout, deadline: float | None, shortest: float) -> None:
    assert patience(timeout, deadline=deadline).shortest == shortest


def test_the_callers_own_time_never_counts() -> None:
    rule = patience(Timeout(first_event=100, idle=10), deadline=200.0)
    assert rule.until(0, 31.0) == 130.0  # the caller began to read 30 s after the headers had come
    assert rule.until(1, 40.0) == 50.0
    rule.paused = 41.0
    assert rule.until(1, 1041.0) == 1050.0
    rule.paused = 1042.0
    assert rule.until(2, 1242.0) == 1252.0
    assert rule.until(3, 1429.0) == 1430.0  # what was left of the whole: 200 s, and the caller took 1230


def test_the_limit_that_has_passed_is_named() -> None:
    rule = patience(Timeout(first_event=100, idle=10), deadline=200.0)
    assert rule.limit(100.0) == "timeout.first_event of 100 s"
    rule.until(1, 101.0)
    assert (rule.limit(150.0), rule.limit(1000.0)) == ("timeout.idle of 10 s", "timeout.total")


def test_no_limit_is_for_ever() -> None:
    rule = patience(Timeout.of(None))
    assert (rule.until(0, 1.0), rule.until(1, 1e9)) == (inf, inf)
    assert rule.problem(1e9) == "timeout"


def test_the_deadline_ends_everything_and_is_told_apart() -> None:
    rule = patience(Timeout(first_event=100, idle=10), deadline=50.0)
    assert (rule.until(0, 1.0), rule.until(1, 45.0)) == (50.0, 50.0)
    assert (rule.problem(49.9), rule.problem(50.0)) == ("timeout", "total")


@pytest.mark.parametrize(
    ("limit", "deadline", "seconds"),
    [(None, None, None), (5.0, None, 5.0), (None, 12.0, 2.0), (5.0, 12.0, 2.0), (1.0, 12.0, 1.0), (5.0, 9.0, 0.001)],
    ids=["none", "limit", "deadline", "deadline-first", "limit-first", "deadline-gone"],
)
def test_a_step_may_take_its_own_limit_or_what_is_left(
    limit: float | None, deadline: float | None, seconds: float | None
) -> None:
    assert sooner(limit, deadline, 10.0) == seconds
