"""Raw replies, down to how they end, as they come over the wire."""

import itertools
import select
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import httpx2
import pytest

from nemotron_client.testing import MockServer, Reply, cut, error, problem, text
from tests.testing.wire import Chat, connect, read_to_end, read_until


@pytest.mark.parametrize(
    ("reply", "kind", "body"),
    [
        (Reply(body=b"\x00\xff"), None, b"\x00\xff"),
        (Reply(body="größer"), "text/plain; charset=utf-8", "größer".encode()),
        (Reply(body={"a": ["ß", 1]}), "application/json", '{"a":["ß",1]}'.encode()),
        (Reply(body={}, headers={"Content-Type": "text/html"}), "text/html", b"{}"),
        (Reply(status=204), None, b""),
        (Reply(chunks=[]), "text/event-stream; charset=utf-8", b""),
    ],
)
def test_a_body_is_bytes_text_or_json(
    server: MockServer, chat: Chat, reply: Reply, kind: str | None, body: bytes
) -> None:
    server.reply(reply)
    response = chat()
    assert (response.status_code, response.headers.get("content-type"), response.content) == (reply.status, kind, body)


def test_the_request_id_is_the_answers_id_and_no_header_as_with_vllm(server: MockServer, http: httpx2.Client) -> None:
    headers = {"X-Request-Id": "abc"}
    response = http.post(f"{server.base_url}/completions", json={"prompt": "x"}, headers=headers)
    assert response.json()["id"] == "cmpl-abc"
    assert "x-request-id" not in response.headers


def test_each_chunk_is_an_http_chunk_of_its_own(server: MockServer) -> None:
    server.reply(Reply(headers={"connection": "close"}, chunks=[b"one", b"", b"three"]))
    assert read_to_end(connect(server)).partition(b"\r\n\r\n")[2] == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


def test_a_cut_closes_the_connection_without_the_end_of_the_body(server: MockServer) -> None:
    server.reply(Reply(chunks=[b"one"], end="cut"), Reply(body=b"one", headers={"Content-Length": "9"}, end="cut"))
    assert read_to_end(connect(server)).endswith(b"\r\n\r\n3\r\none\r\n")
    assert read_to_end(connect(server)).endswith(b"content-length: 9\r\n\r\none")
    assert server.disconnects == 0


def test_a_reset_is_a_tcp_reset(server: MockServer) -> None:
    server.reply(Reply(chunks=[b"one"], end="reset"))
    with pytest.raises(ConnectionResetError):
        read_to_end(connect(server))


@pytest.mark.parametrize("end", ["close", "cut"])
def test_status_0_ends_before_any_header(server: MockServer, end: str) -> None:
    server.reply(Reply(status=0, end="cut" if end == "cut" else "close"))
    assert read_to_end(connect(server)) == b""


def test_status_0_can_reset_before_any_header(server: MockServer) -> None:
    server.reply(Reply(status=0, end="reset"))
    with pytest.raises(ConnectionResetError):
        read_to_end(connect(server))


@pytest.mark.parametrize(
    ("reply", "begun"), [(Reply(status=0, end="hang"), b""), (Reply(body="x", end="hang"), b"\r\n\r\n1\r\nx\r\n")]
)
def test_a_hanging_reply_sends_nothing_more_until_the_client_leaves(
    server: MockServer, reply: Reply, begun: bytes
) -> None:
    server.reply(reply)
    with connect(server) as raw:
        read_until(raw, begun)
        assert select.select([raw], [], [], 0.01)[0] == []
        assert server.disconnects == 0
    assert server.wait_for_disconnect()


@pytest.mark.parametrize("chunk_delay", [0.0, 0.001])
def test_an_endless_stream_stops_when_the_client_leaves(server: MockServer, chunk_delay: float) -> None:
    sent = itertools.count()
    server.reply(Reply(chunks=(b": %d\n\n" % number for number in sent), chunk_delay=chunk_delay))
    with connect(server) as raw:
        read_until(raw, b": 3\n\n")
    assert server.wait_for_disconnect()
    stopped_at = next(sent)
    assert server.open_connections == 0
    assert next(sent) == stopped_at + 1


