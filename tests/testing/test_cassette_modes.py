"""The modes of a cassette, what environment and clients have to do with it, its times, and what it keeps to itself."""

import base64
import json
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest

from nemotron_client import (
    APIError,
    AsyncNemotron,
    Nemotron,
)
from nemotron_client.testing import (
    Cassette,
    CassetteError,
    FakeServer,
    MockServer,
    Reply,
    UnusedRecordingWarning,
    cut,
    replayed,
    text,
)
from nemotron_client.testing.cassettes import Mode
from nemotron_client.testing.recordings import Held, dumped
from tests.testing.conftest import MODEL, NO_CERTIFICATES
from tests.testing.recording import ELSEWHERE, KEY, ask, held_in, record

# --- Modes ---


def test_auto_records_what_is_not_there_and_replays_what_is(path: Path, server: MockServer) -> None:
    for is_recording in (True, False):
        with Cassette(path, "auto") as cassette:
            assert (cassette.is_recording, cassette.plays) == (is_recording, not is_recording)
            ask(cassette, base_url=server.base_url)
    assert server.posts == 1


def test_record_writes_the_file_anew(path: Path, server: MockServer) -> None:
    record(path, server, "One", "Two")
    record(path, server, "Three")
    assert len(held_in(path)["recordings"]) == 1


def test_record_leaves_no_file_of_a_test_that_asks_nothing_any_more(path: Path, server: MockServer) -> None:
    record(path, server, "One")
    cassette = Cassette(path, "record")
    cassette.close(failed=True)
    assert path.exists()
    with Cassette(path, "record") as cassette:
        pass
    assert not path.exists()
    record(path, server, "One")
    cassette.close()  # again: nothing
    assert path.exists()


def test_off_sends_all_and_writes_nothing(path: Path, server: MockServer) -> None:
    with Cassette(path, "off") as cassette:
        ask(cassette, base_url=server.base_url)
    assert (server.posts, path.exists()) == (1, False)


def test_a_test_that_asks_nothing_needs_no_cassette(path: Path) -> None:
    for mode in get_args(Mode):
        with Cassette(path, mode):
            pass
    assert not path.exists()


def test_replay_without_a_file_tells_how_to_get_one(path: Path) -> None:
    with (
        pytest.raises(CassetteError, match=r"There is no cassette .* To record it: mode="),
        Cassette(path) as c,
    ):
        ask(c)


