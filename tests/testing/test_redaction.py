"""No secret gets into a file: not from headers, bodies, queries or errors, whole or in pieces."""

import base64
import html
import json
import re
import string
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.testing import RecordedRequest
from nemotron_client.testing.recordings import Held, Tape, dumped
from nemotron_client.testing.redaction import Redactor, is_secret_header
from tests.testing.recording import TOKENS, cut_up

if TYPE_CHECKING:
    from pydantic import JsonValue

# With a digit, so that none is by chance a word of the file's own.
SECRETS = st.text(
    string.ascii_letters + string.digits + "!#$%&'()+-./:<=>?@[]^_`{|}~\"\\", min_size=7, max_size=40
).map("{}7".format)
HEADERS = ["authorization", "Proxy-Authorization", "x-api-key", "api-key", "cookie", "x-auth-token", "X-Amz-Signature"]
NAMES = ["api_key", "apiKey", "client_secret", "password", "access_token", "authorization", "session_id", "cookies"]


# --- What a request held is taken out wherever it is repeated ---


@given(
    secret=SECRETS,
    header=st.sampled_from(HEADERS),
    scheme=st.sampled_from(["", "Bearer ", "Token "]),
    cuts=st.lists(st.integers(0, 300), max_size=5),
)
def test_a_secret_of_the_headers_is_in_no_text_and_in_no_body_however_it_is_cut(
    secret: str, header: str, scheme: str, cuts: list[int]
) -> None:
    redactor = Redactor()
    redactor.learn({header: scheme + secret})
    document = json.dumps({"detail": f"bad key {secret}", "nested": json.dumps({"x": secret})})
    quoted = [quote(secret), quote(secret, safe=""), quote_plus(secret)]
    quoted += [html.escape(secret), *(re.sub("%..", lambda found: found[0].lower(), each) for each in quoted)]
    body = f"You sent {secret}, quoted {', '.join(quoted)}, as JSON {document}"
    chunks = redactor.chunks(cut_up(body, cuts))
    for text in (
        "".join(chunks),
        redactor.text(body),
        repr(redactor.headers({"x-echo": f"<{secret}>", header: secret})),
    ):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
        assert not any(each in text for each in quoted)
    assert len(chunks) == len(cut_up(body, cuts))


@given(name=st.sampled_from(NAMES), secret=SECRETS)
def test_a_secret_of_a_body_is_known_by_its_name_and_taken_out_elsewhere(name: str, secret: str) -> None:
    body: JsonValue = {"messages": [{"content": "Hello"}], "extra": {name: secret, "list": [{name: [secret]}]}}
    redactor = Redactor()
    redactor.learn({}, "", body)
    assert redactor.json(body) == {
        "messages": [{"content": "Hello"}],
        "extra": {name: "***", "list": [{name: ["***"]}]},
    }
    assert secret not in redactor.text(f"Error: {secret} is wrong")


@given(secret=TOKENS, name=st.sampled_from(["api_key", "token", "X-Amz-Signature", "key", "sig"]))
def test_a_secret_of_a_query_is_taken_out_and_the_rest_is_sorted(secret: str, name: str) -> None:
    redactor = Redactor()
    redactor.learn({}, f"b=2&{name}={secret}&a=1", None)
    assert set(redactor.query(f"b=2&{name}={secret}&a=").split("&")) == {"a=", "b=2", f"{name}=***"}
    assert redactor.query("b=2&a=1") == "a=1&b=2"
    assert secret not in redactor.text(f"GET https://host/v1?x=1&{name}={secret} failed")


@given(user=TOKENS, password=SECRETS)
def test_the_password_of_basic_credentials_is_known_too(user: str, password: str) -> None:
    redactor = Redactor()
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    redactor.learn({"Authorization": f"Basic {credentials}"})
    assert password not in redactor.text(f"wrong password <{password}>")
    assert credentials not in redactor.text(f"({credentials})")


