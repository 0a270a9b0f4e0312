"""What a server says when it refuses, and what the caller is told."""

from collections.abc import Mapping
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import errors
from nemotron_client._engine import refusals
from nemotron_client._engine.exchange import Problem, Request, Response
from nemotron_client.config import Secret
from tests.captures import error_bodies, load, names
from tests.engine.driving import HOSTED, KEY, failure, reply
from tests.error_bodies import ErrorBody

REQUEST = Request(
    "POST", f"{HOSTED}/chat/completions", {"authorization": Secret(f"Bearer {KEY}"), "x-extra": Secret("s3cret-value"), "accept": "*/*"}
)


def refuse(status: int, body: object = b"", headers: Mapping[str, str] | None = None, *, hosted: bool = True) -> errors.APIStatusError:
    return refusals.status_failure(REQUEST, reply(status, body, headers), hosted=hosted)


# The class, and words of the server that the message must hold, for each of tests/error_bodies.py.
MEANT: Mapping[str, tuple[type[errors.APIStatusError], str]] = {
    "A-too-many-requests": (errors.RateLimitError, "Too Many Requests"),
    "B-authentication-failed": (errors.AuthenticationError, "Authentication failed"),
    "B-credits-expired": (errors.PaymentRequiredError, "Cloud credits expired"),
    "B-authorization-failed": (errors.PermissionDeniedError, "Authorization failed"),
    "B-not-shared-with-account": (errors.PermissionDeniedError, "Not shared with the account '0'"),
    "B-function-not-found-for-account": (errors.NotFoundError, "Not found for account '0'"),
    "B-function-version-not-found": (errors.NotFoundError, "Specified function in account '0' is not found"),
    "B-degraded-function": (errors.DegradedError, "DEGRADED function cannot be invoked"),
    "C-model-offline": (errors.InternalServerError, "Under maintenance."),
    "C-end-of-life": (errors.ModelGoneError, "has reached its end of life on 2026-07-27T00:00:00Z"),
    "C-upstream-failed": (errors.InternalServerError, "Upstream request failed."),
    "D-extra-inputs": (errors.UnprocessableEntityError, "body -> frequency_penalty"),
    "E-body-too-large": (errors.BadRequestError, "payload is below 26214400 bytes"),
    "E-model-missing": (errors.BadRequestError, "model field is required"),
    "E-context-prompt-and-output": (errors.ContextLengthExceededError, "You passed 170753 input tokens"),
    "E-context-messages-resulted-in": (errors.ContextLengthExceededError, "messages resulted in 199906 tokens"),
    "E-context-negative-max-tokens": (errors.ContextLengthExceededError, "max_tokens must be at least 1, got -46771"),
    "E-worker-full": (errors.InternalServerError, "Worker local total request limit reached (16/16)"),
    "E-worker-full-in-a-200": (errors.InternalServerError, "Worker local total request limit reached (71/32)"),
    "F-unauthorized": (errors.AuthenticationError, "Unauthorized"),
    "F-python-repr": (errors.BadRequestError, "'loc': ('body', 'prompt_cache_key')"),
    "F-extra-inputs": (errors.UnprocessableEntityError, "body -> presence_penalty"),
    "G-max-num-tokens": (errors.ContextLengthExceededError, "should not exceed max_num_tokens (32768)"),
    "G-context-messages-and-completion": (errors.ContextLengthExceededError, "112946 in the messages, 10000 in the completion"),
    "H-unsupported-parameter": (errors.BadRequestError, "Unsupported parameter(s): reasoning_budget"),
    "H-immutable-parameter": (errors.BadRequestError, "'top_p' is immutable for this model"),
    "H-chat-template": (errors.BadRequestError, "chat_template is not supported for Mistral tokenizers."),
    "I-not-found": (errors.NotFoundError, "Not Found"),
    "I-context-decoder-prompt": (errors.ContextLengthExceededError, "The decoder prompt (length 66501)"),
    "I-validation-list": (
        errors.UnprocessableEntityError,
        "body.messages: Field required; body.temperature: Input should be a valid number",
    ),
    "J-page-not-found": (errors.NotFoundError, "404 page not found"),
    "J-model-does-not-exist": (errors.NotFoundError, "Model does not exist by the name of mistralai/nope"),
    "J-body-not-json": (errors.InternalServerError, "failed to decode json body: unexpected EOF"),
    "J-authorization-missing": (errors.AuthenticationError, "Header of type `authorization` was missing"),
    "J-proxy-page": (errors.InternalServerError, "an HTML page, titled '502 Bad Gateway'"),
    "K-gateway-timeout": (errors.GatewayTimeoutError, "504 Gateway Timeout"),
    "L-extra-inputs": (errors.UnprocessableEntityError, "body -> presence_penalty"),
    "L-system-role-not-supported": (errors.InternalServerError, "System role not supported"),
}


