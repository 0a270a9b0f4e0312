"""What a test may ask of a request that came, and how it is told what is wrong, of a fake as of a server."""

from collections.abc import Iterator

import pytest

from nemotron_client import Nemotron
from nemotron_client.testing import FakeServer, MockServer, RecordedRequest

WEATHER: dict[str, object] = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
MODEL = "mistralai/mistral-nemotron"


@pytest.fixture(params=["fake", "server"])
def server(request: pytest.FixtureRequest) -> Iterator[FakeServer | MockServer]:
    with FakeServer() if request.param == "fake" else MockServer() as server:
        yield server


@pytest.fixture
def client(server: FakeServer | MockServer) -> Iterator[Nemotron]:
    if isinstance(server, FakeServer):
        yield server.client()
    else:
        with Nemotron(base_url=server.base_url, model=MODEL) as client:
            yield client


@pytest.fixture
def request_(server: FakeServer | MockServer, client: Nemotron) -> RecordedRequest:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Weather in Paris?"}]
    with client.chat.completions.stream(messages=messages, tools=[WEATHER], temperature=0.5) as stream:
        stream.until_done()
    (request,) = server.asked
    return request


def told(request: RecordedRequest, **expected: object) -> str:
    with pytest.raises(AssertionError) as caught:
        request.assert_asked(**expected)  # type: ignore[arg-type] # any of them
    return str(caught.value)


def test_its_parts_can_be_compared(request_: RecordedRequest) -> None:
    assert request_.question == "Weather in Paris?"
    assert [message["role"] for message in request_.messages] == ["system", "user"]
    assert request_.tools == ["get_weather"]
    assert request_.model == MODEL
    assert request_.stream
    assert request_.options == {"temperature": 0.5, "stream_options": {"include_usage": True}}


def test_what_is_right_passes_and_what_is_not_given_is_not_looked_at(request_: RecordedRequest) -> None:
    request_.assert_asked()
    request_.assert_asked("Weather in Paris?", stream=True, tools=["get_weather"], model=MODEL, temperature=0.5)
    request_.assert_asked(messages=tuple(request_.messages))


def test_tools_are_a_list_of_names(request_: RecordedRequest) -> None:
    with pytest.raises(TypeError, match=r"tools='get_weather': give a list of names"):
        request_.assert_asked(tools="get_weather")


def test_every_difference_is_told_at_once(request_: RecordedRequest) -> None:
    assert told(
        request_, question="Weather in Rome?", tools=["get_weather", "get_time"], stream=False, temperature=1, top_p=1
    ) == (
        "POST /v1/chat/completions asked something else:\n"
        "--- question expected\n+++ question sent\n@@ -1 +1 @@\n-Weather in Rome?\n+Weather in Paris?\n"
        "--- stream expected\n+++ stream sent\n@@ -1 +1 @@\n-false\n+true\n"
        "--- tools expected\n+++ tools sent\n@@ -1,4 +1,3 @@\n"
        ' [\n-  "get_weather",\n-  "get_time"\n+  "get_weather"\n ]\n'
        "--- temperature expected\n+++ temperature sent\n@@ -1 +1 @@\n-1\n+0.5\n"
        "--- top_p expected\n+++ top_p sent\n@@ -1 +1 @@\n-1\n+(not sent)\n"
    )


def test_a_difference_in_a_long_conversation_is_shown_with_what_is_around_it(request_: RecordedRequest) -> None:
    assert told(request_, messages=[*request_.messages[:1], {"role": "user", "content": "Weather?"}]) == (
        "POST /v1/chat/completions asked something else:\n"
        "--- messages expected\n+++ messages sent\n@@ -4,7 +4,7 @@\n"
        '     "role": "system"\n   },\n   {\n-    "content": "Weather?",\n+    "content": "Weather in Paris?",\n'
        '     "role": "user"\n   }\n ]\n'
    )


def test_what_json_has_not_can_be_expected_too(request_: RecordedRequest) -> None:
    assert '-"<object object at' in told(request_, temperature=object())


def test_the_order_of_questions_is_asserted_and_other_requests_are_left_out(
    server: FakeServer | MockServer, client: Nemotron
) -> None:
    client.models.list()
    client.chat.completions.create(messages="One")
    client.completions.create(prompt="Two")
    server.assert_asked("One", "Two")
    assert (server.posts, len(server.asked), len(server.requests)) == (2, 2, 3)
    with pytest.raises(AssertionError) as caught:
        server.assert_asked("Two", "One")
    assert str(caught.value) == (
        "Other questions were asked, or in another order:\n"
        "--- questions expected\n+++ questions asked\n@@ -1,2 +1,2 @@\n+One\n Two\n-One\n"
    )


def test_a_bare_prompt_is_a_question_without_messages_and_tools(
    server: FakeServer | MockServer, client: Nemotron
) -> None:
    client.completions.create(prompt="Once", max_tokens=3)
    (request,) = server.asked
    assert (request.question, request.messages, request.tools, request.stream) == ("Once", [], [], False)
    assert request.options == {"max_tokens": 3}


def test_the_parts_of_a_message_and_the_results_of_tools_are_questions_too() -> None:
    with FakeServer() as fake:
        client = fake.client()
        client.chat.completions.create(messages=[{"role": "user", "content": [{"type": "text", "text": "Parts"}]}])
        client.chat.completions.create(
            messages=[
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "a12345678", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "a12345678", "content": "18 degrees"},
            ]
        )
    fake.assert_asked("Parts", "18 degrees")


def test_values_that_look_alike_and_are_none_are_told_as_python_writes_them() -> None:
    with FakeServer() as fake:
        fake.client().chat.completions.create(messages="Hello\n", seed=5)
        (asked,) = fake.asked
        for question in ("Hello", "Hello\r\n"):
            assert f"-{question!r}\n+'Hello\\n'\n" in told(asked, question=question)
        assert "-'5'\n+5\n" in told(asked, seed="5")
        assert "-'(not sent)'\n+(not sent)\n" in told(asked, temperature="(not sent)")
        with pytest.raises(AssertionError, match=r"-'Hello'\n\+'Hello\\n'\n"):
            fake.assert_asked("Hello")


def test_a_request_without_a_body_asked_nothing() -> None:
    with FakeServer() as fake:
        fake.client().models.list()
    (request,) = fake.requests
    assert (request.json, request.question, request.messages, request.tools, request.model) == ({}, "", [], [], None)
