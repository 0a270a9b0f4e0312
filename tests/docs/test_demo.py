"""What a newcomer sees first: the README's first command ends in ``python -m nemotron_client``."""

import runpy

import pytest

from nemotron_client import testing
from nemotron_client.testing import MockServer, error


def run_demo() -> object:
    """Return the exit status."""
    with pytest.raises(SystemExit) as left:
        runpy.run_module("nemotron_client", run_name="__main__")
    return left.value.code


def test_without_key_or_address_a_scripted_server_answers_and_the_demo_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def at_once(**_: float) -> MockServer:
        return MockServer()

    monkeypatch.setattr(testing, "MockServer", at_once, raising=False)
    assert run_demo() == 0
    printed = capsys.readouterr().out
    for each in ("a scripted MockServer", "Hello! How can I help", "Once upon a time", 'get_weather({"city": "Paris"'):
        assert each in printed


@pytest.mark.parametrize("name", ["NVIDIA_BASE_URL", "NVIDIA_API_KEY"])
def test_with_a_key_or_an_address_the_real_server_answers(
    name: str, server: MockServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(name)
    assert run_demo() == 0
    assert "Talking to Nemotron(base_url=" in capsys.readouterr().out
    assert server.posts == 3


def test_what_goes_wrong_is_told_without_a_traceback(server: MockServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.reply(error(400, "on fire"))
    assert run_demo() == 1
    assert capsys.readouterr().err.startswith("BadRequestError: 400 Bad Request")
