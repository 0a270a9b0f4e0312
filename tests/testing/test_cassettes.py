"""Recording a real server once and playing it from then on: what is kept, what is compared, what is told."""

import gzip
import json
import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import (
    APIConnectionError,
    InternalServerError,
    StreamInterruptedError,
    StreamTimeoutError,
    TextDelta,
    Timeout,
    ToolMessage,
    UserMessage,
)
from nemotron_client.testing import (
    Cassette,
    CassetteError,
    FakeServer,
    MockServer,
    Reply,
    UnusedRecordingWarning,
    cut,
    error,
    replayed,
    text,
    tool_calls,
)
from nemotron_client.testing.recordings import Held, Recording, dumped, loaded
from tests.client.either import Either
from tests.testing.conftest import MODEL, Connect
from tests.testing.recording import ELSEWHERE, KEY, ask, held_in, record

BEGUN = b'data: {"choices":[{"delta":{"content":"Once"}}]}\n\n'

# --- Whatever the client and its HTTP library ---


async def converse(client: Either) -> list[object]:
    """Ask for an answer, a stream, a stream that is left, an error, and go through a tool loop."""
    seen: list[object] = [(await client.create("Hello")).text]
    async with client.stream("Tell me a story") as stream:
        seen.append([delta async for delta in stream.text_deltas()])
    async with client.stream("Tell me another story") as stream:
        seen.append(await anext(aiter(stream)))
    with pytest.raises(InternalServerError, match="on fire"):
        await client.create("Fail")
    messages = [UserMessage(content="Weather in Paris?")]
    asked = await client.create(messages)
    (call,) = asked.tool_calls
    result = ToolMessage(tool_call_id=call.id, content="18 degrees")
    seen += [call.function.arguments, (await client.create([*messages, asked.choices[0].message, result])).text]
    return seen


async def test_what_was_recorded_is_replayed_without_a_server(path: Path, connect: Connect) -> None:
    with MockServer() as server:
        server.reply(
            text("Hi!"),
            text("Once upon a time"),
            text("Twice upon a time"),
            error(500, "on fire"),
            tool_calls(("get_weather", {"city": "Paris"})),
        )
        with Cassette(path, "record") as cassette:
            seen = await converse(connect(cassette, base_url=server.base_url, api_key=KEY))
        assert server.posts == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Cassette(path, "replay") as cassette:
            assert await converse(connect(cassette, base_url=ELSEWHERE)) == seen
            cassette.assert_asked(
                "Hello", "Tell me a story", "Tell me another story", "Fail", "Weather in Paris?", "18 degrees"
            )
    assert seen[0] == "Hi!"
    assert seen[1] == ["Once", " upon", " a", " time"]
    assert seen[2] == TextDelta("Twice")


async def test_connections_that_were_lost_are_lost_again(path: Path, connect: Connect) -> None:
    with MockServer() as server, Cassette(path, "record") as cassette:
        server.reply(Reply(status=0, end="reset"), cut(text("Once upon"), after=2))
        client = connect(cassette, base_url=server.base_url)
        with pytest.raises(APIConnectionError):
            await client.create("Hello")
        async with client.stream("Hello") as stream:
            with pytest.raises(StreamInterruptedError):
                await stream.until_done()
    with Cassette(path, "replay") as cassette:
        client = connect(cassette, base_url=ELSEWHERE)
        with pytest.raises(APIConnectionError, match="closed before an answer came"):
            await client.create("Hello")
        async with client.stream("Hello") as stream:
            with pytest.raises(StreamInterruptedError) as caught:
                await stream.until_done()
    assert caught.value.partial
    assert caught.value.partial.text == "Once"


@pytest.mark.parametrize("limits", [Timeout(idle=0.05), Timeout(total=0.3)], ids=["idle", "total"])
async def test_a_stream_that_fell_silent_does_so_again(limits: Timeout, path: Path, connect: Connect) -> None:
    """The client shuts the connection down then, which looks like an end by the server."""
    with MockServer() as server, Cassette(path, "record") as cassette:
        server.reply(Reply(chunks=[BEGUN], end="hang"))
        async with connect(cassette, base_url=server.base_url, timeout=limits).stream("Hello") as stream:
            with pytest.raises(StreamTimeoutError):
                await stream.until_done()
    players: tuple[Cassette | FakeServer, ...] = (Cassette(path), FakeServer(*replayed(path)))
    for player in players:
        with player:
            async with connect(player, base_url=ELSEWHERE, timeout=limits).stream("Hello") as stream:
                with pytest.raises(StreamTimeoutError) as caught:
                    await stream.until_done()
        assert caught.value.partial
        assert caught.value.partial.text == "Once"


