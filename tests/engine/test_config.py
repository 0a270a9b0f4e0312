"""Where a client talks to and with what: argument, environment, default; and what may become of a key."""

import json
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client import RetryPolicy, Timeout
from nemotron_client.config import (
    HOSTED,
    MODEL,
    UNCHANGED,
    Config,
    Secret,
    bad_header,
    hidden,
    merge_retry,
    redact,
    resolve,
)
from nemotron_client.errors import ConfigurationError
from tests.engine.driving import KEY, OWN

ENVIRONMENT = {"NVIDIA_API_KEY": KEY}


def test_with_a_key_in_the_environment_nothing_else_is_needed() -> None:
    config = resolve(ENVIRONMENT)
    assert (config.base_url, config.api_key, config.model, config.hosted) == (HOSTED, KEY, MODEL, True)
    assert (config.timeout, config.retry, config.headers) == (Timeout(), RetryPolicy(), {})
    assert config.root == "https://integrate.api.nvidia.com"


def test_a_server_of_ones_own_needs_no_key_and_is_asked_for_its_model() -> None:
    config = resolve({}, base_url="http://localhost:8000/v1/")
    assert (config.base_url, config.api_key, config.model, config.hosted) == (OWN, None, None, False)
    assert config.root == "http://localhost:8000"
    assert resolve({}, base_url="http://localhost:8000").root == "http://localhost:8000"


def test_an_argument_wins_over_the_environment_and_this_over_the_default() -> None:
    environment = {**ENVIRONMENT, "NVIDIA_BASE_URL": "https://nim.example.com/v1\n"}
    assert resolve(environment).base_url == "https://nim.example.com/v1"
    config = resolve(environment, base_url=OWN, api_key=" other \n", model="m")
    assert (config.base_url, config.api_key, config.model) == (OWN, "other", "m")


@pytest.mark.parametrize(
    ("environment", "base_url", "key"),
    [
        pytest.param({}, "https://integrate.api.nvidia.com/v1", KEY, id="NVIDIA"),
        pytest.param({}, "https://NVIDIA.com/v1", KEY, id="NVIDIA-itself-in-any-case"),
        pytest.param({}, "https://integrate.api.nvidia.com./v1", KEY, id="NVIDIA-with-the-roots-dot"),
        pytest.param(
            {"NVIDIA_BASE_URL": "https://nim.example.com/v1"}, None, KEY, id="a-base-URL-from-the-environment"
        ),
        pytest.param({}, "https://nim.example.com/v1", None, id="elsewhere"),
        pytest.param({}, "https://notnvidia.com/v1", None, id="another-domain-that-ends-alike"),
        pytest.param({}, "https://nvidia.com.example.com/v1", None, id="another-domain-that-begins-alike"),
        pytest.param(
            {"NVIDIA_BASE_URL": "https://a.example.com"},
            "https://b.example.com",
            None,
            id="an-argument-beside-the-environment",
        ),
        pytest.param({}, OWN, None, id="loopback"),
    ],
)
def test_the_environments_key_goes_only_to_nvidia_or_to_the_environments_base_url(
    environment: dict[str, str], base_url: str | None, key: str | None
) -> None:
    assert resolve({**ENVIRONMENT, **environment}, base_url=base_url).api_key == key
    assert resolve({**ENVIRONMENT, **environment}, base_url=base_url, api_key="given").api_key == "given"


@pytest.mark.parametrize("key", [None, "", "  "], ids=repr)
def test_without_a_key_the_hosted_model_is_told_at_once(key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="Set NVIDIA_API_KEY or pass api_key="):
        resolve({} if key is None else {"NVIDIA_API_KEY": key}, api_key=key)


