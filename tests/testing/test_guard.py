"""The guard keeps a test from the network: whatever it is asked by, whatever is swallowed, and no more than that."""

import socket
from contextlib import suppress

import pytest

from nemotron_client.testing.guard import GUARD
from tests.testing.conftest import Run

GUARDED = """
    import asyncio
    import socket
    from contextlib import suppress

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
        socket.gethostbyname("127.1")
        with suppress(OSError):  # where no name is known so
            socket.gethostbyname("localhost.")
        with suppress(OSError):
            socket.gethostbyname(socket.gethostname())
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
