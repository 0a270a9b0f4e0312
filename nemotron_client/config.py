"""Where a client talks to and with what: argument > environment > default, as one value.

Pure: the environment is handed in. Here stand the rules about keys and plain http (SECURITY.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from ._json import is_object, short
from .budget import TokenBudget
from .errors import ConfigurationError
from .retry import RetryPolicy
from .timeouts import Timeout

__version__ = "0.1.0"
MODEL = "mistralai/mistral-nemotron"
HOSTED = "https://integrate.api.nvidia.com/v1"

# Names that only a private DNS answers (RFC 6762, RFC 8375 and ICANN's .internal, Kubernetes' .svc).
_PRIVATE_SUFFIXES = (".svc", ".svc.cluster.local", ".local", ".internal", ".home.arpa", ".localhost")

# What is shorter keeps nobody out, but is found in anything: taking out "token" or "1" would spoil the server's words.
_SHORTEST_SECRET = 8
_ESCAPED = frozenset('/"\\')

UNCHANGED = Timeout()
"""The default of ``timeout=`` arguments, told by identity, since None means "no limit" there."""


class Secret(str):
    """A string whose repr shows nothing, so that it is in no traceback, log or repr of what holds it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show nothing."""
        return "'***'"


def redact_text(text: str, headers: Mapping[str, str]) -> str:
    """Take the request's secrets out of a text."""
    return redact(text.encode(), headers).decode()


def redact(data: bytes, headers: Mapping[str, str]) -> bytes:
    """Take the request's secrets out of what a server said, since some repeat the key they refuse."""
    for value in headers.values():
        if isinstance(value, Secret):
            for secret in (value, value.partition(" ")[2]):  # "Bearer ..." is repeated whole, or without its scheme
                if len(secret) >= _SHORTEST_SECRET:
                    data = _without(secret, data)
    return data


def _without(secret: str, data: bytes) -> bytes:
    """Take a secret out, however often JSON in JSON has escaped it; some servers escape the slash too."""
    if not _ESCAPED.intersection(secret):
        return data.replace(secret.encode(), b"***")
    pattern = "".join(rf"\\*{re.escape(each)}" if each in _ESCAPED else re.escape(each) for each in secret)
    return re.sub(pattern.encode(), b"***", data)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that a client was told.

    Attributes:
        base_url: Without a slash at its end.
        api_key: The key; None where the server needs none.
        model: The model's name; None to ask the server.
        headers: The caller's own headers.
        hosted: Whether this is NVIDIA's endpoint and not a server of one's own.
        budget: How many tokens a request may take.
    """

    base_url: str
    api_key: Secret | None
    model: str | None
    timeout: Timeout = field(default_factory=Timeout)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hosted: bool = False
    budget: TokenBudget = field(default_factory=TokenBudget)

    @property
    def root(self) -> str:
        """The server's address without ``/v1``, where the health routes are."""
        return self.base_url.removesuffix("/v1")

    @property
    def own_headers(self) -> dict[str, str]:
        """What goes with every request and is secret: the key, and the caller's own headers, in lower case."""
        key = {} if self.api_key is None else {"authorization": Secret(f"Bearer {self.api_key}")}
        return {**key, **{name.lower(): value for name, value in self.headers.items()}}

    def changed(
        self,
        model: str | None,
        timeout: Timeout | float | None,
        max_retries: int | None,
        retry: RetryPolicy | None,
        budget: TokenBudget | None,
    ) -> Config:
        """Return the same with what is given put in its place; ``timeout`` is unchanged where it is ``UNCHANGED``.

        Raises:
            ConfigurationError: A setting is not possible.
        """
        _expect_all(model, max_retries, retry, budget)
        return replace(
            self,
            model=model or self.model,
            timeout=self.timeout if timeout is UNCHANGED else Timeout.of(timeout, self.timeout),
            retry=merge_retry(self.retry, max_retries, retry),
            budget=budget or self.budget,
        )