async def stream_until_cancelled(client: Either, server: MockServer) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_stream, client)
        while not server.requests:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def read_stream(client: Either) -> None:
    async with client.stream("Hello") as stream:
        await stream.until_done()


@pytest.mark.parametrize("reply", [Reply(status=0, end="hang"), Reply(chunks=[BEGUN], end="hang")])
@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_what_was_cancelled_when_it_was_recorded_waits_to_be_cancelled(
    reply: Reply, path: Path, connect: Connect
) -> None:
    with MockServer() as server, Cassette(path, "record") as recording:
        server.reply(reply)
        await stream_until_cancelled(connect(recording, base_url=server.base_url), server)
    with Cassette(path) as cassette:
        with anyio.move_on_after(0.05) as scope:
            await read_stream(connect(cassette, base_url=ELSEWHERE))
        assert scope.cancelled_caught


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
async def test_what_is_not_cancelled_this_time_fails_in_the_end(
    path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron_client.testing.transports._PATIENCE", 0.01)
    with MockServer() as server, Cassette(path, "record") as recording:
        server.reply(Reply(status=0, end="hang"))
        await stream_until_cancelled(connect(recording, base_url=server.base_url), server)
    with Cassette(path) as cassette, pytest.raises(APIConnectionError, match="ends here, where the client left"):
        await read_stream(connect(cassette, base_url=ELSEWHERE))


def test_while_it_records_the_network_can_be_looked_at(path: Path, server: MockServer, http: httpx2.Client) -> None:
    with Cassette(path, "record") as cassette:
        stream = cassette.attach(http).get(f"{server.base_url}/models").extensions["network_stream"]
    host, port = stream.get_extra_info("socket").getsockname()
    assert (host, port) == stream.get_extra_info("client_addr")
    assert callable(stream.write)


async def test_one_http_client_of_two_clients_is_recorded_once(path: Path) -> None:
    with MockServer() as server, Cassette(path, "record") as cassette, httpx2.Client() as http_client:
        for question in ("One", "Two"):
            client = cassette.client(base_url=server.base_url, model=MODEL, http_client=http_client)
            client.chat.completions.create(messages=question)
        assert cassette.posts == 2
    assert len(held_in(path)["recordings"]) == 2


PASSWORD = "correct-horse-9"


def test_a_secret_that_was_told_as_one_after_it_was_asked_is_no_difference(path: Path, server: MockServer) -> None:
    server.reply(tool_calls(("login", {"user": "jane", "password": PASSWORD})), "Welcome.")
    questions = f"Log in as jane with {PASSWORD}, please", f"And {PASSWORD} again"
    record(path, server, *questions)
    assert PASSWORD not in path.read_text()
    with Cassette(path) as cassette:
        assert [ask(cassette, question) for question in questions][1] == "Welcome."
    with pytest.raises(CassetteError) as wrong, Cassette(path) as cassette:
        ask(cassette, f"Log in as john with {PASSWORD}, please")
    assert '-        "content": "Log in as jane with ***, please",' in str(wrong.value)


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        ("Intro\n***\nSay hello", "Intro\n and something else altogether \nSay hello"),
        ("a password=hunter22222 b", "a password=x and now something else altogether b"),
        ("*** and ***", "short and shorter"),
        ("Hello, ***", "Good bye, ***"),
        ("Keys: *** one *** two", "Keys: nvapi-one-two nothing two"),
    ],
)
def test_stars_stand_for_secrets_only(recorded: str, asked: str, path: Path, server: MockServer) -> None:
    record(path, server, recorded)
    with pytest.raises(CassetteError, match="was not recorded"), Cassette(path) as cassette:
        ask(cassette, asked)


def test_many_secrets_in_a_text_take_no_time_to_compare(path: Path, server: MockServer) -> None:
    record(path, server, " and ".join(["***"] * 40))
    with pytest.raises(CassetteError, match="was not recorded"), Cassette(path) as cassette:
        ask(cassette, " and ".join([*["abcdefgh"] * 39, "short"]))
    with Cassette(path) as cassette:
        assert ask(cassette, " and ".join(["abcdefgh"] * 40))


