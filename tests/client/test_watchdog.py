"""The thread that ends reads which wait too long: with given times here, with real ones in test_timeouts.py."""

import os
import runpy
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import inf
from types import MappingProxyType

import pytest

from nemotron_client import AsyncNemotron, Nemotron, Timeout
from nemotron_client._engine.exchange import Request
from nemotron_client._transport import watchdog
from nemotron_client._transport.watchdog import Guard, Watchdog
from nemotron_client.testing import MockServer

NAME = "nemotron-client-watchdog"


class NetworkStream:
    """What httpcore gives with a response."""

    def __init__(self, sock: object) -> None:
        self._socket = sock

    def get_extra_info(self, info: str) -> object:
        return self._socket if info == "socket" else None


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """A watchdog that is asked by the tests and has no thread."""

    class Idle(Watchdog):
        def look_again(self) -> None:
            self.woken += 1

        def reset(self) -> None:
            super().reset()
            self.woken = 0
            self._thread = threading.current_thread()

    dog = Idle()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    return dog


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time that guards see."""

    def set_time(seconds: float) -> None:
        monkeypatch.setattr(watchdog, "monotonic", lambda: seconds)

    set_time(1000)
    return set_time


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def guard(sock: object, *, http_version: str = "HTTP/1.1", **limits: float | None) -> Guard:
    total = limits.pop("total", None)
    deadline = None if total is None else 1000 + total
    request = Request("POST", "http://localhost/v1", {}, timeout=Timeout(**limits), deadline=deadline)
    return Guard({"network_stream": NetworkStream(sock)}, http_version, request, sent=1000)


def has_ended(sock: socket.socket) -> bool:
    sock.settimeout(0)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.usefixtures("now")
def test_a_read_is_ended_at_its_limit(dog: Watchdog, pair: tuple[socket.socket, socket.socket]) -> None:
    each = guard(pair[0], first_event=10)
    each.arm(0)
    assert dog.check(1009.9) == 1010
    assert not has_ended(pair[0])
    assert dog.check(1010) == inf
    assert each.fired
    assert has_ended(pair[0])
    assert has_ended(pair[1])
    failure = each.failure(None)
    assert failure is not None
    assert failure.problem == "timeout"


def test_content_moves_the_limit_and_anything_else_does_not(
    dog: Watchdog, now: Callable[[float], None], pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0], first_event=10, idle=5)
    each.arm(0)
    now(1009)
    each.arm(0)
    assert dog.check(1009) == 1010
    each.arm(1)
    assert dog.check(1009) == 1014
    now(1013)
    each.arm(1)
    dog.check(1014)
    assert each.fired


def test_the_total_ends_everything(
    dog: Watchdog, now: Callable[[float], None], pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0], total=20)
    each.arm(0)
    now(1019)
    each.arm(7)
    dog.check(1020)
    now(1020)
    failure = each.failure(None)
    assert failure is not None
    assert failure.problem == "total"


@pytest.mark.usefixtures("now")
def test_between_two_reads_nothing_is_ended(dog: Watchdog, pair: tuple[socket.socket, socket.socket]) -> None:
    each = guard(pair[0], first_event=10, idle=5)
    each.arm(0)
    each.disarm()
    assert dog.check(5000) == 5005  # a read that begins now has its limit no sooner
    assert not each.fired


def test_what_happens_between_two_reads_takes_no_time_from_the_limits(
    dog: Watchdog, now: Callable[[float], None], pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0], first_event=10, total=20)
    each.arm(0)
    now(1009)
    each.disarm()
    now(5000)
    each.arm(0)
    assert dog.check(5000.9) == 5001
    each.arm(1)
    assert dog.check(5001) == 5011


@pytest.mark.usefixtures("now")
def test_a_busy_caller_with_hardly_any_time_left_keeps_nobody_busy(
    dog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    _ = guard(pair[0], total=0.000_001)
    assert dog.check(1000) >= 1000.01


@pytest.mark.usefixtures("now")
def test_a_limit_that_is_sooner_wakes_the_thread(dog: Watchdog, pair: tuple[socket.socket, socket.socket]) -> None:
    each = guard(pair[0], first_event=10)
    dog.wakes_at = 1005
    each.arm(0)
    assert vars(dog)["woken"] == 0
    dog.wakes_at = 1011
    each.arm(0)
    assert vars(dog)["woken"] == 1


@pytest.mark.usefixtures("now")
def test_the_end_of_a_body_that_has_told_all_is_not_waited_for_long(
    dog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0])
    each.arm_drain()
    assert dog.check(1000) == 1000.25


@pytest.mark.usefixtures("now")
def test_what_was_released_is_left_alone(dog: Watchdog, pair: tuple[socket.socket, socket.socket]) -> None:
    each = guard(pair[0], first_event=10)
    each.arm(0)
    each.release()
    assert dog.check(5000) == inf
    assert not has_ended(pair[0])


@pytest.mark.usefixtures("now")
def test_a_socket_that_is_closed_already_is_no_trouble(
    dog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0], first_event=10)
    each.arm(0)
    pair[0].close()
    dog.check(1010)
    assert each.fired


@pytest.mark.usefixtures("now")
def test_without_a_socket_of_its_own_a_body_is_over_time_all_the_same_and_shuts_nothing_down(
    dog: Watchdog, pair: tuple[socket.socket, socket.socket]
) -> None:
    shared, missing = guard(pair[0], http_version="HTTP/2", first_event=10), guard(None, first_event=10)
    for each in (shared, missing):
        assert not each.can_shut_down
        each.arm(0)
    assert dog.check(1009) == 1010
    assert dog.check(1010) == inf
    for each in (shared, missing):
        assert each.fired
        each.shut_down()
    assert not has_ended(pair[0])
    request = Request("POST", "http://localhost/v1", MappingProxyType({}))
    assert not Guard({}, "HTTP/1.1", request, sent=1000).can_shut_down


@pytest.mark.usefixtures("now", "dog")
def test_in_a_forked_process_the_socket_is_the_parents(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    each = guard(pair[0])
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: 0)
        each.shut_down()
    assert not has_ended(pair[1])
    each.shut_down()
    assert has_ended(pair[1])


@pytest.mark.usefixtures("now")
def test_tls_is_ended_under_it(dog: Watchdog, pair: tuple[socket.socket, socket.socket]) -> None:
    context = ssl.create_default_context()
    with context.wrap_socket(pair[0], server_hostname="localhost", do_handshake_on_connect=False) as wrapped:
        each = guard(wrapped, first_event=10)
        each.arm(0)
        dog.check(1010)
        assert each.fired
        assert has_ended(pair[1])
        with pytest.raises(
            OSError, match="Broken pipe"
        ):  # the TLS state is still there: its reader is told, not broken
            wrapped.do_handshake()


def test_the_thread_comes_and_goes(monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]) -> None:
    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in before]

    before = threading.enumerate()
    first, second = guard(pair[0]), guard(pair[0])
    (thread,) = threads()
    assert thread.name == NAME
    assert thread.daemon
    first.release()
    assert threads() == [thread]
    second.release()
    dog.look_again()
    thread.join(5)
    assert threads() == []
    third = guard(pair[0])
    (again,) = threads()
    third.release()
    dog.look_again()
    again.join(5)


def test_a_process_that_has_all_its_threads_streams_all_the_same(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    def fail(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fail)
        first = guard(pair[0])
    assert NAME not in [thread.name for thread in threading.enumerate() if thread is vars(dog)["_thread"]]
    second = guard(pair[0])  # the next one tries again
    thread = vars(dog)["_thread"]
    assert thread.is_alive()
    first.release()
    second.release()
    dog.look_again()
    thread.join(5)


def test_what_was_abandoned_is_closed_by_the_thread_whatever_else_fails(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    closed: list[str] = []
    dog.abandon(lambda: closed.append(threading.current_thread().name))  # there is no thread: the next body's does it
    assert closed == []
    each = guard(pair[0])
    thread = vars(dog)["_thread"]
    dog.abandon(fail)
    dog.abandon(lambda: closed.append(threading.current_thread().name))
    each.release()
    dog.look_again()
    thread.join(5)
    assert closed == [NAME, NAME]


def test_at_the_end_of_the_interpreter_nothing_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    each, closed = guard(pair[0]), list[str]()
    thread = vars(dog)["_thread"]
    with monkeypatch.context() as end, ThreadPoolExecutor(1) as other:
        end.setattr(sys, "is_finalizing", lambda: True)
        other.submit(vars(dog)["_condition"].acquire).result()  # as by a thread that died with it
        dog.look_again()
        dog.abandon(lambda: closed.append("closed"))
        each.release()
        other.submit(vars(dog)["_condition"].release).result()
    assert closed == []
    each.release()
    dog.look_again()
    thread.join(5)


def test_one_thread_serves_all(monkeypatch: pytest.MonkeyPatch, server: MockServer) -> None:
    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    before = threading.enumerate()
    with ExitStack() as stack, Nemotron(base_url=server.base_url) as client:
        for _ in range(5):
            stack.enter_context(client.chat.completions.stream(messages="Hello"))
        assert [thread.name for thread in threading.enumerate() if thread not in before] == [NAME]


@pytest.mark.parametrize("variant", ["asyncio", "trio"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_stream_that_is_left_open_is_not_looked_after_for_ever(
    variant: str, monkeypatch: pytest.MonkeyPatch, server: MockServer
) -> None:
    assert variant
    dog = Watchdog()
    monkeypatch.setattr(watchdog, "WATCHDOG", dog)
    monkeypatch.setattr(watchdog, "_LINGER", 0.02)
    async with AsyncNemotron(base_url=server.base_url) as client:
        stream = await client.chat.completions.create(messages="Hello", stream=True)
        assert len(vars(dog)["_guards"]) == 1
        del stream
        assert len(vars(dog)["_guards"]) == 0


@pytest.mark.usefixtures("plain_imports")
def test_a_system_without_fork_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    monkeypatch.delitem(sys.modules, watchdog.__name__)
    assert "WATCHDOG" in runpy.run_module(watchdog.__name__)


FORK = """
import os, sys
from nemotron_client import Nemotron, StreamTimeoutError, Timeout
from nemotron_client.testing import Reply

