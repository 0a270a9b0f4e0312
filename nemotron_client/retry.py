"""When to send again: values and pure rules, with no clock and no sleeping.

Two purses: outages are tried again a number of times, 429s for a length of time, since a rate limit says nothing about
the request. Nothing that may still be running on the server is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from ._json import short
from .errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    ConfigurationError,
    ContextOverflowError,
    DegradedError,
    RateLimitError,
)
from .timeouts import LONGEST

if TYPE_CHECKING:
    from random import Random

    from tenacity import RetryCallState

WaitStrategy: TypeAlias = "Callable[[RetryCallState], float]"
"""tenacity's ``wait_*`` strategies and their sums, or any function alike; gives seconds."""
StopStrategy: TypeAlias = "Callable[[RetryCallState], bool]"
"""tenacity's ``stop_*`` strategies and their combinations, or any function alike."""

# 504 is not among them: the gateway gives up after five minutes, and what it gave up on may have been paid for
# (docs/explanation/protocol.md, "Long requests, 202 and 504"). 529 is "overloaded" with some routers.
_OUTAGES = frozenset({408, 500, 502, 503, 529})
_FIRST_OUTAGE_WAIT, _LONGEST_OUTAGE_WAIT = 0.5, 8.0
_FIRST_LIMIT_WAIT, _LONGEST_LIMIT_WAIT = 2.0, 30.0
# A server that asks for more after an outage is not coming back while somebody waits: the gateway says 10,800 s of a
# model that was taken offline (docs/explanation/protocol.md, "Answers made by the gateway").
_LONGEST_ASKED = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Say when a failed request is sent again.

    Attributes:
        max_retries: How often after an outage or a lost connection; 0 for never.
        rate_limit_wait: For how many seconds in all 429s are waited out, Retry-After included; 0 for not at all.
        wait: A tenacity wait strategy in place of the built-in waits. A longer Retry-After of the server's still
            counts.
        stop: A tenacity stop strategy beside the two limits.
    """

    max_retries: int = 2
    rate_limit_wait: float = 60.0
    wait: WaitStrategy | None = None
    stop: StopStrategy | None = None

    def __post_init__(self) -> None:
        """Refuse what is no limit.

        Raises:
            ConfigurationError: A limit is less than 0, or ``max_retries`` is not whole.
        """
        for name, kind, what in (
            ("max_retries", int, "a whole number"),
            ("rate_limit_wait", int | float, "a number"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not value >= 0:
                msg = f"RetryPolicy({name}={short(value)}): give {what} from 0."
                raise ConfigurationError(msg)


class Retries:
    """What one request has left of its policy."""

    def __init__(self, policy: RetryPolicy, *, started: float, deadline: float | None, jitter: Random) -> None:
        """Open both purses.

        Args:
            policy: The limits.
            started: When the request began, in seconds of the caller's clock.
            deadline: When no wait may end later, on the same clock.
            jitter: Where the waits' randomness comes from.
        """
        self._policy = policy
        self._started = started
        self._deadline = deadline
        self._jitter = jitter
        self._outages = 0
        self._limits = 0
        self._limited_since = started

    def delay(self, error: APIError, *, attempt: int, now: float) -> float | None:
        """Decide about a failed attempt.

        Args:
            error: What went wrong.
            attempt: Its number, from 1.
            now: The time, on the clock of ``started``.

        Returns:
            Seconds to wait before sending again, or None to give up.
        """
        if isinstance(error, RateLimitError):
            delay = self._after_limit(error, attempt, now)
        elif is_outage(error):
            delay = self._after_outage(error, attempt, now)
        else:
            return None
        if delay is None or (self._deadline is not None and now + delay >= self._deadline):
            return None
        delay = min(delay, LONGEST)
        if self._policy.stop is not None and self._policy.stop(self._state(error, attempt, now, delay)):
            return None
        return delay

    def longest_wait(self, error: APIError, now: float) -> float:
        """Return for how many seconds 429s are still waited out; arguments as for :meth:`delay`, which comes first."""
        limited = isinstance(error, RateLimitError)
        return self._limited_since + self._policy.rate_limit_wait - now if limited else inf

    def time_left(self, now: float) -> float:
        """Return how many seconds are left until the deadline."""
        return inf if self._deadline is None else self._deadline - now

    def _after_limit(self, error: RateLimitError, attempt: int, now: float) -> float | None:
        if not self._limits:
            self._limited_since = now
        self._limits += 1
        left = self._policy.rate_limit_wait - (now - self._limited_since)
        if left <= 0 or error.should_retry is False:
            return None
        grown = min(_FIRST_LIMIT_WAIT * 2.0 ** min(self._limits - 1, 9), _LONGEST_LIMIT_WAIT)
        wait = self._wait(error, attempt, now, grown)
        if error.retry_after is None:
            return min(wait, left)  # the last try is made at the very end, not given away
        if error.retry_after > left:
            return None
        if self._policy.wait is not None:
            return min(max(error.retry_after, wait), left)
        return min(error.retry_after + self._jitter.uniform(0, 0.25), left)

    def _after_outage(self, error: APIError, attempt: int, now: float) -> float | None:
        if self._outages >= self._policy.max_retries:
            return None
        self._outages += 1
        asked = (error.retry_after if isinstance(error, APIStatusError) else None) or 0.0
        if asked > _LONGEST_ASKED:
            return None
        grown = min(_FIRST_OUTAGE_WAIT * 2.0 ** min(self._outages - 1, 9), _LONGEST_OUTAGE_WAIT)
        return max(asked, self._wait(error, attempt, now, grown))

    def _wait(self, error: APIError, attempt: int, now: float, grown: float) -> float:
        if self._policy.wait is not None:
            return self._policy.wait(self._state(error, attempt, now, 0.0))
        return grown * self._jitter.uniform(1.0, 1.5)

    def _state(self, error: APIError, attempt: int, now: float, delay: float) -> RetryCallState:
        # Imported for the few who bring a strategy: it takes a third as long as all the rest of this library.
        from tenacity import Future, RetryCallState, Retrying

        state = RetryCallState(Retrying(), None, (), {})
        state.start_time = self._started
        state.attempt_number = attempt
        state.outcome = Future.construct(attempt, error, has_exception=True)
        state.outcome_timestamp = now
        state.upcoming_sleep = delay
        return state


def is_outage(error: APIError) -> bool:
    """Tell whether a request failed for a reason that may pass, and is surely not running any more."""
    if isinstance(error, APIStatusError):
        if error.should_retry is not None:
            return error.should_retry
        if isinstance(error, ContextOverflowError):
            return False  # some servers say 500 there
        return isinstance(error, DegradedError) or error.status_code in _OUTAGES
    return isinstance(error, APIConnectionError) and error.may_pass


class Brake:
    """Slow down every request of a client after one of them was told 429, and let go gently.

    Shared by all tasks and threads of a client, which need no lock: the worst is that two take the same slot. While it
    is on, requests are spaced; each success shortens the spacing.
    """

    _FIRST_GAP, _LONGEST_GAP, _NO_GAP = 0.05, 2.0, 0.005
    # Were each refusal news, a handful of probes would space the requests by seconds, for far longer than any limit
    # lasts; were it none until all have waited, the server would be asked many times for each answer.
    _FEW = 4

    def __init__(self) -> None:
        self._until = 0.0
        self._gap = 0.0
        self._next_slot = 0.0
        self._news_from = -inf

    def limited(self, *, sent: float, now: float, delay: float) -> None:
        """Put the brake on.

        Args:
            sent: When the refused request was sent. One that was already on its way when the spacing was widened, or
                took one of the next few slots, says nothing new.
            now: The time.
            delay: For how many seconds nothing should be sent.
        """
        self._until = max(self._until, now + delay)
        if sent >= self._news_from:
            self._gap = min(max(self._gap * 2, self._FIRST_GAP), self._LONGEST_GAP)
            self._news_from = now + self._gap * self._FEW

    def passed(self) -> None:
        """Let go a little, since a request was accepted."""
        if self._gap:
            self._gap *= 0.8
            if self._gap < self._NO_GAP:
                self._gap = self._next_slot = 0.0

    def reserve(self, now: float, delay: float = 0.0, *, last: float = inf, within: float = inf) -> float | None:
        """Take the next slot.

        Args:
            now: The time.
            delay: Seconds that the request wants to wait by itself.
            last: In how many seconds it makes its last try, whether its turn has come by then or not.
            within: How many seconds it can wait at the most.

        Returns:
            Seconds until the slot; just ``delay`` where the brake is off; None, nothing taken, if that is too long.
        """
        start = max(now + delay, self._until)
        if start - now > last:
            return None
        turn = max(start, self._next_slot) if self._gap else start
        start = min(turn, now + last)
        if start - now > within:
            return None
        if self._gap and start == turn:
            self._next_slot = turn + self._gap
        return max(start - now, 0.0)
