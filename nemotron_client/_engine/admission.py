"""Whether a request may be sent, by its budget of tokens.

A request is tried by its bytes first (:meth:`Candidate.proven`), which costs next to nothing and lets nearly all of
them pass. Only one near the limit is counted (:meth:`Candidate.admit`): that takes milliseconds, so a flow yields it as
work, which the asynchronous driver does in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from typing_extensions import TypedDict

from nemotron_client._json import is_array, is_object
from nemotron_client.budget import (
    NOTHING_MORE,
    WINDOW,
    BudgetReport,
    TokenBudget,
    by_template,
    check,
    exceeded,
    shortened,
    too_long,
)
from nemotron_client.errors import InvalidRequestError, TokenBudgetWarning
from nemotron_client.messages import Message, read_messages
from nemotron_client.tokens import TEMPLATES, Template, Tools, bound, size

# An answer whose length nobody set is often cut short where it has less room than this part of the limit.
_LITTLE = 128


class Templates:
    """Which chat templates a model may have: all, until an answer tells. One for each model; thread-safe."""

    def __init__(self) -> None:
        """Begin with all of them."""
        self._possible: tuple[Template, ...] = TEMPLATES
        self._answered: tuple[bytes, int] | None = None

    def answered(self, body: bytes, prompt_tokens: int) -> None:
        """Note what a server counted; here nothing is counted before it matters.

        Args:
            body: The request as it was sent, in JSON.
            prompt_tokens: What the answer's usage says of it.
        """
        if len(self._possible) > 1 and b'"tool_call' in body:  # calls and results alone tell the templates apart
            self._answered = body, prompt_tokens

    @property
    def possible(self) -> tuple[Template, ...]:
        """Those that make as many tokens as the server did; an answer for which none does tells nothing."""
        answered, self._answered = self._answered, None
        if answered is not None:
            body, prompt_tokens = answered
            with suppress(InvalidRequestError):
                request: Mapping[str, object] = json.loads(body)
                counts = check(read_messages(request.get("messages")), _tools(request), templates=self._possible).counts
                told = {count.template for count in counts if count.total == prompt_tokens}
                same: tuple[Template, ...] = tuple(each for each in self._possible if each in told)
                self._possible = same or self._possible
        return self._possible


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be sent.

    Attributes:
        body: What to send: the body that was given, or one with fewer messages.
        dropped: The messages that it lost.
        warning: What the caller should be warned of.
        report: What was counted; None where nothing had to be.
    """

    body: Mapping[str, object]
    dropped: Sequence[Message] = ()
    warning: TokenBudgetWarning | None = None
    report: BudgetReport | None = None


class _Terms(TypedDict):
    limit: int
    answer: int
    templates: Sequence[Template]


@dataclass(slots=True, eq=False)
class Candidate:
    """A request that is to be sent: whether its budget lets it is found out once, in as little time as that takes.

    Attributes:
        body: The request's body, before it is written in JSON.
        budget: What it may take.
        templates: Which templates its model may have.
        kept: How many of the last exchanges must not be dropped.
        places: Where its messages stand for the caller; None for in the same places.
    """

    body: Mapping[str, object]
    budget: TokenBudget
    templates: Templates = field(default_factory=Templates)
    kept: int = 1
    places: Sequence[int] | None = None
    _most: int | None = field(default=None, init=False)  # tokens, by its bytes
    _verdict: Admitted | None = field(default=None, init=False)

    def proven(self, window: int | None = None) -> bool:
        """Prove that it fits with room to spare, or that nobody wants to know; nothing is loaded or counted.

        Args:
            window: What the server says of its window, in tokens; None where it says nothing.

        Returns:
            Whether it can be sent as it is. If not, :meth:`admit` decides, and that takes milliseconds.

        Raises:
            InvalidRequestError: There is no message, one of them is none, or something has no form in JSON.
        """
        body = self.body
        if self.budget.on_overflow == "off" or body.get("truncate_prompt_tokens") is not None:  # the server cuts it
            return True
        if self._most is None:
            chat = "messages" in body
            self._most = bound(body["messages"], body.get("tools")) if chat else max(_prompts(body, size))
        limit, answer, little = _limits(body, self.budget, window)
        return self._most + max(answer, little) <= limit

    def admit(self, window: int | None = None) -> Admitted:
        """Do with it what its budget says; it is counted if :meth:`proven` can't tell.

        Args:
            window: What the server says of its window, in tokens; None where it says nothing.

        Raises:
            TokenBudgetExceededError: It overflows by every template and is to be refused then, or even what can't be
                dropped overflows.
            InvalidRequestError: There is no message, one of them is none, or something has no form in JSON.
        """
        if self._verdict is None:
            self._verdict = Admitted(self.body) if self.proven(window) else self._judged(window)
        return self._verdict

    def report(self, window: int | None = None) -> BudgetReport:
        """Count its conversation, whatever the budget says; argument and errors as for :meth:`admit`."""
        return check(self._messages(), _tools(self.body), **self._terms(window))

    def shortened(self, window: int | None = None) -> tuple[list[int], BudgetReport]:
        """Drop as much of its conversation as has to be and may be; argument and errors as for :meth:`report`.

        Returns:
            As :func:`budget.shortened`.
        """
        return shortened(self._messages(), _tools(self.body), **self._terms(window), kept=self.kept)

    def _messages(self) -> list[Mapping[str, object]]:
        return read_messages(self.body["messages"])

    def _terms(self, window: int | None) -> _Terms:
        limit, answer, _ = _limits(self.body, self.budget, window)
        return {"limit": limit, "answer": answer, "templates": self.templates.possible}

    def _judged(self, window: int | None) -> Admitted:
        body, on_overflow = self.body, self.budget.on_overflow
        limit, answer, little = _limits(body, self.budget, window)
        if "messages" not in body:
            return Admitted(body, warning=_judged_prompts(body, limit, answer, warns=on_overflow == "warn"))
        report = self.report(window)
        if report.overflows and on_overflow == "raise":
            raise exceeded(report, places=self.places)
        if report.fits or on_overflow != "fit":
            return Admitted(body, (), _warning(report, little, self.places), report)
        left, report = self.shortened(window)
        places = left if self.places is None else [self.places[index] for index in left]
        if report.overflows:
            raise exceeded(report, NOTHING_MORE, places)
        messages, kept = self._messages(), set(left)
        dropped = [message for index, message in enumerate(messages) if index not in kept]
        body = {**body, "messages": [messages[index] for index in left]}
        return Admitted(body, dropped, _warning(report, little, places), report)