@given(
    secret=SECRETS,
    before=st.binary(max_size=9),
    after=st.binary(max_size=9),
    is_for_urls=st.booleans(),
)
def test_a_secret_is_taken_out_of_base64_whatever_stands_around_it(
    *, secret: str, before: bytes, after: bytes, is_for_urls: bool
) -> None:
    redactor = Redactor()
    redactor.learn({"authorization": f"Bearer {secret}"})
    encode = base64.urlsafe_b64encode if is_for_urls else base64.b64encode
    kept = redactor.text(f"({encode(before + secret.encode() + after).decode()})")
    assert "***" in kept
    assert len(kept) <= 2 + len("***") + 4 * (len(before) + len(after) + 6) // 3


@pytest.mark.parametrize(
    "echoed",
    [
        r'{"told": "You sent abc\/def-1234 here"}',
        r'{"told": "You sent abc/def\u002d1234 here"}',
        r'{"told": "You sent \u0061bc/def-1234 here"}',
        r'{"told": "{\"sent\": \"abc\\/def-1234\"} here"}',
        r'{"told": "{\"sent\": \"abc/def\\u002D1234\"} here"}',
        r"It is no JSON: abc\/def-1234 here",
    ],
)
def test_a_secret_is_found_in_json_that_escapes_more_than_it_must(echoed: str) -> None:
    redactor = Redactor()
    redactor.learn({"authorization": "Bearer abc/def-1234"})
    kept = redactor.text(echoed)
    assert "***" in kept
    assert kept.endswith(echoed[-5:])
    assert not {"bc", "def", "1234", "u002", "u0061"} & set(re.findall(r"u00\d\d|bc|def|1234", kept))
    assert redactor.chunks([echoed]) == [kept]


def test_what_looks_like_a_secret_or_has_its_name_is_found_behind_escapes_too() -> None:
    assert Redactor().text(r'{"a": "nvapi\u002dabc", "b": "\ud83d\ude00"}') == r'{"a": "***", "b": "\ud83d\ude00"}'
    told = r'{"arguments": "{\u0022password\u0022: \u0022hunter2\u0022}", "more": "x\\u0022"}'
    assert Redactor().text(told) == told.replace("hunter2", "***")


def test_a_secret_that_is_the_name_of_a_parameter_is_taken_out_of_the_query() -> None:
    assert Redactor().query("nvapi-abcdefghijk123456&b=1") == "b=1&***="


def test_credentials_that_are_no_base64_are_taken_out_as_they_are() -> None:
    redactor = Redactor()
    redactor.learn({"authorization": "Basic not-base-64!"})
    assert redactor.text("got not-base-64!") == "got ***"


@given(
    secret=SECRETS,
    header=st.sampled_from(HEADERS),
    name=st.sampled_from(NAMES),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    told_by_header=st.booleans(),
)
def test_no_secret_gets_into_a_file_from_headers_bodies_answers_or_errors(
    *, secret: str, header: str, name: str, cuts: list[int], told_by_header: bool
) -> None:
    body: JsonValue = {"prompt": f"Is {secret} mine?"} if told_by_header else {"prompt": "Hello", name: secret}
    headers = {"accept": "text/plain", header: f"Bearer {secret}"} if told_by_header else {"accept": secret}
    request = RecordedRequest(
        method="POST",
        path=f"/v1/{secret}",
        query=urlencode({"q": secret, "api_key": secret}),
        headers=headers,
        body=json.dumps(body).encode(),
    )
    tape = Tape(request, iter(range(100)).__next__)
    tape.begin(200, {"X-Echo": secret, "Set-Cookie": secret, "WWW-Authenticate": f'Bearer realm="{secret}"'})
    for chunk in cut_up(f"data: {json.dumps({'content': secret})}\n\n" * 3, cuts):
        tape.chunk(chunk.encode())
    tape.end("ReadError", f"lost the connection of {secret}")
    redactor = Redactor()
    redactor.learn(request.headers, request.query, body)
    content = dumped(Held(recordings=[tape.recording(redactor)], hosted=False)).decode()
    for spelling in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3], quote(secret, safe="")):
        assert spelling not in content


