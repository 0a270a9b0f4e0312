"""Each example runs, against a server that is named by NVIDIA_BASE_URL only."""

import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from nemotron_client.testing import MockServer, Scripted, cut, error, text, tool_calls

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = [
    ("ask.py", "Hello! How can I help you today?"),
    ("stream.py Tell me a story", "In the morning the fishermen towed it home"),
    ("async_stream.py", "B: Hello! How can I help you today?"),
    ("async_stream.py trio", "A: Once upon a time"),
    ("tool_call.py", "The answer is 18 degrees and sunny in Paris."),
    ("extract.py", "done: Order(customer='Please', address='Please', deliver_by=datetime.date(2026, 1, 1)"),
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
        ("extract.py", text('{"customer": ', finish_reason="length"), r"cut short (.|\n)*The answer was: {"),
    ],
)
def test_an_example_tells_of_a_bad_day(
    command: str, reply: Scripted, left_with: str, server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.reply(reply)
    assert re.search(left_with, str(run(monkeypatch, command)))


def results(server: MockServer) -> list[str]:
    """Return what the model was told of its calls, in the last request of each run."""
    conversations: list[list[dict[str, str]]] = [
        request.json["messages"] for request in server.requests if request.method == "POST"
    ]
    ended = {messages[0]["content"]: messages for messages in conversations}.values()
    return [message["content"] for messages in ended for message in messages if message["role"] == "tool"]


@pytest.mark.parametrize("flags", ["", "--stream", "--async", "--async --stream"])
def test_the_agent_calls_each_of_its_tools_tries_again_and_asks(
    flags: str, server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weather = [("get_weather", {"city": city}) for city in ("Paris", "Oslo")]
    server.reply(tool_calls(*weather), tool_calls(weather[0]), text("It is clear in both."))
    assert run(monkeypatch, "agent.py", "--yes", *flags.split()) == 0
    told = results(server)
    assert "The weather service is busy: try again." in told[:2]
    assert told[2:4] == ['{"city":"Paris","degrees":12,"sky":"clear"}', "It is 14:05 in tz."]
    assert told[4].startswith("[\"Document 1 of 5 about 'query'\",")
    printed = capsys.readouterr().out
    assert "> What is the weather in Paris and Oslo?" in printed
    assert "It is clear in both.\n[completed after 3 turns]" in printed
    assert printed.count("[completed after 2 turns]") == 2
    assert ("[paused after 1 turns]" in printed) is ("--stream" in flags)


@pytest.mark.parametrize("typed", ["n\n", ""])  # and nobody at the terminal
def test_the_agent_hears_of_a_no(
    typed: str, server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert run(monkeypatch, "agent.py") == 0
    assert results(server)[-1] == "The call was declined: The user doesn't want that."
    assert "search_docs" in capsys.readouterr().out


def test_the_health_check_of_a_server_that_is_loading_fails(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.reply(error(503, "Service is not ready."), path="/v1/health/ready")
    assert run(monkeypatch, "health.py") == 1
    assert "ready: False" in capsys.readouterr().out


def test_a_document_of_three_windows_is_summed_up_part_by_part(
    server: MockServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "document.txt"
    document.write_text("The ferry leaves at nine. It is never late.\n\n" * 1024)  # of 12 tokens each
    with MockServer(max_model_len=4096) as small:
        monkeypatch.setenv("NVIDIA_BASE_URL", small.base_url)
        small.always("It is about a ferry.")
        assert run(monkeypatch, "summarise.py", str(document)) == 0
    parts = [request.json["messages"][1]["content"] for request in small.requests if request.method == "POST"]
    assert "".join(parts[:-1]) == document.read_text()
    assert parts[-1] == "\n\n".join(["It is about a ferry."] * 4)
    printed = capsys.readouterr()
    assert printed.out == "It is about a ferry.\n"
    assert "part 4 of 4: " in printed.err
    assert server.requests == []


def test_a_window_that_not_even_a_part_fits_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = tmp_path / "document.txt"
    document.write_text("ferry" * 100)
    with MockServer(max_model_len=400) as tiny:
        monkeypatch.setenv("NVIDIA_BASE_URL", tiny.base_url)
        assert str(run(monkeypatch, "summarise.py", str(document))).startswith("The window is too small for that: The ")
        assert tiny.posts == 0


def test_no_document_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "summarise.py") == "Which document? python examples/summarise.py document.txt"


def test_every_example_is_tested() -> None:
    tested = {command.split()[0] for command, _ in COMMANDS} | {"agent.py", "summarise.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_the_tests_of_the_application_that_is_tested_pass_and_leave_nothing_behind() -> None:
    folder = EXAMPLES / "testing_your_app"
    before = {path: path.stat().st_mtime for path in folder.rglob("*")}
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "nemotron_client_pytest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(  # noqa: S603 - nothing in it comes from outside
        [*command, "-W", "error"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "5 passed" in done.stdout, done.stdout
    assert {path: path.stat().st_mtime for path in folder.rglob("*")} == before