def test_an_empty_cassette_shows_what_was_asked(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(dumped(Held(recordings=[], hosted=True)))
    with (
        pytest.raises(CassetteError, match=r'nothing was recorded, and this was asked:\n\{\n  "headers"'),
        Cassette(path, "auto") as c,
    ):
        ask(c)


def test_an_unknown_mode_is_refused(path: Path) -> None:
    wrong: Any = "rewind"
    with pytest.raises(ValueError, match="mode='rewind': give one of replay, auto, record, off"):
        Cassette(path, wrong)


@pytest.mark.parametrize(("mode", "doing"), [("replay", "replaying"), ("record", "recording"), ("off", "off")])
def test_it_shows_what_it_does(mode: Mode, doing: str) -> None:
    assert repr(Cassette("a.json", mode)) == f"<Cassette 'a.json' {doing}>"


# --- Ways to a client ---


@pytest.mark.parametrize("method", ["client", "async_client"])
def test_to_replay_needs_no_key_for_the_hosted_endpoint(
    path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    path.write_bytes(dumped(Held(recordings=[], hosted=True)))
    monkeypatch.setenv("NVIDIA_BASE_URL", ELSEWHERE)  # which an application's own settings may name
    client: Nemotron | AsyncNemotron = getattr(Cassette(path, "replay"), method)(api_key=None)
    assert "integrate.api.nvidia.com" in repr(client)


def ask_as_the_environment_says(cassette: Cassette) -> str | None:
    return cassette.client().chat.completions.create(messages="Hello").text


@pytest.mark.filterwarnings("error::nemotron_client.testing.UnusedRecordingWarning")
def test_what_a_server_of_ones_own_was_asked_is_asked_again_when_the_environment_names_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MockServer(model="own/model") as server, Cassette(path, "auto") as cassette:
        monkeypatch.setenv("NVIDIA_BASE_URL", server.base_url)
        assert ask_as_the_environment_says(cassette)
    monkeypatch.delenv("NVIDIA_BASE_URL")
    with Cassette(path, "auto") as cassette:
        assert ask_as_the_environment_says(cassette)
    assert [request.path for request in cassette.requests] == ["/v1/models", "/v1/chat/completions"]


@pytest.mark.filterwarnings("error::nemotron_client.testing.UnusedRecordingWarning")
def test_what_nvidia_was_asked_is_asked_again_when_the_environment_names_a_server_of_ones_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer(personality="hosted") as fake, Cassette(path, "auto") as cassette:
        http = fake.attach(httpx2.Client(verify=NO_CERTIFICATES))
        client = cassette.client(http_client=http, api_key=KEY)
        assert client.chat.completions.create(messages="Hello").text
    assert held_in(path)["hosted"]
    monkeypatch.setenv("NVIDIA_BASE_URL", ELSEWHERE)
    with Cassette(path, "auto") as cassette:
        assert ask_as_the_environment_says(cassette)
    assert [request.path for request in cassette.requests] == ["/v1/chat/completions"]


def test_a_test_that_asks_nothing_at_all_is_told_of_what_its_cassette_holds(path: Path, server: MockServer) -> None:
    record(path, server, "One")
    cassette = Cassette(path, "replay")
    with pytest.warns(UnusedRecordingWarning, match="recording 1 of 1 was not asked for"):
        cassette.close()
    cassette.close()  # told once


def test_after_the_end_a_client_that_was_made_neither_sends_nor_plays(path: Path, server: MockServer) -> None:
    with Cassette(path, "auto") as cassette:
        client = cassette.client(base_url=server.base_url, model=MODEL)
        client.chat.completions.create(messages="Hello")
    with pytest.raises(CassetteError, match="was closed before this request came: POST /v1/chat/completions"):
        client.chat.completions.create(messages="Hello")
    assert server.posts == 1


def test_a_request_after_the_end_is_told_without_what_may_be_a_secret_in_it(path: Path, server: MockServer) -> None:
    cassette = Cassette(path, "auto")
    with httpx2.Client(trust_env=False) as http:
        cassette.close()
        cassette.attach(http)
        with pytest.raises(CassetteError) as caught:
            http.post(f"{server.base_url}/{KEY}?api_key=in-the-query", json={"password": "hunter22"})
    cassette.close()
    assert not any(secret in str(caught.value) for secret in (KEY, "in-the-query", "hunter22"))


def test_a_test_that_fails_leaves_the_cassette_as_it_was(path: Path, server: MockServer) -> None:
    for already_there in (False, True):
        if already_there:
            record(path, server, "Hello")
        before = path.read_bytes() if already_there else None
        cassette = Cassette(path, "record")
        ask(cassette, "Good bye", server.base_url)
        cassette.close(failed=True)
        assert (path.read_bytes() if path.exists() else None) == before


def test_an_exception_that_leaves_the_block_of_a_recording_says_that_nothing_was_written(
    path: Path, server: MockServer
) -> None:
    server.reply(Reply(status=500))
    with pytest.raises(APIError) as caught, Cassette(path, "auto") as cassette:
        ask(cassette, "Hello", server.base_url)
    told = (
        f"{path} was not written: this exception ended the recording after 1 exchange. If a test expects it, catch it"
    )
    assert [note[: len(told)] for note in caught.value.__notes__] == [told]
    with pytest.raises(LookupError) as replayed_or_off, Cassette(path, "off"):
        raise LookupError
    assert not hasattr(replayed_or_off.value, "__notes__")


def test_connections_to_a_recorded_server_are_not_left_open(path: Path, server: MockServer) -> None:
    with Cassette(path, "auto") as cassette:
        cassette.client(base_url=server.base_url).models.list()
        assert server.open_connections == 0


# --- Times ---


def test_times_are_kept_but_do_not_pass_unless_a_clock_is_given(path: Path) -> None:
    with MockServer(chunk_delay=0.02) as server, Cassette(path, "auto") as cassette:
        server.reply(text("Once upon a time"))
        client = cassette.client(base_url=server.base_url, model=MODEL)
        with client.chat.completions.stream(messages="Hello") as stream:
            stream.until_done()
    slept: list[float] = []
    for sleep in (None, slept.append):
        with Cassette(path, "auto", sleep=sleep) as cassette:
            client = cassette.client(base_url=ELSEWHERE, model=MODEL)
            with client.chat.completions.stream(messages="Hello") as stream:
                stream.until_done()
    assert len(slept) >= 7
    assert sum(slept) >= 0.1


# --- Secrets ---


def test_no_secret_is_in_the_file_or_in_what_is_told(path: Path, server: MockServer) -> None:
    halves = [KEY[:9].encode(), KEY[9:].encode()]
    server.reply(
        Reply(body={"echo": f"{KEY} hunter22-hunter22"}, headers={"x-echo": KEY, "x-auth-token": "abc"}),
        Reply(chunks=[b'data: {"content":"hunter22"}\n\n', b'data: {"content":"-hunter22"}\n\n', *halves]),
    )
    with Cassette(path, "record", redact=["Jane Doe"]) as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False, cookies={"sid": "cookie-cookie"}))
        headers = {"authorization": f"Bearer {KEY}"}
        body = {"password": "hunter22-hunter22", "prompt": "I am Jane Doe, cookie-cookie"}
        for _ in range(2):
            http.post(f"{server.base_url}/completions?token=in-the-query", json=body, headers=headers)
        http.close()
    written = path.read_text()
    for secret in (KEY, KEY[9:], "hunter22", "cookie-cookie", "in-the-query", "Jane Doe", "abc"):
        assert secret not in written
    assert "I am ***, ***" in written
    with pytest.raises(CassetteError) as caught, Cassette(path, redact=["Jane Doe"]) as cassette:
        ask(cassette, f"Is {KEY} known to Jane Doe?")
    assert "Is *** known to ***?" in str(caught.value)
    assert KEY not in repr(cassette.requests[0].headers)


