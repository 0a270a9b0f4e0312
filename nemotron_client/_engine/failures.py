"""Why no answer came, as the error that says what to check."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nemotron_client.config import redact_text
from nemotron_client.errors import APIConnectionError, APITimeoutError

if TYPE_CHECKING:
    from .exchange import Failure, Problem, Request

_PROBLEMS: dict[Problem, tuple[str, str, bool]] = {
    # What happened; what to check; whether it may pass while the request surely isn't running.
    "dns": ("the host name could not be found", "Check the network or VPN, and base_url for a typing mistake.", True),
    "refused": (
        "nothing listens there",
        "Check that the server runs, the port in base_url, and the proxy if there is one.",
        True,
    ),
    "connect": ("no connection could be made", "Check base_url, the network and any firewall.", True),
    "connect timeout": (
        "no connection in time",
        "Check base_url and any firewall, or raise Timeout(connect=...).",
        True,
    ),
    "tls": ("TLS failed", "If a proxy or a CA of your own is in between, pass verify=<path of its CA bundle>.", False),
    "proxy": ("the proxy failed", "Check proxy=... and HTTPS_PROXY.", True),
    "reset": (
        "the connection was closed before an answer came",
        "If this goes on, the server or a proxy is failing.",
        True,
    ),
    "read": (
        "the connection was closed in the middle of the answer",
        "Send it again if paying twice is all right; that isn't done by itself, since it did run.",
        False,
    ),
    "closed": ("the answer was closed while it was being read", "Read it before closing it, or its client.", False),
    "timeout": ("no answer in time", "Raise Timeout(first_event=..., idle=...), or stream a long answer.", False),
    "total": ("not done in time", "Raise timeout=..., which covers retries and waits too.", False),
    "protocol": (
        "that is not HTTP as it should be",
        "Check that base_url leads to an API, with the right scheme.",
        False,
    ),
}


def connection_failure(request: Request, failure: Failure) -> APIConnectionError:
    """Make the error for an answer that didn't come."""
    what, hint, may_pass = _PROBLEMS[failure.problem]
    timed_out = failure.problem in {"connect timeout", "timeout", "total"}
    where = urlsplit(request.url)
    if "WRONG_VERSION_NUMBER" in failure.detail:  # OpenSSL's way to say that the other side talks no TLS
        hint = "The server seems to speak plain http: write http:// in base_url."
    if where.scheme == "http" and failure.problem in {"reset", "protocol"}:
        hint += " If the server speaks TLS, write https:// in base_url."
    took = failure.now - failure.sent
    after = f" after {round(took, 2):g} s" if timed_out and took else ""  # it may not have been sent at all
    said = f" ({redact_text(failure.detail, request.headers)})" if failure.detail else ""
    error = (APITimeoutError if timed_out else APIConnectionError)(
        f"{request.method} {where.scheme}://{where.netloc}{where.path}: {what}{after}{said}.", hint=hint
    )
    error.may_pass = may_pass
    return error