def every_shape(case: ErrorBody, content_type: str | None) -> errors.APIStatusError:
    response = Response(case.status, {"content-type": content_type} if content_type else {}, case.body, 0.0, 1.0)
    if case.status != HTTPStatus.OK:
        return refusals.status_failure(REQUEST, response, hosted=True)
    error = refusals.refused_inside(REQUEST, response, hosted=True)
    assert error is not None
    return error


def test_every_known_body_is_tested() -> None:
    assert [case.label for case in error_bodies()] == list(MEANT)


@pytest.mark.parametrize("content_type", [None, "text/html", "application/json", "text/event-stream"])
@pytest.mark.parametrize("case", error_bodies(), ids=lambda case: case.label)
def test_a_refusal_of_every_shape_has_its_class_and_the_servers_words(case: ErrorBody, content_type: str | None) -> None:
    error = every_shape(case, content_type)
    kind, words = MEANT[case.label]
    assert type(error) is kind
    assert words in error.args[0]
    assert "POST https://integrate.api.nvidia.com/v1/chat/completions" in error.args[0]


@pytest.mark.parametrize(
    ("label", "status", "code", "type_"),
    [
        ("A-too-many-requests", 429, None, None),
        ("C-end-of-life", 410, None, "about:blank"),
        ("E-model-missing", 400, "missing_required_field", "invalid_request_error"),
        ("E-context-prompt-and-output", 400, 400, "BadRequestError"),
        ("E-worker-full-in-a-200", 502, 502, None),
        ("F-unauthorized", 401, None, None),
        ("G-max-num-tokens", 400, 400, "BadRequestError"),
        ("H-unsupported-parameter", 400, 400, "Bad Request"),
        ("I-not-found", 404, None, None),
        ("J-page-not-found", 404, None, None),
        ("K-gateway-timeout", 504, None, None),
        ("L-extra-inputs", 422, None, "urn:inference-service:problem-details:unprocessable-entity"),
    ],
)
def test_status_code_and_type_are_the_servers(label: str, status: int, code: str | int | None, type_: str | None) -> None:
    error = every_shape(next(case for case in error_bodies() if case.label == label), None)
    assert (error.status_code, error.code, error.type) == (status, code, type_)


@pytest.mark.parametrize("name", [name for name in names() if load(name).status >= 400])
def test_every_recorded_refusal_has_its_class_and_words(name: str) -> None:
    capture = load(name)
    error = refuse(capture.status, capture.body, capture.headers, hosted=False)
    overflow = isinstance(error, errors.ContextLengthExceededError)
    assert type(error) is (errors.ContextLengthExceededError if overflow else errors.status_error(capture.status))
    assert overflow == any(word in name for word in ("prompt_too_long", "exactly_full", "prompt_over", "max_tokens_over"))
    assert refusals.read(capture.body).message in error.args[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "", id="nothing"),
        pytest.param(b" \n", "", id="blanks"),
        pytest.param(b"null", "", id="null"),
        pytest.param(b'"down"', "down", id="a-JSON-string"),
        pytest.param(b"[1, 2]", "[1, 2]", id="a-JSON-list"),
        pytest.param(b"{}", "", id="an-empty-object"),
        pytest.param(b'{"error": {}}', "", id="an-empty-error"),
        pytest.param(b'{"error": {"code": 1}, "message": "outside"}', "outside", id="words-beside-the-error"),
        pytest.param(b'{"error": null, "detail": "d"}', "d", id="a-null-error"),
        pytest.param(b'{"message": "", "detail": "d", "title": "t"}', "d", id="an-empty-message"),
        pytest.param(b'{"title": "t"}', "t", id="only-a-title"),
        pytest.param(b'{"detail": ["a", {"msg": "b"}, {"loc": ["x", 0], "msg": "c"}, {"loc": "y"}]}', "a; b; x.0: c; {'loc': 'y'}", id="lists"),
        pytest.param(b"<html>no title", "an HTML page", id="a-page-without-a-title"),
        pytest.param(b"<html><TITLE>\n  Sign in\n</TITLE>", "an HTML page, titled 'Sign in'", id="a-page-with-a-title"),
        pytest.param(b"x" * 501, "x" * 500 + "...", id="long-text-is-cut"),
        pytest.param(b"\xff down", "\ufffd down", id="invalid-UTF-8"),
        pytest.param(b"[" * 100_000, "[" * 500 + "...", id="deep-nesting"),
        pytest.param(b'data: {"error": "x"}\n\n', "x", id="an-event-where-no-stream-was-asked-for"),
        pytest.param(b'{"a": 1', '{"a": 1', id="broken-JSON"),
    ],
)
def test_the_words_of_any_body(body: bytes, message: str) -> None:
    assert refusals.read(body).message == message
    assert message in refuse(500, body).args[0]


