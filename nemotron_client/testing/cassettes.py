"""Record what a real server answers, once, and play that to the tests from then on, without a network."""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from difflib import SequenceMatcher
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Literal, TypeAlias, get_args

from pydantic import JsonValue

from nemotron_client.config import HOSTED
from nemotron_client.testing.inprocess import InProcess
from nemotron_client.testing.playback import Exchange
from nemotron_client.testing.recorded import Recorded, RecordedRequest, difference, pretty
from nemotron_client.testing.recordings import Held, Recording, Tape, body_of, dumped, hidden, is_alike, loaded, normal
from nemotron_client.testing.redaction import Redaction, Redactor
from nemotron_client.testing.replies import Reply
from nemotron_client.testing.transports import LEFT, Plug

_OWN = "http://replayed/v1"
_RECORDING = 'mode="record", or pytest --nemotron-cassettes=record.'
_HOW_TO_RECORD = f"To record it: {_RECORDING}"

Mode: TypeAlias = Literal["replay", "auto", "record", "off"]


class CassetteError(AssertionError):
    """Say that a request is not as it was recorded, or that a cassette can't be read."""


class UnusedRecordingWarning(UserWarning):
    """Say that a test no longer asks something that its cassette holds."""


def replayed(path: str | os.PathLike[str]) -> list[Reply]:
    """Return what a cassette holds for completions, as replies for the script of a `FakeServer` or a `MockServer`.

    Args:
        path: The file.

    Raises:
        CassetteError: It can't be read.
    """
    return [each.reply() for each in _read(Path(path)).recordings if each.is_completion]