@pytest.mark.parametrize("character", [" ", "\n", "\r", "\t", "\0", "\u00e9", "\u200b"], ids=repr)
def test_a_key_with_a_character_that_no_key_has_is_refused_without_showing_it(character: str) -> None:
    key = f"nvapi-{character}made-up"
    for environment, argument in (({}, key), ({"NVIDIA_API_KEY": key}, None)):
        with pytest.raises(ConfigurationError, match="holds a character that no key has") as caught:
            resolve(environment, api_key=argument)
        assert "made-up" not in str(caught.value)


def test_the_name_of_a_variable_is_no_key() -> None:
    with pytest.raises(ConfigurationError, match="it is the name of a variable"):
        resolve({}, api_key="$NVIDIA_API_KEY")


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1).map(lambda text: f"nvapi-{text}-S3cr3t")


@given(KEYS)
def test_no_repr_and_no_error_shows_a_key(key: str) -> None:
    config = resolve({"NVIDIA_API_KEY": key}, headers=hidden({}, None, {"x-key": key}, None)[2])
    assert config.api_key == key
    mistakes: list[Callable[[], object]] = [
        lambda: resolve({}, api_key=key + "\n" + key),
        lambda: resolve({}, api_key=key, base_url="http://example.com"),
        lambda: resolve({}, api_key=key, base_url="ftp://example.com"),
        lambda: resolve({}, base_url=f"https://user:{key}@example.com/v1"),
        lambda: resolve({}, base_url=f"https://example.com/v1?key={key}"),
        lambda: resolve({}, base_url=f"https://example.com:port/v1?key={key}"),
        lambda: resolve({}, api_key=key, headers={"bad name": key}),
        lambda: resolve({}, api_key=key, timeout=-1),
        lambda: config.changed(None, UNCHANGED, -1, None, None),
    ]
    shown = [repr(config), str(config), repr(config.api_key), repr([config.api_key]), repr(config.headers)]
    for mistake in mistakes:
        with pytest.raises(ConfigurationError) as caught:
            mistake()
        shown += [str(caught.value), repr(caught.value), "".join(traceback.format_exception_only(caught.value))]
    assert "S3cr3t" not in "".join(shown)


def test_what_a_client_is_made_of_shows_no_key_either() -> None:
    environment = {"NVIDIA_API_KEY": KEY, "NVIDIA_BASE_URL": HOSTED, "OTHER_KEY": KEY}
    made_of = hidden(environment, KEY, {"x": KEY}, f"http://user:{KEY}@proxy")
    told = {"NVIDIA_API_KEY": KEY, "NVIDIA_BASE_URL": HOSTED}
    assert made_of == (told, KEY, {"x": KEY}, f"http://user:{KEY}@proxy", None)
    assert KEY not in repr(made_of)
    assert hidden({}, None, None, None) == ({}, None, {}, None, None)


def test_a_secret_is_a_string_that_does_not_show_in_reprs() -> None:
    assert Secret("x") == "x"
    assert repr({"key": Secret("x")}) == "{'key': '***'}"


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("0.0.0.0", True),  # noqa: S104 - an address to talk to
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("169.254.1.1", True),
        ("100.64.0.1", False),
        ("8.8.8.8", False),
        ("[::1]", True),
        ("[fe80::1]", True),
        ("[fe80::1%25eth0]", True),
        ("[fd00::1]", True),
        ("[2001:4860:4860::8888]", False),
        ("[::ffff:10.0.0.1]", True),
        ("[::ffff:8.8.8.8]", False),
        ("134744072", False),
        ("0x08080808", False),
        ("010.8.8.8", False),
        ("nim", True),
        ("4f2a9c", True),
        ("nim.team.svc", True),
        ("nim.team.svc.cluster.local", True),
        ("gpu.local", True),
        ("gpu.internal", True),
        ("gpu.home.arpa", True),
        ("svc", True),
        ("example.com", False),
        ("notlocalhost.com", False),
        ("localhost.example.com", False),
        ("xlocal.com", False),
        ("integrate.api.nvidia.com", False),
    ],
)
def test_plain_http_goes_only_where_nobody_outside_listens(host: str, *, private: bool) -> None:
    plain = f"http://{host}:8000/v1"
    if private:
        assert resolve({}, base_url=plain).base_url == plain
    else:
        with pytest.raises(ConfigurationError, match=r"plain http .* allow_insecure=True"):
            resolve({}, base_url=plain, api_key=KEY)
    assert resolve({}, base_url=plain, api_key=KEY, allow_insecure=True).base_url == plain
    assert resolve({}, base_url=f"https://{host}/v1", api_key=KEY).api_key == KEY