@pytest.mark.parametrize("code", [True, None, 1.5, {}, []], ids=str)
def test_a_code_that_is_none_is_left_out(code: object) -> None:
    assert refuse(400, {"error": {"message": "x", "code": code, "type": 7}}).code is None


def test_the_body_is_kept_parsed_or_as_text() -> None:
    assert refuse(400, {"error": "x"}).body == {"error": "x"}
    assert refuse(404, b"404 page not found\n").body == "404 page not found"
    assert refuse(504).body is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"error": {"message": "x"}}', True, id="nested"),
        pytest.param(b'{"error": "x"}', True, id="string"),
        pytest.param(b'{"object": "error", "message": "x"}', True, id="flat"),
        pytest.param(b'{"message": "x", "code": 400}', True, id="only-a-message"),
        pytest.param(b'{"detail": "x"}', True, id="only-a-detail"),
        pytest.param(b'{"choices": [], "error": null}', False, id="an-answer-with-a-null-error"),
        pytest.param(b'{"choices": [], "message": "x"}', False, id="an-answer-with-a-message"),
        pytest.param(b'{"message": {"content": "x"}}', False, id="a-message-that-is-no-text"),
        pytest.param(b"{}", False, id="an-empty-object"),
        pytest.param(b"[]", False, id="a-list"),
        pytest.param(b"x", False, id="no-JSON"),
        pytest.param(b"[" * 100_000, False, id="deep-nesting"),
    ],
)
def test_an_error_inside_a_success_is_told_from_an_answer(body: bytes, *, expected: bool) -> None:
    assert refusals.is_refusal(body) is expected


@pytest.mark.parametrize(
    ("code", "status"), [(429, 429), (503, 503), (400, 400), (399, 500), (600, 500), ("502", 500), (None, 500)], ids=str
)
def test_an_error_inside_a_200_takes_the_status_it_names(code: object, status: int) -> None:
    inside = refusals.refused_inside(REQUEST, reply(200, {"error": {"code": code, "message": "x"}}, {"nvcf-reqid": "r"}), hosted=True)
    assert inside is not None
    assert (inside.status_code, inside.request_id, type(inside)) == (status, "r", errors.status_error(status))


def test_a_200_without_an_error_inside_is_none() -> None:
    assert refusals.refused_inside(REQUEST, reply(200, {"choices": []}), hosted=True) is None


@pytest.mark.parametrize(
    ("status", "body", "hosted", "hint"),
    [
        pytest.param(404, b"404 page not found\n", True, "wrong model name and a wrong path", id="404-path-or-model-hosted"),
        pytest.param(404, b"404 page not found\n", False, "no such route", id="404-path-of-an-own-server"),
        pytest.param(404, b'{"detail":"Not Found"}', False, "no such route", id="404-route-of-vLLM"),
        pytest.param(404, b'{"detail":"Function \'0\': Not found for account \'0\'"}', True, "not for this account", id="404-account"),
        pytest.param(404, b'{"error":{"message":"The model `x` does not exist."}}', False, "no model of that name", id="404-model-of-vLLM"),
        pytest.param(404, b"Model does not exist by the name of x", True, "no model of that name", id="404-model-hosted"),
        pytest.param(400, b'{"detail":"DEGRADED function cannot be invoked"}', True, "an outage", id="degraded"),
        pytest.param(422, b'{"detail":"Extra inputs are not permitted"}', True, "leave it out", id="extra-inputs"),
        pytest.param(400, b'{"message":"Unsupported parameter(s): x"}', True, "leave it out", id="unsupported"),
        pytest.param(500, b'{"detail":"System role not supported"}', True, "no message of that role", id="role"),
        pytest.param(401, b"", True, "NVIDIA_API_KEY", id="401-hosted"),
        pytest.param(401, b"", False, "This server wants a key", id="401-of-an-own-server"),
        pytest.param(402, b"", True, "credits", id="402"),
        pytest.param(403, b"", True, "wrong kind or scope", id="403"),
        pytest.param(410, b"", True, "models.list()", id="410"),
        pytest.param(429, b"", True, "rate_limit_wait", id="429"),
        pytest.param(503, b"", True, "server.ready()", id="503"),
        pytest.param(504, b"", True, "stream", id="504"),
    ],
)
def test_a_hint_says_what_to_do(status: int, body: bytes, hint: str, *, hosted: bool) -> None:
    error = refuse(status, body, hosted=hosted)
    assert hint in str(error.hint)
    assert f"What to do: {error.hint}" in str(error)


