"""Whether a conversation and its answer fit the window, and which part of it does: rules over counts, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Literal, TypeAlias, get_args

from ._json import short
from .errors import ConfigurationError, TokenBudgetExceededError
from .messages import Message, read_messages
from .tokens import TEMPLATES, Template, TokenCount, TokenCounter, Tools

WINDOW = 131_072
"""The window of mistral-nemotron in tokens: the most that its card's "128K" can mean."""
NOTHING_MORE = "Nothing more can be dropped: shorten these, or ask for fewer max_tokens."
"""What to do about what overflows even after :func:`shortened`."""

OnOverflow: TypeAlias = Literal["raise", "fit", "warn", "off"]

_LASTING = frozenset({"system", "developer"})
_MENTIONED = 3
_ADVICE = (
    'Cut as much, ask for fewer max_tokens, or have the oldest messages dropped with TokenBudget(on_overflow="fit").'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBudget:
    """Say how many tokens a request may take, and what happens to one that would take more.

    Attributes:
        limit: Of prompt and answer together; by default what the server says of its window, else 131,072.
        on_overflow: "raise" refuses it, "fit" drops its oldest messages, "warn" sends it all the same, "off" doesn't
            look.
        reserve: What the answer must have room for where ``max_tokens`` doesn't say it.
    """

    limit: int | None = None
    on_overflow: OnOverflow = "raise"
    reserve: int = 1

    def __post_init__(self) -> None:
        """Refuse what is no budget.

        Raises:
            ConfigurationError: A number is no whole number from 1, ``reserve`` takes all of ``limit``, or
                ``on_overflow`` is none of its words.
        """
        for name in ("limit", "reserve"):
            value: object = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (name == "limit" and value is None):
                msg = f"TokenBudget({name}={short(value)}): give a whole number from 1."
                raise ConfigurationError(msg)
        if self.limit is not None and self.reserve >= self.limit:
            msg = f"TokenBudget(limit={self.limit}, reserve={self.reserve}): leave something of limit for the prompt."
            raise ConfigurationError(msg)
        if self.on_overflow not in get_args(OnOverflow):
            msg = f"TokenBudget(on_overflow={self.on_overflow!r}): give one of {', '.join(get_args(OnOverflow))}."
            raise ConfigurationError(msg)


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """What a conversation takes of its budget; prints as a small table.

    Attributes:
        limit: How many tokens prompt and answer may have together.
        answer: How many of them the answer must have room for.
        roles: The role of each message.
        counts: The prompt's tokens by each template that the model may have.
    """

    limit: int
    answer: int
    roles: tuple[str, ...]
    counts: tuple[TokenCount, ...]

    @property
    def most(self) -> TokenCount:
        """The count that comes to the most tokens."""
        return max(self.counts, key=_total)

    @property
    def least(self) -> TokenCount:
        """The count that comes to the fewest tokens."""
        return min(self.counts, key=_total)

    @property
    def used(self) -> int:
        """How many tokens the prompt takes, at the most."""
        return self.most.total

    @property
    def messages(self) -> tuple[int, ...]:
        """How many of ``used`` each message takes."""
        return self.most.messages

    @property
    def tools(self) -> int:
        """How many of ``used`` the tools' definitions take."""
        return self.most.tools

    @property
    def template(self) -> Template:
        """The template that ``used`` is counted by."""
        return self.most.template

    @property
    def left(self) -> int:
        """How many tokens remain for the answer, at the least; below 0 if the prompt alone is too long."""
        return self.limit - self.used

    @property
    def fits(self) -> bool:
        """Whether prompt and answer fit, whichever of the templates the model has."""
        return self.left >= self.answer

    @property
    def overflows(self) -> bool:
        """Whether they don't, whichever it has. Where neither is true, it depends on the template."""
        return self.excess > 0

    @property
    def excess(self) -> int:
        """How many tokens must go before any template lets it fit; 0 or below if one does."""
        return self.least.total + self.answer - self.limit

    def __str__(self) -> str:
        """Show who takes how much."""
        rows = [("", "messages", "tokens")]
        for role in dict.fromkeys(self.roles):
            tokens = [tokens for each, tokens in zip(self.roles, self.messages, strict=True) if each == role]
            rows.append((role, f"{len(tokens):,}", f"{sum(tokens):,}"))
        start = self.used - sum(self.messages) - self.tools
        sums = {"tools": self.tools, "start": start, "prompt": self.used, "limit": self.limit, "left": self.left}
        rows += [(name, "", f"{tokens:,}") for name, tokens in sums.items()]
        first, second, third = (max(map(len, column)) for column in zip(*rows, strict=True))
        table = "\n".join(f"{name:<{first}}  {number:>{second}}  {tokens:>{third}}" for name, number, tokens in rows)
        verdict = "fits" if self.fits else "overflows" if self.overflows else "may overflow"
        return (
            f"{table}\nWith {self.answer:,} for the answer it {verdict}. The prompt takes {by_template(self.counts)}."
        )


def by_template(counts: Sequence[TokenCount]) -> str:
    """Write a prompt's tokens by each template."""
    return ", ".join(f"{count.total:,} by {count.template}" for count in counts)


def _total(count: TokenCount) -> int:
    return count.total


def check(
    messages: str | Sequence[Message],
    tools: Tools | None = None,
    *,
    limit: int = WINDOW,
    answer: int = 1,
    templates: Sequence[Template] = TEMPLATES,
) -> BudgetReport:
    """Count a conversation and compare it with a limit.

    Args:
        messages: The conversation; a string is one user message.
        tools: What is offered with it.
        limit: How many tokens prompt and answer may have together.
        answer: How many of them the answer must have room for.
        templates: The chat templates that the model may have.

    Raises:
        InvalidRequestError: There is no message, one of them is none, or something has no form in JSON.
    """
    wired = read_messages(messages)
    counts = tuple(TokenCounter(template).count(wired, tools) for template in templates)
    return BudgetReport(limit, answer, tuple(str(message["role"]) for message in wired), counts)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A conversation that was made to fit.

    Attributes:
        messages: What is left of it, the same objects that were given.
        dropped: What was dropped, in order.
        report: What is left takes so much.
    """

    messages: list[Message]
    dropped: list[Message]
    report: BudgetReport


def shortened(
    messages: Sequence[Message],
    tools: Tools | None = None,
    *,
    limit: int = WINDOW,
    answer: int = 1,
    templates: Sequence[Template] = TEMPLATES,
    kept: int = 1,
) -> tuple[list[int], BudgetReport]:
    """Drop the oldest messages until the rest fits by all the templates, or no more can be dropped.

    What is dropped first is an exchange: a user's message, or several in a row, with all that follows up to the next.
    Of the last exchange, or as many as ``kept`` says, the rounds go: an answer or calls, with the results; not the last
    one. System messages stay. The other arguments and errors are those of :func:`check`.

    Returns:
        The indexes of the messages that are left, and what these take, which may still be too much.
    """
    report = check(messages, tools, limit=limit, answer=answer, templates=templates)
    totals, dropped = [count.total for count in report.counts], set[int]()
    for group in _droppable(report.roles, kept):
        if max(totals) + answer <= limit:
            break
        for number, count in enumerate(report.counts):
            totals[number] -= sum(count.messages[index] for index in group)
        dropped.update(group)
    left = [index for index in range(len(messages)) if index not in dropped]
    rest = [messages[index] for index in left]
    return left, check(rest, tools, limit=limit, answer=answer, templates=templates)


def _droppable(roles: Sequence[str], kept: int) -> list[list[int]]:
    """Return the indexes of what may be dropped together, in the order in which it is."""
    # A tool's result belongs to the calls before it, also where a user's message stands between them.
    turns = list(accumulate(role == "assistant" for role in roles))
    indexes = [index for index, role in enumerate(roles) if role not in _LASTING]
    indexes.sort(key=lambda index: (turns[index], roles[index] == "user"))
    exchanges = _groups(indexes, roles, "user")
    rounds = [each for exchange in exchanges[-kept:] for each in _groups(exchange, roles, "assistant")[1:-1]]
    return exchanges[:-kept] + rounds


def _groups(indexes: Sequence[int], roles: Sequence[str], head: str) -> list[list[int]]:
    """Begin a group wherever a role begins to speak; what comes before that is a group too."""
    groups: list[list[int]] = []
    before = ""
    for index in indexes:
        if not groups or (roles[index] == head and before != head):
            groups.append([])
        groups[-1].append(index)
        before = roles[index]
    return groups


def exceeded(
    report: BudgetReport, advice: str = _ADVICE, places: Sequence[int] | None = None
) -> TokenBudgetExceededError:
    """Make the error for what overflows: by how much, and where to cut.

    Args:
        report: What was counted. If it overflows by every template the shortest counts, else the longest.
        advice: What to do about it.
        places: Where the messages stand for the caller, if not as in the report.
    """
    count, which = (report.least, "shortest") if report.overflows else (report.most, "longest")
    places = range(len(count.messages)) if places is None else places
    weighed = zip(count.messages, places, report.roles, strict=True)
    ranked = sorted(weighed, key=itemgetter(0), reverse=True)[:_MENTIONED]
    heaviest = [f"messages[{place}] ({role}) with {tokens:,}" for tokens, place, role in ranked]
    if count.tools:
        heaviest.append(f"the tools with {count.tools:,}")
    room = report.limit - count.total
    fewer = f" Ask for at most {room:,} max_tokens." if room > 0 else ""
    error = too_long(
        "The prompt",
        count.total,
        report.answer,
        report.limit,
        f" (by chat template {count.template}, the {which} that the model may have).{fewer} The heaviest "
        f"{'is' if len(heaviest) == 1 else 'are'} {', '.join(heaviest)}. {advice}",
    )
    error.template, error.heaviest = count.template, tuple((place, tokens) for tokens, place, _ in ranked)
    return error


def too_long(what: str, tokens: int, answer: int, limit: int, more: str) -> TokenBudgetExceededError:
    """Make the error for something that takes so many tokens, where the answer must have room for some as well."""
    excess = tokens + answer - limit
    error = TokenBudgetExceededError(
        f"{what} takes {tokens:,} tokens and the answer must have room for {answer:,}: that is {excess:,} more than "
        f"the limit of {limit:,}{more}"
    )
    error.limit, error.prompt_tokens, error.completion_tokens, error.excess = limit, tokens, answer, excess
    return error
