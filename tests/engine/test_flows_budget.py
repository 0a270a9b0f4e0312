"""What becomes of a call by its budget before it is sent, and what its answer tells of the chat template."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from json import loads

import pytest

from nemotron_client._engine import calls, flows, readers
from nemotron_client._engine.sending import Client
from nemotron_client.budget import OnOverflow, TokenBudget
from nemotron_client.completions import ChatCompletion, ResponseInfo, Usage
from nemotron_client.errors import ContextOverflowError, InvalidRequestError, TokenBudgetExceededError
from nemotron_client.events import BudgetWarned, ConversationFitted, HookEvent, RequestSent
from nemotron_client.messages import Message
from nemotron_client.tokens import TEMPLATES, TokenCounter
from tests.engine.driving import DONE, Talk, answer, chunk, client, config, event, reply

OK = reply(200, answer())
UNBRIDGED = reply(400, {"error": {"message": "Unexpected role 'user' after role 'tool'", "code": 400}})
SYSTEM: Mapping[str, object] = {"role": "system", "content": "Be brief."}
OLD: list[Message] = [{"role": "user", "content": "old " * 100}, {"role": "assistant", "content": "Yes."}]
NEW: Mapping[str, object] = {"role": "user", "content": "new"}
CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "look_up", "arguments": '{"a": 1}'}}
CALLED: list[Message] = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "abcdefgh1", "content": "found"},
]


def count(messages: Sequence[Message]) -> int:
    """Count by the template that takes the fewest tokens."""
    return min(TokenCounter(template).count(messages).total for template in TEMPLATES)


def who(
    limit: int,
    on_overflow: OnOverflow = "raise",
    *,
    reserve: int = 1,
    events: list[HookEvent] | None = None,
    model: str | None = "m",
) -> Client:
    settings = replace(config(model=model), budget=TokenBudget(limit=limit, on_overflow=on_overflow, reserve=reserve))
    return client(settings, events)


def asking(client: Client, messages: str | Sequence[Message], **options: object) -> Talk[ChatCompletion]:
    return Talk(flows.chat(client, flows.chat_call(client, messages, options, stream=False), now=0.0))


def sent(talk: Talk[ChatCompletion], number: int = -1) -> dict[str, object]:
    body: dict[str, object] = loads(talk.requests[number].body or b"")
    return body


# Refused, shortened, or sent with a warning


def test_what_overflows_is_never_sent() -> None:
    events: list[HookEvent] = []
    with pytest.raises(TokenBudgetExceededError) as caught:
        asking(who(100, events=events), [SYSTEM, *OLD, NEW]).end()
    error = caught.value
    assert (error.limit, error.completion_tokens, error.excess) == (100, 1, (error.prompt_tokens or 0) + 1 - 100)
    assert error.heaviest[0][0] == 1
    assert isinstance(error, ContextOverflowError)
    assert events == []


@pytest.mark.parametrize("model", ["m", None], ids=["named", "asked-for"])
def test_what_is_shortened_is_sent_and_told_once(model: str | None) -> None:
    events: list[HookEvent] = []
    client = who(100, "fit", events=events, model=model)
    talk = asking(client, [SYSTEM, *OLD, NEW], temperature=0.5)
    models = [] if model else [reply(200, {"data": [{"id": "m"}]})]
    done = talk.end(*models, OK)
    assert sent(talk) == {"model": "m", "messages": [SYSTEM, NEW], "temperature": 0.5}
    assert list(done.response.dropped) == OLD
    assert [each for each in events if isinstance(each, ConversationFitted)] == [ConversationFitted(tuple(OLD))]
    assert isinstance(events[-2], RequestSent)
    assert isinstance(events[-3], ConversationFitted)


def test_what_fits_is_sent_as_it_is() -> None:
    talk = asking(who(1000, "fit"), [SYSTEM, *OLD, NEW])
    done = talk.end(OK)
    assert (sent(talk)["messages"], done.response.dropped) == ([SYSTEM, *OLD, NEW], ())


def test_what_cant_be_shortened_enough_is_not_sent() -> None:
    with pytest.raises(TokenBudgetExceededError, match="Nothing more can be dropped"):
        asking(who(50, "fit"), [*OLD, {"role": "user", "content": "new " * 100}]).end()


@pytest.mark.parametrize(
    ("on_overflow", "room", "told"),
    [
        ("warn", 0, "that is 1 more than the limit of 403"),
        ("raise", 2, "takes 403 of 405 tokens: the answer will be cut off after 2"),
        ("raise", 3, None),
    ],
    ids=["an-overflow", "little-room", "enough-room"],
)
def test_what_is_doubtful_is_sent_with_one_warning(on_overflow: OnOverflow, room: int, told: str | None) -> None:
    events: list[HookEvent] = []
    text = " new" * 400
    talk = asking(who(count([{"role": "user", "content": text}]) + room, on_overflow, events=events), text)
    talk.end(OK)
    assert talk.posts == 1
    warned = [each.message for each in events if isinstance(each, BudgetWarned)]
    assert len(warned) == (0 if told is None else 1)
    assert told is None or told in warned[0]


def test_a_call_is_judged_once() -> None:
    client = who(100, "fit", model=None)
    call = flows.chat_call(client, [SYSTEM, *OLD, NEW], {}, stream=False)
    assert call.candidate is not None
    judged = call.candidate.admit()
    talk = Talk(flows.chat(client, call, now=0.0))
    talk.end(reply(200, {"data": [{"id": "m"}]}), OK)
    assert call.candidate.admit() is judged
    assert sent(talk) == {"model": "m", "messages": [SYSTEM, NEW]}


def test_a_text_completion_has_a_budget_too() -> None:
    client = who(50)
    call = calls.text_call(client.config, "word " * 100, {}, stream=False)
    talk = Talk(flows.text(client, call, now=0.0))
    with pytest.raises(TokenBudgetExceededError, match="takes 102 tokens"):
        talk.end()
    call = calls.text_call(client.config, "word " * 100, {"budget": TokenBudget(limit=200)}, stream=False)
    talk = Talk(flows.text(client, call, now=0.0))
    talk.end(reply(200, {"id": "c", "choices": [{"text": "x"}]}))
    assert talk.posts == 1


@pytest.mark.parametrize("on_overflow", ["raise", "fit", "warn"])
def test_a_message_is_told_by_its_place_in_the_callers_list(on_overflow: OnOverflow) -> None:
    nothing: Message = {"role": "assistant", "content": ""}
    long: Message = {"role": "user", "content": "new " * 100}
    events: list[HookEvent] = []
    talk = asking(who(50, on_overflow, events=events), [*OLD, NEW, nothing, long])
    told = ""
    try:
        talk.end(OK)
    except TokenBudgetExceededError as error:
        told = str(error)
    told += "".join(each.message for each in events if isinstance(each, BudgetWarned))
    assert "messages[4] (user) with 1" in told


def test_messages_that_a_caller_insists_on_are_told_by_their_own_places() -> None:
    extra = {"messages": [{"role": "user", "content": "old " * 100}]}
    with pytest.raises(TokenBudgetExceededError, match=r"messages\[0\] \(user\)"):
        asking(who(50), [SYSTEM, NEW], extra_body=extra).end()


# The call's own words


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"budget": TokenBudget(limit=20)}, True),
        ({"budget": TokenBudget(on_overflow="off")}, False),
        ({"max_tokens": 95}, True),
        ({"max_completion_tokens": 95, "max_tokens": 1}, True),
        ({"extra_body": {"max_tokens": 95}}, True),
        ({"max_tokens": 95, "extra_body": {"max_tokens": 5}}, False),
        ({"extra_body": {"messages": [{"role": "user", "content": "old " * 100}]}}, True),
        ({"extra_body": {"tools": [{"type": "function", "function": {"name": "x" * 500}}]}}, True),
        ({"extra_body": {"truncate_prompt_tokens": 10}, "max_tokens": 1000}, False),
        ({"max_tokens": 5}, False),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_the_call_says_counts_as_it_is_sent(options: Mapping[str, object], *, refused: bool) -> None:
    talk = asking(who(100), [{"role": "user", "content": "Hello, how are you? " * 3}], **options)
    if refused:
        with pytest.raises(TokenBudgetExceededError):
            talk.end()
    else:
        talk.end(OK)
        assert talk.posts == 1


@pytest.mark.parametrize(
    "extra",
    [
        {"messages": [{"role": "function", "content": "word " * 100}]},
        {"messages": {"role": "user"}},
        {"tools": "word " * 100},
    ],
    ids=["another-role", "an-object", "tools-that-are-none"],
)
def test_what_a_caller_insists_on_is_sent_even_where_it_cant_be_counted(extra: Mapping[str, object]) -> None:
    client = who(50, "raise")
    call = flows.chat_call(client, "Hi", {"extra_body": extra}, stream=False)
    assert call.candidate is None
    talk = Talk(flows.chat(client, call, now=0.0))
    talk.end(OK)
    assert extra.items() <= sent(talk).items()


def test_messages_that_are_none_are_refused_as_ever() -> None:
    with pytest.raises(InvalidRequestError):
        asking(who(50), [{"role": "function", "content": "x"}])


# Bridges


AFTER_TOOL: list[Message] = [*CALLED, NEW]
BRIDGED: list[Message] = [*CALLED, {"role": "assistant", "content": "OK."}, NEW]


def test_what_fits_until_it_is_bridged_is_not_sent_bridged() -> None:
    client = who(count(AFTER_TOOL) + 1)
    talk = asking(client, AFTER_TOOL)
    with pytest.raises(TokenBudgetExceededError) as caught:
        talk.end(UNBRIDGED)
    assert (talk.posts, caught.value.excess) == (1, count(BRIDGED) - count(AFTER_TOOL))
    enough = asking(who(count(BRIDGED) + 1), AFTER_TOOL)
    enough.end(UNBRIDGED, OK)
    assert sent(enough)["messages"] == BRIDGED


def test_what_was_shortened_is_bridged_too_and_keeps_its_name() -> None:
    limit = max(TokenCounter(template).count([SYSTEM, *BRIDGED]).total for template in TEMPLATES) + 1
    client = who(limit, "fit", model=None)
    talk = asking(client, [SYSTEM, *OLD, *AFTER_TOOL])
    done = talk.end(reply(200, {"data": [{"id": "m"}]}), UNBRIDGED, OK)
    assert list(done.response.dropped) == OLD
    assert sent(talk, 1)["messages"] == [SYSTEM, *AFTER_TOOL]
    assert sent(talk) == {"model": "m", "messages": [SYSTEM, *BRIDGED]}


# What answers tell of the template


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_usage_of_an_answer_to_called_tools_picks_the_template(template: str, *, streamed: bool) -> None:
    counts = {each: TokenCounter(each).count(CALLED).total for each in TEMPLATES}
    usage = {"prompt_tokens": counts[template], "completion_tokens": 1, "total_tokens": 1}  # type: ignore[index]
    client = who(10_000)
    call = flows.chat_call(client, CALLED, {}, stream=streamed)
    if streamed:
        chunks = readers.chat_chunks(call)
        chunks.begin(Talk(flows.open_stream(client, call, now=0.0)).end(reply(200)))
        chunks.feed(event(chunk({"content": "x"}, "stop")) + event(chunk(usage=usage)) + DONE)
        chunks.feed(None)
    else:
        Talk(flows.chat(client, call, now=0.0)).end(reply(200, answer(usage=usage)))
    assert client.shared.templates["m"].possible == (template,)
    assert client.shared.templates["other"].possible == TEMPLATES


def test_what_no_template_comes_to_or_nobody_counted_tells_nothing() -> None:
    client = who(10_000)
    asking(client, CALLED).end(reply(200, answer(usage={"prompt_tokens": 7})))
    asking(client, CALLED).end(OK)
    assert client.shared.templates["m"].possible == TEMPLATES


def test_usage_of_another_request_than_the_calls_own_tells_nothing() -> None:
    usage = Usage(prompt_tokens=count(AFTER_TOOL))
    client = who(10_000)
    bridged = asking(client, AFTER_TOOL)
    bridged.end(UNBRIDGED, reply(200, answer(usage=usage.model_dump())))
    assert client.shared.templates["m"].possible == TEMPLATES
    call = flows.chat_call(client, CALLED, {}, stream=True)
    call.answered(Usage(prompt_tokens=count(CALLED)), ResponseInfo(dropped=(NEW,)))
    assert client.shared.templates["m"].possible == TEMPLATES


def test_a_template_that_is_known_is_the_one_that_decides() -> None:
    most = max(TokenCounter(template).count(CALLED).total for template in TEMPLATES)
    events: list[HookEvent] = []
    client = who(most, events=events)
    asking(client, CALLED).end(OK)
    assert [type(each) for each in events[:2]] == [BudgetWarned, RequestSent]
    asking(client, CALLED).end(reply(200, answer(usage={"prompt_tokens": most})))
    with pytest.raises(TokenBudgetExceededError):
        asking(client, CALLED).end()
