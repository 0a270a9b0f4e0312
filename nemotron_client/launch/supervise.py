"""Start a server, wait until it answers, stay until it ends; pass signals on and leave no process behind."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from types import FrameType
from typing import BinaryIO

from nemotron_client.client import Nemotron
from nemotron_client.config import MODEL, Secret, redact, resolve
from nemotron_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    InternalServerError,
    NemotronError,
)
from nemotron_client.timeouts import LONGEST, Timeout

from .command import Command
from .diagnose import diagnose
from .handed_on import KEY
from .process import Group

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LONGEST_FAREWELL = 5.0  # seconds for a question to notice that the server has gone
# A signal that comes as a wait begins does not end it: Python runs its handler when the wait is over.
_LOOKS_AGAIN = 1.0  # seconds
_LONGER = "A larger --ready-timeout waits longer; the log above tells how far it came."
_FAILED = 1
_BY_SIGNAL = 128  # and the signal's number, as shells tell of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        start: For the first answer.
        end: From a signal to the end by force.
        pause: Between two questions whether it is ready.
        tell: Between two words about waiting.
        clock: What tells the time.
    """

    start: float = 1800.0
    end: float = 30.0
    pause: float = 1.0
    tell: float = 15.0
    clock: Callable[[], float] = field(default=monotonic)


