"""Counting tokens for callers: here, with what the client knows of its server, or by asking the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from pydantic import BaseModel

from nemotron_client import budget
from nemotron_client.checking import check as check_options
from nemotron_client.completions import ResponseInfo
from nemotron_client.messages import Message, read_messages
from nemotron_client.options import ChatParameters
from nemotron_client.tokens import Template

from . import calls, wire
from .exchange import Flow, Response
from .naming import NAME, Substitutes, make_name
from .offered import names_of, wire_tools
from .sending import Client, send


class _Known(TypedDict):
    limit: int
    answer: int
    templates: Sequence[Template]


def check(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, max_tokens: int | None
) -> budget.BudgetReport:
    """Compare a conversation with the client's budget.

    Args:
        client: Whose budget.
        messages: The conversation.
        tools: What is offered with it.
        max_tokens: How long the answer may be; None for the budget's reserve.

    Raises:
        InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
        ToolDefinitionError: A tool can't be offered.
    """
    return budget.check(messages, _offered(tools), **_known(client, max_tokens))


def fit(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, max_tokens: int | None
) -> budget.Fitted:
    """Drop the oldest messages until the rest fits; arguments as for :func:`check`.

    Raises:
        TokenBudgetExceededError: What has to stay overflows.
        InvalidRequestError: A message is none, or ``max_tokens`` is not possible.
        ToolDefinitionError: A tool can't be offered.
    """
    return budget.fit(messages, _offered(tools), **_known(client, max_tokens))


def _offered(tools: Sequence[object] | None) -> list[Mapping[str, object]] | None:
    """Return the tools as they would be sent."""
    given = calls.definitions(tools)
    return None if given is None else wire_tools(given, Substitutes(NAME, make_name, lambda: names_of(given)), [])


def _known(client: Client, max_tokens: int | None) -> _Known:
    check_options({"max_tokens": max_tokens}, ChatParameters)
    own, shared = client.config.budget, client.shared
    model = client.config.model or (shared.served.id if shared.served else "")
    return {
        "limit": own.limit or (shared.windows or {}).get(model) or budget.WINDOW,
        "answer": max_tokens or own.reserve,
        "templates": shared.templates[client.config.model or ""].possible,
    }


def count_on_server(
    client: Client, messages: str | Sequence[Message], tools: Sequence[object] | None, *, now: float
) -> Flow[int]:
    """Have the server count (docs/explanation/protocol.md, "Counting tokens"); arguments as for :func:`check`."""
    wired, definitions = read_messages(messages), _offered(tools)
    body: dict[str, object] = {"messages": wired}
    if wired[-1]["role"] == "assistant":  # as here, it is taken for one that is to be continued
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if definitions is not None:
        body["tools"] = definitions
    if client.config.model is not None:
        body["model"] = client.config.model

    def read(response: Response, _: ResponseInfo) -> int:
        return wire.read(client.config, _Counted, response.body, "a count of tokens").count

    return (
        yield from send(client, calls.post_call(client.config, f"{client.config.root}/tokenize", body), read, now=now)
    )


class _Counted(BaseModel, defer_build=True):
    count: int
