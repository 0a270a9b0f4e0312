"""The server in the process: what it answers, to whom, how time passes in it, and what it tells of mistakes."""

import inspect
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, assert_type
from unittest.mock import patch

import anyio
import httpx
import httpx2
import pytest

from nemotron_client import (
    APIConnectionError,
    APITimeoutError,
    AsyncNemotron,
    AuthenticationError,
    InternalServerError,
    Nemotron,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    Timeout,
)
from nemotron_client.testing import FakeServer, RecordedRequest, Reply, cut, error, stream_error, text, tool_calls
from tests.captures import load
from tests.client.either import Either
from tests.testing.conftest import MODEL, NO_CERTIFICATES, Connect, Library, blocking

PIECES = [b'{"choices":', b'[{"message":{"content":"Hi"}}]}']
BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def client(fake: FakeServer, connect: Connect) -> Either:
    return connect(fake)


# --- Whatever the client and its HTTP library ---


async def test_it_answers_by_its_script_and_then_by_itself(fake: FakeServer, client: Either) -> None:
    fake.reply("scripted", error(503, "busy"))
    assert (await client.create()).text == "scripted"
    with pytest.raises(InternalServerError, match="busy"):
        await client.create()
    assert (await client.create()).text == "Hello! How can I help you today?"
    assert fake.posts == 3


async def test_a_stream_comes_chunk_by_chunk(fake: FakeServer, client: Either) -> None:
    fake.reply(text("Once upon a time"))
    async with client.stream() as stream:
        assert [delta async for delta in stream.text_deltas()] == ["Once", " upon", " a", " time"]
    assert fake.disconnects == 0


async def test_leaving_a_stream_early_is_noticed(fake: FakeServer, client: Either) -> None:
    async with client.stream("Tell me a story") as stream:
        assert await anext(aiter(stream)) == TextDelta("Once")
    assert fake.disconnects == 1


async def test_what_was_captured_of_a_real_server_is_an_answer_too(fake: FakeServer, client: Either) -> None:
    capture = load("vllm-v13/tool_auto_stream")
    fake.reply(Reply(status=capture.status, headers=capture.headers, chunks=[capture.body]))
    async with client.stream() as stream:
        assert (await stream.get_final_completion()).tool_calls


async def test_connections_are_lost_as_over_a_network(fake: FakeServer, client: Either) -> None:
    fake.reply(
        Reply(status=0, end="reset"),
        Reply(status=0),
        cut(text("Once upon"), after=2),
        cut(text("Once upon"), after=2, end="reset"),
    )
    with pytest.raises(APIConnectionError, match=r"closed before an answer came .*reset by peer"):
        await client.create()
    with pytest.raises(APIConnectionError, match=r"closed before an answer came .*disconnected"):
        await client.create()
    for _ in range(2):
        async with client.stream() as stream:
            with pytest.raises(StreamInterruptedError, match="the connection was lost") as caught:
                await stream.until_done()
        assert caught.value.partial
        assert caught.value.partial.text == "Once"
    assert fake.disconnects == 0


async def test_an_error_inside_a_stream_is_one(fake: FakeServer, client: Either) -> None:
    fake.reply(stream_error(500, "EngineCore died", text="Once"))
    async with client.stream() as stream:
        with pytest.raises(StreamInterruptedError, match="EngineCore died"):
            await stream.until_done()


async def test_silences_end_at_the_clients_limits_and_take_no_time(fake: FakeServer, client: Either) -> None:
    fake.reply(
        Reply(status=0, end="hang"),
        Reply(status=200, delay=400.0),
        cut(text("Once upon"), after=2, end="hang"),
        Reply(chunks=[BEGUN, b": two\n\n"], chunk_delay=61.0),
    )
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(APITimeoutError, match="310 s of silence were played"):
            await client.create()
    for _ in range(2):
        async with client.stream() as stream:
            with pytest.raises(StreamTimeoutError, match="60 s of silence were played"):
                await stream.until_done()
    assert fake.waits == [310.0, 310.0, 60.0, 60.0]
    assert time.monotonic() - began < 10.0


async def test_until_the_first_event_its_own_limit_holds_whatever_else_comes(
    fake: FakeServer, connect: Connect
) -> None:
    client = connect(fake, timeout=Timeout(first_event=0.5, idle=5))
    fake.reply(Reply(chunks=[b": keep-alive\n\n"] * 10, chunk_delay=0.1))
    async with client.stream() as stream:
        with pytest.raises(StreamTimeoutError, match=r"0\.5 s of silence were played"):
            await stream.until_done()
    fake.reply(Reply(chunks=[b"{", b"}", b"", b""], chunk_delay=0.3, headers={"content-type": "application/json"}))
    with pytest.raises(APITimeoutError):
        await client.create()


