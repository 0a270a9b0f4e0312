"""What tests over a socket ask with, and how they read what comes back."""

import json
import socket
from collections.abc import Callable
from typing import Any

import httpx2

from nemotron_client.testing import FakeServer, MockServer
from nemotron_client.testing.replies import MODEL
from tests.engine.histories import user

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
Chat = Callable[..., httpx2.Response]
Ask = Callable[..., httpx2.Response]


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


def asking(server: FakeServer) -> Ask:
    """Post a body to a fake, a chat if nothing else is said."""
    http = server.attach(httpx2.Client(trust_env=False))

    def post(route: str = "chat/completions", **fields: object) -> httpx2.Response:
        if route == "chat/completions":
            fields = {"messages": [user("Hello")], **fields}
        return http.post(f"{server.base_url}/{route}", json={"model": MODEL, **fields})

    return post


def told(response: httpx2.Response) -> str:
    body = response.json()
    message: str = body["error"]["message"] if "error" in body else body["message"]
    return message
