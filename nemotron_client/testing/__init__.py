"""Test an application that uses Nemotron: `MockServer`, a real HTTP server, and what it can be told to answer.

from nemotron_client.testing import MockServer, error, text

with MockServer() as server, Nemotron(base_url=server.base_url) as client:
    server.reply(error(429, "slow down", headers={"retry-after": "1"}), text("Hello!"))
    assert client.chat.completions.create(messages="Hi").text == "Hello!"
    assert server.posts == 2
"""

from typing import TYPE_CHECKING

from nemotron_client.testing.replies import (
    Answer,
    RecordedRequest,
    Reply,
    Scripted,
    cut,
    error,
    problem,
    stream_error,
    text,
    tool_calls,
)

if TYPE_CHECKING:
    from nemotron_client.testing.server import MockServer
else:

    def __getattr__(name: str) -> object:
        # Not before it is used: it needs uvicorn, which only the extra `testing` brings.
        if name == "MockServer":
            from nemotron_client.testing.server import MockServer

            return MockServer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(__all__)


__all__ = [
    "Answer",
    "MockServer",
    "RecordedRequest",
    "Reply",
    "Scripted",
    "cut",
    "error",
    "problem",
    "stream_error",
    "text",
    "tool_calls",
]
