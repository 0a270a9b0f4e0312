"""Each example runs, against a server that is named by NVIDIA_BASE_URL only."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from nemotron_client.testing import MockServer, Scripted, cut, error, text

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = [
    ("ask.py", "Hello! How can I help you today?"),
    ("stream.py Tell me a story", "In the morning the fishermen towed it home"),
    ("async_stream.py", "B: Hello! How can I help you today?"),
    ("async_stream.py trio", "A: Once upon a time"),
    ("tool_call.py", "The answer is 18 degrees and sunny in Paris."),
    ("health.py", "window of mistralai/mistral-nemotron: 131072 tokens"),
]


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> object:
    """Return the exit status: a number, or the words of the script's last message."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as left:
        return left.code
    return 0


@pytest.mark.parametrize(("command", "printed"), COMMANDS)
@pytest.mark.usefixtures("server")
def test_an_example_prints_what_it_got(
    command: str, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *command.split()) == 0
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "reply", "left_with"),
    [
        ("ask.py", error(400, "on fire"), "BadRequestError: 400 Bad Request from POST .*: on fire"),
        ("stream.py", cut(text("The first half"), after=2), "It broke off: The stream began"),
    ],
)
def test_an_example_tells_of_a_bad_day(
    command: str, reply: Scripted, left_with: str, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(reply)
    assert re.search(left_with, str(run(monkeypatch, command)))


def test_the_health_check_of_a_server_that_is_loading_fails(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(error(503, "Service is not ready."), path="/v1/health/ready")
    assert run(monkeypatch, "health.py") == 1
    assert "ready: False" in capsys.readouterr().out


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {command.split()[0] for command, _ in COMMANDS}