class Cassette(Recorded, InProcess):
    """Record exchanges with a real server into a file, or play them from it.

    Keys, and what else looks or is named like a secret, are taken out before anything is written.

    Args:
        path: The file, of JSON; its folder is made where needed.
        mode: "replay" (the default: a file that was forgotten costs nothing) sends nothing; "record" sends all and
            writes the file anew; "auto" is the one if the file is there and the other if not; "off" neither records
            nor plays.
        redact: What else to take out: texts as they stand, or patterns (of which the first group, if there is one).
            Give the same when it is played.
        sleep: What to do with the times that were recorded, such as `time.sleep`; by default none passes.

    Attributes:
        is_recording: Whether requests are sent and recorded.
        plays: Whether none is sent.
        requests: Every request that has come, oldest first.

    Raises:
        ValueError: There is no such mode.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "replay",
        *,
        redact: Iterable[Redaction] = (),
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        modes: tuple[str, ...] = get_args(Mode)
        if mode not in modes:
            raise ValueError(f"mode={mode!r}: give one of {', '.join(modes)}.")
        self.path = Path(path)
        self.is_recording = mode == "record" or (mode == "auto" and not self.path.exists())
        self.plays = not self.is_recording and mode != "off"
        self._sleep = sleep
        self._redactor = Redactor(redact)
        self._lock = threading.Lock()
        self._tapes: list[Tape] = []
        self._held: Held | None = None
        self._unused: set[int] = set()
        self._wrong: CassetteError | None = None
        self._is_closed = self._is_told = False
        Recorded.__init__(self)
        plug = Plug(answer=self._answer, left=_ignore, wait=self._wait)
        InProcess.__init__(self, plug, {}, network=not self.plays)

    def __repr__(self) -> str:
        doing = "replaying" if self.plays else "recording" if self.is_recording else "off"
        return f"<Cassette {str(self.path)!r} {doing}>"

    def close(self, *, failed: bool = False) -> None:
        """Write the file, or tell what was not as recorded, and leave the HTTP clients as they were before.

        Args:
            failed: Whether the test has failed: then there is no need to tell, and nothing is written, for half a
                recording would take the place of a whole one.

        Raises:
            CassetteError: A request was not as recorded, and nobody has heard of it.
        """
        super().close(failed=failed)
        asked_nothing = self.is_recording and not self._is_closed and not self._tapes
        self._is_closed = True
        if self._tapes and not failed:
            self._write()
        elif asked_nothing and not failed:
            self.path.unlink(missing_ok=True)  # of which nothing would be asked for
        wrong, self._wrong = self._wrong, None
        if failed:
            return
        if wrong is not None:
            raise wrong
        if self.plays and not self._is_told and self.path.exists():
            self._tell_unused()

    def explain(self, failure: BaseException) -> None:
        """Note on the exception that fails a test that nothing is written."""
        if self._tapes:
            count = f"{len(self._tapes)} exchange{'s' if len(self._tapes) > 1 else ''}"
            told = f"{self.path} was not written: this exception ended the recording after {count}."
            failure.add_note(f"{told} If a test expects it, catch it within the block of the cassette.")

    def _tell_unused(self) -> None:
        self._is_told = True
        count = len(self._load().recordings)
        if self._unused:
            numbers = ", ".join(str(number + 1) for number in sorted(self._unused))
            warnings.warn(
                f"{self.path}: recording {numbers} of {count} was not asked for. To record anew: {_RECORDING}",
                UnusedRecordingWarning,
                stacklevel=4,
            )

    def _complete(self, options: dict[str, object], client: Callable[..., object], nothing: type) -> None:
        if self.plays:
            # Whatever the environment says, the client is to ask as it did when this was recorded.
            self._options = {"base_url": HOSTED if self._load().hosted else _OWN, "api_key": "not-needed-to-replay"}
        super()._complete(options, client, nothing)

    def _take_over(self, http_client: object, until: ExitStack) -> None:
        if self.plays or self.is_recording:
            super()._take_over(http_client, until)

    def _answer(self, request: RecordedRequest) -> Exchange | Tape:
        __tracebackhide__ = True
        if self._is_closed:
            asked = f"{request.method} {self._redactor.text(request.path)}"
            raise CassetteError(f"{self.path} was closed before this request came: {asked}.")
        self.requests.append(request)
        self._redactor.learn(request.headers, request.query, body_of(request))
        if self.is_recording:
            tape = Tape(request, monotonic)
            self._tapes.append(tape)
            return tape
        try:
            return self._found(normal(request, self._redactor)).exchange(timed=self._sleep is not None)
        except CassetteError as wrong:
            self._wrong = self._wrong or wrong
            raise

    def _load(self) -> Held:
        __tracebackhide__ = True
        with self._lock:
            if self._held is None:
                self._held = _read(self.path)
                self._unused = set(range(len(self._held.recordings)))
            return self._held

    def _found(self, asked: JsonValue) -> Recording:
        __tracebackhide__ = True
        recordings = self._load().recordings
        with self._lock:
            unused = [(number, recordings[number]) for number in sorted(self._unused)]
            same = (number for number, each in unused if is_alike(each.request, asked))
            # What was taken out when it was recorded may be known as a secret later only, or no more.
            but_for_secrets = (number for number, each in unused if is_alike(each.request, hidden(asked, each.request)))
            for number in chain(same, but_for_secrets):
                self._unused.remove(number)
                return recordings[number]
        raise CassetteError(f"{self.path}: {_no_recording(asked, recordings, self._unused)}")

    def _write(self) -> None:
        for tape in self._tapes:
            tape.end("ReadError", LEFT)  # of one that is still open
            self._redactor.learn(tape.received)
            for document in tape.documents():
                self._redactor.learn({}, body=document)
        recordings = [tape.recording(self._redactor) for tape in self._tapes]
        content = dumped(Held(recordings=recordings, hosted=all(tape.hosted for tape in self._tapes)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content)
        self._tapes.clear()

    def _wait(self, seconds: float) -> object:
        return None if self._sleep is None else self._sleep(seconds)


def _read(path: Path) -> Held:
    __tracebackhide__ = True
    try:
        return loaded(path.read_bytes())
    except FileNotFoundError:
        raise CassetteError(f"There is no cassette {path}. {_HOW_TO_RECORD}") from None
    except ValueError as wrong:
        raise CassetteError(f"{path} can't be read: {wrong}. {_HOW_TO_RECORD}") from None


def _no_recording(asked: JsonValue, recordings: Sequence[Recording], unused: set[int]) -> str:
    """Say what a request should have been: the most similar recording, one that is still unused if there is any."""
    lines = pretty(asked).splitlines()

    def likeness(number: int) -> float:
        return SequenceMatcher(None, pretty(recordings[number].request).splitlines(), lines, autojunk=False).ratio()

    nearest = max(unused or range(len(recordings)), key=likeness, default=None)
    if nearest is None:
        return f"nothing was recorded, and this was asked:\n{pretty(asked)}\n{_HOW_TO_RECORD}"
    lines = pretty(hidden(asked, recordings[nearest].request)).splitlines()
    recorded = pretty(recordings[nearest].request).splitlines()
    number = f"recording {nearest + 1} of {len(recordings)}"
    if recorded == lines:
        return f"{number} was asked for once more than it was recorded. {_HOW_TO_RECORD}"
    told = difference(recorded, lines, number, "asked now")
    return f"this request was not recorded; the nearest is {number}:\n{told}{_HOW_TO_RECORD}"


def _ignore() -> None:
    """Take no note of a client that leaves: it did so when it was recorded."""