def test_plain_http_in_the_environment_is_no_different() -> None:
    with pytest.raises(ConfigurationError, match="plain http"):
        resolve({"NVIDIA_BASE_URL": "http://example.com/v1"})


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("localhost:8000/v1", r"give http\(s\)://host"),
        ("example.com/v1", r"give http\(s\)://host"),
        ("/v1", r"give http\(s\)://host"),
        ("https://", r"give http\(s\)://host"),
        ("https:///v1", r"give http\(s\)://host"),
        ("ftp://example.com/v1", r"give http\(s\)://host"),
        ("ws://example.com/v1", r"give http\(s\)://host"),
        ("https://example.com/v1?a=b", "without query or fragment"),
        ("https://example.com/v1#a", "without query or fragment"),
        ("https://example.com:port/v1", "is no URL"),
        ("https://example.com:70000/v1", "is no URL"),
        ("https://[::1/v1", "is no URL"),
        ("http://a..local/v1", "is no URL"),
        (f"http://{'a' * 64}.local/v1", "is no URL"),
        ("http://exa mple/v1", r"give http\(s\)://host"),
        ("http://local\nhost/v1", r"give http\(s\)://host"),
        ("http://local\0host/v1", r"give http\(s\)://host"),
        ("https://user@example.com/v1", "holds a user name"),
        ("https://:word@example.com/v1", "holds a user name or password"),
        ("https://example.com/v1/chat/completions", "address of one route: give it up to /v1"),
        ("https://example.com/v1/completions/", "address of one route: give it up to /v1"),
    ],
)
def test_a_mistake_in_the_base_url_is_told(base_url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve({}, base_url=base_url)


@pytest.mark.parametrize(
    "header", [{"a b": "x"}, {"": "x"}, {"a": "x\r\ny: z"}, {"a": "\u00e9"}, {"a\n": "x"}], ids=repr
)
def test_a_header_that_cannot_be_sent_is_told_without_its_value(header: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"headers\[.* can't be sent") as caught:
        resolve({}, base_url=OWN, headers={"x_fine-1": "ok", **header, "z": KEY})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("header", [{5: KEY}, {b"x": KEY}, {None: KEY}, {"X": None}, {"X": KEY.encode()}], ids=repr)
def test_a_header_that_is_no_text_is_told_without_its_value(header: dict[object, object]) -> None:
    given: Any = {"fine": "x", **header}
    name = next(iter(header))
    name = name if isinstance(name, str) else repr(name)
    assert bad_header(given) == name
    _, _, headers, *_ = hidden({}, None, given, None)
    assert KEY not in repr(headers)
    with pytest.raises(ConfigurationError) as caught:
        resolve({}, base_url=OWN, headers=headers)
    assert f"headers[{name!r}] can't be sent" in str(caught.value)
    assert KEY not in str(caught.value)


def test_headers_are_secrets() -> None:
    _, _, headers, *_ = hidden({}, None, {"x": KEY}, None)
    assert repr(resolve({}, base_url=OWN, headers=headers).headers) == "{'x': '***'}"


@pytest.fixture
def config() -> Config:
    return resolve(ENVIRONMENT, model="m", timeout=Timeout(idle=5), retry=RetryPolicy(max_retries=7, rate_limit_wait=8))


def test_options_that_are_not_given_stay(config: Config) -> None:
    assert config.changed(None, UNCHANGED, None, None, None) == config


def test_options_that_are_given_change(config: Config) -> None:
    changed = config.changed("other", None, 0, None, None)
    assert (changed.model, changed.timeout) == ("other", Timeout.of(None))
    assert changed.retry == RetryPolicy(max_retries=0, rate_limit_wait=0)
    assert config.changed(None, 5, None, RetryPolicy(max_retries=1), None).retry == RetryPolicy(max_retries=1)
    assert config.changed(None, 5, None, None, None).timeout == Timeout(idle=5, total=5)
    assert changed.api_key == config.api_key


def test_max_retries_keeps_the_rest_of_the_policy() -> None:
    base = RetryPolicy(rate_limit_wait=9, wait=lambda _: 1.0, stop=lambda _: False)
    merged = merge_retry(base, 5, None)
    assert (merged.max_retries, merged.rate_limit_wait, merged.wait, merged.stop) == (5, 9, base.wait, base.stop)


def test_max_retries_0_is_never_to_send_twice() -> None:
    assert merge_retry(RetryPolicy(), 0, None) == RetryPolicy(max_retries=0, rate_limit_wait=0)


def test_max_retries_beside_a_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        merge_retry(RetryPolicy(), 0, RetryPolicy())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"base_url": 5}, "base_url=5 is of type int: give a string."),
        ({"model": 5}, "model=5 is of type int: give a string."),
        ({"max_retries": 2.5}, "max_retries=2.5 is of type float: give a whole number."),
        ({"max_retries": True}, "max_retries=True is of type bool: give a whole number."),
        ({"retry": 3}, "retry=3 is of type int: give a RetryPolicy; for a number use max_retries."),
    ],
)
def test_a_setting_of_another_type_is_told_at_once(given: dict[str, object], words: str) -> None:
    settings: dict[str, Any] = {"base_url": "http://localhost:8000/v1", **given}
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        resolve({}, **settings)


