"""No secret gets into a file: not from headers, bodies, queries or errors, whole or in pieces."""

import base64
import json
import re
import string
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.testing import RecordedRequest
from nemotron_client.testing.recordings import Held, Tape, dumped
from nemotron_client.testing.redaction import Redactor, is_secret_header

if TYPE_CHECKING:
    from pydantic import JsonValue

# With a digit, so that none is by chance a word of the file's own.
SECRETS = st.text(
    string.ascii_letters + string.digits + "!#$%&'()+-./:<=>?@[]^_`{|}~\"\\", min_size=7, max_size=40
).map("{}7".format)
# Of letters no word here has, so that taking one out can't spoil another.
TOKENS = st.text("QXZ0123456789", min_size=8, max_size=40)
HEADERS = ["authorization", "Proxy-Authorization", "x-api-key", "api-key", "cookie", "x-auth-token", "X-Amz-Signature"]
NAMES = ["api_key", "apiKey", "client_secret", "password", "access_token", "authorization", "session_id", "cookies"]


def cut_up(text: str, cuts: list[int]) -> list[str]:
    """Cut a text at these places, as many as lie in it."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


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
    body = f"You sent {secret}, quoted {quote(secret)}, {quote(secret, safe='')}, as JSON {document}"
    chunks = redactor.chunks(cut_up(body, cuts))
    for text in (
        "".join(chunks),
        redactor.text(body),
        repr(redactor.headers({"x-echo": f"<{secret}>", header: secret})),
    ):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
        assert quote(secret, safe="") not in text
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
        ("AKIA0123456789ABCDEF", "***"),
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


# --- Streams ---


@given(secret=TOKENS, cuts=st.lists(st.integers(0, 60), max_size=8), edges=st.lists(st.integers(0, 3000), max_size=8))
def test_a_secret_that_a_model_spells_out_over_many_events_cant_be_put_together(
    secret: str, cuts: list[int], edges: list[int]
) -> None:
    redactor = Redactor()
    redactor.learn({"authorization": f"Bearer {secret}"})
    pieces = cut_up(f"Your key is {secret}, isn't it?", cuts)
    events = "".join(f"data: {json.dumps({'delta': {'content': piece}})}\n\n" for piece in pieces)
    kept = "".join(redactor.chunks(cut_up(events, edges)))
    said = "".join(re.findall(r'"content": "(.*?)"', kept))
    assert said == "Your key is ***, isn't it?"
    assert kept.count("data: ") == len(pieces)


def test_arguments_in_pieces_are_put_together_for_their_names() -> None:
    pieces = ['{\\"pass', 'word\\":', ' \\"swo', 'rdfish\\"', "}"]
    events = [f'data: {{"arguments":"{piece}"}}\n\n' for piece in pieces]
    kept = Redactor().chunks(events)
    assert "".join(re.findall(r'"arguments":"(.*)"}', "".join(kept))) == '{\\"password\\": \\"***\\"}'
    assert len(kept) == len(events)


@pytest.mark.parametrize("end", ["", "\n\n"])
def test_a_key_that_a_choice_spells_out_while_another_speaks_is_found(end: str) -> None:
    said = [(0, "It is nvapi-abc"), (1, "Good "), (0, "def-ghi-jkl."), (1, "day")]
    events = [
        f"data: {json.dumps({'choices': [{'index': index, 'delta': {'content': text}}]})}\n\n" for index, text in said
    ]
    kept = "".join(Redactor().chunks(["".join(events).rstrip() + end]))
    assert "abc" not in kept
    assert "def-ghi" not in kept
    assert "day" in kept


KEY = "nvapi-abc123def456"


def told_in_tokens(text: str, *, as_ids: bool = False) -> dict[str, Any]:
    """Return what vLLM tells of the tokens of a choice, each token two letters."""
    tokens = [text[start : start + 2] for start in range(0, len(text), 2)]
    ids = [1000 + ord(token[0]) for token in tokens]
    names = [f"token_id:{token}" for token in ids] if as_ids else tokens
    entries = [
        {"token": name, "logprob": 0.0, "bytes": [*token.encode()]} for name, token in zip(names, tokens, strict=True)
    ]
    rows = [{**entry, "top_logprobs": [entry, {**entry, "token": "zz"}]} for entry in entries]
    return {
        "logprobs": {
            "content": [*rows],
            "tokens": [*names],
            "token_logprobs": [0.0] * len(ids),
            "top_logprobs": [{name: 0.0} for name in names],
        },
        "token_ids": [*ids],
        "prompt_token_ids": [*ids],
        "prompt_logprobs": [
            None,
            *({str(each): {"decoded_token": name}} for each, name in zip(ids, names, strict=True)),
        ],
    }


@pytest.mark.parametrize("as_ids", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_key_is_not_told_token_by_token_either(*, stream: bool, as_ids: bool) -> None:
    pieces = ["The key ", "is nv", "api-abc1", "23def456", "."] if stream else [f"The key is {KEY}."]
    events = [
        json.dumps({"choices": [{"index": 0, "text": piece, **told_in_tokens(piece, as_ids=as_ids)}]})
        for piece in pieces
    ]
    kept = "".join(Redactor().chunks([f"data: {event}\n\n" for event in events] if stream else events))
    choices = [json.loads(each.removeprefix("data: "))["choices"][0] for each in kept.split("\n\n") if each]
    assert "".join(choice["text"] for choice in choices) == "The key is ***."
    for choice in choices:
        assert {entry["token"] for entry in choice["logprobs"]["content"]} == {"***"}
        assert not any(entry["bytes"] or entry["top_logprobs"] for entry in choice["logprobs"]["content"])
        assert choice["logprobs"]["tokens"] == choice["logprobs"]["top_logprobs"] == []
        assert choice["token_ids"] == choice["prompt_token_ids"] == choice["prompt_logprobs"] == []


def test_a_key_that_only_log_probabilities_tell_is_found() -> None:
    rows: list[dict[str, object]] = told_in_tokens(KEY)["logprobs"]["content"]
    plain: list[dict[str, object]] = [{**row, "top_logprobs": []} for row in rows]
    (kept,) = Redactor().chunks([json.dumps({"logprobs": {"content": plain}})])
    assert {row["token"] for row in json.loads(kept)["logprobs"]["content"]} == {"***", ""}


def test_tokens_stay_where_no_secret_was_and_go_where_the_request_held_one() -> None:
    body = json.dumps({"choices": [{"text": "Hello", **told_in_tokens("Hello")}]})
    assert Redactor().chunks([body]) == [body]
    (kept,) = Redactor().chunks([body], asked=True)
    assert json.loads(kept)["choices"][0]["token_ids"] == []
    (broken,) = Redactor().chunks([body[: body.index('"prompt_token_ids"') + 25]], asked=True)
    assert broken.endswith('"prompt_token_ids": [')


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
