"""Whether a request may be sent, by its budget of tokens.

A request is tried by its bytes first (:meth:`Candidate.proven`), which costs next to nothing and lets nearly all of
them pass. Only one near the limit is counted (:meth:`Candidate.admit`): that takes milliseconds, so asynchronous code
does it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from nemotron_client._json import is_array, is_object
from nemotron_client.budget import WINDOW, BudgetReport, TokenBudget, by_template, check, exceeded, fit, too_long
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


class Candidate:
    """A request that is to be sent: whether its budget lets it is found out once, in as little time as that takes.

    Attributes:
        body: The request's body, before it is written in JSON.
        budget: What it may take.
        kept: How many of the last exchanges must not be dropped.
        places: Where its messages stand for the caller; None for in the same places.
    """

    def __init__(
        self,
        body: Mapping[str, object],
        budget: TokenBudget,
        templates: Templates | None = None,
        *,
        kept: int = 1,
        places: Sequence[int] | None = None,
    ) -> None:
        """Take a request; nothing is counted yet.

        Args:
            body: As the attribute.
            budget: As the attribute.
            templates: Which templates its model may have; by default any.
            kept: As the attribute.
            places: As the attribute.
        """
        self.body, self.budget, self.kept, self.places = body, budget, kept, places
        self._templates = templates or Templates()
        self._most: int | None = None  # tokens, by its bytes
        self._verdict: Admitted | None = None

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

    def answered(self, sent: bytes, prompt_tokens: int) -> None:
        """Note what the server counted of it; arguments as for :meth:`Templates.answered`."""
        self._templates.answered(sent, prompt_tokens)

    def _judged(self, window: int | None) -> Admitted:
        body, budget = self.body, self.budget
        limit, answer, little = _limits(body, budget, window)
        if "messages" not in body:
            return Admitted(body, warning=_judged_prompts(body, limit, answer, warns=budget.on_overflow == "warn"))
        messages, tools = read_messages(body["messages"]), _tools(body)
        possible = self._templates.possible
        report = check(messages, tools, limit=limit, answer=answer, templates=possible)
        dropped: Sequence[Message] = ()
        if budget.on_overflow == "fit" and not report.fits:
            fitted = fit(
                messages, tools, limit=limit, answer=answer, templates=possible, kept=self.kept, places=self.places
            )
            body, dropped, report = {**body, "messages": fitted.messages}, fitted.dropped, fitted.report
        elif budget.on_overflow == "raise" and report.overflows:
            raise exceeded(report, places=self.places)
        return Admitted(body, dropped, self._warning(report, little), report)

    def _warning(self, report: BudgetReport, little: int) -> TokenBudgetWarning | None:
        if report.overflows:
            return TokenBudgetWarning(exceeded(report, places=self.places).message)
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


def _limits(body: Mapping[str, object], budget: TokenBudget, window: int | None) -> tuple[int, int, int]:
    """Return the limit, the room that the answer must have, and the room that is little for it."""
    limit = budget.limit or window or WINDOW
    for name in ("max_completion_tokens", "max_tokens"):  # where both are given, vLLM goes by the first
        asked = body.get(name)
        if isinstance(asked, int):
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
