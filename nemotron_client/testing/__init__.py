"""Test an application that uses Nemotron: a fake server, a real one, cassettes, and what they can be told to answer.

from nemotron_client.testing import FakeServer, error, text

with FakeServer(error(429, "slow down", headers={"retry-after": "1"}), text("Hello!")) as fake:
    assert fake.client().chat.completions.create(messages="Hi").text == "Hello!"
    fake.assert_asked("Hi", "Hi")
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nemotron_client.testing.answers import Answer
from nemotron_client.testing.lines import cut, stream_error, text, tool_calls
from nemotron_client.testing.recorded import RecordedRequest
from nemotron_client.testing.replies import Reply, Scripted, error, problem

if TYPE_CHECKING:
    from nemotron_client.testing.cassettes import Cassette, CassetteError, UnusedRecordingWarning, replayed
    from nemotron_client.testing.fake import FakeServer
    from nemotron_client.testing.hosted import Hosted
    from nemotron_client.testing.script import ScriptWarning
    from nemotron_client.testing.server import MockServer
else:
    # Not before they are used: the fake and cassettes need the asynchronous client, the server needs uvicorn, which
    # only the extra `testing` brings.
    _HOMES = {
        "Cassette": "cassettes",
        "CassetteError": "cassettes",
        "FakeServer": "fake",
        "Hosted": "hosted",
        "MockServer": "server",
        "ScriptWarning": "script",
        "UnusedRecordingWarning": "cassettes",
        "replayed": "cassettes",
    }

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted(__all__)


__all__ = [
    "Answer",
    "Cassette",
    "CassetteError",
    "FakeServer",
    "Hosted",
    "MockServer",
    "RecordedRequest",
    "Reply",
    "ScriptWarning",
    "Scripted",
    "UnusedRecordingWarning",
    "cut",
    "error",
    "problem",
    "replayed",
    "stream_error",
    "text",
    "tool_calls",
]
