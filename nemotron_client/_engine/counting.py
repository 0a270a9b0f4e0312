"""Counting tokens for callers: here, with what the client knows of its server, or by asking the server.

What is counted is what would be sent, put right where it has to be; what can't be put right is counted as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel

from nemotron_client.budget import NOTHING_MORE, BudgetReport, Fitted, exceeded
from nemotron_client.checking import check as check_options
from nemotron_client.completions import ResponseInfo
from nemotron_client.errors import InvalidConversationError
from nemotron_client.messages import Message, read_messages
from nemotron_client.options import ChatParameters
from nemotron_client.tokens import TokenCount

from . import calls, wire
from .admission import Candidate
from .exchange import Flow, Response
from .mistral import Prepared, is_empty, prepare
from .sending import Client, send


def check(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, max_tokens: int | None
) -> BudgetReport:
    """Compare a conversation with the client's budget.

    Args:
        client: Whose budget.
        messages: The conversation.
        tools: What is offered with it.
        max_tokens: How long the answer may be; None for the budget's reserve.

    Returns:
        The report, on the caller's messages: what is put in for one is counted with it.

    Raises:
        InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
        ToolDefinitionError: A tool can't be offered.
    """
    given = read_messages(messages)
    sent = _sent(client, given, tools)
    report = _candidate(client, sent, max_tokens).report(client.window(client.config.model))
    return report if sent.places is None else _regrouped(report, given, sent.places)


def fit(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, max_tokens: int | None
) -> Fitted:
    """Drop the oldest messages until the rest fits; arguments as for :func:`check`.

    Raises:
        TokenBudgetExceededError: What has to stay overflows by one of the templates that the model may have.
        InvalidConversationError: A message breaks a rule and can't be put right.
        InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
        ToolDefinitionError: A tool can't be offered.
    """
    given = read_messages(messages)
    sent = _prepared(client, given, tools)
    left, report = _candidate(client, sent, max_tokens).shortened(client.window(client.config.model))
    places = range(len(given)) if sent.places is None else sent.places
    stay = [places[index] for index in left]
    if not report.fits:
        raise exceeded(report, NOTHING_MORE, stay)
    gone = set(places) - set(stay)
    kept = {place: index for index, place in enumerate(each for each in range(len(given)) if each not in gone)}
    report = _regrouped(report, [given[place] for place in kept], [kept[place] for place in stay])
    own: Sequence[Message] = given if isinstance(messages, str) else messages
    return Fitted([own[place] for place in kept], [own[place] for place in sorted(gone)], report)


def _prepared(client: Client, messages: Sequence[Mapping[str, object]], tools: Sequence[object] | None) -> Prepared:
    """Put a conversation right as it would be sent; an assistant's message at the end is taken for one to be continued.

    Raises:
        InvalidConversationError: A message breaks a rule and can't be put right.
        ToolDefinitionError: A tool can't be offered.
    """
    last = messages[-1]
    return prepare(
        messages,
        calls.definitions(tools),
        mode="fill",
        bridge=client.wants_bridges,
        continues=last["role"] == "assistant" and not last.get("tool_calls") and not is_empty(last.get("content")),
    )


def _sent(client: Client, messages: Sequence[Mapping[str, object]], tools: Sequence[object] | None) -> Prepared:
    try:
        return _prepared(client, messages, tools)
    except InvalidConversationError:
        return prepare(messages, calls.definitions(tools), mode="off")


def _candidate(client: Client, sent: Prepared, max_tokens: int | None) -> Candidate:
    body: dict[str, object] = {"messages": sent.messages, "tools": sent.tools, "max_tokens": max_tokens}
    check_options({"max_tokens": max_tokens}, ChatParameters)
    return Candidate(body, client.config.budget, client.shared.templates[client.config.model or ""])


def _regrouped(report: BudgetReport, messages: Sequence[Mapping[str, object]], places: Sequence[int]) -> BudgetReport:
    """Tell of the caller's messages what was counted of those that are sent, by where these stand among them."""

    def regrouped(count: TokenCount) -> TokenCount:
        sums = [0] * len(messages)
        for place, tokens in zip(places, count.messages, strict=True):
            sums[place] += tokens
        return replace(count, messages=tuple(sums))

    roles = tuple(str(message["role"]) for message in messages)
    return replace(report, roles=roles, counts=tuple(map(regrouped, report.counts)))


def count_on_server(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, *, now: float
) -> Flow[int]:
    """Have the server count (docs/explanation/protocol.md, "Counting tokens"); arguments as for :func:`check`."""
    sent = _sent(client, read_messages(messages), tools)
    body: dict[str, object] = {"messages": sent.messages}
    if sent.messages[-1]["role"] == "assistant":
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if sent.tools is not None:
        body["tools"] = sent.tools
    if client.config.model is not None:
        body["model"] = client.config.model

    def read(response: Response, _: ResponseInfo) -> int:
        return wire.read(client.config, _Counted, response.body, "a count of tokens").count

    return (
        yield from send(client, calls.post_call(client.config, f"{client.config.root}/tokenize", body), read, now=now)
    )


class _Counted(BaseModel, defer_build=True):
    count: int
