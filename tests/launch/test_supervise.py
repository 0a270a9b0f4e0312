"""The life of a server, with a stand-in for vLLM: start, waiting, answers, crashes, signals, and nothing left behind.

The clock is the test's; a signal comes when something was said, not after a time.
"""

import errno
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, TypedDict, Unpack

import pytest

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch.command import Command, Flag
from nemotron_client.launch.supervise import Patience, Supervisor
from tests.launch.stand_in import ends

KEY = "sk-made-up-key"


class Manner(TypedDict, total=False):
    """What the stand-in is told; see there."""

    busy: int
    says: str
    exits: int
    dumb: int
    dies: int
    hangs: bool
    deaf: bool
    child: str


class Broken(io.BytesIO):
    """A terminal that is closed."""

    def write(self, _: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "nobody reads")


class Run:
    """One run of the launcher.

    Attributes:
        said: What it said, word for word.
        log: What the server printed.
        on: What to do once something was said that holds these words.
        port: Where the server is.
        patience: How long it waits; its clock moves on by `step` seconds each time it is asked.
    """

    def __init__(self, program: Path, out: BinaryIO | None = None, *, step: float = 0.0) -> None:
        self.said: list[str] = []
        self.log = out or io.BytesIO()
        self.on: dict[str, Callable[[], object]] = {}
        self._program = program
        self._time, self._step = 0.0, step
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.command = Command(
            str(program), (Flag(("serve", "/w"), ""), Flag(("--host", "127.0.0.1", "--port", str(self.port)), ""))
        )
        self.patience = Patience(pause=0.005, clock=self._now)

    def __call__(self, environment: Mapping[str, str] | None = None, **manner: Unpack[Manner]) -> int:
        settings = {"PATH": os.environ["PATH"], "STAND_IN": json.dumps(manner), **(environment or {})}
        url = f"http://127.0.0.1:{self.port}/v1"
        return Supervisor(
            self.command,
            url,
            settings,
            out=self.log,
            say=self._say,
            answered=lambda: self._say("(the lines that use it)"),
            patience=self.patience,
        ).run()

    @property
    def told(self) -> str:
        return "\n".join(self.said)

    def sending(self, number: int, when: str = "Ready") -> "Run":
        self.on[when] = lambda: os.kill(os.getpid(), number)
        return self

    def skipping(self, seconds: float, when: str) -> "Run":
        self.on[when] = lambda: setattr(self, "_time", self._time + seconds)
        return self

    def _say(self, text: str) -> None:
        self.said.append(text)
        for words in [words for words in self.on if words in text]:
            self.on.pop(words)()

    def _now(self) -> float:
        self._time += self._step
        return self._time


