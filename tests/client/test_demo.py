"""The first run: `python -m nemotron_client`."""

import runpy
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nemotron_client.__main__ import main
from nemotron_client.testing import MockServer, error, text

ANSWERS = (
    "Hello! How can I help you today?",
    "Once upon a time",
    "Person(name='Alice', age=1)",
    'get_weather({"city": "Paris", "unit": "c"}) -> 18 degrees in Paris',
    "The answer is 18 degrees in Paris.",
)
BAD_DAY = "StreamInterruptedError: The stream began, and then the connection was lost"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the pauses out that make the demo's stream look like one."""

    def without_pauses(*, chunk_delay: float) -> MockServer:
        assert chunk_delay
        return MockServer()

    monkeypatch.setattr("nemotron_client.testing.server.MockServer", without_pauses)


def test_it_needs_neither_key_nor_network() -> None:
    command = [sys.executable, "-W", "error", "-m", "nemotron_client"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    assert "a scripted MockServer on this machine answers" in done.stdout
    assert all(answer in done.stdout for answer in (*ANSWERS, BAD_DAY, "still there: 'Once upon a'", "Next: docs/"))


@pytest.mark.usefixtures("at_once", "plain_imports")
def test_the_same_in_this_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.__main__")
    monkeypatch.setattr(sys, "argv", ["nemotron_client"])
    with pytest.raises(SystemExit) as exited:
        runpy.run_module("nemotron_client", run_name="__main__")
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    assert all(answer in shown for answer in (*ANSWERS, BAD_DAY, "(stop, 14 tokens)"))


def test_it_talks_to_the_server_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer(api_key="nvapi-made-up") as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-made-up")
        assert main([]) == 0
        assert server.posts == 5
    shown = capsys.readouterr().out
    assert f"Talking to Nemotron(base_url='{server.base_url}'" in shown
    assert "nvapi" not in shown
    assert all(answer in shown for answer in ANSWERS)
    assert BAD_DAY not in shown


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockServer]:
    with MockServer() as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        yield server


def test_a_cut_answer_and_a_tool_that_was_not_called_are_told(
    server: MockServer, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = '{"name": "Alice", "age": 7}'
    server.reply(text("Well,", finish_reason="length"), text("Once."), text(alice), text("It rains."))
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "Well,\n[cut short by max_tokens] (length, 6 tokens)" in shown
    assert "tools=[get_weather], max_tokens=100)\nIt rains.\n(stop, " in shown
    assert server.posts == 4


@pytest.mark.usefixtures("clock")
def test_waits_are_told(server: MockServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.reply(error(429, "slow down", headers={"retry-after": "4"}))
    assert main([]) == 0
    told = capsys.readouterr()
    assert "RateLimitError (429): the next try in 4 s\n" in told.err
    assert all(answer in told.out for answer in ANSWERS)


@pytest.mark.usefixtures("server")
def test_ctrl_c_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ctrl_c(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nemotron_client.__main__._ask", ctrl_c)
    assert main([]) == 130
    assert capsys.readouterr().err == "\n"


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.testing.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        SystemExit, match=r"^MockServer needs uvicorn.*pip install '\.\[testing\]' in a copy of nemotron-client$"
    ):
        main([])


def test_help_is_a_sentence_and_anything_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["--help"], 0), (["story"], 2)):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == status
    told = capsys.readouterr()
    assert "Show an answer, a stream, a typed answer and a tool call" in told.out
    assert "unrecognized arguments: story" in told.err


@pytest.mark.usefixtures("clock")
def test_a_server_that_is_not_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer() as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
    assert main([]) == 1
    told = capsys.readouterr().err
    assert "the next try in " in told
    told = told[told.index("APIConnectionError: GET") :]
    assert told.startswith(f"APIConnectionError: GET {server.base_url}/models: nothing listens there")
    assert "What to do: Check that the server runs" in told
    assert "Traceback" not in told


def test_a_wrong_key_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with MockServer(api_key="nvapi-another") as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-made-up")
        assert main([]) == 1
    told = capsys.readouterr().err
    assert told.startswith("AuthenticationError: 401")
    assert "nvapi-made-up" not in told