def test_each_cookie_is_a_secret() -> None:
    redactor = Redactor()
    redactor.learn({"cookie": "a=first-secret; b=second-secret"})
    assert redactor.text("first-secret, second-secret") == "***, ***"


def test_what_is_too_short_to_keep_anybody_out_spoils_no_text() -> None:
    redactor = Redactor()
    redactor.learn({"authorization": "Bearer token"})
    assert redactor.text("one token more") == "one token more"


# --- What is named or looks like a secret is taken out wherever it comes from ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"api_key": "a\\"b", "x": 1}', '{"api_key": "***", "x": 1}'),
        (
            '{"arguments": "{\\"password\\": \\"abc\\", \\"x\\": 1}"}',
            '{"arguments": "{\\"password\\": \\"***\\", \\"x\\": 1}"}',
        ),
        ('{\\"password\\": \\"cut o', '{\\"password\\": \\"***'),
        ("client_secret = abc; x", "client_secret = ***; x"),
        ("https://host/p?api-version=1&sig=ab%2Fc#x", "https://host/p?api-version=1&sig=***#x"),
        ("Authorization: Custom abc def\nHost: x", "Authorization: ***\nHost: x"),
        ("set-cookie: sid=1; path=/", "set-cookie: ***"),
        ("curl -H 'X-Api-Key: abc' x", "curl -H 'X-Api-Key: ***' x"),
        ("a bearer abcdefgh1234 of it", "a bearer *** of it"),
        ("https://me:secret@host/v1", "https://***@host/v1"),
        ("key nvapi-Ab_1-2.", "key ***."),
        ("sk-proj-0123456789abcdef!", "***!"),
        ("hf_0123456789abcdefgh ghp_0123456789abcdefgh xoxb-0123456789ab", "*** *** ***"),
        ("AKIA0123456789ABCDEF glpat-0123456789abcdefgh", "*** ***"),
        ("user: me\n  - api_key: hunter2\npassword: swordfish\n", "user: me\n  - api_key: ***\npassword: ***\n"),
        ('{"x": "config:\\npassword: swordfish\\nb"}', '{"x": "config:\\npassword: ***\\nb"}'),
        ("password: 'swordfish' # mine", "password: '***' # mine"),
        ("""{'api_key': "abc'def"}""", """{'api_key': "***"}"""),
        ("[('api_key', 'abc'), ('x', 'y')]", "[('api_key', '***'), ('x', 'y')]"),
        ("Password: at least eight letters\nsecret: a-b", "Password: at least eight letters\nsecret: a-b"),
        ("eyJhbGciOiJIUzI1.eyJzdWIi.c2ln", "***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----.", "***."),
        ("-----BEGIN PRIVATE KEY-----\nabc", "***"),
        (
            '{"auth": "a", "db_pass": "b", "pwd": "c", "passcode": "d"}',
            '{"auth": "***", "db_pass": "***", "pwd": "***", "passcode": "***"}',
        ),
        ('{"signature": "a", "compass": "b", "author": "c"}', '{"signature": "***", "compass": "b", "author": "c"}'),
    ],
)
def test_a_secret_is_known_by_its_name_or_its_looks(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"max_tokens": 5, "usage": {"prompt_tokens": 5}, "logprobs": [{"token": " Hello"}]}',
        '{"password": "", "secret": null}',
        "The secret of a good story is its end; the password was forgotten.",
        "a basic idea, the bearer of news, task-force-of-many-people",
        "Authorization is needed. See https://host/docs?page=1&max_tokens=5",
    ],
)
def test_words_are_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_secret_by_its_name(name: str) -> None:
    assert is_secret_header(name)


@pytest.mark.parametrize("name", ["content-type", "x-ratelimit-remaining-tokens", "x-request-id", "retry-after"])
def test_other_headers_are_kept(name: str) -> None:
    assert Redactor().headers({name: "value"}) == {name: "value"}


