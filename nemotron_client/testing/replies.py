"""What a test server answers: HTTP responses, and the errors of vLLM and of NVIDIA's gateway. Pure."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal, TypeAlias, get_args

from nemotron_client.testing.recorded import RecordedRequest
from nemotron_client.testing.redaction import HIDDEN, is_secret_header

MODEL = "mistralai/mistral-nemotron"

End = Literal["close", "cut", "reset", "hang"]
_ENDS = get_args(End)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}

# As in RFC 9110, of which 5.5 has letters of Latin-1 too.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """Describe one HTTP response, down to how it ends.

    Args:
        status: The HTTP status; 0 sends nothing, not even headers, before the end.
        headers: Sent as they are. Content type and length are added where missing.
        body: Bytes, text, or anything else that JSON can hold.
        chunks: Sent in place of the body, each as an HTTP chunk of its own; may be endless, since it stops when the
            client leaves. An iterator serves one request.
        delay: Seconds before the headers.
        chunk_delay: Seconds between chunks; None takes the server's.
        end: "close" ends the body as HTTP says; "cut" closes the connection without that; "reset" is a TCP reset;
            "hang" sends nothing more until the client leaves.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | str | Mapping[str, object] | Sequence[object] = b""
    chunks: Iterable[bytes] | None = None
    delay: float = 0.0
    chunk_delay: float | None = None
    end: End = "close"

    def __post_init__(self) -> None:
        """Blame the line that wrote the script, not the request that it is sent for.

        Raises:
            TypeError: A value is of another type.
            ValueError: A value is not possible.
        """
        if not _is_whole(self.status):
            raise TypeError(f"The status of a reply is a number, not {self.status!r}.")
        if self.status and not 200 <= self.status < 600:
            raise ValueError(f"status={self.status}: give one of an answer, from 200 to 599, or 0 for no answer.")
        if self.end not in _ENDS:
            raise ValueError(f"end={self.end!r}: give {', '.join(map(repr, _ENDS))}.")
        if isinstance(self.chunks, bytes | str):
            raise TypeError(f"chunks={self.chunks!r}: give several, each of bytes.")
        for name, value in self.headers.items():
            _check_header(name, value)

    def encoded(self) -> tuple[Iterable[bytes], dict[str, str]]:
        """Return the body's chunks, and the headers (names in lower case) that tell of it."""
        headers: dict[str, str] = {}
        chunks: Iterable[bytes]
        if self.chunks is not None:
            chunks, headers["content-type"] = map(_checked, self.chunks), "text/event-stream; charset=utf-8"
        elif isinstance(self.body, bytes):
            chunks = [self.body]
        elif isinstance(self.body, str):
            chunks, headers["content-type"] = [self.body.encode()], "text/plain; charset=utf-8"
        else:
            chunks, headers["content-type"] = [_encode(self.body).encode()], "application/json"
        if isinstance(chunks, list) and self.chunks is None and self.end == "close":
            headers["content-length"] = str(len(chunks[0]))
        return chunks, headers | {name.lower(): value for name, value in self.headers.items()}

    def with_headers(self, headers: Mapping[str, str]) -> "Reply":
        """Return the same reply with these headers, where it has none of their names."""
        own = {name.lower() for name in self.headers}
        more = {name: value for name, value in headers.items() if name not in own}
        return replace(self, headers={**more, **self.headers})


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_header(name: object, value: object) -> None:
    shown = HIDDEN if is_secret_header(str(name)) else repr(value)
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"The header {name!r} is {shown}: give texts.")
    if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        raise ValueError(f"The header {name!r} can't be {shown}: HTTP has no such.")


def _checked(chunk: object) -> bytes:
    if isinstance(chunk, bytes):
        return chunk
    raise TypeError(f"A chunk of a reply is bytes, not {chunk!r}.")


Replying: TypeAlias = Callable[[RecordedRequest], Reply]
Scripted: TypeAlias = Reply | Callable[[RecordedRequest], Reply | Replying | str]
"""A reply, or what makes one of the request: an `Answer`, or any function, also of one that returns an answer."""


def error(
    status: int,
    message: str,
    *,
    type: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Refuse in the words of vLLM: `{"error": {message, type, param, code}}`."""
    return Reply(status=status, headers=headers or {}, body=error_body(status, message, type, param))


def problem(status: int, title: str, detail: str | None = None, *, headers: Mapping[str, str] | None = None) -> Reply:
    """Refuse in the words of NVIDIA's gateway: RFC 7807's `{status, title, detail}`."""
    body: dict[str, object] = {"status": status, "title": title}
    if detail is not None:
        body["detail"] = detail
    return Reply(status=status, headers={"content-type": "application/problem+json", **(headers or {})}, body=body)


def error_body(status: int, message: str, type: str | None, param: str | None) -> dict[str, object]:
    """Return the body of an error of vLLM."""
    known = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError"}
    kind = type or known.get(status) or _PHRASES.get(status, "Error")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
