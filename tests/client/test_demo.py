"""The first run: `python -m nemotron_client`."""

import runpy
import subprocess
import sys

import pytest

from nemotron_client.__main__ import main
from nemotron_client.testing import MockServer

ANSWERS = ("Hello! How can I help you today?", "Once upon a time", 'get_weather({"city": "Paris", "unit": "c"})')


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the pauses out that make the demo's stream look like one."""

    def without_pauses(*, chunk_delay: float) -> MockServer:
        assert chunk_delay
        return MockServer()

    monkeypatch.setattr("nemotron_client.testing.server.MockServer", without_pauses)


def test_it_needs_neither_key_nor_network() -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "nemotron_client"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (0, "")
    assert "a scripted MockServer on this machine answers" in done.stdout
    assert all(answer in done.stdout for answer in ANSWERS)


@pytest.mark.usefixtures("at_once")
def test_the_same_in_this_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nemotron_client.__main__")
    with pytest.raises(SystemExit) as exited:
        runpy.run_module("nemotron_client", run_name="__main__")
    assert exited.value.code == 0
    shown = capsys.readouterr().out
    assert all(answer in shown for answer in ANSWERS)


def test_it_talks_to_the_server_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer(api_key="nvapi-made-up") as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-made-up")
        assert main() == 0
        assert server.posts == 3
    shown = capsys.readouterr().out
    assert f"Talking to Nemotron(base_url='{server.base_url}'" in shown
    assert "nvapi" not in shown
    assert all(answer in shown for answer in ANSWERS)


@pytest.mark.usefixtures("clock")
def test_a_server_that_is_not_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer() as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
    assert main() == 1
    told = capsys.readouterr().err
    assert told.startswith(f"APIConnectionError: GET {server.base_url}/models: nothing listens there")
    assert "What to do: Check that the server runs" in told
    assert "Traceback" not in told


def test_a_wrong_key_is_told_in_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with MockServer(api_key="nvapi-another") as server:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        monkeypatch.setenv("NVIDIA_API_KEY", "nvapi-made-up")
        assert main() == 1
    told = capsys.readouterr().err
    assert told.startswith("AuthenticationError: 401")
    assert "nvapi-made-up" not in told