async def test_a_body_that_is_no_stream_may_pause_for_longer_than_a_stream(fake: FakeServer, connect: Connect) -> None:
    fake.reply(Reply(chunks=PIECES, chunk_delay=0.6, headers={"content-type": "application/json"}))
    assert (await connect(fake, timeout=Timeout(first_event=2, idle=0.3)).create()).text == "Hi"
    assert fake.waits == [0.6]


async def test_headers_that_are_late_leave_a_stream_as_much_time_as_a_silence_may_take(
    fake: FakeServer, connect: Connect
) -> None:
    fake.reply(Reply(delay=9.0, chunks=[b": one\n\n", BEGUN, b"data: [DONE]\n\n"], chunk_delay=2.0))
    async with connect(fake, timeout=Timeout(first_event=10, idle=5)).stream() as stream:
        with suppress(StreamInterruptedError):
            await stream.until_done()
    assert fake.waits == [9.0, 2.0, 2.0]


def test_another_client_has_one_limit_of_each_silence() -> None:
    reply = Reply(chunks=[b"1", b"2", b"3"], chunk_delay=4.0)
    with FakeServer(reply, replace(reply, chunk_delay=6.0)) as fake:
        http = fake.attach(httpx.Client(verify=NO_CERTIFICATES))
        assert http.post("http://x/v1/completions").content == b"123"
        with pytest.raises(httpx.ReadTimeout, match="5 s of silence were played"):
            http.post("http://x/v1/completions")
        assert fake.disconnects == 1


async def test_a_client_that_gives_up_is_one_that_left(fake: FakeServer, connect: Connect) -> None:
    fake.reply(Reply(status=0, end="hang"), cut("Once upon", after=2, end="hang"), cut("Once", after=99, end="hang"))
    client = connect(fake)
    with pytest.raises(APITimeoutError):
        await client.create()
    for number in (2, 3):
        async with client.stream() as stream:
            with suppress(StreamTimeoutError):
                await stream.until_done()
        assert fake.disconnects == number


async def test_a_client_that_heard_all_has_not_left(fake: FakeServer, client: Either) -> None:
    fake.reply(stream_error(500, "died", text="Once"), Reply(chunks=breaking_late()))
    for _ in range(2):
        async with client.stream() as stream:
            with suppress(StreamInterruptedError):
                await stream.until_done()
    assert fake.disconnects == 0


async def test_a_patch_of_the_callers_upon_a_fake_stays_and_asks_the_network_then(library: Library) -> None:
    http = blocking(library) or httpx2.Client(verify=NO_CERTIFICATES)
    transport: object = getattr(http, "_transport", None)  # which both libraries have, and tell no one
    with http, FakeServer() as fake:
        fake.attach(http)
        below: Callable[[object], object] = getattr(transport, "handle_request", repr)
        with patch.object(transport, "handle_request", side_effect=below) as patched:
            http.post("http://127.0.0.1:9/v1/completions", json={"prompt": "x"})
            fake.close()
            with pytest.raises((httpx.ConnectError, httpx2.ConnectError)):
                http.post("http://127.0.0.1:9/v1/completions", json={"prompt": "x"})
            assert patched.call_count == 2


async def test_a_patch_upon_a_fake_of_an_asynchronous_client_stays_too() -> None:
    async with httpx2.AsyncClient(verify=NO_CERTIFICATES) as http:
        fake = FakeServer()
        send = vars(fake.attach(http))["_transport"].handle_async_request
        fake.close()
        with pytest.raises(httpx2.ConnectError):
            await send(http.build_request("POST", "http://127.0.0.1:9/v1/completions"))


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
@pytest.mark.parametrize("reply", [Reply(delay=60.0), Reply(chunks=[BEGUN, BEGUN], chunk_delay=60.0)])
async def test_a_task_that_is_cancelled_has_left(reply: Reply, connect: Connect) -> None:
    async def cancel(_: float) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with FakeServer(reply, sleep=cancel) as fake:
        with anyio.CancelScope() as scope:
            async with connect(fake).stream() as stream:
                await stream.until_done()
        assert fake.disconnects == 1


@pytest.mark.parametrize("variant", ["sync"])
async def test_a_sleep_that_is_to_be_awaited_is_no_good_for_a_blocking_client(connect: Connect) -> None:
    for sleep in (anyio.sleep, later):
        with FakeServer(Reply(delay=1.0), chunk_delay=1.0, sleep=sleep) as fake:
            with pytest.raises(TypeError, match=r"this client is blocking: give time\.sleep"):
                await connect(fake).create()
            with pytest.raises(TypeError, match=r"this client is blocking: give time\.sleep"):
                async with connect(fake).stream() as stream:
                    await stream.until_done()


