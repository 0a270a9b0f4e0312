"""What a test can have the server answer, to whom and in which order, and how it is told of a mistake in that."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from nemotron_client import APIConnectionError, APIError, Nemotron
from nemotron_client.testing import (
    FakeServer,
    MockServer,
    RecordedRequest,
    Reply,
    ScriptWarning,
    cut,
    error,
    problem,
    text,
    tool_calls,
)
from nemotron_client.testing.replies import MODEL
from tests.testing.conftest import NO_CERTIFICATES
from tests.testing.wire import Chat, said


def test_scripted_replies_come_in_order_and_then_the_answers_that_need_no_script(
    server: MockServer, chat: Chat
) -> None:
    server.reply(error(503, "busy"), text("scripted"))
    assert [chat().status_code, said(chat()), said(chat())] == [503, "scripted", "Hello! How can I help you today?"]


def test_a_standing_reply_comes_when_nothing_is_queued_until_it_is_taken_back(server: MockServer, chat: Chat) -> None:
    server.always(text("always"))
    server.reply(text("once"))
    assert [said(chat()) for _ in range(3)] == ["once", "always", "always"]
    server.always(None)
    assert said(chat()) == "Hello! How can I help you today?"


def test_a_path_has_a_script_of_its_own_and_others_are_untouched(
    server: MockServer, chat: Chat, http: httpx2.Client
) -> None:
    server.reply(problem(503, "Service Unavailable"), path="/v1/models")
    server.always(Reply(status=202), path="/v2/anything")
    server.reply(text("for completions"))
    urls = [f"{server.base_url}/models", f"{server.base_url}/models", f"{server.base_url[:-3]}/v2/anything"]
    assert [http.get(url).status_code for url in urls] == [503, 200, 202]
    assert said(chat()) == "for completions"


def test_the_script_of_a_path_goes_before_that_of_all_completions(server: MockServer, chat: Chat) -> None:
    path = "/v1/chat/completions"
    server.always(text("always, anywhere"))
    server.always(text("always, here"), path=path)
    server.reply(text("anywhere"))
    server.reply(text("here"), path=path)
    assert [said(chat()) for _ in range(3)] == ["here", "anywhere", "always, here"]
    server.always(None, path=path)
    assert said(chat()) == "always, anywhere"


def test_a_function_of_the_request_is_a_reply_too(server: MockServer, chat: Chat) -> None:
    server.always(lambda request: text(request.headers["user-agent"].partition("/")[0])(request))
    assert said(chat()) == "python-httpx2"


# --- Scripts that are wrong ---


def post(http: httpx2.Client, server: MockServer) -> httpx2.Response:
    return http.post(f"{server.base_url}/completions", json={"prompt": "Hello"})


def test_a_function_that_fails_fails_the_test_and_the_client_gets_a_500_that_it_wont_try_again(
    http: httpx2.Client,
) -> None:
    def broken(request: RecordedRequest) -> Reply:
        raise LookupError(request.path)

    server = MockServer().start()
    server.reply(broken, broken)
    for _ in range(2):
        response = post(http, server)
        assert (response.status_code, response.headers["x-should-retry"]) == (500, "false")
        assert "LookupError('/v1/completions')" in response.json()["error"]["message"]
    with pytest.raises(LookupError, match="/v1/completions"):
        server.close()
    server.close()  # it has been told


def test_leaving_the_block_tells_of_a_function_that_returned_no_reply(http: httpx2.Client) -> None:
    def forgot(_: RecordedRequest) -> Any:  # noqa: ANN401 - what no checker lets pass
        return None

    def serve() -> None:
        with MockServer() as server:
            server.always(forgot)
            assert post(http, server).status_code == 500

    with pytest.raises(TypeError, match=r"returned None, which is no reply: give a text, tool_calls"):
        serve()


def test_chunks_that_fail_after_the_headers_cut_the_answer_and_fail_the_test(
    http: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"data: {}\n\n"
        raise LookupError("of a chunk")

    server = MockServer().start()
    server.reply(Reply(chunks=chunks()))
    with pytest.raises(httpx2.RemoteProtocolError):
        post(http, server)
    with pytest.raises(LookupError, match="of a chunk"):
        server.close()
    assert [record.name for record in caplog.records] == ["nemotron_client.testing"]


def test_what_is_no_reply_is_refused_where_it_is_scripted(server: MockServer) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"5 is no reply: give a text, tool_calls\(\.\.\.\)"):
        server.reply(wrong)
    with pytest.raises(TypeError, match="5 is no reply"):
        server.always(wrong)


def test_what_is_no_text_is_refused_where_it_is_scripted() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="The text of an answer is a str, not 5"):
        text(wrong)


def test_what_is_no_call_of_a_tool_is_refused_where_it_is_scripted() -> None:
    for wrong in ("get_weather", {"city": "Paris"}, ("get_weather",), ("get_weather", 5), (5, "{}")):
        with pytest.raises(TypeError, match=r"argument 1 is .* Give a tuple for each call, of the function's name"):
            tool_calls(wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - what is refused
    with pytest.raises(TypeError, match=r"argument 2 is \{\}"):
        tool_calls(("now", {}), {})  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - what is refused


@pytest.fixture(params=[FakeServer, MockServer])
def either(request: pytest.FixtureRequest) -> FakeServer | MockServer:
    kind: Callable[[], FakeServer | MockServer] = request.param
    return kind()


def ask(server: FakeServer | MockServer, question: str) -> str:
    if isinstance(server, FakeServer):
        return server.client().chat.completions.create(messages=question).text
    with Nemotron(base_url=server.base_url, model=MODEL) as client:
        return client.chat.completions.create(messages=question).text


def test_a_script_that_is_not_asked_for_to_its_end_is_told(either: FakeServer | MockServer) -> None:
    told = r"2 of 3 scripted replies were not asked for; the next is Answer\(text='Two'"
    with either as server:
        server.reply("One", "Two", "Three")
        ask(server, "Hello")
        with pytest.warns(ScriptWarning, match=told):
            server.close()  # as the end of the block does, which tells nothing more


def test_an_unused_reply_of_a_path_tells_where_it_was_to_be_given() -> None:
    fake = FakeServer()
    fake.reply(Reply(status=503), path="/v1/models")
    with pytest.warns(ScriptWarning, match=r"1 of 1 .*; the next is Reply\(.*, for /v1/models\."):
        fake.close()


def test_a_test_that_fails_is_told_that_its_script_had_come_to_its_end(either: FakeServer | MockServer) -> None:
    told = "The script ended after its reply 1. Answered without it: 'Really?', 'And now?'. Give a reply for each"

    def fails() -> None:
        with either as server:
            server.reply("One")
            for question in ("Hello", "Really?", "And now?"):
                ask(server, question)
            raise LookupError

    with pytest.raises(LookupError) as failed:
        fails()
    assert [note[: len(told)] for note in notes(failed)] == [told]


def notes(failed: pytest.ExceptionInfo[BaseException]) -> list[str]:
    return getattr(failed.value, "__notes__", [])


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"x", "POST /v1/completions"),
        (b"[1]", "POST /v1/completions"),
        (b'{"messages": 5}', "POST /v1/completions"),
        (b'{"messages": ["x"]}', "POST /v1/completions"),
        (b"[" * 3000, "POST /v1/completions"),
        (b'{"prompt": 5}', "''"),
        (b'{"prompt": "Hi"}', "'Hi'"),
    ],
    ids=range(7),
)
def test_no_body_after_the_script_takes_the_place_of_the_failure(content: bytes, shown: str) -> None:
    def fails() -> None:
        with FakeServer("One") as fake:
            with fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
                for body in (b'{"prompt": "Once"}', content):
                    http.post("http://fake/v1/completions", content=body)
                http.get("http://fake/v1/completions")  # asks for nothing
            raise LookupError

    with pytest.raises(LookupError) as failed:
        fails()
    assert [note.split("without it: ")[1].split(". Give")[0] for note in notes(failed)] == [shown]


def test_the_script_of_another_path_says_nothing_of_completions() -> None:
    def fails() -> None:
        with FakeServer() as fake:
            fake.reply(Reply(body={"version": "0.32"}), path="/version")
            with fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
                http.get("http://fake/version")
            ask(fake, "Hello")
            raise LookupError

    with pytest.raises(LookupError) as failed:
        fails()
    assert notes(failed) == []


@pytest.mark.parametrize(
    "returned",
    ["Once", text("Once"), Reply(body={"choices": [{"message": {"content": "Once"}}]})],
    ids=["text", "answer", "reply"],
)
def test_a_function_may_return_what_a_script_may_have(
    returned: Reply | Callable[[RecordedRequest], Reply] | str, either: FakeServer | MockServer
) -> None:
    with either as server:
        server.always(lambda _: returned)
        assert ask(server, "Hello") == "Once"


def test_a_function_may_return_what_cuts_an_answer(either: FakeServer | MockServer) -> None:
    with either as server:
        server.always(lambda request: cut(f"You said: {request.question}", after=2))
        with pytest.raises(APIConnectionError):
            ask(server, "Hello")


def test_what_a_server_says_by_itself_is_no_mistake_of_a_script(either: FakeServer | MockServer) -> None:
    with either as server:
        server.reply("One")
        ask(server, "Hello")
        ask(server, "Really?")

    def fails() -> None:
        with FakeServer() as unscripted:
            ask(unscripted, "Hello")
            raise LookupError

    with pytest.raises(LookupError) as failed:
        fails()
    assert notes(failed) == []


def failing(_: RecordedRequest) -> Reply:
    pytest.fail("must not be asked")


def test_a_failure_of_pytest_in_a_scripted_function_fails_the_test_that_swallows_it(
    either: FakeServer | MockServer,
) -> None:
    either.always(failing)

    def serve() -> None:
        with either as server, suppress(APIError, pytest.fail.Exception):
            ask(server, "Hello")

    with pytest.raises(pytest.fail.Exception, match="must not be asked"):
        serve()
    assert either.posts == 1


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(body={"a": object()}), "not JSON serializable"),
        (Reply(chunks=["text"]), "A chunk of a reply is bytes, not 'text'"),  # type: ignore[list-item] # a mistake
    ],
)
def test_a_reply_that_cant_be_sent_fails_the_test_that_swallows_it(
    reply: Reply, told: str, either: FakeServer | MockServer
) -> None:
    either.reply(reply)

    def serve() -> None:
        with either as server, suppress(APIError, TypeError):
            ask(server, "Hello")

    with pytest.raises(TypeError, match=told):
        serve()


def test_a_test_that_fails_for_another_reason_is_told_of_the_mistake_in_its_script(
    either: FakeServer | MockServer,
) -> None:
    either.reply(lambda request: request.json["nope"])

    def fails() -> None:
        with either as server:
            with suppress(APIError, KeyError):
                ask(server, "Hello")
            raise LookupError

    with pytest.raises(LookupError) as failed:
        fails()
    (note,) = notes(failed)
    assert note.startswith("A scripted function raised KeyError('nope') (")
    assert "test_scripts.py, line " in note


def test_a_mistake_that_ends_the_test_itself_is_not_told_twice() -> None:
    def fails() -> None:
        with FakeServer(lambda request: request.json["nope"]) as fake:
            ask(fake, "Hello")

    with pytest.raises(KeyError) as failed:
        fails()
    assert notes(failed) == []


def test_an_iterator_at_its_end_is_told_as_such() -> None:
    said = iter(["Once"])
    with FakeServer() as fake:
        fake.always(lambda _: next(said))
        assert ask(fake, "Hello") == "Once"
        with pytest.raises(RuntimeError, match="raised StopIteration: its iterator is at its end"):
            ask(fake, "Hello")
        with pytest.raises(RuntimeError, match="its iterator is at its end"):
            fake.close()


def test_a_scripted_function_is_not_asynchronous() -> None:
    async def answer(_: RecordedRequest) -> str:
        return "Hello"

    wrong: Any = answer  # what no checker lets pass
    fake = FakeServer(wrong)
    with pytest.raises(TypeError, match="can't be asynchronous"):
        ask(fake, "Hello")


def test_a_scripted_function_may_ask_how_many_connections_are_open() -> None:
    with MockServer() as server:
        server.reply(lambda _: f"{server.open_connections} open")
        assert ask(server, "Hello") == "1 open"


def nested(answers: Iterator[str]) -> Callable[[RecordedRequest], Any]:  # deeper than a checker lets pass
    def inner(_: RecordedRequest) -> str:
        return next(answers)

    return lambda _: inner


def test_a_function_may_return_one_that_returns_a_text() -> None:
    with FakeServer() as fake:
        fake.always(nested(iter(["Once"])))
        assert ask(fake, "Hello") == "Once"
        with pytest.raises(RuntimeError, match="its iterator is at its end"):
            ask(fake, "Hello")
        with pytest.raises(RuntimeError, match="its iterator is at its end"):
            fake.close()


def failing_chunks() -> Iterator[bytes]:
    yield b"data: {}\n\n"
    pytest.fail("in a chunk")


def test_a_failure_of_pytest_in_chunks_fails_the_test_that_swallows_it(
    either: FakeServer | MockServer, caplog: pytest.LogCaptureFixture
) -> None:
    either.reply(Reply(chunks=failing_chunks()))

    def serve() -> None:
        with either as server, suppress(APIError, pytest.fail.Exception):
            ask(server, "Hello")

    with pytest.raises(pytest.fail.Exception, match="in a chunk"):
        serve()
    assert all("in a chunk" in str(record.exc_info) for record in caplog.records)  # uvicorn's