class Supervisor:
    """Look after one server from its start to its end.

    The main thread waits for the end and for signals, and keeps to their times whatever the server does; another asks
    whether it answers. A signal's handler only notes it and wakes both, by queues, which may be put to there.
    """

    def __init__(
        self,
        command: Command,
        url: str,
        environment: Mapping[str, str],
        *,
        out: BinaryIO,
        say: Callable[[str], None],
        answered: Callable[[], None],
        patience: Patience,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            command: What to run.
            url: Where its API will be.
            environment: Of this process; what it sets comes before what the command would.
            out: Where the server's log goes.
            say: Told what happens.
            answered: Called once a real token has come.
            patience: How long to wait for what.

        Raises:
            ConfigurationError: The key in the environment can't be one.
        """
        self._command, self._url, self._patience = command, url, patience
        self._out, self._say, self._answered = out, say, answered
        self._environment = {**command.environment, **environment}
        self._key = Secret(environment.get(KEY, ""))
        try:
            resolve({}, base_url=url, api_key=self._key, allow_insecure=True)
        except ConfigurationError as error:  # told now, and not when the model has been loaded
            raise ConfigurationError(f"{KEY} can't be sent by a client: {error}") from None
        self._signals: list[int] = []
        self._given_up = False
        self._news: SimpleQueue[None] = SimpleQueue()  # for the main thread
        self._enough: SimpleQueue[None] = SimpleQueue()  # for the one that asks

    def run(self) -> int:
        """Run the server to its end.

        Returns:
            Its exit status; 128 and the signal's number if a signal ended it; 1 if it never answered.

        Raises:
            ConfigurationError: It can't be started at all.
        """
        before = self._command.before
        with self._handling_signals():
            began = self._patience.clock()
            if before and (status := self._first(before)):
                return status
            try:
                return self._serve(began)
            finally:
                if before:
                    self._say("Ray, which was started first, runs on; `ray stop` ends it on this machine.")

    def _first(self, words: tuple[str, ...]) -> int:
        self._say(f"First: {shlex.join(words)}")
        group = self._start(words)
        self._wait(group)
        if self._signals:
            group.close()
            self._say("So nothing more is started. If Ray runs on this machine now, `ray stop` ends it.")
            return _BY_SIGNAL + self._signals[0]
        status = group.leave()
        if status:
            self._say("It failed. If Ray runs on this machine already, `ray stop` ends it.")
        return _as_shells_do(status)

    def _serve(self, began: float) -> int:
        group = self._start(self._command.argv)
        asking = Thread(target=self._ask, args=[group, began], name="ask", daemon=True)
        if self._command.serves:
            asking.start()
        try:
            self._wait(group)
        finally:
            status = group.close()
        if self._command.serves:
            asking.join(_LONGEST_FAREWELL)
        self._farewell(group, status, self._patience.clock() - began)
        return _FAILED if self._given_up else _as_shells_do(status)

    def _start(self, argv: tuple[str, ...]) -> Group:
        try:
            return Group(argv, self._environment, out=self._out, clean=self._clean, ended=self._wake)
        except (OSError, ValueError) as error:  # ValueError: a NUL byte
            raise ConfigurationError(f"{argv[0]} can't be started: {error}.") from None

    def _ask(self, group: Group, began: float) -> None:
        try:
            answered = self._until_it_answers(group, began)
        except APITimeoutError:
            answered = False
            self._complain(group, f"It is up but has not answered in time, so it is ended. {_LONGER}")
        except NemotronError as error:
            answered = False
            if isinstance(error, APIConnectionError | InternalServerError) and not self._signals:
                self._pause(self._patience.end)  # it may be ending, and then its log says why
            self._complain(group, f"It is up but does not answer, so it is ended. {type(error).__name__}: {error}")
        if not answered and not self._ends(group):
            self._given_up = True
            self._news.put(None)

    def _complain(self, group: Group, text: str) -> None:
        if not self._ends(group):
            self._say(text)

    def _ends(self, group: Group) -> bool:
        return group.over or bool(self._signals)

    def _until_it_answers(self, group: Group, began: float) -> bool:
        """Ask until one real token has come; return whether it has."""
        import httpx2

        patience, told = self._patience, began
        # No proxy from the environment: this goes to our own machine. Over plain http no certificate is looked at, and
        # reading all of them takes a fifth of a second.
        with (
            httpx2.Client(trust_env=False, verify=False) as http,
            Nemotron(
                base_url=self._url,
                api_key=self._key,
                model=MODEL,
                max_retries=0,  # a server that fails its first question has failed
                http_client=http,
                allow_insecure=True,
            ) as client,
        ):
            while not self._ends(group):
                state = client.server.ready()
                now = patience.clock()
                if state:
                    self._ask_for_a_token(client, began, now)
                    return True
                if now - began > patience.start:
                    self._say(f"Not ready after {now - began:.0f} s, so it is ended. It last said: {state.detail}")
                    self._say(_LONGER)
                    return False
                if now - told >= patience.tell:
                    told = now
                    why = state.detail if state.status_code else "it opens its port when the model is loaded"
                    self._say(f"{now - began:.0f} s: not ready yet ({why})")
                self._pause(patience.pause)
        return False

    def _ask_for_a_token(self, client: Nemotron, began: float, now: float) -> None:
        self._say(f"{now - began:.0f} s: it says it is ready; asking for one token, which may compile at first.")
        left = min(max(began + self._patience.start - now, self._patience.pause), LONGEST)
        limit = Timeout(first_event=None, total=left)
        done = client.chat.completions.create(messages="Hello", max_tokens=1, timeout=limit)
        after = self._patience.clock()
        took = f"{after - began:.0f} s after the start, {after - now:.1f} s after the question"
        self._say(f"Ready: {self._url} answered {done.text!r} {took}. Use it:")
        self._answered()
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as shells set it for what runs in the background
            self._say(f"SIGTERM to process {os.getpid()} ends it.")
        else:
            self._say("Ctrl-C ends it.")

    def _wait(self, group: Group) -> None:
        while not (group.over or self._given_up or self._signals):
            _wait_for(self._news, _LOOKS_AGAIN)
        if not group.over:
            self._end(group)

    def _end(self, group: Group) -> None:
        """Pass on the first signal, and end it by force at the second or when its time is over."""
        passed_on = self._signals[:1]
        number = signal.Signals(passed_on[0]) if passed_on else signal.SIGTERM
        group.send(number)
        until = self._patience.clock() + self._patience.end
        how, other = ("passed on", "another") if passed_on else ("sent", "a")
        self._say(f"{number.name} was {how} to {group.name}; {other} signal kills it at once.")
        while not group.over and len(self._signals) == len(passed_on):
            left = until - self._patience.clock()
            if left <= 0:
                self._say(f"It has not ended within {self._patience.end:g} s, so it is killed.")
                break
            _wait_for(self._news, min(left, _LOOKS_AGAIN))
        if not group.over:
            group.send(signal.SIGKILL)
        while not group.over:
            _wait_for(self._news, _LOOKS_AGAIN)

    def _pause(self, seconds: float) -> None:
        _wait_for(self._enough, seconds)

    def _wake(self) -> None:
        self._news.put(None)
        self._enough.put(None)

    def _farewell(self, group: Group, status: int, seconds: float) -> None:
        shown = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        self._say(f"{group.name} has ended {shown} after {seconds:.0f} s, and its process group with it.")
        if group.writing:
            self._say("A process that it had put outside its group still holds its log open: look for it with ps.")
        if status and not (self._signals or self._given_up):
            cause = diagnose(list(group.tail), status)
            self._say(f"Why: {cause.what or 'not known here; the log says'}")
            for line in cause.lines:
                self._say(f"  | {line}")
            self._say(f"What to change: {cause.remedy}")

    @contextmanager
    def _handling_signals(self) -> Generator[None]:
        def handle(number: int, _: FrameType | None) -> None:
            self._signals.append(number)
            self._wake()

        # What this program was told to ignore it goes on to ignore: nohup does so with SIGHUP.
        heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, handle) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _clean(self, line: bytes) -> bytes:
        return redact(line, {KEY: self._key})


def _as_shells_do(status: int) -> int:
    return status if status >= 0 else _BY_SIGNAL - status


def _wait_for(news: SimpleQueue[None], seconds: float) -> None:
    try:
        news.get(timeout=seconds)
    except Empty:
        return
