"""Tests of the weather desk. `pytest` in this folder runs them, without a network.

The cassette was recorded once, by `pytest --nemotron-cassettes=record`. With NVIDIA's endpoint that needs a key; this
one comes from `python -m nemotron_client.testing --port 8000`, with NVIDIA_BASE_URL=http://localhost:8000/v1.
"""

from weather_desk import answer

from nemotron_client import Nemotron
from nemotron_client.testing import Cassette, FakeServer, MockServer, cut, error, text, tool_calls

MODEL = "mistralai/mistral-nemotron"


def test_it_asks_the_station_that_the_model_names(nemotron_fake: FakeServer) -> None:
    nemotron_fake.reply(tool_calls(("get_weather", {"city": "Oslo"})), "Rain in Oslo.")
    assert "".join(answer(nemotron_fake.client(), "Do I need an umbrella in Oslo?")) == "Rain in Oslo."
    nemotron_fake.assert_asked("Do I need an umbrella in Oslo?", "4 degrees and rain")
    first, second = nemotron_fake.asked
    first.assert_asked(tools=["get_weather"], stream=False, temperature=0.2)
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "tool"]


def test_the_model_reads_that_there_is_no_such_station(nemotron_fake: FakeServer) -> None:
    nemotron_fake.reply(tool_calls(("get_weather", {"city": "Atlantis"})), "I can't tell.")
    assert "".join(answer(nemotron_fake.client(), "Weather in Atlantis?")) == "I can't tell."
    assert "no such station" in nemotron_fake.asked[-1].question


def test_a_broken_line_is_told_to_the_caller(nemotron_fake: FakeServer) -> None:
    nemotron_fake.reply(tool_calls(("get_weather", {"city": "Oslo"})), cut(text("Rain in Oslo."), after=3))
    said = "".join(answer(nemotron_fake.client(), "Weather in Oslo?"))
    assert said == "Rain in... (the line is dead)"


def test_an_outage_is_no_crash(nemotron_server: MockServer) -> None:
    nemotron_server.reply(error(503, "on fire"))
    with Nemotron(base_url=nemotron_server.base_url, max_retries=0) as client:
        assert [*answer(client, "Weather in Oslo?")] == ["Nobody is at the weather desk now."]


def test_a_whole_conversation_as_a_server_really_led_it(nemotron_cassette: Cassette) -> None:
    client = nemotron_cassette.client(model=MODEL)
    assert "18 degrees" in "".join(answer(client, "What is the weather in Paris?"))
    nemotron_cassette.assert_asked("What is the weather in Paris?", "18 degrees and sunny")
