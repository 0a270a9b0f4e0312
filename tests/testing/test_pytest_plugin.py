"""The pytest plugin, in test runs of its own: fixtures, recording, the guard, and what it costs whoever uses none."""

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from nemotron_client.testing import MockServer
from nemotron_client.testing.guard import GUARD
from nemotron_client.testing.plugin import cassette_name

PLUGIN = "nemotron_client_pytest"
Run = Callable[..., pytest.RunResult]

APPLICATION = """
    import pytest

    from nemotron_client import AsyncNemotron, Nemotron
    from nemotron_client.testing import error, text

    def ask(client, question="Hello"):
        return client.chat.completions.create(messages=question).text
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    # The plugins of the libraries that we test with import these libraries, which would be taken for ours.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]")  # or that of a folder above would count, wherever temporary files are

    def run(code: str, *arguments: str) -> pytest.RunResult:
        for old in pytester.path.glob("__pycache__/*"):
            old.unlink()
        pytester.makepyfile(test_app=APPLICATION + code)
        return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:cacheprovider", *arguments)

    return run


# --- Fixtures ---


def test_a_fake_and_a_server_are_given_as_fixtures(run: Run) -> None:
    run("""
    def test_fake(nemotron_fake):
        nemotron_fake.reply("Hi!")
        assert ask(nemotron_fake.client()) == "Hi!"

    def test_server(nemotron_server):
        with Nemotron(base_url=nemotron_server.base_url) as client:
            assert ask(client).startswith("Hello!")
    """).assert_outcomes(passed=2)


def test_a_mistake_in_the_script_of_a_fake_fails_the_test_that_swallowed_it(run: Run) -> None:
    done = run("""
    def mistaken(request):
        raise LookupError("mistaken")

    def test_swallowed(nemotron_fake):
        nemotron_fake.reply(mistaken)
        with pytest.raises(LookupError):
            ask(nemotron_fake.client())

    def test_met(nemotron_fake):
        nemotron_fake.reply(mistaken)
        ask(nemotron_fake.client())
    """)
    done.assert_outcomes(passed=1, errors=1, failed=1)


def test_a_test_that_fails_is_told_of_the_end_of_its_script_and_no_warning_masks_it(run: Run) -> None:
    done = run(
        """
    def test_failed(nemotron_fake):
        nemotron_fake.reply("One")
        assert ask(nemotron_fake.client()) == ask(nemotron_fake.client(), "Really?")

    def test_skipped(nemotron_fake):
        nemotron_fake.reply("One")
        ask(nemotron_fake.client()), ask(nemotron_fake.client())
        pytest.skip("not now")
    """,
        "-W",
        "error",
    )
    done.assert_outcomes(failed=1, skipped=1)
    done.stdout.fnmatch_lines(["*The script ended after its reply 1. Answered without it: 'Really?'.*"])


# --- Cassettes ---

RECORDED = """
    @pytest.mark.parametrize("question", ["Hello", "../../x"])
    def test_answer(nemotron_cassette, question):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron", api_key="a-secret-key")
        assert ask(client, question)