def hidden(
    environment: Mapping[str, str], api_key: str | None, headers: Mapping[str, str] | None, proxy: str | None
) -> tuple[dict[str, str], Secret | None, dict[str, str], Secret | None, ConfigurationError | None]:
    """Return what a client is made of in a form that a traceback with its locals shows no secret of.

    What is of a wrong type is hidden too, so its error comes last, to be raised where nothing else is left.
    """
    read = {name: environment[name] for name in ("NVIDIA_API_KEY", "NVIDIA_BASE_URL") if name in environment}
    if "NVIDIA_API_KEY" in read:
        read["NVIDIA_API_KEY"] = Secret(read["NVIDIA_API_KEY"])
    wrong = _misfit("api_key", api_key, str, "a string")
    wrong = wrong or _misfit("headers", headers, Mapping, "a mapping of names to strings")
    secrets: dict[str, str] = {name: _secret(value) for name, value in headers.items()} if is_object(headers) else {}
    return read, _hidden(api_key), secrets, _hidden(proxy), wrong


def _hidden(value: object) -> Secret | None:
    return None if value is None else _secret(value)


def _secret(value: object) -> Secret:
    return Secret(value if isinstance(value, str) else "\0")  # which is refused as well, and shows nothing


def is_hosted(host: str) -> bool:
    """Tell whether a host is NVIDIA's, and not a server of one's own."""
    return host == "nvidia.com" or host.endswith(".nvidia.com")


def resolve(
    environment: Mapping[str, str],
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    model: str | None = None,
    timeout: Timeout | float | None = UNCHANGED,
    max_retries: int | None = None,
    retry: RetryPolicy | None = None,
    headers: Mapping[str, str] | None = None,
    budget: TokenBudget | None = None,
    allow_insecure: bool = False,
) -> Config:
    """Settle what a client uses.

    Args:
        environment: ``os.environ``, or a stand-in; NVIDIA_API_KEY and NVIDIA_BASE_URL are read.
        api_key: The key. One from the environment goes only to NVIDIA, or to a base URL from the environment.
        base_url: Where the API is, up to ``/v1``.
        model: The model's name.
        timeout: The limits; a number is the total, None is no limit at all.
        max_retries: How often an outage is tried again; 0 turns off the waiting out of 429s too.
        retry: When to send again.
        headers: Sent with every request; hidden already.
        budget: How many tokens a request may take.
        allow_insecure: Send prompts and key over plain http to a public host.

    Raises:
        ConfigurationError: Something is missing or can't be; nothing in it shows a key.
    """
    expect("base_url", base_url, str, "a string")
    _expect_all(model, max_retries, retry, budget)
    from_environment = base_url is None and bool(environment.get("NVIDIA_BASE_URL"))
    where = (base_url or environment.get("NVIDIA_BASE_URL") or HOSTED).strip()
    source = "NVIDIA_BASE_URL" if from_environment else "base_url"
    url = _address(where, source)
    host = (url.hostname or "").rstrip(".")
    hosted = is_hosted(host)
    if url.scheme == "http" and not allow_insecure and not _is_private(host):
        msg = (
            f"{source}={where!r} is plain http to a host that may be public: prompts and key could be read on the way. "
            "Use https, or pass allow_insecure=True if the network is yours."
        )
        raise ConfigurationError(msg)
    key = _clean_key(api_key, "api_key")
    if key is None and (hosted or from_environment):
        key = _clean_key(environment.get("NVIDIA_API_KEY"), "NVIDIA_API_KEY")
    if key is None and hosted:
        msg = (
            "There is no API key. Set NVIDIA_API_KEY or pass api_key=... (https://build.nvidia.com gives one); "
            'for a server of your own pass base_url="http://localhost:8000/v1".'
        )
        raise ConfigurationError(msg)
    given = dict(headers or {})
    bad = bad_header(given)
    if bad is not None:
        msg = f"headers[{bad!r}] can't be sent: a name is letters, digits and dashes, a value is printable ASCII."
        raise ConfigurationError(msg)
    return Config(
        base_url=where.rstrip("/"),
        api_key=key,
        model=model or (MODEL if hosted else None),
        timeout=Timeout.of(timeout),
        retry=merge_retry(RetryPolicy(), max_retries, retry),
        headers=given,
        hosted=hosted,
        budget=budget or TokenBudget(),
    )


