"""The public test server's life, and what it keeps of requests, seen from a client's side of the wire."""

import gc
import importlib
import re
import runpy
import socket
import sys
import threading
import time

import httpx2
import pytest

from nemotron_client.testing import (
    MockServer,
    Reply,
)
from nemotron_client.testing.replies import MODEL
from tests.testing.wire import KEY, Chat, address, connect, read_to_end


def threads_since(before: list[threading.Thread]) -> list[threading.Thread]:
    """Not a difference of counts: a thread that an earlier test had may end at any time."""
    return [thread for thread in threading.enumerate() if thread not in before]


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
    before = threading.enumerate()
    with MockServer() as server:
        server.always(Reply(chunks=[b"begun"], end="hang"))
        hanging = [connect(server) for _ in range(3)]
        for raw in hanging:
            assert raw.recv(1).startswith(b"H")
        idle = socket.create_connection(address(server), timeout=5)
        assert server.open_connections == 4
    assert [read_to_end(raw)[-2:] for raw in (*hanging, idle)] == [b"\r\n", b"\r\n", b"\r\n", b""]
    assert (server.open_connections, server.disconnects, threads_since(before)) == (0, 0, [])
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


def test_it_may_be_started_again_and_twice_is_once(http: httpx2.Client) -> None:
    server = MockServer()
    for _ in range(2):
        with server.start() as started, server:
            assert started is server
            assert http.get(f"{server.base_url}/models").status_code == 200


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
    before = threading.enumerate()
    run_as_a_program(monkeypatch, "--port", "0")
    assert threads_since(before) == []


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
    assert re.fullmatch(r"MockServer needs uvicorn.*pip install '\.\[testing\]' in a copy of nemotron-client\n", told)


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
    with pytest.raises(ModuleNotFoundError, match=r"needs uvicorn.*pip install '\.\[testing\]'"):
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
