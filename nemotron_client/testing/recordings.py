"""What a cassette's file holds: requests in a normal form, and what a server answered, as JSON that people can compare.

Bytes that are no UTF-8, as where a chunk ends within a letter, are written as the lone surrogates that stand for them
in Python's own `surrogateescape`: so every byte comes back, and all that is text can be read. Pure.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeGuard

from pydantic import JsonValue

from nemotron_client._json import is_array, is_object
from nemotron_client.config import is_hosted
from nemotron_client.testing.playback import KINDS, Broken, Exchange, Kind
from nemotron_client.testing.recorded import COMPLETIONS, RecordedRequest, is_deeper
from nemotron_client.testing.redaction import HIDDEN, Redactor, may_be_secret
from nemotron_client.testing.replies import End, Reply

_VERSION = 1
_DEEPEST = 200  # objects and arrays within each other: deeper ones are kept as texts

# What a server may answer by. All others change with the library, the machine or the minute, or hold secrets.
_KEPT = re.compile(r"accept|content-type|nvcf-.*")
_DROPPED = frozenset({"connection", "content-length", "date", "keep-alive", "set-cookie", "transfer-encoding"})

_EVENT = re.compile(r"^data:(.*)$", re.MULTILINE)

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Hold one exchange, without secrets.

    Args:
        request: In its normal form.
        status: 0 if no answer came.
        headers: The answer's.
        chunks: Its body, as it came in pieces.
        seconds: How long it took to the headers, and from there from chunk to chunk.
        failure: The exception that was the end, and its words.
    """

    request: dict[str, JsonValue]
    status: int
    headers: Mapping[str, str]
    chunks: Sequence[str]
    seconds: Sequence[float]
    failure: tuple[Kind, str] | None

    @property
    def is_completion(self) -> bool:
        """Whether a completion was asked for."""
        return self.request["method"] == "POST" and self.request["path"] in COMPLETIONS

    def reply(self) -> Reply:
        """Return the answer for a script."""
        ends: dict[Kind | None, End] = {None: "close", "ReadError": "reset", "ReadTimeout": "hang"}
        return Reply(
            status=self.status,
            headers=self.headers,
            chunks=[chunk.encode(errors="surrogateescape") for chunk in self.chunks],
            end=ends.get(self.failure and self.failure[0], "cut"),
        )

    def exchange(self, *, timed: bool) -> Exchange:
        """Return what to play, with the times that it took if asked for."""
        first, *more = self.seconds if timed else [0.0] * (1 + len(self.chunks))
        return Exchange(
            status=self.status,
            headers=self.headers,
            delay=first,
            chunks=zip(more, (chunk.encode(errors="surrogateescape") for chunk in self.chunks), strict=True),
            end=None if self.failure is None else Broken(*self.failure),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Hold what a file holds.

    Args:
        recordings: In the order of their requests.
        hosted: Whether they are of NVIDIA's endpoint; a client asks a server of one's own in another way.
    """

    recordings: Sequence[Recording]
    hosted: bool


class Tape:
    """Collect one exchange while it happens."""

    def __init__(self, request: RecordedRequest, clock: Callable[[], float]) -> None:
        """Begin when the request is sent.

        Args:
            request: What is asked.
            clock: What tells the time in seconds.
        """
        self.request = request
        self._clock = clock
        self._times = [clock()]
        self._status = 0
        self.received: Mapping[str, str] = {}
        self._chunks: list[str] = []
        self._failure: tuple[Kind, str] | None = None
        self._ended = False

    @property
    def hosted(self) -> bool:
        """Whether NVIDIA's endpoint was asked."""
        return is_hosted(self.request.headers["host"].partition(":")[0])

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take note of the headers."""
        self._times.append(self._clock())
        self._status = status
        self.received = headers

    def chunk(self, chunk: bytes) -> None:
        """Take note of a chunk."""
        self._times.append(self._clock())
        self._chunks.append(chunk.decode(errors="surrogateescape"))

    def end(self, kind: str | None = None, message: str = "") -> None:
        """Take note of the end, or of the exception that was it; only the first time counts."""
        if not self._ended:
            self._ended = True
            self._failure = None if kind is None else (_kind(kind), message)
            if not self._status:
                self._times.append(self._clock())

    def documents(self) -> Iterator[JsonValue]:
        """Yield what the answer holds of JSON: its body, or the data of its events."""
        body = "".join(self._chunks)
        for text in (body, *_EVENT.findall(body)):
            with suppress(ValueError):
                yield _read(text)

    def recording(self, redactor: Redactor) -> Recording:
        """Return it in the form that is kept."""
        headers = {name.lower(): value for name, value in self.received.items() if name.lower() not in _DROPPED}
        asked = body_of(self.request)
        return Recording(
            request=normal(self.request, redactor),
            status=self._status,
            headers=redactor.headers(headers),
            chunks=redactor.chunks(self._chunks, asked=redactor.json(asked) != asked),
            seconds=[round(later - sooner, 3) for sooner, later in pairwise(self._times)],
            failure=self._failure and (self._failure[0], redactor.text(self._failure[1])),
        )


def normal(request: RecordedRequest, redactor: Redactor) -> dict[str, JsonValue]:
    """Return a request as it is compared: sorted, and without secrets and what changes from run to run."""
    kept = {name: value for name, value in sorted(request.headers.items()) if _KEPT.fullmatch(name)}
    query = redactor.query(request.query)
    form: dict[str, JsonValue] = {
        "method": request.method,
        "path": redactor.text(request.path) + (f"?{query}" if query else ""),
        "headers": {**redactor.headers(kept)},
    }
    body = body_of(request)
    if isinstance(body, str):
        form |= {"text": redactor.text(body)} if body else {}
    else:
        form["json"] = json.loads(json.dumps(redactor.json(body), sort_keys=True))
    return form


def is_alike(one: object, other: object) -> bool:
    """Tell whether two documents are the same; to Python, true is 1."""
    if is_object(one) and is_object(other):
        return one.keys() == other.keys() and all(is_alike(value, other[name]) for name, value in one.items())
    if is_array(one) and is_array(other):
        return len(one) == len(other) and all(map(is_alike, one, other))
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def hidden(asked: JsonValue, recorded: JsonValue) -> JsonValue:
    """Return what is asked, with each text as it was recorded that differs only in what was taken out then."""
    if isinstance(asked, str) and isinstance(recorded, str) and HIDDEN in recorded:
        return recorded if _differs_in_secrets(asked, recorded) else asked
    if isinstance(asked, dict) and isinstance(recorded, dict):
        return {name: hidden(value, recorded.get(name)) for name, value in asked.items()}
    if isinstance(asked, list) and isinstance(recorded, list) and len(asked) == len(recorded):
        return [*map(hidden, asked, recorded)]
    return asked


def _differs_in_secrets(asked: str, recorded: str) -> bool:
    first, *parts = recorded.split(HIDDEN)
    *between, last = parts
    if not asked.startswith(first) or not asked.endswith(last):
        return False
    place, end = len(first), len(asked) - len(last)
    for part in between:
        # A part that is found later leaves more to the secret before it, which would only be worse.
        found = asked.find(part, place + 1, end)
        if found < 0 or not may_be_secret(asked[place:found]):
            return False
        place = found + len(part)
    return may_be_secret(asked[place:end])


def body_of(request: RecordedRequest) -> JsonValue:
    """Return a request's body: a document, or a str if it is none."""
    try:
        return _read(request.body)
    except ValueError:
        return request.body.decode(errors="surrogateescape")


def _read(text: str | bytes) -> JsonValue:
    """Read JSON.

    Raises:
        ValueError: It is none, or nested too deeply to be looked at.
    """
    try:
        document: JsonValue = json.loads(text)
    except RecursionError:
        raise ValueError from None
    if is_deeper(document, _DEEPEST):
        raise ValueError
    return document


def dumped(held: Held) -> bytes:
    """Return a file's content."""
    document = {
        "version": _VERSION,
        "hosted": held.hosted,
        "recordings": [_dumped(each) for each in held.recordings],
    }
    # The only characters that UTF-8 has not are lone surrogates, and this is how JSON escapes them.
    return f"{json.dumps(document, ensure_ascii=False, indent=2)}\n".encode(errors="backslashreplace")


def loaded(content: bytes) -> Held:
    """Read a file's content.

    Raises:
        ValueError: It is not what `dumped` writes.
    """
    document: Any = json.loads(content)
    try:
        if document["version"] != _VERSION:
            raise ValueError(f"its version is {document['version']!r}, this library knows {_VERSION}")
        recordings = [_loaded(each) for each in document["recordings"]]
        return Held(recordings=recordings, hosted=bool(document["hosted"]))
    except (AttributeError, KeyError, TypeError) as wrong:
        raise ValueError(f"something is missing or of another type: {wrong!r}") from wrong


def _dumped(recording: Recording) -> dict[str, object]:
    response: dict[str, object] = {
        "status": recording.status,
        "headers": recording.headers,
        # In one line, so that a file that is recorded anew differs in one line by them.
        "seconds": " ".join(f"{seconds:g}" for seconds in recording.seconds),
    }
    document = _as_document(recording.chunks)
    response |= {"chunks": recording.chunks} if document is None else {"json": document}
    failure = {} if recording.failure is None else {"failure": dict([recording.failure])}
    return {"request": recording.request, "response": response, **failure}


def _loaded(row: Any) -> Recording:  # noqa: ANN401 - a file that anybody may have edited
    response = row["response"]
    chunks = [_compact(response["json"])] if "json" in response else [str(chunk) for chunk in response["chunks"]]
    seconds = [float(each) for each in response["seconds"].split()]
    if len(seconds) != 1 + len(chunks):
        raise ValueError(f"it has {len(seconds)} times for the headers and {len(chunks)} chunks")
    failures: list[tuple[str, str]] = [(str(kind), str(words)) for kind, words in row.get("failure", {}).items()]
    return Recording(
        request=dict(row["request"]),
        status=int(response["status"]),
        headers={str(name): str(value) for name, value in response["headers"].items()},
        chunks=chunks,
        seconds=seconds,
        failure=next(((_kind(kind), words) for kind, words in failures), None),
    )


def _as_document(chunks: Sequence[str]) -> JsonValue:
    """Return a body as JSON that is easier to read than its text, if just that text comes of it again."""
    try:
        (body,) = chunks
        document = _read(body)
    except ValueError:
        return None
    return document if _compact(document) == body else None


def _kind(name: str) -> Kind:
    if _is_kind(name):
        return name
    raise ValueError(f"{name!r} is no failure of a transport")


def _is_kind(name: str) -> TypeGuard[Kind]:
    return name in KINDS
