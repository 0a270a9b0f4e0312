"""Load the recorded exchanges of `fixtures/captures`, whose README describes their format and origin."""

from dataclasses import dataclass
from pathlib import Path

from tests.error_bodies import ERROR_BODIES, ErrorBody

_FOLDER = Path(__file__).parent / "fixtures" / "captures"
_SUFFIX = ".http"
_SEPARATOR = b"\n--- response ---\n"


@dataclass(frozen=True, slots=True)
class Capture:
    """One request and the response a real server gave; header names are lower-case, bodies are the bytes themselves.

    `headers` are as received, hop-by-hop ones included: a stream's `body` has lost its HTTP chunk framing, yet
    `transfer-encoding: chunked` is still there.
    """

    name: str
    method: str
    path: str
    request_headers: dict[str, str]
    request_body: bytes
    status: int
    headers: dict[str, str]
    body: bytes


def load(name: str) -> Capture:
    """Read one exchange.

    Args:
        name: As `names()` gives it: server, slash, exchange, e.g. "vllm-v13/hello_stream".
    """
    request, response = (_FOLDER / f"{name}{_SUFFIX}").read_bytes().split(_SEPARATOR, maxsplit=1)
    request_line, request_headers, request_body = _split(request)
    status_line, headers, body = _split(response)
    method, path, _ = request_line.split(" ")
    return Capture(
        name=name,
        method=method,
        path=path,
        request_headers=request_headers,
        request_body=request_body,
        status=int(status_line.split(" ")[1]),
        headers=headers,
        body=body,
    )


def names(prefix: str = "") -> list[str]:
    """List the exchanges in alphabetical order, e.g. those of one server with the prefix "llamacpp/"."""
    recorded = (path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob(f"*{_SUFFIX}"))
    return sorted(name for name in recorded if name.startswith(prefix))


def error_bodies() -> list[ErrorBody]:
    """List answers of every error shape, most of them the hosted gateway's, of which no capture exists."""
    return list(ERROR_BODIES)


def _split(part: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = part.partition(b"\n\n")
    first, *lines = head.decode("ascii").split("\n")
    return first, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}, body