def test_a_session_that_an_answer_opens_and_what_is_told_of_it_are_in_no_file(path: Path, server: MockServer) -> None:
    opened = {"set-cookie": "sid=opened-session; Path=/a-long-path; HttpOnly, other=more-of-it", "x-auth-token": KEY}
    packed = base64.b64encode(b"user:opened-session, " + KEY.encode()).decode()
    server.reply(Reply(body={"told": f"opened-session more-of-it {packed} /a-long-path"}, headers=opened))
    with Cassette(path, "record") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        http.post(f"{server.base_url}/completions")
        http.close()
    written = path.read_text()
    for secret in ("opened-session", "more-of-it", KEY, packed[8:-8]):
        assert secret not in written
    assert "/a-long-path" in written


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_has_under_the_name_of_a_secret_is_in_no_file(
    path: Path, server: MockServer, *, stream: bool
) -> None:
    held = {
        "secret": {"value": "opened-by-this", "pin": 123, "more": ["and-this"]},
        "api_keys": ["ab", 'c"d'],
        "told": 5,
    }
    event = json.dumps({**held, "parameters": {"secret": {"type": "string", "default": "shown"}}})
    half = len(event) // 2
    chunks = [f"data: {event[:half]}".encode(), f"{event[half:]}\n\ndata: [DONE]\n\n".encode()]
    server.reply(Reply(chunks=chunks) if stream else Reply(body=event.encode()), "It was opened-by-this.")
    with Cassette(path, "record") as cassette:
        http = cassette.attach(httpx2.Client(trust_env=False))
        for _ in range(2):
            http.post(f"{server.base_url}/completions", json={"prompt": "Hello"})
        http.close()
    written = path.read_text()
    for secret in ("opened-by-this", "and-this", '"ab', 'c\\"d', "123"):
        assert secret not in written.replace("\\\\", "\\")
    assert "It was ***." in written
    assert "shown" in written


@pytest.mark.parametrize("said", ["Yes.", f"It is {KEY}."])
def test_a_key_is_in_no_file_as_tokens_and_what_is_left_can_be_replayed(
    path: Path, server: MockServer, said: str
) -> None:
    server.reply(said)
    modes: list[Mode] = ["record", "replay"]
    for mode in modes:
        with Cassette(path, mode) as cassette:
            client = cassette.client(base_url=server.base_url, model=MODEL, api_key=KEY)
            done = client.chat.completions.create(
                messages=f"Is it {KEY}?",
                logprobs=True,
                top_logprobs=2,
                return_token_ids=True,
                prompt_logprobs=1,
            )
        assert done.text == (said if mode == "record" else said.replace(KEY, "***"))
    (held,) = held_in(path)["recordings"]
    answer = held["response"]["json"]
    assert answer["prompt_token_ids"] == answer["prompt_logprobs"] == answer["choices"][0]["token_ids"] == []
    assert {row["token"] for row in answer["choices"][0]["logprobs"]["content"]} == {"***"}
    assert not any(row["bytes"] for row in answer["choices"][0]["logprobs"]["content"])


# --- A cassette as a script ---


def test_what_was_recorded_can_be_the_script_of_a_fake(path: Path, server: MockServer) -> None:
    server.reply("Hi!", cut(text("Once upon"), after=2), Reply(status=0, end="reset"))
    with Cassette(path, "auto") as cassette:
        client = cassette.client(base_url=server.base_url, max_retries=0)
        client.chat.completions.create(messages="Hello")
        for _ in range(2):
            with pytest.raises(APIError), client.chat.completions.stream(messages="Hello") as stream:
                stream.until_done()
    with FakeServer(*replayed(path)) as fake:
        client = fake.client(max_retries=0)
        assert client.chat.completions.create(messages="Anything").text == "Hi!"
        for _ in range(2):
            with pytest.raises(APIError), client.chat.completions.stream(messages="Hello") as stream:
                stream.until_done()