def test_where_nothing_is_known_no_hint_is_made_up() -> None:
    assert refuse(400, b'{"error":{"message":"n must be 1"}}').hint is None


@pytest.mark.parametrize(
    ("words", "limit", "prompt", "answer"),
    [
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, your prompt contains 6008 input tokens, which exceeds "
            "this limit even without any output tokens.", 4096, 6008, None, id="a",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input tokens, which "
            "exceeds this limit even without any output tokens.", 4096, 4097, None, id="a-at-least",
        ),
        pytest.param("max_tokens must be at least 1, got -46771.", None, None, None, id="b"),
        pytest.param("max_tokens must be at least 1, got 0.", None, None, None, id="b-exactly-full"),
        pytest.param("max_tokens=5000 cannot be greater than max_model_len=4096.", 4096, None, 5000, id="c"),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, you requested 1000 output tokens and your prompt contains "
            "at least 3097 input tokens, for a total of at least 4097 tokens.", 4096, 3097, 1000, id="d",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, you requested 1000 output tokens and your prompt contains "
            "20000 characters (more than 16384 characters, which is the upper bound for 3096 input tokens).",
            4096, None, 1000, id="d-characters",
        ),
        pytest.param(
            "You passed 170753 input tokens and requested 32000 output tokens. However, the model's context length is only 202752 "
            "tokens, resulting in a maximum input length of 170752 tokens.", 202752, 170753, 32000, id="e",
        ),
        pytest.param(
            "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, "
            "10000 in the completion).", 16384, 112946, 10000, id="f",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.", 4096, 5000, None, id="g"
        ),
        pytest.param(
            "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length is 4096 tokens and your "
            "request has 3500 input tokens (1000 > 4096 - 3500).", 4096, 3500, 1000, id="h",
        ),
        pytest.param(
            "This model's maximum context length is 196608 tokens. However, your messages resulted in 199906 tokens.",
            196608, 199906, None, id="i",
        ),
        pytest.param(
            "The decoder prompt (length 66501) is longer than the maximum model length of 65536.", 65536, 66501, None, id="j"
        ),
        pytest.param(
            "The sum of prompt length (38049.0), query length (0) should not exceed max_num_tokens (32768)", 32768, 38049, None, id="k"
        ),
        pytest.param(
            "request (6010 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096, 6010, None, id="l"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_every_wording_of_an_overflow_gives_its_numbers(
    words: str, status: int, limit: int | None, prompt: int | None, answer: int | None
) -> None:
    error = refuse(status, {"error": {"message": words}})
    assert isinstance(error, errors.ContextLengthExceededError)
    assert error.hint
    assert (error.limit, error.prompt_tokens, error.completion_tokens) == (limit, prompt, answer)


@pytest.mark.parametrize("words", ["n must be 1", "max_tokens must be at least 1, got 1", "context length"])
def test_other_words_are_no_overflow(words: str) -> None:
    assert type(refuse(400, {"error": {"message": words}})) is errors.BadRequestError


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"retry-after": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="a-fraction"),
        pytest.param({"retry-after": "-3"}, 0.0, id="below-zero"),
        pytest.param({"retry-after-ms": "1500", "retry-after": "2"}, 1.5, id="milliseconds-first"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "2"}, 2.0, id="milliseconds-that-are-none"),
        pytest.param({"retry-after": "inf"}, None, id="infinite"),
        pytest.param({"retry-after": "nan"}, None, id="no-number"),
        pytest.param({"retry-after": "soon"}, None, id="words"),
        pytest.param(
            {"date": "Mon, 23 Nov 2026 10:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"}, 90.0, id="a-date-since-the-answers-own"
        ),
        pytest.param({"date": "Mon, 23 Nov 2026 10:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 09:00:00 GMT"}, 0.0, id="a-date-gone-by"),
        pytest.param({"retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"}, None, id="a-date-with-nothing-to-measure-from"),
        pytest.param({"date": "Mon, 23 Nov 2026 10:00:00 -0000", "retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"}, None, id="one-without-a-zone"),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    error = refuse(429, b"", headers)
    assert error.retry_after == seconds
    assert ("asks to wait" in str(error)) is (seconds is not None)


