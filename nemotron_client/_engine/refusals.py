"""What a server says when it refuses: a body of any shape becomes the right error, with a hint of what to do.

The shapes are listed in docs/explanation/protocol.md, "Error bodies". The content type is no guide; JSON is tried
first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nemotron_client._json import is_array, is_object
from nemotron_client.config import redact, redact_text
from nemotron_client.errors import (
    APIStatusError,
    BadRequestError,
    ContextLengthExceededError,
    DegradedError,
    status_error,
)

if TYPE_CHECKING:
    from .exchange import Request, Response

_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's words, whatever shape they came in.

    Attributes:
        body: Parsed JSON, or the text; None if there was nothing.
        message: What it says; empty if it says nothing.
        code: Its own code.
        type: Its own name for the error.
        param: The parameter at fault.
    """

    body: object
    message: str
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


def read(body: bytes) -> Refusal:
    """Read the body of a refusal, or an error event of a stream."""
    text = body.decode("utf-8-sig", "replace").strip()
    text = text.removeprefix("data:").strip()  # so litellm#4558 and ChatNVIDIA met them outside of streams
    if not text:
        return Refusal(None, "")
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError):
        return Refusal(text, _plain_text(text))
    if not is_object(data):
        return Refusal(data, data if isinstance(data, str) else _short(text) if data else "")
    inner = data.get("error")
    own = inner if is_object(inner) else data
    message = (inner if isinstance(inner, str) else "") or _message(own) or _message(data)
    if not message and any(data.values()):
        message = _short(text)  # of no shape that is known, but its own words all the same
    return Refusal(data, message, _code(own), _string(own.get("type")), _string(own.get("param")))


