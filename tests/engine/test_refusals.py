"""What a server says when it refuses, in a body of any shape: the right class, and the server's words."""

from collections.abc import Mapping
from http import HTTPStatus

import pytest

from nemotron_client import errors
from nemotron_client._engine import refusals
from nemotron_client._engine.exchange import Response
from tests.captures import error_bodies, load, names
from tests.engine.driving import REQUEST, refuse, reply
from tests.error_bodies import ErrorBody

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
    "G-context-messages-and-completion": (
        errors.ContextLengthExceededError,
        "112946 in the messages, 10000 in the completion",
    ),
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
def test_a_refusal_of_every_shape_has_its_class_and_the_servers_words(
    case: ErrorBody, content_type: str | None
) -> None:
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
def test_status_code_and_type_are_the_servers(
    label: str, status: int, code: str | int | None, type_: str | None
) -> None:
    error = every_shape(next(case for case in error_bodies() if case.label == label), None)
    assert (error.status_code, error.code, error.type) == (status, code, type_)


@pytest.mark.parametrize("name", [name for name in names() if load(name).status >= 400])
def test_every_recorded_refusal_has_its_class_and_words(name: str) -> None:
    capture = load(name)
    error = refuse(capture.status, capture.body, capture.headers, hosted=False)
    overflow = isinstance(error, errors.ContextLengthExceededError)
    assert type(error) is (errors.ContextLengthExceededError if overflow else errors.status_error(capture.status))
    # What vLLM says of max_tokens=0 is what it says of a window that is full.
    words = ("prompt_too_long", "exactly_full", "prompt_over", "max_tokens_over", "max_tokens_0", "max_tokens_neg")
    assert overflow == any(word in name for word in words)
    assert refusals.read(capture.body).message in error.args[0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"", "", id="nothing"),
        pytest.param(b" \n", "", id="blanks"),
        pytest.param(b"null", "", id="null"),
        pytest.param(b'"down"', "down", id="a-JSON-string"),
        pytest.param(b"[1, 2]", "[1, 2]", id="a-JSON-list"),
        pytest.param(b"[]", "", id="an-empty-list"),
        pytest.param(b'["a", null]', '["a", null]', id="a-JSON-list-with-a-null"),
        pytest.param(b'{"msg": "down"}', '{"msg": "down"}', id="another-name-for-the-words"),
        pytest.param(b'{"errors": [{"x": "down"}]}', '{"errors": [{"x": "down"}]}', id="a-list-of-errors"),
        pytest.param(b'{"detail": {"reason": "down"}}', '{"detail": {"reason": "down"}}', id="words-in-an-object"),
        pytest.param(b'{"error": ["down"]}', '{"error": ["down"]}', id="an-error-that-is-a-list"),
        pytest.param(
            b'{"error": {"reason": "down"}}', '{"error": {"reason": "down"}}', id="an-error-without-a-message"
        ),
        pytest.param(b'{"x": "%s"}' % (b"y" * 600), '{"x": "' + "y" * 493 + "...", id="long-JSON-is-cut"),
        pytest.param(b"{}", "", id="an-empty-object"),
        pytest.param(b'{"error": {}}', "", id="an-empty-error"),
        pytest.param(b'{"error": {"code": 1}, "message": "outside"}', "outside", id="words-beside-the-error"),
        pytest.param(b'{"error": null, "detail": "d"}', "d", id="a-null-error"),
        pytest.param(b'{"message": "", "detail": "d", "title": "t"}', "d", id="an-empty-message"),
        pytest.param(b'{"title": "t"}', "t", id="only-a-title"),
        pytest.param(b'{"message": {"a": 1}, "detail": [], "title": "t"}', "t", id="words-that-are-none"),
        pytest.param(
            b'{"detail": ["a", {"msg": "b"}, {"loc": ["x", 0], "msg": "c"}, {"loc": "y"}]}',
            "a; b; x.0: c; {'loc': 'y'}",
            id="lists",
        ),
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


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"error": {"message": "x", "param": "input_tokens"}}, "input_tokens"),
        ({"object": "error", "message": "x", "param": "n"}, "n"),
        ({"error": {"message": "x", "param": None}}, None),
        ({"error": "x"}, None),
    ],
    ids=["nested", "flat", "null", "missing"],
)
def test_the_parameter_at_fault_is_the_servers(body: object, param: str | None) -> None:
    assert refuse(400, body).param == param


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
        pytest.param(b'{"detail": [{"msg": "x"}]}', True, id="FastAPI's-problems"),
        pytest.param(b'{"status": 429, "title": "Too Many Requests"}', True, id="a-problem-without-detail"),
        pytest.param(b'{"detail": {"reason": "x"}}', True, id="FastAPI's-own-words-in-an-object"),
        pytest.param(b'{"message": "", "detail": {}}', False, id="words-that-say-nothing"),
        pytest.param(b'{"title": "A story"}', False, id="only-a-title"),
        pytest.param(b'{"choices": [], "status": 200, "title": "x"}', False, id="an-answer-with-a-title"),
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
    ("code", "status"),
    [(429, 429), (503, 503), (400, 400), ("502", 502), (399, 200), (600, 200), ("server_error", 200), (None, 200)],
    ids=str,
)
def test_an_error_inside_a_200_takes_the_status_it_names(code: object, status: int) -> None:
    inside = refusals.refused_inside(REQUEST, reply(200, {"error": {"code": code, "message": "x"}}), hosted=True)
    assert inside is not None
    assert (inside.status_code, type(inside)) == (status, errors.status_error(status))
    named = "" if status == 200 else f" ({status} {HTTPStatus(status).phrase})"
    assert str(inside).startswith(f"200 with an error inside{named} from POST {REQUEST.url}: x")


def test_a_problem_inside_a_200_takes_the_status_it_names() -> None:
    inside = refusals.refused_inside(REQUEST, reply(200, {"status": 429, "title": "Too Many Requests"}), hosted=True)
    assert type(inside) is errors.RateLimitError


def test_an_overflow_inside_a_200_is_one() -> None:
    words = "The input (6010 tokens) is longer than the model's context length (4096 tokens)."
    inside = refusals.refused_inside(REQUEST, reply(200, {"error": {"message": words}}), hosted=True)
    assert isinstance(inside, errors.ContextLengthExceededError)
    assert (inside.limit, inside.prompt_tokens) == (4096, 6010)


def test_a_200_without_an_error_inside_is_none() -> None:
    assert refusals.refused_inside(REQUEST, reply(200, {"choices": []}), hosted=True) is None
