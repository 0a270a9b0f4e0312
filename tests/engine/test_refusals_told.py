"""What the caller is told beside the server's words: what to do, how long to wait, which id to quote; and no key."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import errors
from nemotron_client._engine import failures, refusals
from nemotron_client._engine.exchange import Problem, Request
from nemotron_client.config import Secret
from tests.engine.driving import HOSTED, KEY, REQUEST, failure, refuse, reply


@pytest.mark.parametrize(
    ("status", "body", "hosted", "hint"),
    [
        pytest.param(
            404, b"404 page not found\n", True, "wrong model name and a wrong path", id="404-path-or-model-hosted"
        ),
        pytest.param(404, b"404 page not found\n", False, "no such route", id="404-path-of-an-own-server"),
        pytest.param(404, b'{"detail":"Not Found"}', False, "no such route", id="404-route-of-vLLM"),
        pytest.param(
            404,
            b"{\"detail\":\"Function '0': Not found for account '0'\"}",
            True,
            "not for this account",
            id="404-account",
        ),
        pytest.param(
            404,
            b'{"error":{"message":"The model `x` does not exist."}}',
            False,
            "no model of that name",
            id="404-model-of-vLLM",
        ),
        pytest.param(
            404, b"Model does not exist by the name of x", True, "no model of that name", id="404-model-hosted"
        ),
        pytest.param(400, b'{"detail":"DEGRADED function cannot be invoked"}', True, "an outage", id="degraded"),
        pytest.param(422, b'{"detail":"Extra inputs are not permitted"}', True, "leave it out", id="extra-inputs"),
        pytest.param(400, b'{"message":"Unsupported parameter(s): x"}', True, "leave it out", id="unsupported"),
        pytest.param(500, b'{"detail":"System role not supported"}', True, "no message of that role", id="role"),
        pytest.param(401, b"", True, "NVIDIA_API_KEY", id="401-hosted"),
        pytest.param(401, b"", False, "The key that was sent was refused", id="401-of-an-own-server"),
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
            "This model's maximum context length is 4096 tokens. However, your prompt contains 6008 "
            "input tokens, which exceeds "
            "this limit even without any output tokens.",
            4096,
            6008,
            None,
            id="a",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, your prompt contains at least "
            "4097 input tokens, which "
            "exceeds this limit even without any output tokens.",
            4096,
            4097,
            None,
            id="a-at-least",
        ),
        pytest.param("max_tokens must be at least 1, got -46771.", None, None, None, id="b"),
        pytest.param("max_tokens must be at least 1, got 0.", None, None, None, id="b-exactly-full"),
        pytest.param("max_tokens=5000 cannot be greater than max_model_len=4096.", 4096, None, 5000, id="c"),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, you requested 1000 output "
            "tokens and your prompt contains "
            "at least 3097 input tokens, for a total of at least 4097 tokens.",
            4096,
            3097,
            1000,
            id="d",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, you requested 1000 output "
            "tokens and your prompt contains "
            "20000 characters (more than 16384 characters, which is the upper bound for 3096 input tokens).",
            4096,
            None,
            1000,
            id="d-characters",
        ),
        pytest.param(
            "You passed 170753 input tokens and requested 32000 output tokens. However, the model's "
            "context length is only 202752 "
            "tokens, resulting in a maximum input length of 170752 tokens.",
            202752,
            170753,
            32000,
            id="e",
        ),
        pytest.param(
            "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens "
            "(112946 in the messages, "
            "10000 in the completion).",
            16384,
            112946,
            10000,
            id="f",
        ),
        pytest.param(
            "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.",
            4096,
            5000,
            None,
            id="g",
        ),
        pytest.param(
            "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context "
            "length is 4096 tokens and your "
            "request has 3500 input tokens (1000 > 4096 - 3500).",
            4096,
            3500,
            1000,
            id="h",
        ),
        pytest.param(
            "This model's maximum context length is 196608 tokens. However, your messages resulted in 199906 tokens.",
            196608,
            199906,
            None,
            id="i",
        ),
        pytest.param(
            "The decoder prompt (length 66501) is longer than the maximum model length of 65536.",
            65536,
            66501,
            None,
            id="j",
        ),
        pytest.param(
            "The sum of prompt length (38049.0), query length (0) should not exceed max_num_tokens (32768)",
            32768,
            38049,
            None,
            id="k",
        ),
        pytest.param(
            "request (6010 tokens) exceeds the available context size (4096 tokens), try increasing it",
            4096,
            6010,
            None,
            id="l",
        ),
        pytest.param(
            "The input (6010 tokens) is longer than the model's context length (4096 tokens).",
            4096,
            6010,
            None,
            id="m-input",
        ),
        pytest.param(
            "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of "
            "5000 tokens: 3000 tokens from the input messages and 2000 tokens for the completion. Please reduce the "
            "number of tokens.",
            4096,
            3000,
            2000,
            id="m-total",
        ),
    ],
)
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
            {"date": "Mon, 23 Nov 2026 10:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"},
            90.0,
            id="a-date-since-the-answers-own",
        ),
        pytest.param(
            {"date": "Mon, 23 Nov 2026 10:00:00 GMT", "retry-after": "Mon, 23 Nov 2026 09:00:00 GMT"},
            0.0,
            id="a-date-gone-by",
        ),
        pytest.param({"retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"}, None, id="a-date-with-nothing-to-measure-from"),
        pytest.param(
            {"date": "Mon, 23 Nov 2026 10:00:00 -0000", "retry-after": "Mon, 23 Nov 2026 10:01:30 GMT"},
            None,
            id="one-without-a-zone",
        ),
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
    assert KEY not in str(refuse(302, b"", {"location": f"https://elsewhere.example/{KEY}"}))
    assert "redirects" not in str(refuse(404, b"", {"location": "https://elsewhere.example"}))
    assert refuse(302).hint is None


@pytest.mark.parametrize(
    ("status", "start"),
    [(418, "418 I'm a Teapot from"), (499, "499 from"), (599, "599 from"), (300, "300 Multiple Choices from")],
)
def test_a_status_that_has_no_class_of_its_own(status: int, start: str) -> None:
    error = refuse(status)
    assert str(error).startswith(start)
    assert type(error) is (errors.InternalServerError if status == 599 else errors.APIStatusError)


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8, max_size=40),
    st.sampled_from(["{}", '{{"error":"{}"}}', "<title>{}</title>"]),
)
def test_a_key_that_the_server_repeats_is_taken_out(key: str, form: str) -> None:
    key = f"nvapi-{key}"
    request = Request("POST", f"{HOSTED}/x", {"authorization": Secret(f"Bearer {key}")})
    response = reply(401, form.format(f"Invalid key {key}").encode())
    error = refusals.status_failure(request, response, hosted=True)
    assert key not in f"{error!s}{error!r}{error.body!r}{error.__dict__!r}"
    assert "***" in str(error.body)


def test_secrets_in_other_headers_are_taken_out_and_plain_headers_are_not() -> None:
    assert refuse(400, b"s3cret-value */* nvapi-made-up-key").body == "*** */* ***"


@pytest.mark.parametrize("secret", ["Bearer token", "4", "EMPTY"])
def test_what_is_too_short_for_a_secret_does_not_spoil_the_words_of_the_server(secret: str) -> None:
    request = Request("POST", f"{HOSTED}/x", {"x": Secret(secret)})
    body = {"error": {"message": "This model's maximum context length is 4096 tokens", "code": 400}}
    error = refusals.status_failure(request, reply(400, body), hosted=True)
    assert isinstance(error, errors.ContextLengthExceededError)
    assert (error.limit, error.code, error.body) == (4096, 400, body)


def test_a_secret_is_taken_out_with_and_without_its_scheme() -> None:
    request = Request("POST", f"{HOSTED}/x", {"authorization": Secret("Basic dXNlcjpwYXNz")})
    body = b"bad credentials dXNlcjpwYXNz in Basic dXNlcjpwYXNz"
    error = refusals.status_failure(request, reply(401, body), hosted=True)
    assert error.body == "bad credentials *** in ***"


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
    error = failures.connection_failure(request, failure(problem, f"words of the library, {KEY}", sent=1.0, now=3.5))
    assert type(error) is (errors.APITimeoutError if timed_out else errors.APIConnectionError)
    assert str(error).startswith("POST http://localhost:8000/v1/chat/completions: ")
    assert f"{words} (words of the library, ***)." in str(error)
    assert error.may_pass is may_pass
    assert error.hint


def test_a_failure_of_which_nothing_more_is_known_says_no_more() -> None:
    assert failures.connection_failure(REQUEST, failure("reset")).args[0].endswith("closed before an answer came.")


def test_a_server_that_wants_a_key_when_none_was_sent_says_where_the_one_of_the_environment_goes() -> None:
    request = replace(REQUEST, headers={})
    error = refusals.status_failure(request, reply(401, {"error": "Unauthorized"}), hosted=False)
    assert "none was sent" in (error.hint or "")
    assert "NVIDIA_API_KEY goes only to" in (error.hint or "")


def test_tls_with_a_server_that_talks_none_is_told() -> None:
    error = failures.connection_failure(REQUEST, failure("tls", "[SSL: WRONG_VERSION_NUMBER] wrong version number"))
    assert "seems to speak plain http" in (error.hint or "")


def test_an_answer_that_was_closed_while_it_was_read_is_told() -> None:
    error = failures.connection_failure(REQUEST, failure("closed"))
    assert "was closed while it was being read" in str(error)
    assert not error.may_pass


def test_a_base_url_without_v1_is_told_with_it() -> None:
    asked = replace(REQUEST, url="http://localhost:8000/chat/completions")
    error = refusals.status_failure(asked, reply(404, b'{"detail":"Not Found"}'), hosted=False)
    assert error.hint == "There is no such route on this server. Try base_url='http://localhost:8000/v1'."