def _warning(report: BudgetReport, little: int, places: Sequence[int] | None) -> TokenBudgetWarning | None:
    if report.overflows:
        return TokenBudgetWarning(exceeded(report, places=places).message)
    if not report.fits:
        return TokenBudgetWarning(
            f"The prompt takes {by_template(report.counts)}, the answer must have room for {report.answer:,}, and "
            f"the limit is {report.limit:,}: which of these counts is the server's is not known, so this may be "
            "refused or its answer cut short."
        )
    if report.left < little:
        return TokenBudgetWarning(
            f"The prompt takes {report.used:,} of {report.limit:,} tokens: the answer will be cut off after "
            f"{report.left:,}. Drop old messages, or set max_tokens if so much is enough."
        )
    return None


def asked_tokens(body: Mapping[str, object]) -> int | None:
    """Return how many tokens a request lets its answer have; None if it doesn't say, or says without a limit: -1."""
    for name in ("max_completion_tokens", "max_tokens"):  # where both are given, vLLM goes by the first
        asked = body.get(name)
        if isinstance(asked, int):
            return asked if asked > 0 else None
    return None


def _limits(body: Mapping[str, object], budget: TokenBudget, window: int | None) -> tuple[int, int, int]:
    """Return the limit, the room that the answer must have, and the room that is little for it."""
    limit = budget.limit or window or WINDOW
    asked = asked_tokens(body)
    if asked is not None:
        return limit, asked, 0
    # A text completion is short by default: 16 tokens (vLLM's and OpenAI's).
    return limit, budget.reserve, limit // _LITTLE if "messages" in body else 0


def _prompts(body: Mapping[str, object], tokens: Callable[[str], int]) -> list[int]:
    """Count the prompts of a text completion; each has the window to itself, and a text begins with a token more."""
    prompt, start = body["prompt"], 0 if body.get("add_special_tokens") is False else 1
    each = prompt if is_array(prompt) else [prompt]
    if each and isinstance(each[0], int):  # token ids
        return [len(each)]
    return [start + tokens(one) if isinstance(one, str) else len(one) if is_array(one) else 0 for one in each] or [0]


def _judged_prompts(body: Mapping[str, object], limit: int, answer: int, *, warns: bool) -> TokenBudgetWarning | None:
    from nemotron_client._tekken import count

    counts = _prompts(body, count)
    most = max(counts)
    if most + answer <= limit:
        return None
    place = counts.index(most)
    what = "The prompt" if len(counts) == 1 else f"prompt[{place}]"
    error = too_long(what, most, answer, limit, ". Cut as much, or ask for fewer max_tokens.")
    error.heaviest = ((place, most),)
    if not warns:
        raise error
    return TokenBudgetWarning(error.message)


def _tools(body: Mapping[str, object]) -> Tools | None:
    tools = body.get("tools")
    return [tool for tool in tools if is_object(tool)] if is_array(tools) else None