"""


def test_a_cassette_is_recorded_when_told_and_replayed_from_then_on(run: Run, pytester: pytest.Pytester) -> None:
    with MockServer() as server:
        code = RECORDED.format(server.base_url)
        run(code, "--nemotron-cassettes=auto").assert_outcomes(passed=2)
        run(code, "--nemotron-cassettes=auto").assert_outcomes(passed=2)
        assert server.posts == 2
    run(code).assert_outcomes(passed=2)
    written = sorted(path.relative_to(pytester.path) for path in pytester.path.rglob("*.json"))
    assert [path.parent for path in written] == [Path("cassettes/test_app")] * 2
    escaping = f"{cassette_name('test_app.py::test_answer[../../x]')}.json"
    assert [path.name for path in written] == [escaping, "test_answer-Hello.json"]
    assert all("a-secret-key" not in path.read_text() for path in pytester.path.rglob("*.json"))


def test_a_changed_request_fails_once_and_tells_how_to_record_it(run: Run) -> None:
    with MockServer() as server:
        run(RECORDED.format(server.base_url), "--nemotron-cassettes=record")
    changed = run(
        RECORDED.format("http://elsewhere/v1").replace("ask(client, question)", "ask(client, 'x' + question)")
    )
    changed.assert_outcomes(failed=2)
    changed.stdout.fnmatch_lines(
        ['*-        "content": "Hello",', '*+        "content": "xHello",', "*pytest --nemotron-*"]
    )


def test_without_a_cassette_replaying_fails(run: Run) -> None:
    done = run(RECORDED.format("http://elsewhere/v1"))
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*There is no cassette *test_answer-Hello.json*"])


def test_an_unused_recording_is_among_the_warnings(run: Run) -> None:
    twice = """
    def test_answer(nemotron_cassette):
        client = nemotron_cassette.client(base_url="{}", model="mistralai/mistral-nemotron")
        ask(client, "One")
        ask(client, "Two")
    """
    with MockServer() as server:
        run(twice.format(server.base_url), "--nemotron-cassettes=record")
    once = twice.format("http://elsewhere/v1").replace('ask(client, "Two")', "")
    done = run(once, "-W", "always")  # here they would be errors
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*UnusedRecordingWarning: *recording 2 of 2 was not asked for*"])


def test_what_else_is_to_be_taken_out_is_a_fixture(run: Run, pytester: pytest.Pytester) -> None:
    with MockServer() as server:
        run(
            f"""
    @pytest.fixture(scope="session")
    def nemotron_redact():
        return ["Jane Doe"]

    class TestChat:
        def test_answer(self, nemotron_cassette):
            ask(nemotron_cassette.client(base_url="{server.base_url}"), "I am Jane Doe")
    """,
            "--nemotron-cassettes=record",
        ).assert_outcomes(passed=1)
    (path,) = pytester.path.rglob("*.json")
    assert path.name == "TestChat.test_answer.json"
    said = json.loads(path.read_text())["recordings"][-1]["request"]["json"]["messages"]
    assert said == [{"content": "I am ***", "role": "user"}]


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("tests/test_app.py::test_hello", "test_hello"),
        ("test_app.py::TestChat::test_hello[fast-2.5]", "TestChat.test_hello-fast-2.5"),
        ("test_app.py::test_hello[../../etc/passwd]", "test_hello-..-..-etc-passwd-{}"),
        ("test_app.py::test_hello[a/b]", "test_hello-a-b-{}"),
        ("test_app.py::test_hello[a\\b\0]", "test_hello-a-b--{}"),
        ("test_app.py::test_" + "x" * 300, "test_" + "x" * 95 + "-{}"),
    ],
)
def test_the_name_of_a_cassette_leads_nowhere_and_is_its_tests_alone(node: str, name: str) -> None:
    given = cassette_name(node)
    assert "/" not in given
    head, _, digest = given.rpartition("-")
    assert given == name.format(digest)
    if name.endswith("{}"):
        assert cassette_name(node + "x") != given
        assert (len(digest), head) == (8, name.removesuffix("-{}"))


# --- The guard ---

GUARDED = """
    import asyncio
    import socket

    {mark}
    def test_swallowed():
        with Nemotron(base_url="http://192.0.2.1/v1", max_retries=0) as client:
            with pytest.raises(Exception):
                ask(client)

    {mark}
    def test_name():
        asyncio.run(asyncio.open_connection("example.com", 80))

    {mark}
    def test_name_of_old():
        socket.gethostbyname("old.example.com")

    {mark}
    def test_swallowed_whatever_it_is():
        try:
            socket.create_connection(("192.0.2.2", 80))
        except BaseException:
            pass

    {mark}
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_async(backend):
        import anyio

        async def main():
            async with AsyncNemotron(base_url="https://async.example.com/v1", max_retries=0) as client:
                await client.chat.completions.create(messages="Hello")

        anyio.run(main, backend=backend)

    {mark}
    def test_datagram():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", ("192.0.2.1", 9))

    {mark}
    def test_message():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendmsg([b"x"], [], 0, ("192.0.2.3", 9))

    {mark}
    def test_name_of_an_address():
        socket.getnameinfo(("192.0.2.4", 80), 0)

    {mark}
    def test_loopback(nemotron_server):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.1", 0))
            one.sendmsg([b"x"], [], 0, one.getsockname())
            one.connect(one.getsockname())
            one.sendmsg([b"x"])  # to where it is connected
        socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
        with Nemotron(base_url=nemotron_server.base_url.replace("127.0.0.1", "localhost")) as client:
            assert ask(client)
"""


def test_the_guard_fails_tests_that_would_leave_this_machine_whatever_they_swallow(run: Run) -> None:
    done = run(GUARDED.format(mark='@pytest.mark.usefixtures("nemotron_guard")'))
    done.assert_outcomes(passed=1, failed=9)
    done.stdout.fnmatch_lines(
        [
            "*The network guard refused a connection to 192.0.2.1, port 80.*",
            "*The network guard refused a connection to example.com, port 80.*",
            "*The network guard refused a connection to old.example.com.*",
            "*The network guard refused a connection to 192.0.2.2, port 80.*",
            "*The network guard refused a connection to async.example.com, port 443.*",
            "*The network guard refused a connection to async.example.com, port 443.*",
            "*The network guard refused a connection to 192.0.2.1, port 9.*",
            "*The network guard refused a connection to 192.0.2.3, port 9.*",
            "*The network guard refused a connection to 192.0.2.4, port 80.*",
        ]
    )


LATE = """
    import socket
    import threading

    def connect():
        try:
            socket.create_connection(("192.0.2.1", 80))
        except BaseException:
            pass

    def connect_elsewhere():
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()

    @pytest.fixture
    def ends_badly({guard}):
        yield
        connect_elsewhere()

    @pytest.fixture
    def begins_badly({guard}):
        socket.create_connection(("192.0.2.2", 80))

    def test_passes(ends_badly):
        pass

    def test_fails_before(ends_badly):
        connect_elsewhere()

    def test_never_runs(begins_badly):
        pass