def test_a_client_that_reads_nothing_holds_an_endless_stream_up(server: MockServer) -> None:
    server.reply(Reply(chunks=itertools.repeat(bytes(1_000_000))))
    raw = connect(server)
    assert server.open_connections == 1
    raw.close()
    assert server.wait_for_disconnect()


def test_a_client_that_leaves_within_a_large_body_is_counted(server: MockServer) -> None:
    server.reply(Reply(body=bytes(50_000_000)))
    with connect(server) as raw:
        read_until(raw, b"\r\n\r\n")
    assert server.wait_for_disconnect()


def test_a_client_that_leaves_before_the_headers_is_counted(server: MockServer) -> None:
    server.always(Reply(delay=60))
    assert not server.wait_for_disconnect(timeout=0)
    for _ in range(2):
        connect(server).close()
    assert server.wait_for_disconnect(2)
    assert server.disconnects == 2


def test_delays_are_before_the_headers_and_between_chunks(http: httpx2.Client) -> None:
    with MockServer(chunk_delay=0.005) as server:
        server.reply(text("two words"), Reply(delay=0.01))
        url, fields = f"{server.base_url}/completions", {"prompt": "x", "stream": True}
        times = [time.monotonic()]
        for _ in range(2):
            http.post(url, json=fields)
            times.append(time.monotonic())
    assert times[1] - times[0] >= 0.015  # two words, the end, [DONE]: three pauses
    assert times[2] - times[1] >= 0.01


def test_a_replys_own_delay_between_chunks_goes_before_the_servers(http: httpx2.Client) -> None:
    with MockServer(chunk_delay=60) as server:
        server.reply(Reply(chunks=[b"1", b"2", b"3"], chunk_delay=0.0))
        assert http.post(f"{server.base_url}/completions").content == b"123"


WRONG: Any = None  # what no checker lets pass
TEXT: Any = "x"
BYTES: Any = b"x"
NUMBERS: Any = {"retry-after": 20}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(Reply, end=WRONG), "end=None: give 'close', 'cut', 'reset', 'hang'"),
        (partial(Reply, status=WRONG), "The status of a reply is a number, not None"),
        (partial(Reply, status=True), "The status of a reply is a number, not True"),
        *((partial(Reply, status=status), f"status={status}: give one") for status in (-1, 99, 101, 600)),
        (partial(error, WRONG, "busy"), "The status of a reply is a number, not None"),
        (partial(problem, WRONG, "busy"), "The status of a reply is a number, not None"),
        (partial(Reply, chunks=BYTES), "chunks=b'x': give several, each of bytes"),
        (partial(Reply, chunks=TEXT), "chunks='x': give several, each of bytes"),
        (partial(error, 429, "slow down", headers=NUMBERS), "The header 'retry-after' is 20: give texts"),
        (partial(Reply, headers={"a b": "c"}), "The header 'a b' can't be 'c'"),
        (partial(Reply, headers={"set-cookie": "session=s3cret\n"}), r"The header 'set-cookie' can't be \*\*\*: HTTP"),
        *((partial(Reply, headers={"a": value}), "The header 'a' can't be") for value in ("b\r\nc: d", " b", "\u20ac")),
        (partial(cut, WRONG, after=1), r"cut\(...\) is given None: give a text, or an answer such as tool_calls"),
    ],
)
def test_what_no_reply_can_have_is_refused_where_the_script_is_written(make: Callable[[], object], told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        make()


def test_an_error_may_have_a_status_that_no_specification_knows() -> None:
    body = error(529, "overloaded").body
    assert isinstance(body, Mapping)
    assert body["error"] == {"message": "overloaded", "type": "Error", "param": None, "code": 529}
