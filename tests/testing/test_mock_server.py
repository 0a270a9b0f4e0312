"""What the public test server promises, seen from a client's side of the wire."""

import gc
import importlib
import itertools
import json
import re
import runpy
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from nemotron_client.testing import (
    MockServer,
    RecordedRequest,
    Reply,
    cut,
    error,
    problem,
    stream_error,
    text,
    tool_calls,
)
from nemotron_client.testing.replies import MODEL

KEY = "nvapi-made-up"
WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}
NOTHING: dict[str, object] = {}
TIME: dict[str, object] = {"type": "function", "function": {"name": "getTime"}}


@pytest.fixture
def server() -> Iterator[MockServer]:
    with MockServer() as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(trust_env=False) as client:
        yield client


Chat = Callable[..., httpx2.Response]


@pytest.fixture
def chat(server: MockServer, http: httpx2.Client) -> Chat:
    """Post a chat with this user message and these other fields."""

    def post(content: object = "Hello", **fields: object) -> httpx2.Response:
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        return http.post(f"{server.base_url}/chat/completions", json={"model": MODEL, "messages": messages, **fields})

    return post


def said(response: httpx2.Response) -> str:
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def called(response: httpx2.Response) -> tuple[str, object]:
    function = response.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"])


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *rows, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(row.removeprefix("data: ")) for row in rows]


def address(server: MockServer) -> tuple[str, int]:
    url = httpx2.URL(server.base_url)
    return url.host, url.port or 0