class Later:
    """Something to await that is no coroutine."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def later(_: float) -> Later:
    return Later()


def breaking_late() -> Iterator[bytes]:
    yield b'data: {"error": "x"}\n\n'
    raise LookupError("after the end")


async def test_the_limit_of_the_whole_call_spans_all_delays(fake: FakeServer, connect: Connect) -> None:
    client = connect(fake, timeout=Timeout(total=100.0))
    fake.reply(Reply(delay=60.0, chunks=[b": one\n\n", b": two\n\n"], chunk_delay=50.0))
    async with client.stream() as stream:
        with pytest.raises(StreamTimeoutError):
            await stream.until_done()
    assert fake.waits == [60.0, pytest.approx(40.0, abs=1.0)]


async def test_a_delay_within_the_limits_is_told_and_no_more(connect: Connect) -> None:
    with FakeServer(text("Once upon a time"), chunk_delay=10.0) as fake:
        async with connect(fake).stream() as stream:
            assert await stream.get_final_text() == "Once upon a time"
    assert fake.waits == [10.0] * 7


async def test_a_reply_that_hangs_for_a_client_without_limits_is_refused(fake: FakeServer, connect: Connect) -> None:
    fake.reply(Reply(status=0, end="hang"))
    with pytest.raises(RuntimeError, match="it would wait for ever"):
        await connect(fake, timeout=None).create()


def mistaken(_: RecordedRequest) -> Reply:
    raise LookupError("mistaken")


def breaking() -> Iterator[bytes]:
    yield b": begun\n\n"
    raise LookupError("broken")


async def test_a_mistake_in_a_script_is_raised_where_it_is_met_and_again_at_the_end(connect: Connect) -> None:
    fake = FakeServer(mistaken)
    with pytest.raises(LookupError, match="mistaken"):
        await connect(fake).create()
    with pytest.raises(LookupError, match="mistaken"):
        fake.close()
    fake.close()  # told once


async def test_chunks_that_fail_are_a_mistake_too(connect: Connect) -> None:
    fake = FakeServer(Reply(chunks=breaking()))
    async with connect(fake).stream() as stream:
        with pytest.raises(LookupError, match="broken"):
            await stream.until_done()
    fake.close(failed=True)
    with pytest.raises(LookupError, match="broken"):
        fake.close()


def test_the_end_of_the_block_hides_no_failure_of_the_test() -> None:
    with pytest.raises(LookupError, match="mistaken") as caught, FakeServer(mistaken) as fake:
        fake.client().chat.completions.create(messages="Hi")
    assert caught.value.__context__ is None


def test_a_client_that_was_made_is_answered_after_the_end_too_and_never_reaches_the_network() -> None:
    with FakeServer() as fake:
        client = fake.client()
    assert client.models.list().data


# --- A clock of one's own ---


def test_delays_go_to_the_clock_that_was_given() -> None:
    slept: list[float] = []
    with FakeServer(Reply(delay=2.0, body={}), sleep=slept.append) as fake:
        fake.attach(http := httpx2.Client(verify=NO_CERTIFICATES)).post(f"{fake.base_url}/completions", timeout=5.0)
    assert slept == [2.0]
    http.close()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_clock_that_can_be_awaited_is() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        slept.append(seconds)

    with FakeServer(Reply(delay=3.0, chunks=[b"1", b"2"], chunk_delay=2.0), sleep=sleep) as fake:
        async with fake.attach(httpx2.AsyncClient(verify=NO_CERTIFICATES)) as http:
            assert (await http.post(f"{fake.base_url}/completions")).text == "12"
    assert slept == [3.0, 2.0]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_other_tasks_run_while_an_answer_is_read(fake: FakeServer) -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take_turns)
        async with fake.async_client().chat.completions.stream(messages="Tell me a story") as stream:
            await stream.until_done()
        tasks.cancel_scope.cancel()
    assert turns > 50


# --- Ways to a client ---


def test_a_client_in_one_line() -> None:
    with FakeServer("Hello") as fake, fake.client() as client:
        assert client.chat.completions.create(messages="Hi").text == "Hello"
        assert client.models.list().data[0].id == MODEL


def test_it_can_look_like_the_hosted_endpoint() -> None:
    fake = FakeServer(personality="hosted")
    client = fake.client(base_url="https://integrate.api.nvidia.com/v1", api_key="nvapi-made-up")
    assert client.server.ready()
    assert fake.requests[0].headers["authorization"] == "Bearer nvapi-made-up"
    assert "nvapi" not in repr(fake.requests)


def test_it_asks_for_a_key_if_it_has_one() -> None:
    with FakeServer(api_key="a-key") as fake:
        fake.client().models.list()
        with pytest.raises(AuthenticationError):
            fake.client(api_key="another").models.list()


@pytest.mark.parametrize(("method", "kind"), [("client", Nemotron), ("async_client", AsyncNemotron)])
def test_the_ways_to_a_client_take_what_its_class_takes(fake: FakeServer, method: str, kind: type) -> None:
    taken = inspect.signature(getattr(fake, method))
    assert taken.parameters == inspect.signature(kind).parameters
    assert taken.return_annotation is kind


def test_what_they_make_and_attach_has_its_own_type(fake: FakeServer) -> None:
    assert_type(fake.client(max_retries=0), Nemotron)
    assert_type(fake.async_client(max_retries=0), AsyncNemotron)
    with fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        assert_type(http, httpx2.Client)
    with pytest.raises(TypeError, match="max_retires"):
        fake.client(max_retires=0)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - as users mistype it


def test_an_attached_client_goes_its_own_way_again_after_the_end() -> None:
    own = httpx2.MockTransport(lambda _: httpx2.Response(200, text="own"))
    http = httpx2.Client(transport=own, mounts={"http://proxied": own, "http://direct": None})
    urls = ["http://a/v1/models", "http://proxied/v1/models"]
    with FakeServer() as outer, FakeServer() as inner:
        outer.attach(http)
        inner.attach(http)
        assert [http.get(url).json()["object"] for url in urls] == ["list", "list"]
        inner.close()
        assert [http.get(url).json()["object"] for url in urls] == ["list", "list"]
        assert (len(inner.requests), len(outer.requests)) == (2, 2)
    assert [http.get(url).text for url in urls] == ["own", "own"]


def test_a_request_body_that_is_a_stream_is_read() -> None:
    with FakeServer() as fake:
        http = fake.attach(httpx.Client(verify=NO_CERTIFICATES))
        http.post(f"{fake.base_url}/x", content=iter([b"a", b"b"]), params={"q": "1"})
        assert (fake.requests[0].body, fake.requests[0].path, fake.requests[0].query) == (b"ab", "/v1/x", "q=1")


def test_what_is_no_http_client_is_refused(fake: FakeServer) -> None:
    wrong: Any = "http"
    with pytest.raises(TypeError, match="Only a client of httpx2 or httpx can be attached, not 'http'"):
        fake.attach(wrong)


def test_it_shows_how_often_it_was_asked(fake: FakeServer) -> None:
    fake.client().chat.completions.create(messages="Hi")
    assert repr(fake) == "<FakeServer asked 1 times>"


def test_tool_calls_are_as_the_mock_servers(fake: FakeServer) -> None:
    fake.reply(tool_calls(("get_weather", {"city": "Paris"})))
    done = fake.client().chat.completions.create(messages="Weather?")
    assert done.tool_calls[0].function.name == "get_weather"


@pytest.mark.parametrize("body", [b'{"messages": ', b"[]"])
def test_a_scripted_answer_is_given_to_a_body_of_any_form(body: bytes, fake: FakeServer) -> None:
    fake.reply(text("Hello"))
    with fake.attach(httpx2.Client(verify=NO_CERTIFICATES)) as http:
        answer = http.post(f"{fake.base_url}/chat/completions", content=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"


def test_servers_that_are_attached_to_one_client_answer_until_each_is_closed(library: Library) -> None:
    http = blocking(library) or httpx2.Client(verify=NO_CERTIFICATES)
    transport: object = getattr(http, "_transport", None)  # which both libraries have, and tell no one
    own = {**vars(transport)}

    def said() -> str:
        return str(http.post("http://127.0.0.1:9/v1/completions", json={"prompt": "x"}).json()["choices"][0]["text"])

    for order in itertools.permutations(range(3)):
        fakes = [FakeServer() for _ in range(3)]
        for number, fake in enumerate(fakes):
            fake.always(str(number))
            assert fake.attach(http) is http
        left = {0, 1, 2}
        for number in order:
            assert said() == str(max(left))
            fakes[number].close()
            left.remove(number)
        assert vars(transport) == own
    http.close()


def test_a_letter_of_latin_1_may_stand_in_a_header() -> None:
    with FakeServer(Reply(headers={"x-a": "\xe9"})) as fake:
        http = fake.attach(httpx2.Client(verify=NO_CERTIFICATES))
        assert http.post("http://x/v1/completions").headers["x-a"] == "\xe9"


def test_a_client_of_this_library_is_made_not_attached() -> None:
    with FakeServer() as fake, pytest.raises(TypeError, match=r"use client\(\.\.\.\)"):
        fake.attach(fake.client())