def test_a_schema_that_names_a_secret_is_no_secret_but_a_number_can_be_one() -> None:
    schema: JsonValue = {"properties": {"api_key": {"type": "string", "description": "The key"}}}
    assert Redactor().json(schema) == schema
    either: JsonValue = {"password": {"type": ["string", "null"]}, "secret": {"anyOf": [{"$ref": "#/$defs/a"}]}}
    assert Redactor().json(either) == either
    held: JsonValue = {"credential": {"type": "string", "value": "hunter2hunter2"}, "secret": {"type": "key"}}
    assert Redactor().json(held) == {"credential": {"type": "***", "value": "***"}, "secret": {"type": "***"}}
    assert Redactor().json({"password": 1234, "secret": True, "cookies": {"a": "b"}}) == {
        "password": 0,
        "secret": True,
        "cookies": {"a": "***"},
    }


# --- What the user adds ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"secret": {"a": "b", "c": [1.5, "d"]}, "e": "f"}', '{"secret": {"a": "***", "c": [0, "***"]}, "e": "f"}'),
        ('{"api_keys": ["a", {"b": "c"}], "d": 1}', '{"api_keys": ["***", {"b": "***"}], "d": 1}'),
        ('{"password": {"type": "string", "example": "a"}}', '{"password": {"type": "string", "example": "a"}}'),
        ('{"password": ["a", "b"', '{"password": ["***", "***"'),
        ('{"secret": {}, "a": "b"}', '{"secret": {}, "a": "b"}'),
    ],
)
def test_all_within_what_has_the_name_of_a_secret_is_one(text: str, expected: str) -> None:
    assert Redactor().text(text) == expected


def test_a_text_or_a_pattern_of_the_users_own_is_taken_out() -> None:
    redactor = Redactor(["Jane (Doe)", re.compile(r"\d{3}-\d{4}"), re.compile(r"id=(\w+)")])
    assert redactor.text("Jane (Doe), 555-1234, id=42") == "***, ***, id=***"
    assert redactor.chunks(["Jane ", "(Doe)", " 555", "-1234"]) == ["***", "", " ***", ""]
    assert redactor.json({"Jane (Doe)": ["555-1234", None]}) == {"***": ["***", None]}
    assert Redactor(["Jane (Doe", "ne (Doe)"]).text("I am Jane (Doe).") == "I am ***."


@pytest.mark.parametrize(
    "text",
    [
        "{'api_key': 'hunter2'}",
        "{'x-api-key': b'hunter2'}",
        'api_key = "hunter2"',
        "password='hunter2'",
        'say: api_key=\\"hunter2\\"',
        '--b\r\nContent-Disposition: form-data; name="api_key"\r\nX: y\r\n\r\nhunter2\r\n--b--\r\n',
        "--b\nContent-Disposition: form-data; name=password\n\nhunter2",
    ],
)
def test_a_secret_is_told_by_its_name_in_texts_that_are_no_json(text: str) -> None:
    assert Redactor().text(text) == text.replace("hunter2", "***")


@pytest.mark.parametrize("text", ['{"x":"password="}', '["password=","other"]', '{"password=":"other"}'])
def test_the_end_of_a_json_string_is_not_taken_for_the_beginning_of_a_secret(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_pattern_whose_group_takes_no_part_takes_all_out_that_it_finds() -> None:
    redactor = Redactor([re.compile(r"acct-(\d+)|Jane")])
    assert redactor.text("I am Jane, acct-123") == "I am ***, acct-***"


def test_a_text_may_stand_alone_and_nothing_else_may() -> None:
    assert Redactor("Jane Doe").text("I am Jane Doe") == "I am ***"
    alone: Any = re.compile("J.ne Doe")  # which a checker refuses
    assert Redactor(alone).text("I am Jane Doe") == "I am ***"
    wrong: list[Any] = [None, b"my-secret", re.compile(b"x"), 5]  # what no checker lets pass
    for more in wrong:
        with pytest.raises(TypeError, match=r"redact: (NoneType|bytes|Pattern|int) is no text and no"):
            Redactor([more])
