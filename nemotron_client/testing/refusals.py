"""How vLLM refuses: an error that names the parameter, and shows nothing of its machine. Pure."""

import re
from dataclasses import replace

from nemotron_client._json import is_object
from nemotron_client.testing.replies import Reply, error

_HIDDEN = (
    (re.compile(r" at 0x[0-9a-fA-F]+>"), ">"),
    (re.compile(r'\n?\s*File "[^"]+", line \d+, in \S+(?:\n\s+.*)?'), ""),
    (re.compile(r"/(?:home|lib|mnt|opt|root|srv|tmp|usr|var)(?:/[\w.-]+)+"), "<path>"),
    (re.compile(r"(?:/[\w-]+)+/[\w-]+\.\w+"), "<path>"),
)
_LONGEST = 4000  # characters: the patterns take a time that grows as the square of these


def refused(told: str, param: str, value: object = None) -> Reply:
    """Refuse a value in the words of vLLM."""
    where = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return error(400, f"{told} ({where})", param=param)


def without_paths(refusal: Reply) -> Reply:
    """Return a refusal as vLLM sends it, which shows no addresses, lines of code and paths of its machine.

    What a caller wrote and looks like one is gone too.
    """
    body = refusal.body
    told = body.get("error") if is_object(body) else None
    if not is_object(told):
        return refusal
    message = str(told.get("message"))
    for pattern, put in _HIDDEN if len(message) <= _LONGEST else ():
        message = pattern.sub(put, message)
    return replace(refusal, body={"error": {**told, "message": message.strip()}})
