"""Tool calls come back exactly, however they were sent: as a server should, with its quirks, or left in the text."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client._engine import flows
from nemotron_client._engine.calls import Call
from nemotron_client._engine.naming import ID
from nemotron_client._engine.readers import chat_events
from nemotron_client.completions import ChatCompletion
from nemotron_client.events import Finished, StreamEvent, TextDelta, TextDone, ToolCallDelta, ToolCallDone
from tests.engine.driving import DONE, Talk, chat, chunk, client, event, reply

Delta = dict[str, object]
Deltas = list[list[Delta]]  # of each chunk
Made = tuple[str, str]  # a call's name and arguments

# The caller's names; the last two are sent under others.
NAMES = ["get_weather", "get", "add", "files.read", "größe messen"]
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in NAMES]
BEFORE = ["", "Let me see. ", "It is [1], or [TOOL", "[TOOL_CALLS] is a mark. "]

arguments = st.dictionaries(
    st.text(max_size=5),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=10)
    | st.lists(st.integers(), max_size=3)
    | st.sampled_from(["[TOOL_CALLS]add{}", "</s>", '"}]', "[ARGS]", "天\n"]),
    max_size=3,
).map(lambda value: json.dumps(value, ensure_ascii=False))
# Up to 37 in parallel, of which a few differ.
calls = st.tuples(
    st.lists(st.tuples(st.sampled_from(NAMES), arguments), min_size=1, max_size=3), st.integers(1, 37)
).map(lambda drawn: list(islice(cycle(drawn[0]), drawn[1])))
cuts = st.lists(st.integers(0, 5000), max_size=8)


def asked() -> Call:
    return chat({"tools": TOOLS}, stream=True)


CALL = asked()
SENT = {own: sent for sent, own in CALL.names.items()}


def sent(name: str) -> str:
    return SENT.get(name, name)


def pieces(text: str, at: Sequence[int]) -> list[str]:
    places = [0, *sorted(place % (len(text) + 1) for place in at), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def read(chunks: Sequence[Delta], at: Sequence[int]) -> list[StreamEvent]:
    """Read a stream whose bytes are cut at these places."""
    data = b"".join(map(event, chunks)) + DONE
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    reader = chat_events(CALL)
    events = [each for start, end in pairwise(places) if start < end for each in reader.feed(data[start:end])]
    assert (reader.error, reader.ended) == (None, True)
    return events


def whole(events: Sequence[StreamEvent]) -> ChatCompletion:
    assert isinstance(events[-1], Finished)
    return events[-1].completion


def asked_whole(message: Mapping[str, object], reason: str = "stop") -> ChatCompletion:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    body = {"id": "c1", "object": "chat.completion", "model": "m", "choices": [choice]}
    return Talk(flows.chat(client(), chat({"tools": TOOLS}), now=0.0)).end(reply(200, body))


def made(done: ChatCompletion) -> list[Made]:
    return [(call.function.name, call.function.arguments) for call in done.tool_calls]


def told(events: Sequence[StreamEvent]) -> list[Made]:
    done = [each for each in events if isinstance(each, ToolCallDone)]
    assert [each.index for each in done] == list(range(len(done)))
    return [(each.tool_call.function.name, each.tool_call.function.arguments) for each in done]


def said(events: Sequence[StreamEvent]) -> str:
    return "".join(each.delta for each in events if isinstance(each, TextDelta))


# As servers send them, with the quirks of docs/explanation/protocol.md, "Tool calls in streams"


def id_of(position: int) -> str:
    return f"call{position:05}"


def v13(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """A call's id and name with its first piece; the rest with its index only."""
    deltas: Deltas = []
    for position, (name, text) in enumerate(wanted):
        first, *rest = pieces(text, at)
        begun: Delta = {"index": position, "id": id_of(position), "type": "function"}
        deltas.append([{**begun, "function": {"name": sent(name), "arguments": first}}])
        later: Delta = {"index": position}
        deltas += [[{**later, "function": {"arguments": piece}}] for piece in rest]
    return deltas


