"""Event streams, rule by rule of the WHATWG specification (HTML, "Server-sent events")."""

import re
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nemotron_client._engine.sse import EventTooLargeError, SSEDecoder, SSEEvent

BOM = b"\xef\xbb\xbf"


def decode(*pieces: bytes) -> list[SSEEvent]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def decode_to_end(*pieces: bytes) -> list[SSEEvent]:
    decoder = SSEDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    last = decoder.close()
    return events if last is None else [*events, last]


def data(*pieces: bytes) -> list[bytes]:
    return [event.data for event in decode(*pieces)]


def reference(stream: bytes) -> list[tuple[str, str, str]]:
    """Interpret a stream sentence by sentence as the specification has it; not fast, not in pieces."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = re.split("\r\n|\n|\r", text)
    data = event_type = last_id = ""
    dispatched: list[tuple[str, str, str]] = []
    for line in lines:
        if line == "":  # "dispatch the event"
            if data != "":
                dispatched.append((data.removesuffix("\n"), event_type or "message", last_id))
            data = event_type = ""
            continue
        if line[0] == ":":  # "ignore the line"
            continue
        field, colon, value = line.partition(":")
        if colon and value[:1] == " ":
            value = value[1:]
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_id = value
    return dispatched


def plainly(events: list[SSEEvent]) -> list[tuple[str, str, str]]:
    return [(e.data.decode("utf-8", "replace"), e.event, e.id.decode("utf-8", "replace")) for e in events]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param([BOM + b"data: a\n\n"], [b"a"], id="byte-order-mark"),
        pytest.param([BOM[:1], BOM[1:2], BOM[2:] + b"data: a\n\n"], [b"a"], id="byte-order-mark-in-three-pieces"),
        pytest.param([BOM[:2], b"data: a\n\n"], [], id="half-a-byte-order-mark-spoils-the-line"),
        pytest.param([b"data: a\n\n" + BOM + b"data: b\n\n"], [b"a"], id="byte-order-mark-only-at-the-start"),
        pytest.param([BOM + BOM + b"data: a\n\n"], [], id="only-one-byte-order-mark"),
        pytest.param([b"data: " + BOM + b"\n\n"], [BOM], id="byte-order-mark-inside-data-is-data"),
        pytest.param([b"data: a\n\n"], [b"a"], id="LF"),
        pytest.param([b"data: a\r\r"], [b"a"], id="CR"),
        pytest.param([b"data: a\r\n\r\n"], [b"a"], id="CRLF"),
        pytest.param([b"data: a\n\r"], [b"a"], id="LF-then-CR"),
        pytest.param([b"data: a\r\ndata: b\rdata: c\n\n"], [b"a\nb\nc"], id="all-three-in-one-event"),
        pytest.param([b"data: a\r", b"\n\r", b"\n"], [b"a"], id="CRLF-cut-in-the-middle"),
        pytest.param([b"data: a\r", b"", b"\ndata: b\n\n"], [b"a\nb"], id="CRLF-cut-around-an-empty-piece"),
        pytest.param([b"data: a\r", b"data: b\r\r"], [b"a\nb"], id="CR-at-the-end-of-a-piece-without-LF"),
        pytest.param([b"data: a\r", b"\r"], [b"a"], id="CR-then-CR-in-the-next-piece"),
        pytest.param([b"data: a\r\n", b"\n"], [b"a"], id="a-whole-CRLF-swallows-no-further-LF"),
        pytest.param(
            [b"data: a\x0b\x0c\x85\xe2\x80\xa8b\n\n"], [b"a\x0b\x0c\x85\xe2\x80\xa8b"], id="nothing-else-ends-a-line"
        ),
        pytest.param([b"data:a\n\n"], [b"a"], id="no-space-after-the-colon"),
        pytest.param([b"data:  a\n\n"], [b" a"], id="one-leading-space-removed-only"),
        pytest.param([b"data:\ta \n\n"], [b"\ta "], id="no-other-blank-removed"),
        pytest.param([b"data: a: b\n\n"], [b"a: b"], id="only-the-first-colon-divides"),
        pytest.param([b"data\n\n"], [b""], id="a-field-without-a-colon-is-empty"),
        pytest.param([b"data:\n\n"], [b""], id="empty-data-is-an-event"),
        pytest.param([b"data\ndata\n\n"], [b"\n"], id="two-empty-data-lines"),
        pytest.param([b"data: a\ndata: b\n\n"], [b"a\nb"], id="data-lines-are-joined"),
        pytest.param([b": note\ndata: a\n:\ndata: b\n\n"], [b"a\nb"], id="comments-are-passed-over"),
        pytest.param([b": note\n\n: note\n\n"], [], id="comments-make-no-event"),
        pytest.param([b"event: x\nid: 1\n\n\n"], [], id="no-data-no-event"),
        pytest.param([b" data: a\nDATA: b\ndatas: c\n\n"], [], id="other-names-are-passed-over"),
        pytest.param([b"retry: 10\ndata: a\nretry\n\n"], [b"a"], id="retry-is-ignored"),
        pytest.param([b"data: a\n\ndata: b\n"], [b"a"], id="an-event-is-given-at-its-blank-line"),
        pytest.param([b"", b"\n\n", b"", b"data: a\n\n"], [b"a"], id="empty-pieces-and-blank-lines"),
    ],
)
def test_data_of_events(pieces: list[bytes], expected: list[bytes]) -> None:
    assert data(*pieces) == expected


@pytest.mark.parametrize(
    ("stream", "types"),
    [
        pytest.param(b"data: a\n\n", ["message"], id="message-by-default"),
        pytest.param(b"event: error\ndata: a\n\n", ["error"], id="named"),
        pytest.param(b"event: a\nevent: b\ndata: 1\n\n", ["b"], id="the-last-name-counts"),
        pytest.param(b"event: a\nevent\ndata: 1\n\n", ["message"], id="an-empty-name-is-none"),
        pytest.param(b"event: a\n\ndata: 1\n\n", ["message"], id="a-name-is-forgotten-with-its-data-less-event"),
        pytest.param(b"event: a\ndata: 1\n\ndata: 2\n\n", ["a", "message"], id="a-name-holds-for-one-event"),
        pytest.param(b"event: \xff\ndata: 1\n\n", ["\ufffd"], id="invalid-UTF-8-is-replaced"),
    ],
)
def test_names_of_events(stream: bytes, types: list[str]) -> None:
    assert [event.event for event in decode(stream)] == types


@pytest.mark.parametrize(
    ("stream", "ids"),
    [
        pytest.param(b"data: 1\n\n", [b""], id="empty-by-default"),
        pytest.param(b"id: 7\ndata: 1\n\ndata: 2\n\n", [b"7", b"7"], id="an-id-stays"),
        pytest.param(b"id: 7\n\ndata: 1\n\n", [b"7"], id="an-id-without-data-counts"),
        pytest.param(b"id: 7\ndata: 1\n\nid\ndata: 2\n\n", [b"7", b""], id="an-empty-id-resets"),
        pytest.param(b"id: 7\ndata: 1\n\nid: 8\x009\ndata: 2\n\n", [b"7", b"7"], id="an-id-with-NUL-is-ignored"),
    ],
)
def test_ids_of_events(stream: bytes, ids: list[bytes]) -> None:
    assert [event.id for event in decode(stream)] == ids


@pytest.mark.parametrize(
    ("stream", "last"),
    [
        pytest.param(b"data: a\n\n", None, id="nothing-is-left-of-a-whole-stream"),
        pytest.param(b"", None, id="nothing-came"),
        pytest.param(b"data: a\n", SSEEvent(b"a"), id="its-blank-line-is-missing"),
        pytest.param(b"data: a\r", SSEEvent(b"a"), id="its-blank-line-is-missing-after-CR"),
        pytest.param(b"data: a", SSEEvent(b"a"), id="its-line-end-is-missing"),
        pytest.param(b"event: x\nid: 7\ndata: a\ndata: b", SSEEvent(b"a\nb", "x", b"7"), id="several-lines"),
        pytest.param(b"dat", None, id="half-a-field-name"),
        pytest.param(BOM[:2], None, id="half-a-byte-order-mark"),
        pytest.param(b": note", None, id="a-comment"),
    ],
)
def test_what_an_unfinished_stream_leaves_is_handed_over(stream: bytes, last: SSEEvent | None) -> None:
    decoder = SSEDecoder()
    decoder.feed(stream)
    assert decoder.close() == last


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"data: " + b"x" * 11 + b"\n"], id="a-line-in-one-piece"),
        pytest.param([b"data: ", b"x" * 11], id="a-line-that-has-not-ended"),
        pytest.param([b"data: xxxxxx\n", b"data: xxxxx\n"], id="several-lines-of-one-event"),
        pytest.param([b"data\n" * 12], id="line-ends-alone"),
        pytest.param([b": " + b"x" * 11], id="an-endless-comment"),
    ],
)
def test_an_event_over_the_limit_is_refused(pieces: list[bytes]) -> None:
    decoder = SSEDecoder(max_event_bytes=10)
    *before, last = pieces
    assert [decoder.feed(piece) for piece in before] == [[]] * len(before)
    with pytest.raises(EventTooLargeError, match="more than 10 bytes"):
        decoder.feed(last)


def test_events_that_were_whole_before_one_over_the_limit_are_kept() -> None:
    with pytest.raises(EventTooLargeError) as caught:
        SSEDecoder(max_event_bytes=10).feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 11 + b"\n\n")
    assert [event.data for event in caught.value.events] == [b"a", b"b"]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"], ids=["LF", "CRLF"])
def test_an_event_of_just_the_limit_passes(end: bytes) -> None:
    assert SSEDecoder(max_event_bytes=10).feed(b"data: " + b"x" * 10 + end) == [SSEEvent(b"x" * 10)]
    with pytest.raises(EventTooLargeError):
        SSEDecoder(max_event_bytes=10).feed(b"data: " + b"x" * 11 + end)


def test_the_limit_is_for_each_event_and_not_for_the_stream() -> None:
    decoder = SSEDecoder(max_event_bytes=10)
    assert [event.data for _ in range(5) for event in decoder.feed(b"data: x\ndata: y\n\n: xxxx\n")] == [b"x\ny"] * 5


@given(
    st.lists(st.sampled_from([b"data: xxx\n", b"data\n", b"event: y\n", b": z\n", b"\n"])),
    st.integers(1, 9),
    st.integers(0, 40),
)
def test_what_is_under_the_limit_with_its_field_names_passes_in_any_split(
    lines: list[bytes], size: int, spare: int
) -> None:
    stream = b"".join(lines)
    largest = max(len(event) for event in stream.split(b"\n\n"))
    decoder = SSEDecoder(max_event_bytes=largest + spare)
    assert [e for piece in cut(stream, size) for e in decoder.feed(piece)] == decode(stream)


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


# Mostly the bytes that mean something, in every order.
WORDS = b"data event id retry : x \0 \xc3 \xa9 \xff \xef \xbb\xbf \xef\xbb\xbf [DONE]".split(b" ")
ENDS = [b" ", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"data: {}\n\n"]
STREAMS = st.lists(st.sampled_from([*WORDS, *ENDS]) | st.binary(max_size=4), max_size=40).map(b"".join)


@given(st.sampled_from([b"", BOM]), STREAMS)
@example(BOM, b"data: a\r\n\r\ndata: b")
def test_events_are_those_of_the_specification(start: bytes, rest: bytes) -> None:
    stream = start + rest
    assert plainly(decode(stream)) == reference(stream)
    assert plainly(decode_to_end(stream)) == reference(stream + b"\n\n")


@given(STREAMS, st.data())
def test_any_split_gives_the_same_events(stream: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode_to_end(*pieces) == decode_to_end(stream)
    assert decode_to_end(*cut(stream, 1)) == decode_to_end(stream)


WHOLE = [b"data: a\n\n", b"data: \n\n", b"data: d\r\n\r\n", b"data: e\r\r", b"data:f\n\n", b"data: h\rx\n\n"]
PARTS = [
    b"data: b\n",
    b"data: c",
    b"event: x\n",
    b"id: 1\n",
    b": note\n\n",
    b"\n",
    b"\r",
    b"event: y\ndata: g\n\n",
    BOM,
]


@given(st.lists(st.sampled_from([*WHOLE, *PARTS]), max_size=8))
def test_pieces_as_servers_send_them_give_the_same_events(pieces: list[bytes]) -> None:
    assert decode_to_end(*pieces) == decode_to_end(b"".join(pieces))
    assert plainly(decode(*pieces)) == reference(b"".join(pieces))


def test_a_piece_that_is_one_whole_event_need_not_be_taken_apart() -> None:
    decoder = SSEDecoder(max_event_bytes=20)
    assert decoder.only_data(b"data: a\n\n") is None  # a byte order mark may come before it
    decoder.feed(b"data: a\n\n")
    assert decoder.only_data(b"data: b\n\n") == b"b"
    assert decoder.only_data(b"data: longer than the limit\n\n") is None


@given(st.lists(st.sampled_from([*WHOLE, *PARTS]), max_size=8), st.sampled_from([*WHOLE, *PARTS]))
def test_what_is_not_taken_apart_is_the_same_event(before: list[bytes], piece: bytes) -> None:
    decoder = SSEDecoder()
    for each in before:
        decoder.feed(each)
    data = decoder.only_data(piece)
    assert data is None or [(e.data, e.event) for e in decoder.feed(piece)] == [(data, "message")]


@pytest.mark.parametrize("start", [b"data: ", b": "], ids=["event", "comment"])
def test_a_large_event_in_small_pieces_takes_linear_work(start: bytes) -> None:
    decoder, piece, count, work = SSEDecoder(), b"x" * 1024, 8 * 1024, 0
    decoder.feed(start)
    tracemalloc.start()
    try:
        for _ in range(count):
            before, _peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            decoder.feed(piece)
            work += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    # What is copied is allocated: joining what had come before at each piece would be 34 GB.
    assert work < 2 * 1024 * count
    assert [len(event.data) for event in decoder.feed(b"\n\n")] == ([1024 * count] if start == b"data: " else [])
