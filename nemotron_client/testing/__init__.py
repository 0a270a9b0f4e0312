"""Test doubles for applications that use Nemotron: a real HTTP server, and what it can be told to answer."""

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