client = Nemotron(base_url=sys.argv[1], model="m")
client.chat.completions.create(messages="Hello")
stream = client.chat.completions.create(messages="Hello", stream=True)  # the thread runs
next(stream)
child = os.fork()
if not child:
    assert client.chat.completions.create(messages="Hello").text
    with client.chat.completions.stream(messages="silence", timeout=Timeout(first_event=0.2)) as silent:
        try:
            silent.until_done()
        except StreamTimeoutError:
            os._exit(0)
    os._exit(1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert [chunk for chunk in stream]  # the child has not touched the parent's connection
stream.close()
client.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_fork_has_its_own_thread_and_connections_and_makes_no_noise() -> None:
    from nemotron_client.testing import RecordedRequest, Reply, text

    def answer(request: RecordedRequest) -> Reply:
        silence = b"silence" in request.body
        return Reply(chunks=(), end="hang") if silence else text("Hello there")(request)

    with MockServer(model="m", chunk_delay=0.05) as server:
        server.always(answer)
        ignored = "ignore:This process:DeprecationWarning"  # Python 3.12 warns of every fork beside a thread
        command = [sys.executable, "-X", "dev", "-W", "error", "-W", ignored, "-c", FORK, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


AT_EXIT = """
import sys, threading
from nemotron_client import Nemotron
from nemotron_client._transport.watchdog import WATCHDOG

stream = Nemotron(base_url=sys.argv[1], model="m").chat.completions.create(messages="Hello", stream=True)
next(stream)
holder = threading.Thread(target=WATCHDOG._condition.acquire)  # and never gives it back
holder.start()
holder.join()
WATCHDOG.wakes_at = float("inf")
sys.exit("the end")
"""


def test_a_process_ends_whatever_the_thread_was_doing_when_it_died() -> None:
    with MockServer(model="m") as server:
        command = [sys.executable, "-c", AT_EXIT, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    assert (done.returncode, done.stderr) == (1, "the end\n")