def is_refusal(data: bytes) -> bool:
    """Tell whether the JSON of a stream event, or of a 200, is an error: nested, flat, a string, or a problem."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not is_object(value):
        return False
    if value.get("error") or value.get("object") == "error":
        return True
    if "choices" in value:
        return False
    message, detail = value.get("message"), value.get("detail")
    if (message and isinstance(message, str | list)) or (detail and isinstance(detail, str | list | dict)):
        return True
    return isinstance(value.get("title"), str) and "status" in value


def _plain_text(text: str) -> str:
    if text.startswith("<"):
        title = re.search(r"<title>\s*(.*?)\s*</title>", text[:5000], re.IGNORECASE | re.DOTALL)
        return f"an HTML page, titled {title[1]!r}" if title else "an HTML page"
    return _short(text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."


def _message(data: Mapping[str, object]) -> str:
    for key in ("message", "detail", "title"):
        value = data.get(key)
        if isinstance(value, str) and value:
            return value
        if is_array(value) and value:
            return "; ".join(_validation_problem(each) for each in value)
    return ""


def _validation_problem(each: object) -> str:
    # FastAPI's: [{"loc": ["body", "temperature"], "msg": "..."}]
    if not is_object(each):
        return str(each)
    place = each.get("loc")
    where = ".".join(map(str, place)) if is_array(place) else ""
    return f"{where}: {each.get('msg', each)}" if where else str(each.get("msg", each))


def _code(data: Mapping[str, object]) -> str | int | None:
    code = data.get("code")
    return code if isinstance(code, str | int) and not isinstance(code, bool) else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def status_failure(request: Request, response: Response, *, hosted: bool) -> APIStatusError:
    """Make the error for an answer that is not a success."""
    refusal = read(redact(response.body, request.headers))
    error = _error(request, response.status, refusal, _named(response.status), hosted=hosted)
    error.request_id = request_id(response.headers)
    error.retry_after = retry_after(response.headers)
    error.should_retry = {"true": True, "false": False}.get(response.headers.get("x-should-retry", "").lower())
    if error.retry_after is not None:
        said = str(error.args[0]).removesuffix(".")
        error.args = (f"{said}. The server asks to wait {error.retry_after:g} s.",)
    location = response.headers.get("location")
    if location and response.status in range(300, 400):
        target = redact_text(location.partition("?")[0], request.headers)
        error.hint = f"The server redirects to {target!r}; give the final address as base_url."
    return error


def refused_inside(request: Request, response: Response, *, hosted: bool) -> APIStatusError | None:
    """Make the error for a 200 whose body is an error, as routers send it; None if it isn't one.

    Its status is the one that it names; where it names none, nobody knows whether another try would do any good.
    """
    if not is_refusal(response.body):
        return None
    refusal = read(redact(response.body, request.headers))
    problem = refusal.body.get("status") if is_object(refusal.body) else None
    status = _status(refusal.code) or _status(problem) or response.status
    named = "" if status == response.status else f" ({_named(status)})"
    return _error(request, status, refusal, f"{response.status} with an error inside{named}", hosted=hosted)


def _status(code: object) -> int | None:
    """Return the status of a refusal that a code is, as a number or in digits; None for another code."""
    number = int(code) if isinstance(code, str) and re.fullmatch("[45][0-9]{2}", code) else code
    return number if isinstance(number, int) and number in range(400, 600) else None


def _error(request: Request, status: int, refusal: Refusal, said: str, *, hosted: bool) -> APIStatusError:
    words = "" if refusal.message == _phrase(status) else refusal.message
    message = f"{said} from {request.method} {request.url}" + (f": {words}" if words else ".")
    kind = status_error(status)
    overflow = context_overflow(refusal.message) if status in _OVERFLOW_STATUSES else None
    if overflow is not None:
        kind = ContextLengthExceededError
    elif status == HTTPStatus.BAD_REQUEST and "DEGRADED function" in refusal.message:
        kind = DegradedError
    hint = _hint(status, refusal.message, request, hosted=hosted)
    error = kind(message, body=refusal.body, hint=hint)
    error.status_code = status
    error.code, error.type, error.param = refusal.code, refusal.type, refusal.param
    if isinstance(error, ContextLengthExceededError) and overflow is not None:
        _tell(error, overflow)
    return error


def overflow_inside(refusal: Refusal, message: str) -> ContextLengthExceededError | None:
    """Make the error for an overflow that a stream tells of, in these words; None where it tells of something else."""
    overflow = context_overflow(refusal.message)
    if overflow is None:
        return None
    error = ContextLengthExceededError(message, body=refusal.body)
    error.status_code = HTTPStatus.BAD_REQUEST
    error.code, error.type, error.param = refusal.code, refusal.type, refusal.param
    _tell(error, overflow)
    return error


def _tell(error: ContextLengthExceededError, overflow: tuple[int | None, int | None, int | None]) -> None:
    error.limit, error.prompt_tokens, error.completion_tokens = overflow
    error.hint = "Shorten the conversation, or ask for fewer tokens with max_tokens."


def _named(status: int) -> str:
    return f"{status} {_phrase(status)}".rstrip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # some proxies make up their own
        return ""


_OVERFLOW_STATUSES = {200, 400, 413, 422, 500}
# Every wording met (docs/explanation/protocol.md, "Context overflow"): limit, prompt, answer asked for, in tokens.
_OVERFLOWS = tuple(
    re.compile(wording, re.DOTALL)
    for wording in (
        (
            r"maximum context length is (?P<limit>\d+) tokens.*?"
            r"\((?P<prompt>\d+) in the messages, (?P<answer>\d+) in the completion"
        ),
        (
            r"too large: (?P<answer>\d+)\..*?maximum context length is (?P<limit>\d+) tokens "
            r"and your request has (?P<prompt>\d+)"
        ),
        (
            r"maximum context length is (?P<limit>\d+) tokens.*?"
            r"requested (?P<answer>\d+) output tokens"
            r"(?: and your prompt contains (?:at least )?(?P<prompt>\d+) input tokens)?"
        ),
        (
            r"maximum context length is (?P<limit>\d+) tokens.*?"
            r"(?:contains|has|resulted in) (?:at least )?(?P<prompt>\d+) (?:input )?tokens"
        ),
        (
            r"passed (?:(?P<prompt>\d+) input tokens|\d+ input characters) and requested (?P<answer>\d+) output tokens"
            r".*?context length is only (?P<limit>\d+)"
        ),
        r"maximum context length is (?P<limit>\d+)",
        (
            r"maximum context length of (?P<limit>\d+) tokens"
            r"(?:.*?(?P<prompt>\d+) tokens from the input messages and (?P<answer>\d+) tokens for the completion)?"
        ),
        r"input \((?P<prompt>\d+) tokens\) is longer than the model's context length \((?P<limit>\d+) tokens",
        r"decoder prompt \(length (?P<prompt>\d+)\) is longer than the maximum model length of (?P<limit>\d+)",
        r"request \((?P<prompt>\d+) tokens\) exceeds the available context size \((?P<limit>\d+) tokens",
        r"prompt length \((?P<prompt>\d+)[^)]*\).*?should not exceed max_num_tokens \((?P<limit>\d+)",
        r"max_tokens=(?P<answer>\d+) cannot be greater than max_model_len=(?P<limit>\d+)",
        r"max_tokens must be at least 1, got (?:-\d+|0)",
    )
)


def context_overflow(message: str) -> tuple[int | None, int | None, int | None] | None:
    """Recognise a server's words for "it doesn't fit".

    Returns:
        The window, the prompt, and the answer asked for, in tokens, each None where not told; or None for other words.
    """
    for wording in _OVERFLOWS:
        found = wording.search(message)
        if found is not None:
            numbers = {name: int(value) for name, value in found.groupdict().items() if value}
            return numbers.get("limit"), numbers.get("prompt"), numbers.get("answer")
    return None


def wants_bridge(error: BadRequestError) -> bool:
    """Tell whether the server refuses a user's message right after a tool's result, as older mistral-common does."""
    return "Unexpected role 'user' after role 'tool'" in error.message


def _hint(status: int, message: str, request: Request, *, hosted: bool) -> str | None:
    if "DEGRADED function" in message:
        return "This is an outage of the hosted model, not a mistake of yours; try again later."
    if status == HTTPStatus.NOT_FOUND:
        return _hint_not_found(message, request.url, hosted=hosted)
    if status in {400, 422} and re.search(r"extra_forbidden|[Uu]nsupported parameter|Extra inputs", message):
        return "This server refuses a parameter that it doesn't know; leave it out."
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and "role not supported" in message:
        return "The server means that the request can't be accepted: this model takes no message of that role."
    if status == HTTPStatus.UNAUTHORIZED and not hosted:
        return _KEY_REFUSED if "authorization" in request.headers else _KEY_WANTED
    return _HINTS.get(status)


_KEY_REFUSED = "The key that was sent was refused: check that it is the one that this server was started with."
_KEY_WANTED = (
    "This server wants a key, and none was sent: pass api_key=.... NVIDIA_API_KEY goes only to NVIDIA or to an address "
    "from NVIDIA_BASE_URL."
)


_HINTS = {
    401: "Check the key: NVIDIA_API_KEY or api_key=..., beginning with nvapi-. Get one at https://build.nvidia.com.",
    402: "The account's credits are used up or expired: see https://build.nvidia.com, or use a server of your own.",
    403: "The key was read but may not be used here: wrong kind or scope, or a model not granted to the account.",
    410: "The model is gone for good. client.models.list() shows what there is.",
    429: "Send fewer requests at once, or wait longer: RetryPolicy(rate_limit_wait=...); max_retries=0 waits for none.",
    500: "The server failed, not the request, as far as it tells. Try again later.",
    502: "A gateway could not reach the server behind it. Try again later.",
    503: "The model is offline or overloaded; client.server.ready() tells when it is back.",
    504: "The gateway gave up waiting. Ask for less, or stream; it may have run, so it is not sent again by itself.",
}


def _hint_not_found(message: str, url: str, *, hosted: bool) -> str:
    if "Not found for account" in message or "in account" in message:
        return "The model exists, but not for this account: accept its terms on its page at https://build.nvidia.com."
    if "model" in message.lower() and "page not found" not in message:
        return "The server has no model of that name. client.models.list() shows what there is."
    if hosted:
        return "The gateway says the same for a wrong model name and a wrong path: check model=... and base_url=...."
    place = urlsplit(url)
    if "/v1" not in place.path:
        return f"There is no such route on this server. Try base_url='{place.scheme}://{place.netloc}/v1'."
    return "There is no such route on this server: base_url should end where the API begins, mostly in /v1."


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id under which the server knows the request."""
    return headers.get("nvcf-reqid") or headers.get("x-request-id")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the server asks to wait (RFC 9110, section 10.2.3; ``retry-after-ms`` is OpenAI's).

    A date is measured from the answer's own Date, so that no clock of ours can be wrong about it; without one, which
    every server with a clock has to send (section 6.6.1), it says nothing.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if isfinite(seconds):
            return max(seconds, 0.0)
    from email.utils import parsedate_to_datetime  # several ms to import, for a form that hardly any server sends

    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
        return max((until - parsedate_to_datetime(headers.get("date", ""))).total_seconds(), 0.0)
    except (ValueError, TypeError):  # TypeError: one of the dates has a time zone and the other has none
        return None