"""


@pytest.mark.parametrize("everywhere", [False, True])
def test_what_a_fixture_meets_after_the_test_is_told_once(run: Run, *, everywhere: bool) -> None:
    done = run(LATE.format(guard="" if everywhere else "nemotron_guard"), "-o", f"nemotron_guard={everywhere}")
    done.assert_outcomes(passed=1, failed=1, errors=3)
    done.stdout.fnmatch_lines(["*The network guard refused a connection to 192.0.2.1, port 80.*"])


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no name at all, without asking anybody."""

    def known(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(socket, "getaddrinfo", known)


@pytest.mark.usefixtures("dns")
def test_the_configuration_file_can_guard_every_test_but_those_that_are_marked(run: Run) -> None:
    done = run(
        """
    import socket

    def test_refused():
        socket.getaddrinfo("example.com", 80)

    @pytest.mark.nemotron_network
    def test_marked():
        assert socket.getaddrinfo("example.com", 80) == []

    @pytest.mark.nemotron_network
    @pytest.mark.usefixtures("nemotron_guard")
    def test_marked_and_guarded():
        assert socket.getaddrinfo("example.com", 80) == []
    """,
        "-o",
        "nemotron_guard=true",
        "--strict-markers",
    )
    done.assert_outcomes(passed=2, failed=1)


@pytest.mark.usefixtures("dns")
def test_recording_is_let_through(run: Run) -> None:
    code = """
    import socket

    @pytest.mark.usefixtures("nemotron_guard")
    def test_recorded(nemotron_cassette):
        assert socket.getaddrinfo("example.com", 80) == []
    """
    for mode, outcome in (("record", {"passed": 1}), ("off", {"passed": 1}), ("replay", {"failed": 1})):
        run(code, f"--nemotron-cassettes={mode}").assert_outcomes(**outcome)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "LocalHost", "0.0.0.0", "", None],  # noqa: S104 - not bound
)
def test_this_machine_is_not_guarded(host: str | None) -> None:
    for given in (host, host and host.encode()):
        with GUARD.on(), suppress(OSError):  # not every system has IPv6
            socket.getaddrinfo(given, 80)
            socket.getaddrinfo(host=given, port=80)
            socket.getaddrinfo(given, port=80)


def test_names_are_guarded_however_they_are_given_and_calls_that_are_wrong_fail_as_ever() -> None:
    with GUARD.on():
        with pytest.raises(pytest.fail.Exception, match=r"a\.example, port 80"):
            socket.getaddrinfo(host="a.example", port=80)
        with pytest.raises(pytest.fail.Exception, match=r"b\.example, port 80"):
            socket.getaddrinfo("b.example", port=80)
        with pytest.raises(TypeError):
            socket.getaddrinfo()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - what is wrong


def test_what_is_no_internet_address_is_not_guarded_and_the_end_of_the_guard_leaves_nothing_behind() -> None:
    before = dict(vars(socket.socket))
    with GUARD.on():
        ours, theirs = socket.socketpair()
        ours.close()
        theirs.close()
        with socket.socket(socket.AF_UNIX) as one, pytest.raises(FileNotFoundError):
            one.connect("/nowhere")
    assert dict(vars(socket.socket)) == before


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_both_ways_to_connect_are_guarded(method: str) -> None:
    with GUARD.on(), socket.socket() as one, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1, port 443"):
        getattr(one, method)(("192.0.2.1", 443))


# --- What it costs whoever uses none of it ---


def test_a_project_that_uses_none_of_it_loads_none_of_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("""
    import sys

    def test_loaded():
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert "nemotron_client_pytest" in loaded
        assert not loaded & {"nemotron_client", "httpx", "httpx2", "pydantic", "uvicorn"}
    """)
    root = Path(__file__).parents[2]
    pytester.makeini(f"[pytest]\npythonpath = {root}")
    done = pytester.run(sys.executable, "-m", "pytest", "-q", *("-p", PLUGIN), *("-p", "no:cacheprovider"), timeout=60)
    done.assert_outcomes(passed=1)
