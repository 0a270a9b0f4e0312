"""Time limits, as values and pure rules; the clocks are in ``_transport/``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import inf
from typing import Literal

from ._json import is_number, short
from .errors import ConfigurationError

LONGEST = 24 * 24 * 3600.0  # seconds; poll(2) takes less than 2**31 milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """Say how long to wait, in seconds; None is for ever.

    The time that the caller takes between two chunks never counts.

    Attributes:
        connect: To make a connection.
        first_event: From sending to the first piece of the answer. A little over the 302 s after which the hosted
            gateway itself gives up (docs/explanation/protocol.md, "Long requests, 202 and 504").
        idle: Of silence between two pieces of content. A comment or half an event is no content.
        total: For everything: retries, waits and reading included.
    """

    connect: float | None = 10.0
    first_event: float | None = 310.0
    idle: float | None = 60.0
    total: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no time.

        Raises:
            ConfigurationError: A limit is not a positive number of seconds, or is over 24 days.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (is_number(value) and 0 < value <= LONGEST):
                given = f"Timeout({each.name}={short(value)})"
                msg = f"{given}: give seconds > 0, or None for no limit; 24 days are the most."
                raise ConfigurationError(msg)

    @classmethod
    def of(cls, value: Timeout | float | None, base: Timeout | None = None) -> Timeout:
        """Return the limits that a user meant.

        Args:
            value: A Timeout; a number of seconds, which is the total; or None for no limit at all.
            base: What a number leaves as it is.

        Raises:
            ConfigurationError: It is none of these.
        """
        if isinstance(value, Timeout):
            return value
        if value is None:
            return cls(connect=None, first_event=None, idle=None, total=None)
        if not is_number(value):
            msg = f"timeout={short(value)}: give a number of seconds (the total), a Timeout, or None for no limit."
            raise ConfigurationError(msg)
        return replace(base or cls(), total=value)


class Patience:
    """How long an open stream may still be silent; a rule, given the time by whoever has a clock.

    Attributes:
        paused: Since when nothing counts, as the time is the caller's; until the next :meth:`until`.
        shortest: The shortest limit that may come to apply, in seconds.
    """

    def __init__(self, timeout: Timeout, *, sent: float, now: float, deadline: float | None) -> None:
        """Begin when the headers have come.

        Args:
            timeout: The limits.
            sent: When the request was handed over, in seconds of some clock; waiting for a connection comes after that.
            now: The time.
            deadline: When everything must be over.
        """
        self._idle = inf if timeout.idle is None else timeout.idle
        first = self._first = inf if timeout.first_event is None else timeout.first_event
        # Never less than a silence would be given: a request that queued for its connection began later than `sent`.
        self._until = max(sent + first, now + min(first, self._idle))
        self._deadline = inf if deadline is None else deadline
        self._progress = 0
        self.paused: float | None = now
        self.shortest: float = min(first, self._idle, self._deadline - now)

    def until(self, progress: int, now: float) -> float:
        """Return when the next piece of content must have come.

        Args:
            progress: How many pieces have come. While it stays the same, so does the limit: a keep-alive is no content.
            now: The time.
        """
        if self.paused is not None:
            away = now - self.paused
            self._until += away
            self._deadline += away
            self.paused = None
        if progress != self._progress:
            self._progress = progress
            self._until = now + self._idle
        return min(self._deadline, self._until)  # min() takes three times as long

    def problem(self, now: float) -> Literal["timeout", "total"]:
        """Tell which limit has passed."""
        return "total" if now >= self._deadline else "timeout"

    def limit(self, now: float) -> str:
        """Name the limit that has passed, with its seconds."""
        if self.problem(now) == "total":
            return "timeout.total"
        return f"timeout.idle of {self._idle:g} s" if self._progress else f"timeout.first_event of {self._first:g} s"


def sooner(limit: float | None, deadline: float | None, now: float) -> float | None:
    """Return the seconds that a step may take: its own limit, or what is left of the whole, if that is less."""
    if deadline is None:
        return limit
    left = max(deadline - now, 0.001)  # 0 would mean "don't wait" to some layers and "for ever" to others
    return left if limit is None else min(limit, left)