def test_the_seconds_to_wait_are_in_the_message() -> None:
    assert "The server asks to wait 3600 s." in str(refuse(429, b"", {"retry-after": "3600"}))


@pytest.mark.parametrize(("said", "meant"), [("true", True), ("False", False), ("maybe", None), ("", None)])
def test_x_should_retry_is_read(said: str, meant: bool | None) -> None:  # noqa: FBT001 - a table's column
    assert refuse(500, b"", {"x-should-retry": said}).should_retry is meant


@pytest.mark.parametrize(
    ("headers", "known_as"),
    [
        ({"nvcf-reqid": "n", "x-request-id": "x"}, "n"),
        ({"x-request-id": "x"}, "x"),
        ({}, None),
    ],
    ids=["the-gateways", "the-servers", "none"],
)
def test_the_request_id_is_kept(headers: dict[str, str], known_as: str | None) -> None:
    error = refuse(500, b"", headers)
    assert error.request_id == known_as
    assert (f"request id {known_as}" in str(error)) is bool(headers)


def test_a_redirect_is_not_followed_but_told_without_its_query() -> None:
    error = refuse(302, b"", {"location": "https://elsewhere.example/v1?signature=abc"})
    assert type(error) is errors.APIStatusError
    assert "'https://elsewhere.example/v1'" in str(error)
    assert "abc" not in str(error)
    assert "location" not in str(refuse(404, b"", {"location": "https://elsewhere.example"}))


@pytest.mark.parametrize(("status", "start"), [(418, "418 I'm a Teapot from"), (499, "499 from"), (599, "599 from"), (300, "300 Multiple Choices from")])
def test_a_status_that_has_no_class_of_its_own(status: int, start: str) -> None:
    error = refuse(status)
    assert str(error).startswith(start)
    assert type(error) is (errors.InternalServerError if status == 599 else errors.APIStatusError)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40), st.sampled_from(["{}", '{{"error":"{}"}}', "<title>{}</title>"]))
def test_a_key_that_the_server_repeats_is_taken_out(key: str, form: str) -> None:
    key = f"nvapi-{key}"
    request = Request("POST", f"{HOSTED}/x", {"authorization": Secret(f"Bearer {key}")})
    response = reply(401, form.format(f"Invalid key {key}").encode())
    error = refusals.status_failure(request, response, hosted=True)
    assert key not in f"{error!s}{error!r}{error.body!r}{error.__dict__!r}"
    assert "***" in str(error.body)


def test_secrets_in_other_headers_are_taken_out_and_plain_headers_are_not() -> None:
    assert refuse(400, b"s3cret-value */* nvapi-made-up-key").body == "*** */* ***"


PROBLEMS: Mapping[Problem, tuple[str, bool, bool]] = {
    # Words; whether it may pass; whether it is a time-out.
    "dns": ("host name could not be found", True, False),
    "refused": ("nothing listens there", True, False),
    "connect": ("no connection could be made", True, False),
    "connect timeout": ("no connection in time after 2.5 s", True, True),
    "tls": ("TLS failed", False, False),
    "proxy": ("the proxy failed", True, False),
    "reset": ("closed before an answer came", True, False),
    "read": ("in the middle of the answer", False, False),
    "timeout": ("no answer in time after 2.5 s", False, True),
    "total": ("not done in time after 2.5 s", False, True),
    "protocol": ("not HTTP as it should be", False, False),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_failure_says_which_and_what_to_check(problem: Problem) -> None:
    words, may_pass, timed_out = PROBLEMS[problem]
    request = Request("POST", "http://localhost:8000/v1/chat/completions?a=b", REQUEST.headers)
    error = refusals.connection_failure(request, failure(problem, f"words of the library, {KEY}", sent=1.0, now=3.5))
    assert type(error) is (errors.APITimeoutError if timed_out else errors.APIConnectionError)
    assert str(error).startswith("POST http://localhost:8000/v1/chat/completions: ")
    assert f"{words} (words of the library, ***)." in str(error)
    assert error.may_pass is may_pass
    assert error.hint


def test_a_failure_of_which_nothing_more_is_known_says_no_more() -> None:
    assert refusals.connection_failure(REQUEST, failure("reset")).args[0].endswith("closed before an answer came.")