def test_a_key_of_another_type_is_told_without_showing_it() -> None:
    key: Any = b"nvapi-secret"
    _, shown, *_, wrong = hidden({}, key, None, None)
    assert "secret" not in repr(shown)
    assert "api_key=... is of type bytes: give a string." in str(wrong)
    headers: Any = [("a", "b")]
    *_, wrong = hidden({}, None, headers, None)
    assert "headers=... is of type list: give a mapping of names to strings" in str(wrong)


def test_turning_retries_on_again_turns_on_the_waiting_out_of_429s() -> None:
    off = merge_retry(RetryPolicy(), 0, None)
    assert (off.max_retries, off.rate_limit_wait) == (0, 0.0)
    assert merge_retry(off, 3, None) == RetryPolicy(max_retries=3)


def test_an_option_of_another_type_is_told(config: Config) -> None:
    wrong: Any = 1.5
    for position in range(4):
        options = [wrong if position == number else None for number in range(4)]
        with pytest.raises(ConfigurationError, match=r"=1\.5 is of type float"):
            config.changed(options[0], UNCHANGED, *options[1:])


def slashed(text: str) -> str:
    return json.dumps(text).replace("/", "\\/")


def twice(text: str) -> str:
    return json.dumps({"upstream": json.dumps({"key": text})})


@pytest.mark.parametrize("secret", ["Basic dXNlcjpw/YXNzd29yZA==", 'pass"word\\of/mine'])
@pytest.mark.parametrize("spelt", [str, json.dumps, slashed, twice], ids=["plain", "json", "slashed", "twice"])
def test_a_secret_is_taken_out_as_json_spells_it_too(secret: str, spelt: Callable[[str], str]) -> None:
    said = f"refused: {spelt(secret)}".encode()
    kept = redact(said, {"authorization": Secret(secret)})
    assert secret.encode() not in kept
    assert b"word" not in kept
    assert b"YXNzd29yZA" not in kept
