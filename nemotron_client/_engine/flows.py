"""Every conversation with a server that gets an answer, written once for both clients: ``reply = yield request``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from nemotron_client.completions import ChatCompletion, Completion, ResponseInfo
from nemotron_client.errors import BadRequestError
from nemotron_client.events import BudgetWarned, ConversationFitted, ConversationRepaired
from nemotron_client.messages import Message

from . import calls, refusals, wire
from .exchange import Flow, Response, Work
from .learning import learn
from .offered import restore
from .sending import Client, send

T = TypeVar("T")
AnswerT = TypeVar("AnswerT", ChatCompletion, Completion)


def chat_call(
    client: Client, messages: str | Sequence[Message], options: Mapping[str, object], *, stream: bool, kept: int = 1
) -> calls.Call:
    """Check a chat call and write its body, with what is known of the server; arguments as for ``calls.chat_call``."""
    shared = client.shared
    return calls.chat_call(
        client.config,
        messages,
        options,
        stream=stream,
        bridge=client.wants_bridges,
        templates=shared.templates,
        kept=kept,
    )


def chat(client: Client, call: calls.Call, *, now: float, began: float | None = None) -> Flow[ChatCompletion]:
    """Get a chat answer.

    Args:
        client: Who asks.
        call: What to send.
        now: The time, in seconds of the driver's clock.
        began: When the caller began, if something was asked before.
    """
    answer = yield from _answer(client, call, ChatCompletion, "a chat completion", now=now, began=began)
    ran_out = call.ran_out(answer.usage, client.window(call.model))
    restore(answer, offered=call.offered, names=call.names, ran_out=ran_out)
    call.answered(answer.usage, answer.response)
    return answer


def text(client: Client, call: calls.Call, *, now: float, began: float | None = None) -> Flow[Completion]:
    """Get a text completion; arguments as for :func:`chat`."""
    return (yield from _answer(client, call, Completion, "a text completion", now=now, began=began))


def open_stream(client: Client, call: calls.Call, *, now: float, began: float | None = None) -> Flow[ResponseInfo]:
    """Begin a streamed answer, whose body the driver leaves open; arguments as for :func:`chat`."""

    def read(_: Response, info: ResponseInfo) -> ResponseInfo:
        return info

    began = now if began is None else began
    call, now = yield from _ready(client, call, now)
    return (yield from _send_bridged(client, call, read, now=now, began=began))


def _answer(
    client: Client, call: calls.Call, model: type[AnswerT], what: str, *, now: float, began: float | None = None
) -> Flow[AnswerT]:
    began = now if began is None else began
    call, now = yield from _ready(client, call, now)

    def read(response: Response, info: ResponseInfo) -> AnswerT:
        try:
            answer = wire.parse(model, response.body)
        except ValueError as error:
            answer, why = None, f"{what}: {error}"
        else:
            why = f"{what}: it has no choices"
        if answer is None or not answer.choices or answer.object == "error" or (answer.model_extra or {}).get("error"):
            request = call.request(now=now)
            refused = refusals.refused_inside(request, response, hosted=client.config.hosted)
            raise refused or wire.not_expected(response.body, why, request.headers)
        return answer.answered_by(info)

    return (yield from _send_bridged(client, call, read, now=now, began=began))


def _send_bridged(
    client: Client, call: calls.Call, read: Callable[[Response, ResponseInfo], T], *, now: float, began: float
) -> Flow[T]:
    """Send a call; if the server refuses a user message after a tool's result, once more with a bridge between them."""
    if call.repairs:
        client.shared.notify(ConversationRepaired(call.repairs))
    try:
        return (yield from send(client, call, read, now=now, began=began))
    except BadRequestError as error:
        if call.bridged is None or not refusals.wants_bridge(error):
            raise
        client.shared.bridges = True
        now += error.took
    bridged = yield from _admitted(client, call.bridged)  # it is longer
    return (yield from send(client, bridged, read, now=now, began=began))


def _ready(client: Client, call: calls.Call, now: float) -> Flow[tuple[calls.Call, float]]:
    """Learn what the call needs, see that it keeps to its budget, and put the model's name in."""
    now = yield from learn(client, call, now=now)
    call = yield from _admitted(client, call)
    served = client.shared.served
    return (call.named(served.id) if call.model is None and served is not None else call), now


def _admitted(client: Client, call: calls.Call) -> Flow[calls.Call]:
    """Return the call as its budget lets it be sent, and tell of what was changed or doubtful.

    Raises:
        TokenBudgetExceededError: It overflows, and is to be refused then.
    """
    if call.candidate is None:
        return call
    window = client.window(call.model)
    if not call.candidate.proven(window):
        yield Work(partial(call.candidate.admit, window))  # counting 100,000 tokens takes 20 ms
    found = call.candidate.admit(window)
    if found.warning is not None:
        client.shared.notify(BudgetWarned(str(found.warning)))
    if not found.dropped:
        return call
    client.shared.notify(ConversationFitted(tuple(found.dropped)))
    return call.shortened(found.body, found.dropped)