def _expect_all(
    model: str | None, max_retries: int | None, retry: RetryPolicy | None, budget: TokenBudget | None
) -> None:
    expect("model", model, str, "a string")
    expect("max_retries", max_retries, int, "a whole number")
    expect("retry", retry, RetryPolicy, "a RetryPolicy; for a number use max_retries")
    expect("budget", budget, TokenBudget, "a TokenBudget")


def merge_retry(base: RetryPolicy, max_retries: int | None, retry: RetryPolicy | None) -> RetryPolicy:
    """Return the policy that a caller meant.

    Raises:
        ConfigurationError: Both were given, or a limit is less than 0.
    """
    if max_retries is None:
        return retry or base
    if retry is not None:
        msg = "Give max_retries or retry, not both: RetryPolicy has max_retries too."
        raise ConfigurationError(msg)
    # 0 is how people say "never send twice", and a 429 that is waited out is sent twice.
    usual = base.rate_limit_wait if base.max_retries else RetryPolicy().rate_limit_wait
    return replace(base, max_retries=max_retries, rate_limit_wait=usual if max_retries else 0.0)


def expect(name: str, value: object, kind: type, what: str) -> None:
    """Refuse a setting of another type; None is "not given".

    Raises:
        ConfigurationError: It is something else.
    """
    wrong = _misfit(name, value, kind, what)
    if wrong is not None:
        raise wrong


def _misfit(name: str, value: object, kind: type, what: str) -> ConfigurationError | None:
    if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
        return None
    shown = "..." if name in {"api_key", "headers"} else short(value)
    return ConfigurationError(f"{name}={shown} is of type {type(value).__name__}: give {what}.")


def bad_header(headers: Mapping[str, str]) -> str | None:
    """Return the name of the first header that HTTP can't carry (RFC 9110, section 5), or None."""
    return next((_shown(name) for name, value in headers.items() if not _is_header(name, value)), None)


def _is_header(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and name.isascii()
        and name.replace("-", "").replace("_", "").isalnum()
        and value.isascii()
        and value.isprintable()
    )


def _shown(name: object) -> str:
    return name if isinstance(name, str) else repr(name)


def _address(where: str, source: str) -> SplitResult:
    if "@" in where:  # looked for before anything is shown
        msg = f"{source} holds a user name or password. Pass a key as api_key=..., or other credentials as headers=...."
        raise ConfigurationError(msg)
    shown = where.partition("?")[0]  # the rest may be a key
    try:
        url = urlsplit(where)
        _ = url.port
        (url.hostname or "").encode("idna")
    except ValueError as error:  # UnicodeError, of a host that no DNS can know, is one
        msg = f"{source}={shown!r} is no URL: {error}."
        raise ConfigurationError(msg) from None
    strange = " " in where or not where.isprintable()  # urlsplit passes over line breaks, an HTTP client doesn't
    if strange or url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        msg = f"{source}={shown!r} can't be used: give http(s)://host[:port]/v1, without query or fragment."
        raise ConfigurationError(msg)
    if url.path.rstrip("/").endswith("/completions"):
        msg = f"{source}={where!r} is the address of one route: give it up to /v1."
        raise ConfigurationError(msg)
    return url


def _is_private(host: str) -> bool:
    # Without asking DNS: what a name resolves to now says nothing of where the request goes a moment later.
    try:
        address = ip_address(host)
    except ValueError:
        if "." not in host:
            return not host.isdigit() and not host.startswith("0x")  # these are other ways to write an IPv4 address
        return host.endswith(_PRIVATE_SUFFIXES)
    return address.is_private or address.is_loopback or address.is_link_local


def _clean_key(key: str | None, source: str) -> Secret | None:
    if key is None or not key.strip():
        return None
    key = Secret(key.strip())
    if key.startswith("$"):
        msg = f'{source} begins with "$": it is the name of a variable, and nothing puts its value in place of it here.'
        raise ConfigurationError(msg)
    if not key.isascii() or not key.isprintable() or " " in key:
        msg = (
            f"{source} holds a character that no key has (a space, a line break, or one outside ASCII). Copy it again."
        )
        raise ConfigurationError(msg)
    return key