def connect(server: MockServer, *, stream: bool = False) -> socket.socket:
    """Send a chat over a plain socket, where the end of a connection is plain to see."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: {len(body)}\r\n"
    raw = socket.create_connection(address(server), timeout=5)
    raw.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    return raw


def read_until(raw: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        received += raw.recv(1)


def read_to_end(raw: socket.socket) -> bytes:
    with raw:
        return b"".join(iter(lambda: raw.recv(65_536), b""))


# --- The server's life ---


def test_it_answers_inside_the_block_and_is_gone_after_it(http: httpx2.Client) -> None:
    with MockServer() as server:
        url = f"{server.base_url}/models"
        assert http.get(url).status_code == 200
    with pytest.raises(httpx2.ConnectError):
        http.get(url)


def test_it_takes_the_port_it_is_given_and_tells_the_caller_if_that_is_taken(server: MockServer) -> None:
    _, port = address(server)
    with pytest.raises(OSError, match="in use"):
        MockServer(port=port).start()


def test_its_url_before_it_has_a_port_is_an_error_that_tells_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"with MockServer\(\)"):
        _ = MockServer().base_url


def test_closing_ends_replies_connections_and_thread_and_counts_none_of_it_as_a_client_that_left() -> None:
    threads = threading.active_count()
    with MockServer() as server:
        server.always(Reply(chunks=[b"begun"], end="hang"))
        hanging = [connect(server) for _ in range(3)]
        for raw in hanging:
            assert raw.recv(1).startswith(b"H")
        idle = socket.create_connection(address(server), timeout=5)
        assert server.open_connections == 4
    assert [read_to_end(raw)[-2:] for raw in (*hanging, idle)] == [b"\r\n", b"\r\n", b"\r\n", b""]
    assert (server.open_connections, server.disconnects, threading.active_count()) == (0, 0, threads)
    server.close()  # again: nothing


def test_closing_while_connections_come_in_leaves_no_socket_open_and_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(10):
        with MockServer() as server:
            clients = [socket.create_connection(address(server)) for _ in range(10)]
        for client in clients:
            client.close()
    gc.collect()  # an open socket would be a ResourceWarning here
    assert caplog.records == []


def test_open_connections_are_right_at_once_after_a_client_opened_or_closed_one(server: MockServer) -> None:
    for _ in range(50):
        with socket.create_connection(address(server)), socket.create_connection(address(server)) as second:
            assert server.open_connections == 2
            second.close()
            assert server.open_connections == 1
        assert server.open_connections == 0


def test_it_shows_where_it_is(server: MockServer) -> None:
    assert repr(server) == f"<MockServer {server.base_url}>"
    assert repr(MockServer()) == "<MockServer not started>"


def run_as_a_program(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["testing", *arguments])
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.__main__", raising=False)
    runpy.run_module("nemotron_client.testing", run_name="__main__")


@pytest.mark.usefixtures("plain_imports")
def test_as_a_program_it_tells_how_to_use_it_and_serves_until_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], http: httpx2.Client
) -> None:
    def ctrl_c(_: float) -> None:
        told = re.fullmatch(
            r"Serving (\S+) until Ctrl-C\. Try: export NVIDIA_BASE_URL=(\S+)\n", capsys.readouterr().out
        )
        assert told
        assert told[1] == told[2]
        assert http.get(f"{told[1]}/models").status_code == 200
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", ctrl_c)
    threads = threading.active_count()
    run_as_a_program(monkeypatch, "--port", "0")
    assert threading.active_count() == threads


@pytest.mark.usefixtures("plain_imports")
def test_as_a_program_it_says_in_one_line_that_a_port_cant_be_used(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = str(address(server)[1])
    for port, why in ((taken, rf"Port {taken} can't be used: .* in use"), ("99999", "port=99999: a port is a number")):
        with pytest.raises(SystemExit) as left:
            run_as_a_program(monkeypatch, "--port", port)
        assert left.value.code == 2
        assert re.fullmatch(rf"{why}.*\n", capsys.readouterr().err)


@pytest.mark.usefixtures("plain_imports")
def test_as_a_program_without_its_extra_it_names_that_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit) as left:
        run_as_a_program(monkeypatch)
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"MockServer needs uvicorn.*pip install 'nemotron-client\[testing\]'\n", told)


def test_dir_shows_every_name_though_the_server_is_imported_when_it_is_asked_for() -> None:
    testing = importlib.import_module("nemotron_client.testing")
    assert dir(testing) == sorted(testing.__all__)
    assert "MockServer" in dir(testing)


def test_only_the_server_needs_uvicorn_whose_absence_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    testing = importlib.import_module("nemotron_client.testing")
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    importlib.reload(testing)
    with pytest.raises(ModuleNotFoundError, match=r"needs uvicorn.*pip install 'nemotron-client\[testing\]'"):
        _ = testing.MockServer


def test_a_wrong_name_is_an_attribute_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'MockServr'"):
        _ = importlib.import_module("nemotron_client.testing").MockServr


# --- What it records ---


def test_it_keeps_each_request_as_it_came(server: MockServer, http: httpx2.Client) -> None:
    body = '{"model": "mistralai/mistral-nemotron", "prompt": "größer"}'.encode()
    http.get(f"{server.base_url}/models", headers={"X-Thing": "1"})
    http.post(f"{server.base_url}/completions", content=body)
    listed, posted = server.requests
    assert (listed.method, listed.path, listed.headers["x-thing"], listed.body) == ("GET", "/v1/models", "1", b"")
    assert (posted.method, posted.path, posted.body) == ("POST", "/v1/completions", body)
    assert posted.json == {"model": MODEL, "prompt": "größer"}
    assert server.posts == 1


def test_a_large_body_arrives_whole(server: MockServer, chat: Chat) -> None:
    server.reply(Reply(body={}))
    assert chat("x" * 2_000_000).status_code == 200
    assert server.requests[0].json["messages"][0]["content"] == "x" * 2_000_000


def test_a_key_can_be_asserted_but_is_in_no_repr(server: MockServer, http: httpx2.Client) -> None:
    http.get(f"{server.base_url}/models", headers={"Authorization": f"Bearer {KEY}"})
    request = server.requests[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert (
        KEY
        not in f"{request!r} {request.headers!r} {request.headers['authorization']!r} {server!r} {server.requests!r}"
    )


def test_a_request_that_never_comes_whole_is_neither_recorded_nor_answered(server: MockServer) -> None:
    raw = socket.create_connection(address(server), timeout=5)
    raw.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: mock\r\nContent-Length: 9\r\n\r\nhalf")
    raw.shutdown(socket.SHUT_WR)
    assert read_to_end(raw) == b""
    assert (server.requests, server.disconnects) == ([], 0)


# --- Scripts ---


def test_scripted_replies_come_in_order_and_then_the_answers_that_need_no_script(
    server: MockServer, chat: Chat
) -> None:
    server.reply(error(503, "busy"), text("scripted"))
    assert [chat().status_code, said(chat()), said(chat())] == [503, "scripted", "Hello! How can I help you today?"]


def test_a_standing_reply_comes_when_nothing_is_queued_until_it_is_taken_back(server: MockServer, chat: Chat) -> None:
    server.always(text("always"))
    server.reply(text("once"))
    assert [said(chat()) for _ in range(3)] == ["once", "always", "always"]
    server.always(None)
    assert said(chat()) == "Hello! How can I help you today?"


def test_a_path_has_a_script_of_its_own_and_others_are_untouched(
    server: MockServer, chat: Chat, http: httpx2.Client
) -> None:
    server.reply(problem(503, "Service Unavailable"), path="/v1/models")
    server.always(Reply(status=202), path="/v2/anything")
    server.reply(text("for completions"))
    urls = [f"{server.base_url}/models", f"{server.base_url}/models", f"{server.base_url[:-3]}/v2/anything"]
    assert [http.get(url).status_code for url in urls] == [503, 200, 202]
    assert said(chat()) == "for completions"


def test_the_script_of_a_path_goes_before_that_of_all_completions(server: MockServer, chat: Chat) -> None:
    path = "/v1/chat/completions"
    server.always(text("always, anywhere"))
    server.always(text("always, here"), path=path)
    server.reply(text("anywhere"))
    server.reply(text("here"), path=path)
    assert [said(chat()) for _ in range(3)] == ["here", "anywhere", "always, here"]
    server.always(None, path=path)
    assert said(chat()) == "always, anywhere"


def test_a_function_of_the_request_is_a_reply_too(server: MockServer, chat: Chat) -> None:
    server.always(lambda request: text(request.headers["user-agent"].partition("/")[0])(request))
    assert said(chat()) == "python-httpx2"


# --- Scripts that are wrong ---


def post(http: httpx2.Client, server: MockServer) -> httpx2.Response:
    return http.post(f"{server.base_url}/completions", json={"prompt": "Hello"})


def test_a_function_that_fails_fails_the_test_and_the_client_gets_a_500_that_it_wont_try_again(
    http: httpx2.Client,
) -> None:
    def broken(request: RecordedRequest) -> Reply:
        raise LookupError(request.path)

    server = MockServer().start()
    server.reply(broken, broken)
    for _ in range(2):
        response = post(http, server)
        assert (response.status_code, response.headers["x-should-retry"]) == (500, "false")
        assert "LookupError('/v1/completions')" in response.json()["error"]["message"]
    with pytest.raises(LookupError, match="/v1/completions"):
        server.close()
    server.close()  # it has been told


def test_leaving_the_block_tells_of_a_function_that_returned_no_reply(http: httpx2.Client) -> None:
    def forgot(_: RecordedRequest) -> Any:  # noqa: ANN401 - what no checker lets pass
        return text("x")

    def serve() -> None:
        with MockServer() as server:
            server.always(forgot)
            assert post(http, server).status_code == 500

    with pytest.raises(TypeError, match=r"returned Answer\(text='x'.*, not a Reply"):
        serve()


def test_chunks_that_fail_after_the_headers_cut_the_answer_and_fail_the_test(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"data: {}\n\n"
        raise LookupError("of a chunk")

    server = MockServer().start()
    server.reply(Reply(chunks=chunks()))
    with pytest.raises(httpx2.RemoteProtocolError):
        post(http, server)
    with pytest.raises(LookupError, match="of a chunk"):
        server.close()
    assert [record.name for record in caplog.records] == ["nemotron_client.testing"]


def test_what_is_no_reply_is_refused_where_it_is_scripted(server: MockServer) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"5 is no reply: give a text, tool_calls\(\.\.\.\)"):
        server.reply(wrong)
    with pytest.raises(TypeError, match="5 is no reply"):
        server.always(wrong)


def test_what_is_no_text_is_refused_where_it_is_scripted() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="The text of an answer is a str, not 5"):
        text(wrong)


# --- Raw replies and how they end ---


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


# --- Answers, in the form that the request asks for ---


def test_a_text_as_a_body_has_all_of_vllms_fields(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good day"))
    message = {"role": "assistant", "content": "Good day", "refusal": None, "annotations": None, "audio": None}
    choice = {"index": 0, "message": {**message, "function_call": None, "reasoning": None}, "logprobs": None}
    choice |= {"finish_reason": "stop", "stop_reason": None, "token_ids": None, "routed_experts": None}
    usage = {"prompt_tokens": 4, "total_tokens": 7, "completion_tokens": 3}
    document = chat().json()
    assert document.pop("id").startswith("chatcmpl-")
    assert isinstance(document.pop("created"), int)
    assert document.pop("system_fingerprint").startswith("vllm-")
    assert document == {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [choice],
        "service_tier": None,
        "usage": {**usage, "prompt_tokens_details": None, "completion_tokens_details": None},
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def test_a_text_as_a_stream_comes_word_by_word_in_vllms_chunks(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good  day\n"))
    chunks = events(chat(stream=True))
    shared = {"object": "chat.completion.chunk", "model": MODEL}
    assert all(shared.items() <= chunk.items() for chunk in chunks)
    assert len({chunk["id"] for chunk in chunks}) == 1
    row = {"index": 0, "logprobs": None, "finish_reason": None}
    content = [[{**row, "delta": {"content": word}, "token_ids": None}] for word in ("Good", "  day", "\n")]
    first = [{**row, "delta": {"role": "assistant", "content": ""}}]
    empty: dict[str, str] = {}
    last = [{**row, "delta": empty, "token_ids": None, "finish_reason": "stop", "stop_reason": None}]
    assert [chunk["choices"] for chunk in chunks] == [first, *content, last]
    assert chunks[0].keys() - chunks[1].keys() == {"prompt_token_ids", "prompt_text"}
    assert chunks[-1].keys() - chunks[1].keys() == {"system_fingerprint"}


def test_usage_comes_in_a_last_chunk_without_choices_if_asked_for(server: MockServer, chat: Chat) -> None:
    server.reply(text("Good day", usage={"prompt_tokens": 7}))
    *chunks, finish, last = events(chat(stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "total_tokens": 7, "completion_tokens": 3}
    assert "system_fingerprint" in last
    assert not any("usage" in chunk or "system_fingerprint" in chunk for chunk in [*chunks, finish])


@pytest.mark.parametrize(("content", "deltas"), [("Good day", [" day"]), ("", [None])])
def test_another_finish_reason_shares_its_chunk_with_the_last_word(
    server: MockServer, chat: Chat, content: str, deltas: list[str | None]
) -> None:
    server.reply(text(content, finish_reason="length"))
    choices = [chunk["choices"] for chunk in events(chat(stream=True))]
    ends = {"index": 0, "logprobs": None, "finish_reason": "length", "stop_reason": None, "token_ids": None}
    assert choices[-1] == [{**ends, "delta": {"content": word} if word else {}} for word in deltas]


def test_a_text_completion_has_its_own_shapes(server: MockServer, http: httpx2.Client) -> None:
    server.always(text("Good day", finish_reason="length"))
    fields = {"model": MODEL, "prompt": ["ab", "cd"]}
    whole = http.post(f"{server.base_url}/completions", json=fields).json()
    assert (whole["object"], whole["usage"]["prompt_tokens"], "prompt_text" in whole) == ("text_completion", 4, False)
    nulls = dict.fromkeys(("logprobs", "stop_reason", "token_ids", "prompt_token_ids"))
    choice = {"index": 0, "text": "Good day", "finish_reason": "length", **nulls}
    assert whole["choices"] == [{**choice, "prompt_logprobs": None, "routed_experts": None}]
    chunks = events(http.post(f"{server.base_url}/completions", json={**fields, "stream": True}))
    assert [chunk["choices"] for chunk in chunks] == [
        [{"index": 0, "text": "Good", "finish_reason": None, **nulls}],
        [{"index": 0, "text": " day", "finish_reason": "length", **nulls}],
    ]


def test_tool_calls_as_a_body(server: MockServer, chat: Chat) -> None:
    server.always(tool_calls(("get_weather", {"city": "Zürich"}), ("now", "{broken")))
    choice = chat().json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    first, second = choice["message"]["tool_calls"]
    assert first["function"] == {"name": "get_weather", "arguments": '{"city": "Zürich"}'}
    assert second["function"] == {"name": "now", "arguments": "{broken"}
    assert len({first["id"], second["id"]}) == 2
    assert all(len(call["id"]) == 9 and call["id"].isalnum() and call["type"] == "function" for call in (first, second))
    assert chat().json()["choices"][0] == choice


def test_tool_calls_as_a_stream_come_in_fragments_with_the_reason_on_the_last(server: MockServer, chat: Chat) -> None:
    server.always(tool_calls(("get_weather", {"city": "Oslo"}), ("now", ""), text="One moment."))
    chunks = events(chat(stream=True))[1:]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice["delta"] for choice in choices]
    assert deltas[:2] == [{"content": "One"}, {"content": " moment."}]
    one, two = (call["id"] for call in chat().json()["choices"][0]["message"]["tool_calls"])
    assert [call for delta in deltas[2:] for call in delta["tool_calls"]] == [
        {"id": one, "type": "function", "index": 0, "function": {"name": "get_weather", "arguments": '{"'}},
        {"index": 0, "function": {"arguments": "city"}},
        {"index": 0, "function": {"arguments": '": "'}},
        {"index": 0, "function": {"arguments": "Oslo"}},
        {"index": 0, "function": {"arguments": '"}'}},
        {"id": two, "type": "function", "index": 1, "function": {"name": "now", "arguments": ""}},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 7 + ["tool_calls"]


def test_a_named_tool_finishes_with_stop_as_vllm_does(chat: Chat) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    response = chat("Hello", tools=[TIME, WEATHER], tool_choice=choice)
    assert called(response) == ("get_weather", {"city": "city", "unit": "c"})
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert said(response) == ""


def test_n_choices_are_repeated_in_a_body_and_interleaved_in_a_stream(chat: Chat) -> None:
    whole = chat(n=2).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1]
    assert whole["usage"]["completion_tokens"] == 20
    chunks = events(chat(n=2, stream=True))
    indexes = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert indexes == [0, 1] * (len(indexes) // 2)


def test_an_answer_can_be_broken_off(server: MockServer) -> None:
    server.always(cut(text("Good day to you"), after=3))
    received = read_to_end(connect(server, stream=True))
    assert received.count(b"data: ") == 3
    assert b'{"content":" day"}' in received
    assert not received.endswith(b"0\r\n\r\n")
    received = read_to_end(connect(server))
    assert b'"content":"Good day to you"' in received
    assert not received.endswith(b"0\r\n\r\n")


def test_an_answer_can_be_changed_once_it_knows_its_request(server: MockServer, chat: Chat) -> None:
    server.reply(lambda request: replace(text("x")(request), status=203, headers={"Nvcf-Reqid": "7"}))
    response = chat()
    assert (response.status_code, response.headers["nvcf-reqid"], said(response)) == (203, "7", "x")


# --- Errors ---


def test_errors_have_the_shapes_of_vllm_and_of_the_gateway(server: MockServer, chat: Chat) -> None:
    server.reply(
        error(400, "no", param="n"),
        error(503, "busy", headers={"Retry-After": "2"}),
        error(400, "no", type="Bad Request"),
        problem(429, "Too Many Requests"),
        problem(401, "Unauthorized", "Authentication failed", headers={"Nvcf-Status": "errored"}),
    )
    answers = [chat() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [400, 503, 400, 429, 401]
    assert [answer.json() for answer in answers] == [
        {"error": {"message": "no", "type": "BadRequestError", "param": "n", "code": 400}},
        {"error": {"message": "busy", "type": "Service Unavailable", "param": None, "code": 503}},
        {"error": {"message": "no", "type": "Bad Request", "param": None, "code": 400}},
        {"status": 429, "title": "Too Many Requests"},
        {"status": 401, "title": "Unauthorized", "detail": "Authentication failed"},
    ]
    assert answers[1].headers["retry-after"] == "2"
    assert answers[3].headers["content-type"] == "application/problem+json"
    assert answers[4].headers["nvcf-status"] == "errored"


def test_an_error_inside_a_stream_comes_with_200_and_done(server: MockServer, chat: Chat) -> None:
    server.always(stream_error(500, "engine died", text="Good day"))
    response = chat(stream=True)
    *said_before, last = events(response)
    assert response.status_code == 200
    assert len(said_before) == 3
    assert last == {"error": {"message": "engine died", "type": "InternalServerError", "param": None, "code": 500}}
    assert chat().status_code == 500
    server.always(stream_error(503, "busy", type="Busy"))
    assert [event.keys() for event in events(chat(stream=True))] == [{"error"}]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "message"),
    [
        ("chat/completions", b"{}", "text/plain", 400, "Unsupported Media Type: Only 'application/json' is allowed"),
        ("chat/completions", b"", "application/json", 400, "'loc': 'body', 'msg': 'Field required', 'input': 'None'}"),
        ("chat/completions", b'{"a": ', "application/json", 400, "'loc': 'body.6', 'msg': 'JSON decode error'"),
        ("chat/completions", b"[1, 2]", "application/json", 400, "'input': '<list of 2 items>'"),
        ("chat/completions", b'"ab"', "application/json", 400, "'input': 'ab'"),
        ("chat/completions", b'{"a": 1}', "application/json", 400, "'loc': 'body.messages', 'msg': 'Field required'"),
        ("chat/completions", b'{"messages": "hi"}', "application/json", 400, "'msg': 'Input should be a valid list'"),
        ("chat/completions", b'{"messages": []}', "application/json", 400, "list index out of range"),
        ("chat/completions", b'{"messages": ["hi"]}', "application/json", 400, "'loc': 'body.messages.0', "),
        ("chat/completions", b'{"messages": [{"content": 5}]}', "application/json", 400, "body.messages.0.content"),
        ("chat/completions", b'{"messages": [{"role": "user"}]}', "application/json", 400, "'content'"),
        ("chat/completions", b'{"messages": [{}], "tools": 5}', "application/json", 400, "'loc': 'body.tools'"),
        ("chat/completions", b'{"messages": [{}], "tools": [5]}', "application/json", 400, "body.tools.0'"),
        ("chat/completions", b'{"messages": [{}], "tools": [{"name": "f"}]}', "application/json", 400, "0.function'"),
        ("completions", b'{"prompt": ""}', "application/json", 400, "Either prompt or prompt_embeds must be provided"),
        (
            "completions",
            b'{"prompt": "x", "model": "nope"}',
            "application/json",
            404,
            "The model `nope` does not exist. Valid aliases: mistralai/mistral-nemotron.",
        ),
    ],
)
def test_a_bad_request_is_refused_in_vllms_words(
    *, server: MockServer, http: httpx2.Client, path: str, body: bytes, kind: str, status: int, message: str
) -> None:
    response = http.post(f"{server.base_url}/{path}", content=body, headers={"content-type": kind})
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


# --- The other routes ---


def test_the_models_are_the_one_it_serves_with_its_window(http: httpx2.Client) -> None:
    with MockServer(model="own/model", max_model_len=4096) as server:
        (card,) = http.get(f"{server.base_url}/models").json()["data"]
        tokens = http.post(f"{server.base_url[:-3]}/tokenize", json={"prompt": "Hello world"}).json()
    assert (card["id"], card["max_model_len"], card["owned_by"]) == ("own/model", 4096, "vllm")
    assert tokens == {"count": 3, "max_model_len": 4096, "tokens": [1, 22177, 4304], "token_strs": None}


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/health", 200, ""),
        ("GET", "/version", 200, '{"version":"0.32.0"}'),
        ("GET", "/v1/health/ready", 200, '{"object":"health.response","message":"Service is ready."}'),
        ("GET", "/v1/health/live", 200, '{"object":"health.response","message":"Service is live."}'),
        ("GET", "/v1/version", 200, '{"release":"2.1.5","api":"2.1.5"}'),
        ("GET", "/v1/nope", 404, '{"detail":"Not Found"}'),
        ("POST", "/v1/models", 405, '{"detail":"Method Not Allowed"}'),
        ("GET", "/v1/chat/completions", 405, '{"detail":"Method Not Allowed"}'),
    ],
)
def test_the_pages_of_vllm_and_nim(
    *, server: MockServer, http: httpx2.Client, method: str, path: str, status: int, body: str
) -> None:
    response = http.request(method, f"{server.base_url[:-3]}{path}")
    assert (response.status_code, response.text) == (status, body)
    assert ("allow" in response.headers) == (status == 405)


def test_nims_metadata_names_the_model(server: MockServer, http: httpx2.Client) -> None:
    assert http.get(f"{server.base_url}/metadata").json()["modelInfo"][0]["shortName"] == MODEL


def test_with_a_key_all_under_v1_asks_for_it_and_nothing_else(http: httpx2.Client) -> None:
    with MockServer(api_key=KEY) as server:
        url = f"{server.base_url}/models"
        refused = [http.get(url), http.get(url, headers={"Authorization": KEY}), http.post(f"{server.base_url}/nope")]
        welcome = http.get(url, headers={"Authorization": f"Bearer {KEY}"})
        open_to_all = http.get(f"{server.base_url[:-3]}/health")
    assert [(answer.status_code, answer.json()) for answer in refused] == [(401, {"error": "Unauthorized"})] * 3
    assert (welcome.status_code, open_to_all.status_code) == (200, 200)


# --- What it says when nothing is scripted ---


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("Hi there", "Hello! How can I help you today?"),
        ("What is new?", "You said: What is new?"),
        (
            [{"type": "text", "text": "Two"}, {"type": "text", "text": "parts"}],
            "You said: Two parts",
        ),
    ],
)
def test_it_greets_and_repeats_what_it_heard(chat: Chat, content: object, answer: str) -> None:
    assert said(chat(content)) == answer


def test_it_tells_a_story_of_some_sixty_words_the_same_each_time(chat: Chat) -> None:
    story = said(chat("Tell me a story."))
    assert 55 <= len(story.split()) <= 75
    assert said(chat("A long story, please")) == story


def test_a_text_completion_answers_its_prompt(server: MockServer, http: httpx2.Client) -> None:
    whole = http.post(f"{server.base_url}/completions", json={"prompt": "Once"}).json()
    assert whole["choices"][0]["text"] == "You said: Once"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_keeps_to_the_limit(chat: Chat, name: str) -> None:
    response = chat("Hello", **{name: 3})
    assert said(response) == "Hello! How"
    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert chat("Hello", **{name: 10}).json()["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("content", "choice", "call"),
    [
        ("What is the weather in Paris?", "auto", ("get_weather", {"city": "Paris", "unit": "c"})),
        ("And what time is it?", "auto", ("getTime", NOTHING)),
        ("Hello", "required", ("getTime", NOTHING)),
        ("weather please", "required", ("get_weather", {"city": "city", "unit": "c"})),
    ],
)
def test_it_calls_the_tool_that_the_question_has_a_word_of(
    chat: Chat, content: str, choice: str, call: tuple[str, object]
) -> None:
    assert called(chat(content, tools=[TIME, WEATHER], tool_choice=choice)) == call


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("What is the weather?", {"tools": [WEATHER], "tool_choice": "none"}),
        ("Just talk", {"tools": [WEATHER]}),
    ],
)
def test_it_calls_no_tool_otherwise(chat: Chat, content: str, fields: Mapping[str, object]) -> None:
    assert said(chat(content, **fields)) == f"You said: {content}"


def test_it_ends_a_tool_call_with_a_sentence_that_has_the_results(chat: Chat) -> None:
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages: list[object] = [
        {"role": "user", "content": "What is the weather in Paris and Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "abcdefgh2"}]},
        {"role": "tool", "tool_call_id": "abcdefgh1", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "abcdefgh2", "content": "3 degrees"},
    ]
    assert said(chat(messages=messages, tools=[WEATHER])) == "The answer is 12 degrees and 3 degrees."


def test_it_fills_a_json_schema(chat: Chat) -> None:
    schema: dict[str, object] = {
        "$defs": {
            "Line": {"type": "object", "properties": {"n": {"minimum": 5, "type": "integer"}}, "required": ["n"]}
        },
        "type": "object",
        "properties": {
            "customer": {"type": "string"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}, "minItems": 2},
            "tags": {"type": "array"},
            "price": {"type": "number"},
            "paid": {"type": "boolean"},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "kind": {"const": "invoice"},
            "currency": {"enum": ["EUR", "USD"]},
            "due": {"type": "string", "format": "date"},
            "optional": {"type": "string"},
        },
    }
    schema["required"] = ["customer", "lines", "tags", "price", "paid", "note", "kind", "currency", "due", "free"]
    wanted = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": schema}}
    assert json.loads(said(chat("The invoice for Ada", response_format=wanted))) == {
        "customer": "Ada",
        "lines": [{"n": 5}, {"n": 5}],
        "tags": [],
        "price": 1,
        "paid": True,
        "note": None,
        "kind": "invoice",
        "currency": "EUR",
        "due": "2026-01-01",
        "free": "Ada",
    }
    assert said(chat("Any", response_format={"type": "json_object"})) == "{}"