def v7(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """The first piece has no arguments, each repeats the type, and the id is null from then on."""
    deltas: Deltas = []
    for position, (name, text) in enumerate(wanted):
        deltas.append(
            [{"index": position, "id": id_of(position), "type": "function", "function": {"name": sent(name)}}]
        )
        later: Delta = {"index": position, "id": None, "type": "function"}
        deltas += [[{**later, "function": {"name": None, "arguments": piece}}] for piece in pieces(text, at)]
    return deltas


def unindexed(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """No index at all."""
    return [[{key: value for key, value in each[0].items() if key != "index"}] for each in v13(wanted, at)]


def index_0(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """Always the same index."""
    return [[{**each[0], "index": 0}] for each in v13(wanted, at)]


def name_repeated(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """The name and the id with each piece."""
    deltas: Deltas = []
    for position, (name, text) in enumerate(wanted):
        begun: Delta = {"index": position, "id": id_of(position)}
        deltas += [[{**begun, "function": {"name": sent(name), "arguments": piece}}] for piece in pieces(text, at)]
    return deltas


def together(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """The end of a call and the start of the next in one chunk."""
    deltas = v13(wanted, at)
    return [[delta for each in deltas[n : n + 3] for delta in each] for n in range(0, len(deltas), 3)]


def whole_calls(wanted: Sequence[Made], at: Sequence[int]) -> Deltas:
    """Each call in one piece."""
    del at
    return v13(wanted, [])


QUIRKS = [v13, v7, unindexed, index_0, name_repeated, together, whole_calls]


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: str(quirk.__name__))
@pytest.mark.parametrize("empty", ["with empty deltas", "without"])
@settings(max_examples=settings().max_examples // 4)
@given(wanted=calls, at=cuts, bytes_at=cuts)
def test_calls_come_back_exactly_with_each_quirk(
    quirk: Callable[[Sequence[Made], Sequence[int]], Deltas],
    empty: str,
    wanted: list[Made],
    at: list[int],
    bytes_at: list[int],
) -> None:
    *first, last = quirk(wanted, at)
    chunks = [chunk({"role": "assistant", "content": ""}), *(chunk({"tool_calls": each}) for each in first)]
    if empty == "with empty deltas":
        chunks = [each for one in chunks for each in (one, chunk({}))]
    chunks.append(chunk({"tool_calls": last}, "tool_calls"))
    events = read(chunks, bytes_at)
    done = whole(events)
    assert made(done) == told(events) == wanted
    assert [call.id for call in done.tool_calls] == [id_of(position) for position in range(len(wanted))]
    assert (done.text, done.truncated) == ("", False)
    grown: dict[int, str] = {}
    for each in events:
        if isinstance(each, ToolCallDelta):
            grown[each.index] = grown.get(each.index, "") + each.delta
    assert list(grown.values()) == [text for _, text in wanted]


@settings(max_examples=settings().max_examples // 4)
@given(wanted=calls)
def test_whole_answers_give_the_caller_s_names_too(wanted: list[Made]) -> None:
    tool_calls = [
        {"id": id_of(n), "type": "function", "function": {"name": sent(name), "arguments": text}}
        for n, (name, text) in enumerate(wanted)
    ]
    assert made(asked_whole({"tool_calls": tool_calls}, "tool_calls")) == wanted


# Left in the text


def args(wanted: Sequence[Made]) -> str:
    return "".join(f"[TOOL_CALLS]{sent(name)}[ARGS]{text}" for name, text in wanted)


def names(wanted: Sequence[Made]) -> str:
    return "\n".join(f"[TOOL_CALLS] {sent(name)}{text}" for name, text in wanted)


def call_ids(wanted: Sequence[Made]) -> str:
    parts = (f"[TOOL_CALLS]{sent(name)}[CALL_ID]{id_of(n)}[ARGS]{text}" for n, (name, text) in enumerate(wanted))
    return "".join(parts) + "</s>"


def listed(wanted: Sequence[Made]) -> str:
    entries = [{"name": sent(name), "arguments": json.loads(text)} for name, text in wanted]
    return f"[TOOL_CALLS] {json.dumps(entries, ensure_ascii=False)}"


RAW = [args, names, call_ids, listed]


@pytest.mark.parametrize("form", RAW, ids=lambda form: str(form.__name__))
@settings(max_examples=settings().max_examples // 4)
@given(before=st.sampled_from(BEFORE), wanted=calls, at=cuts, bytes_at=cuts)
def test_calls_in_the_text_come_back_exactly_streamed_and_whole(
    form: Callable[[Sequence[Made]], str], before: str, wanted: list[Made], at: list[int], bytes_at: list[int]
) -> None:
    text = before + form(wanted)
    *first, last = pieces(text, at)
    chunks = [*(chunk({"content": piece}) for piece in first), chunk({"content": last}, "stop")]
    events = read(chunks, bytes_at)
    done, at_once = whole(events), asked_whole({"content": text})
    assert made(done) == told(events) == made(at_once) == wanted
    assert done.text == at_once.text == said(events) == before
    assert [each.text for each in events if isinstance(each, TextDone)] == ([before] if before else [])
    assert (done.truncated, at_once.truncated) == (False, False)
    ids = [call.id for call in done.tool_calls]
    assert ids == [call.id for call in at_once.tool_calls]
    assert all(map(ID.fullmatch, ids))
    assert len(set(ids)) == len(ids)
    if form is call_ids:
        assert ids == [id_of(position) for position in range(len(wanted))]


@pytest.mark.parametrize("form", RAW, ids=lambda form: str(form.__name__))
@settings(max_examples=settings().max_examples // 4)
@given(before=st.sampled_from(BEFORE), wanted=calls, at=cuts, end=st.integers(min_value=1))
def test_a_call_that_was_cut_off_is_never_run_and_tells_that_the_answer_is_not_whole(
    form: Callable[[Sequence[Made]], str], before: str, wanted: list[Made], at: list[int], end: int
) -> None:
    text = form(wanted).removesuffix("</s>")
    begun = text.index("[TOOL_CALLS]") + len("[TOOL_CALLS] x")
    text = before + text[: begun + end % (len(text) - begun)]
    if recoverable(form, text, wanted, before):
        return
    chunks = [*(chunk({"content": piece}) for piece in pieces(text, at)), chunk({}, "stop")]
    events = read(chunks, [])
    done, at_once = whole(events), asked_whole({"content": text})
    assert (done.tool_calls, at_once.tool_calls, told(events)) == ([], [], [])
    assert done.text == at_once.text == said(events) == text
    assert (done.truncated, at_once.truncated) == (True, True)


def recoverable(form: Callable[[Sequence[Made]], str], text: str, wanted: Sequence[Made], before: str) -> bool:
    """Tell whether a text that was cut ends right after a call: nobody can see that more were meant."""
    ends = [before + form(wanted[:n]).removesuffix("</s>") for n in range(1, len(wanted) + 1)]
    return text.rstrip() in ends


def test_text_beside_calls_that_a_server_did_find_is_text() -> None:
    text = "[TOOL_CALLS]add{}"
    call = {"index": 0, "id": id_of(0), "function": {"name": "get", "arguments": "{}"}}
    events = read([chunk({"content": text}), chunk({"tool_calls": [call]}, "tool_calls")], [])
    done = whole(events)
    assert made(done) == told(events) == [("get", "{}")]
    assert done.text == said(events) == text
    assert asked_whole({"content": text, "tool_calls": [call]}).text == text


def test_without_tools_marks_are_text() -> None:
    body = {"id": "c1", "choices": [{"index": 0, "message": {"content": "[TOOL_CALLS]add{}"}, "finish_reason": "stop"}]}
    done = Talk(flows.chat(client(), chat(), now=0.0)).end(reply(200, body))
    assert (done.text, done.tool_calls, done.truncated) == ("[TOOL_CALLS]add{}", [], False)