async def test_a_stream_that_is_left_or_ends_late_is_recorded_as_before(
    path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client shuts the connection down then too, but no time limit is over."""
    monkeypatch.setattr("nemotron_client._transport.watchdog.DRAIN", 0.01)
    with MockServer() as server, Cassette(path, "record") as cassette:
        server.reply(Reply(chunks=[BEGUN, BEGUN], chunk_delay=0.2), cut("Once", after=99, end="hang"))
        client = connect(cassette, base_url=server.base_url)
        async with client.stream("Hello") as stream:
            await anext(aiter(stream))
        async with client.stream("Hello") as stream:
            await stream.until_done()
    assert "ReadTimeout" not in json.dumps(held_in(path))


def test_a_header_of_latin_1_is_recorded(path: Path, server: MockServer, http: httpx2.Client) -> None:
    server.reply(Reply(headers={"x-name": "caf\xe9"}), path="/x")
    with Cassette(path, "record") as cassette:
        cassette.attach(http).get(server.base_url.removesuffix("/v1") + "/x")
    with Cassette(path) as cassette:
        assert cassette.attach(http).get(f"{ELSEWHERE.removesuffix('/v1')}/x").headers["x-name"] == "caf\xe9"


def test_a_key_that_is_a_part_of_the_models_name_is_no_difference(path: Path, server: MockServer) -> None:
    with Cassette(path, "record") as cassette:
        client = cassette.client(base_url=server.base_url, model=MODEL, api_key="mistralai")
        said = client.chat.completions.create(messages="Hello").text
    with Cassette(path) as cassette:
        assert cassette.client(model=MODEL).chat.completions.create(messages="Hello").text == said


def test_true_is_another_request_than_1(path: Path, server: MockServer, http: httpx2.Client) -> None:
    with Cassette(path, "record") as cassette:
        cassette.attach(http).post(f"{server.base_url}/x", json={"a": [1, {"b": True}]})
    for asked in ({"a": [True, {"b": 1}]}, {"a": [1]}, {"a": 1}, {"b": [1, {"b": True}]}):
        with pytest.raises(CassetteError, match="was not recorded"), Cassette(path) as cassette:
            cassette.attach(http).post(f"{ELSEWHERE}/x", json=asked)


def test_threads_that_learn_of_secrets_do_not_disturb_each_other(path: Path, server: MockServer) -> None:
    questions = [f"Q{number} " + f"api_key=abcdefghijk{number} " * 40 for number in range(16)]
    server.always("ok")
    record(path, server, *questions)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Cassette(path) as cassette, ThreadPoolExecutor(16) as pool:
            assert [*pool.map(partial(ask, cassette), questions)] == ["ok"] * 16
    finally:
        sys.setswitchinterval(interval)


async def test_a_changed_request_fails_even_if_the_code_under_test_swallows_that(path: Path, connect: Connect) -> None:
    with MockServer() as server:
        record(path, server, "Hello")
    cassette = Cassette(path, "replay")
    client = connect(cassette, base_url=ELSEWHERE)
    with pytest.raises(CassetteError, match="this request was not recorded"):
        await client.create("Good bye")
    with pytest.raises(CassetteError, match="this request was not recorded"):
        cassette.close()


async def test_tasks_that_ask_at_the_same_time_get_what_each_of_them_recorded(path: Path, connect: Connect) -> None:
    questions = [f"Question {number}" for number in range(20)]

    async def ask_all(client: Either) -> dict[str, str | None]:
        answers: dict[str, str | None] = {}

        async def ask_one(question: str) -> None:
            answers[question] = (await client.create(question)).text

        async with anyio.create_task_group() as tasks:
            for question in questions:
                tasks.start_soon(ask_one, question)
        return answers

    with MockServer() as server, Cassette(path, "record") as cassette:
        recorded = await ask_all(connect(cassette, base_url=server.base_url))
    questions.reverse()
    with Cassette(path, "replay") as cassette:
        assert await ask_all(connect(cassette, base_url=ELSEWHERE)) == recorded
    assert recorded["Question 7"] == "You said: Question 7"


# --- The file ---


def test_the_file_can_be_read_and_compared(path: Path, server: MockServer) -> None:
    server.reply(Reply(body={"id": "1", "choices": []}, headers={"x-request-id": "a", "set-cookie": "sid=1"}))
    server.reply(Reply(chunks=[b"data: {}\n\n", "data: \N{WAVING HAND SIGN}\n\n".encode()]))
    with Cassette(path, "record") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        headers = {"authorization": f"Bearer {KEY}", "nvcf-poll-seconds": "5", "x-tenant": "mine"}
        http.post(f"{server.base_url}/chat/completions?b=2&a=1", json={"b": [1], "a": "\xe9"}, headers=headers)
        http.post(f"{server.base_url}/completions", content=b"no json", headers={"accept": "text/plain"})
        http.close()
    held = held_in(path)
    seconds = [each["response"].pop("seconds") for each in held["recordings"]]
    assert held == {
        "version": 1,
        "hosted": False,
        "recordings": [
            {
                "request": {
                    "method": "POST",
                    "path": "/v1/chat/completions?a=1&b=2",
                    "headers": {"accept": "*/*", "content-type": "application/json", "nvcf-poll-seconds": "5"},
                    "json": {"a": "\xe9", "b": [1]},
                },
                "response": {
                    "status": 200,
                    "headers": {"content-type": "application/json", "x-request-id": "a"},
                    "json": {"id": "1", "choices": []},
                },
            },
            {
                "request": {
                    "method": "POST",
                    "path": "/v1/completions",
                    "headers": {"accept": "text/plain"},
                    "text": "no json",
                },
                "response": {
                    "status": 200,
                    "headers": {"content-type": "text/event-stream; charset=utf-8"},
                    "chunks": ["data: {}\n\n", "data: \N{WAVING HAND SIGN}\n\n"],
                },
            },
        ],
    }
    assert [re.fullmatch(r"[\d.]+( [\d.]+)*", each) is not None for each in seconds] == [True, True]
    assert [len(each.split()) for each in seconds] == [2, 3]
    assert "\N{WAVING HAND SIGN}" in path.read_text()
    assert path.read_text().index('"a": "\xe9"') < path.read_text().index('"b": [')


CHUNKS = st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=9).map(str.encode)), max_size=5)


@given(chunks=CHUNKS, spaced=st.booleans())
def test_every_byte_and_every_edge_of_a_chunk_comes_back(chunks: list[bytes], spaced: bool) -> None:  # noqa: FBT001
    if spaced:
        chunks = [json.dumps({"a": [1, 2]}).encode()]
    texts = [chunk.decode(errors="surrogateescape") for chunk in chunks]
    recording = Recording(
        request={"method": "GET", "path": "/"},
        status=200,
        headers={},
        chunks=texts,
        seconds=[0.25] * (1 + len(chunks)),
        failure=None,
    )
    (back,) = loaded(dumped(Held(recordings=[recording], hosted=False))).recordings
    assert back == recording
    exchange = back.exchange(timed=True)
    assert [*exchange.chunks] == [(0.25, chunk) for chunk in chunks]
    assert exchange.delay == 0.25


def test_an_answer_that_is_nested_too_deeply_to_be_read_is_kept_as_it_came() -> None:
    recording = Recording(
        request={"method": "GET", "path": "/"},
        status=200,
        headers={},
        chunks=["[" * 100_000 + "]" * 100_000],
        seconds=[0.0, 0.0],
        failure=None,
    )
    assert loaded(dumped(Held(recordings=[recording], hosted=False))).recordings == [recording]


@pytest.mark.parametrize("depth", [150, 201, 900, 5000])
def test_what_is_nested_too_deeply_to_be_looked_at_is_recorded_and_replayed_as_text(
    path: Path, server: MockServer, depth: int
) -> None:
    body = f'{{"password": "{KEY}", "x": {"[" * depth}{"]" * depth}}}'
    server.reply(Reply(body=body, headers={"content-type": "application/json"}))
    for cassette, url in ((Cassette(path, "record"), server.base_url), (Cassette(path, "replay"), ELSEWHERE)):
        with cassette:
            http = cassette.attach(httpx2.Client(trust_env=False))
            assert http.post(f"{url}/completions", content=body).text.endswith("]}")
            http.close()
    assert KEY not in path.read_text()


def test_a_compressed_answer_is_kept_in_plain_words(path: Path, server: MockServer) -> None:
    packed = gzip.compress(b'{"key": "' + KEY.encode() + b'"}')
    server.reply(Reply(body=packed, headers={"content-encoding": "gzip", "content-type": "application/json"}))
    with Cassette(path, "record") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        assert http.post(f"{server.base_url}/completions").json() == {"key": KEY}
        http.close()
    with Cassette(path, "replay") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        assert http.post(f"{ELSEWHERE}/completions").json() == {"key": "***"}
        http.close()


def test_an_answer_that_is_never_read_is_kept_as_far_as_it_came(path: Path, server: MockServer) -> None:
    server.reply(Reply(chunks=[b"data: {}\n\n"], end="hang"))
    http = httpx2.Client(trust_env=False)
    with Cassette(path, "record") as cassette, http:
        cassette.attach(http)
        answer = http.send(http.build_request("POST", f"{server.base_url}/completions"), stream=True)
        cassette.close()
        answer.close()
    assert held_in(path)["recordings"][0]["failure"] == {"ReadError": "The recording ends here, where the client left."}


RESPONSE: dict[str, object] = {"status": 200, "headers": {}, "seconds": "1", "chunks": []}


def held(recordings: list[dict[str, object]]) -> str:
    return json.dumps({"version": 1, "hosted": True, "recordings": recordings})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("no json", "Expecting value"),
        ("[]", "something is missing or of another type"),
        ('{"version": 2}', "its version is 2, this library knows 1"),
        (held([{}]), "something is missing or of another type: KeyError"),
        (
            held([{"request": {}, "response": {**RESPONSE, "chunks": ["x"]}}]),
            "it has 1 times for the headers and 1 chunks",
        ),
        (
            held([{"request": {}, "response": RESPONSE, "failure": {"SystemExit": ""}}]),
            "'SystemExit' is no failure of a transport",
        ),
    ],
)
def test_a_file_that_is_no_cassette_is_told(path: Path, content: str, why: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(CassetteError, match=re.escape(why)), Cassette(path) as cassette:
        ask(cassette)
    with pytest.raises(CassetteError, match=re.escape(str(path))):
        replayed(path)


# --- What is compared ---


def test_the_host_the_key_the_order_of_keys_and_other_headers_make_no_difference(path: Path) -> None:
    with MockServer() as server, Cassette(path, "record") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        url = f"{server.base_url}/completions?a=1&b=2"
        http.post(url, content=b'{"prompt": "Hi", "n": 1}', headers={"x-api-key": KEY, "user-agent": "1"})
        http.close()
    with Cassette(path, "replay") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        assert http.post(f"{ELSEWHERE}/completions?b=2&a=1", content=b'{"n":1,"prompt":"Hi"}').status_code == 400
        http.close()


def test_a_changed_request_is_shown_beside_the_nearest_that_was_recorded(path: Path, server: MockServer) -> None:
    record(path, server, "Hello", "What is the weather in Paris?")
    with pytest.raises(CassetteError) as caught, Cassette(path) as cassette:
        ask(cassette, "Hello", temperature=0.5)
    assert str(caught.value) == (
        f"{path}: this request was not recorded; the nearest is recording 1 of 2:\n"
        "--- recording 1 of 2\n+++ asked now\n@@ -11,7 +11,7 @@\n"
        "       }\n     ],\n"
        f'     "model": "{MODEL}",\n-    "temperature": 1\n+    "temperature": 0.5\n'
        '   },\n   "method": "POST",\n   "path": "/v1/chat/completions"\n'
        'To record it: mode="record", or pytest --nemotron-cassettes=record.'
    )


def test_a_request_that_comes_once_more_than_it_was_recorded_is_told(path: Path, server: MockServer) -> None:
    server.reply("first", "second")
    record(path, server, "Hello", "Hello")
    cassette = Cassette(path)
    assert [ask(cassette), ask(cassette)] == ["first", "second"]
    with pytest.raises(CassetteError, match="recording 1 of 2 was asked for once more"):
        ask(cassette)


def test_a_secret_that_the_test_has_no_more_makes_no_difference(path: Path, server: MockServer) -> None:
    record(path, server, "Is nvapi-0123456789 a key?")
    with Cassette(path) as cassette:
        assert ask(cassette, "Is nvapi-another a key?")


def test_recordings_that_were_not_used_are_told_unless_the_test_failed(path: Path, server: MockServer) -> None:
    record(path, server, "One", "Two", "Three")
    with (
        pytest.warns(UnusedRecordingWarning, match="recording 1, 3 of 3 was not asked for") as told,
        Cassette(path) as c,
    ):
        ask(c, "Two")
    assert told[0].filename == __file__
    cassette = Cassette(path)
    ask(cassette, "Two")
    cassette.close(failed=True)