def starting_another(pid: Path, *, apart: bool = False) -> str:
    """Write a program of Python that starts a process which stays, writes its number to a file, and ends."""
    another = f"subprocess.Popen(['sleep', '600'], start_new_session={apart})"
    return f"import subprocess; print({another}.pid, file=open({str(pid)!r}, 'w'))"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Put a program called vllm into a folder with a space in its name."""
    made = tmp_path / "my programs" / "vllm"
    made.parent.mkdir()
    made.write_text(f"#!{sys.executable} -IS\n" + (Path(__file__).parent / "stand_in.py").read_text())
    made.chmod(0o755)
    return made


@pytest.fixture
def run(program: Path) -> Run:
    return Run(program)


def test_a_slow_start_is_waited_for_and_ends_with_what_uses_it(run: Run) -> None:
    run.sending(signal.SIGINT, "Ctrl-C ends it.")
    assert run(busy=3) == 0
    assert any(
        said.startswith(f"Ready: http://127.0.0.1:{run.port}/v1 answered 'Hello' 0 s after the start")
        for said in run.said
    )
    assert "Use it:\n(the lines that use it)\nCtrl-C ends it.\n" in run.told
    assert "SIGINT was passed on to vllm; another signal kills it at once." in run.said
    assert run.said[-1] == "vllm has ended with status 0 after 0 s, and its process group with it."


def test_its_log_is_forwarded_as_it_is(run: Run) -> None:
    run.sending(signal.SIGTERM)
    assert run(says="50%\r100%\rdone, größe") == 0
    assert isinstance(run.log, io.BytesIO)
    words, *rest = run.log.getvalue().split(b"\n")
    assert json.loads(words)[:2] == ["serve", "/w"]
    assert rest == [b"50%\r100%\rdone, gr\xc3\xb6\xc3\x9fe", b"got SIGTERM", b""]


@pytest.fixture
def ignore() -> Iterator[Callable[[int], object]]:
    """Tell this process to ignore a signal, as nohup does before it starts one."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    yield lambda number: signal.signal(number, signal.SIG_IGN)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_nohup_has_it_ignore_is_not_passed_on(run: Run, ignore: Callable[[int], object]) -> None:
    ignore(signal.SIGHUP)
    run.sending(signal.SIGHUP).sending(signal.SIGTERM, "Ctrl-C ends it.")
    assert run() == 0
    assert isinstance(run.log, io.BytesIO)
    assert b"SIGHUP" not in run.log.getvalue()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_in_the_background_of_a_script_where_ctrl_c_is_ignored_it_is_said_what_ends_it(
    run: Run, ignore: Callable[[int], object]
) -> None:
    ignore(signal.SIGINT)
    told = f"SIGTERM to process {os.getpid()} ends it."
    assert run.sending(signal.SIGTERM, told)() == 0
    assert told in run.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_each_signal_is_passed_on_and_the_old_handlers_come_back(run: Run, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    run.sending(number)
    assert run() == 0
    assert isinstance(run.log, io.BytesIO)
    assert f"got {number.name}".encode() in run.log.getvalue()
    assert signal.getsignal(number) == before


def test_the_wait_is_told_of_now_and_then(program: Path) -> None:
    run = Run(program, step=6.0)
    run.patience = replace(run.patience, start=1e9)
    assert run.sending(signal.SIGINT)(busy=9) == 0
    waits = [said for said in run.said if "not ready yet" in said]
    assert len(waits) >= 2
    assert any("loading)" in said for said in waits)


def test_before_its_port_is_open_it_is_said_when_that_will_be(program: Path) -> None:
    run = Run(program, step=6.0)
    run.command = replace(run.command, flags=(*run.command.flags, Flag(("--headless",), "")))
    run.sending(signal.SIGTERM, "not ready yet (it opens its port when the model is loaded)")
    assert run() in {0, 128 + 15}  # by its own handler, or before it has one


def test_a_start_that_hangs_is_ended_in_time_and_fails(program: Path) -> None:
    run = Run(program, step=60.0)
    assert run(busy=10**9) == 1
    assert "so it is ended. It last said: " in run.told
    assert "SIGTERM was sent to vllm; a signal kills it at once." in run.said


def test_the_first_question_too_must_be_answered_in_the_time_for_the_start(run: Run) -> None:
    run.patience = replace(run.patience, start=0.01)
    assert run(hangs=True) == 1
    assert run.said[1].startswith("It is up but has not answered in time, so it is ended. A larger --ready-timeout ")


def test_a_server_that_does_not_answer_is_ended_and_fails(run: Run) -> None:
    assert run(dumb=400) == 1
    assert "It is up but does not answer, so it is ended. BadRequestError: " in run.told


def test_one_that_fails_to_answer_is_given_time_to_end_by_itself_first(run: Run) -> None:
    run.patience = replace(run.patience, end=0.01)
    assert run(dumb=500) == 1
    assert "It is up but does not answer, so it is ended. InternalServerError: " in run.told


def test_a_crash_at_the_start_tells_why_and_gives_the_status_on(run: Run) -> None:
    assert run(says="OSError: [Errno 98] Address already in use", exits=3) == 3
    *_, ended, why, line, remedy = run.said
    assert ended == "vllm has ended with status 3 after 0 s, and its process group with it."
    assert (why, line) == ("Why: the port is in use", "  | OSError: [Errno 98] Address already in use")
    assert remedy.startswith("What to change: end what uses it, or choose another with --port")


def test_a_crash_at_the_first_question_tells_why_too(run: Run) -> None:
    assert run(dies=7) == 7
    assert "Why: out of GPU memory" in run.said


def test_a_crash_that_nothing_explains_says_so(run: Run) -> None:
    assert run(says="KeyError: 'x'", exits=1) == 1
    assert "Why: not known here; the log says" in run.said


def test_an_end_by_force_from_outside_is_told_as_shells_do(run: Run, tmp_path: Path) -> None:
    child = tmp_path / "pid"
    run.command = replace(run.command, executable="/bin/sh", flags=(Flag(("-c", "kill -9 $$"), ""),))
    assert run(child=str(child)) == 128 + 9
    assert "sh has ended by SIGKILL after 0 s" in run.told


@pytest.mark.parametrize("manner", [Manner(), Manner(exits=5), Manner(dies=5), Manner(dumb=400)])
def test_no_process_is_left_however_it_ends(run: Run, tmp_path: Path, manner: Manner) -> None:
    run.sending(signal.SIGINT)
    manner["child"] = str(tmp_path / "pid")
    run(**manner)
    assert ends(int((tmp_path / "pid").read_text()))


def test_a_process_that_left_the_group_and_holds_the_log_open_is_told_of(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron_client.launch.process._LONGEST_FAREWELL", 0.01)
    pid = tmp_path / "pid"
    start = starting_another(pid, apart=True)
    run.command = replace(run.command, executable=sys.executable, flags=(Flag(("-c", start), ""),), serves=False)
    assert run() == 0
    assert run.said[-1].startswith("A process that it had put outside its group still holds its log open")
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_server_that_is_deaf_is_killed_after_a_time(run: Run) -> None:
    run.sending(signal.SIGTERM).skipping(31, "SIGTERM was passed on")
    assert run(deaf=True) == 128 + 9
    assert "It has not ended within 30 s, so it is killed." in run.told


def test_a_second_signal_kills_at_once(run: Run) -> None:
    run.sending(signal.SIGINT).sending(signal.SIGINT, "another signal kills it at once")
    assert run(deaf=True) == 128 + 9
    assert "has not ended within" not in run.told


@pytest.mark.parametrize("deaf", [False, True])
def test_a_server_that_hangs_on_the_first_question_ends_as_fast_as_another(run: Run, deaf: bool) -> None:  # noqa: FBT001
    run.sending(signal.SIGTERM, "asking for one token").skipping(31 if deaf else 0, "SIGTERM was passed on")
    assert run(hangs=True, deaf=deaf) == (128 + 9 if deaf else 0)
    assert ("It has not ended within 30 s, so it is killed." in run.told) == deaf


def test_a_signal_while_the_model_answers_is_no_failure_of_the_model(run: Run) -> None:
    run.sending(signal.SIGKILL, "never")
    run.on = {"asking for one token": lambda: os.kill(os.getpid(), signal.SIGINT)}
    assert run() == 0
    assert "does not answer" not in run.told


def test_a_command_that_must_run_first_and_fails_ends_it(run: Run) -> None:
    run.command = replace(run.command, before=("sh", "-c", "exit 4"))
    assert run() == 4
    assert run.said == [
        "First: sh -c 'exit 4'",
        "It failed. If Ray runs on this machine already, `ray stop` ends it.",
    ]


def test_after_a_command_that_must_run_first_it_starts_and_what_stays_is_told(run: Run) -> None:
    run.command = replace(run.command, before=("true",))
    assert run.sending(signal.SIGINT)() == 0
    assert run.said[0] == "First: true"
    assert run.said[-1] == "Ray, which was started first, runs on; `ray stop` ends it on this machine."


def test_a_signal_that_comes_just_before_it_starts_is_passed_on(run: Run) -> None:
    def interrupted() -> float:
        if not run.said:
            run.said.append("interrupted")
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    run.patience = replace(run.patience, clock=interrupted)
    assert run(busy=10**9) in {0, 128 + 15}
    assert "SIGTERM was passed on to vllm; another signal kills it at once." in run.said


RAY_MAY_RUN = "So nothing more is started. If Ray runs on this machine now, `ray stop` ends it."


@pytest.mark.parametrize("when", ["before it runs", "while it runs"])
def test_a_signal_meanwhile_ends_that_command_and_nothing_more_starts(run: Run, when: str) -> None:
    if when == "before it runs":
        run.sending(signal.SIGTERM, "First: ")
    words = "exec sleep 600" if when == "before it runs" else "kill -TERM $PPID; exec sleep 600"
    run.command = replace(run.command, before=("sh", "-c", words))
    assert run() == 128 + 15
    assert isinstance(run.log, io.BytesIO)
    assert run.log.getvalue() == b""
    assert run.said[1:] == ["SIGTERM was passed on to sh; another signal kills it at once.", RAY_MAY_RUN]


def test_a_signal_as_that_command_ends_is_told_that_what_it_has_started_may_run(run: Run) -> None:
    run.command = replace(run.command, before=("sh", "-c", "kill -TERM $PPID; exit 0"))
    assert run() == 128 + 15
    assert run.said[-1] == RAY_MAY_RUN


def test_a_command_that_must_run_first_and_is_deaf_is_killed_by_a_second_signal(run: Run) -> None:
    run.sending(signal.SIGTERM, "SIGTERM was passed on to sh")
    run.command = replace(run.command, before=("sh", "-c", "trap '' TERM; kill -TERM $PPID; exec sleep 600"))
    assert run() == 128 + 15


class Impatient(SimpleQueue[None]):
    """A queue at which nobody may wait for long."""

    def get(self, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002 - as it is there
        assert timeout is not None
        assert timeout <= 1
        super().get(block, timeout)


def test_no_wait_is_long_since_a_signal_that_comes_as_one_begins_ends_none(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron_client.launch.supervise.SimpleQueue", Impatient)
    run.sending(signal.SIGTERM, "SIGTERM was passed on to sh")
    run.command = replace(run.command, before=("sh", "-c", "trap '' TERM; kill -TERM $PPID; exec sleep 600"))
    assert run() == 128 + 15


def test_what_that_command_says_is_forwarded_without_the_key_and_what_it_starts_lives_on(
    run: Run, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    start = starting_another(pid)
    words = 'echo "the key is $VLLM_API_KEY"; exec "$0" -c "$1"'
    run.command = replace(run.command, before=("sh", "-c", words, sys.executable, start))
    assert run.sending(signal.SIGINT)({"VLLM_API_KEY": KEY}) == 0
    assert isinstance(run.log, io.BytesIO)
    assert b"the key is ***" in run.log.getvalue()
    os.kill(int(pid.read_text()), signal.SIGKILL)  # which it could not, were it gone


@pytest.mark.parametrize("words", [("/nowhere/ray",), ("/",)])
def test_what_can_not_be_started_is_named(run: Run, words: tuple[str, ...]) -> None:
    command = run.command
    run.command = replace(command, before=words)
    with pytest.raises(ConfigurationError, match=f"{words[0]} can't be started"):
        run()
    run.command = replace(command, executable=words[0])
    with pytest.raises(ConfigurationError, match=f"{words[0]} can't be started"):
        run()


def test_a_node_that_only_works_is_not_asked_anything(run: Run) -> None:
    run.command = replace(run.command, serves=False, flags=(*run.command.flags, Flag(("--headless",), "")))
    assert isinstance(run.log, io.BytesIO)

    class Watching(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override] # what it is given
            if data == b"headless\n":
                os.kill(os.getpid(), signal.SIGTERM)
            return super().write(data)

    run.log = Watching()
    assert run() == 0
    assert "Ready" not in run.told


def test_a_line_without_an_end_is_forwarded_in_pieces(run: Run) -> None:
    run.command = replace(
        run.command, executable=sys.executable, flags=(Flag(("-c", "import os; os.write(1, b'x' * 300_000)"), ""),)
    )
    assert run() == 0
    assert isinstance(run.log, io.BytesIO)
    assert run.log.getvalue() == b"x" * 300_000


def test_a_key_is_found_in_such_a_line_wherever_it_stands(run: Run) -> None:
    write = f"import os; os.write(1, b'x' * 65_530 + b' {KEY} ' + b'y' * 300_000)"
    run.command = replace(run.command, executable=sys.executable, flags=(Flag(("-c", write), ""),))
    assert run({"VLLM_API_KEY": KEY}) == 0
    assert isinstance(run.log, io.BytesIO)
    assert run.log.getvalue() == b"x" * 65_530 + b" *** " + b"y" * 300_000


def test_a_closed_terminal_does_not_stall_the_server(program: Path) -> None:
    run = Run(program, Broken())
    assert run.sending(signal.SIGHUP)(says="x" * 100_000) == 0
    assert "Ready" in run.told


def test_a_key_is_sent_by_the_first_question_and_is_in_no_log(run: Run) -> None:
    run.sending(signal.SIGINT)
    assert run({"VLLM_API_KEY": KEY}, says=f"the key is {KEY}") == 0
    assert isinstance(run.log, io.BytesIO)
    assert KEY not in run.told
    assert KEY.encode() not in run.log.getvalue()
    assert b"the key is ***" in run.log.getvalue()


def test_a_proxy_of_the_environment_is_not_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert run.sending(signal.SIGINT)() == 0
    assert "Ready" in run.told


def test_what_the_user_has_set_comes_before_what_the_launcher_would(run: Run) -> None:
    run.command = replace(
        run.command,
        executable="/bin/sh",
        flags=(Flag(("-c", "echo $A $B"), ""),),
        environment={"A": "launcher", "B": "launcher"},
    )
    assert run({"A": "user"}) == 0
    assert isinstance(run.log, io.BytesIO)
    assert run.log.getvalue() == b"user launcher\n"
