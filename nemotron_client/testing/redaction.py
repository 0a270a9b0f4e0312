"""Take keys and other secrets out of what is written into a file: the one place that decides what is one.

Three rules, each enough by itself: what a request held where secrets are held (its `authorization`, its cookies, an
`api_key` in its query or body) is taken out wherever it turns up again; so is what stands under the name of a secret;
so is what looks like one. Pure.
"""

import base64
import binascii
import html
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias, TypeGuard
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

from pydantic import JsonValue

from nemotron_client._json import is_number

Redaction: TypeAlias = str | re.Pattern[str]
"""What else to take out: a text as it stands, or a pattern."""

HIDDEN = "***"

# What is shorter keeps nobody out, but is found in anything: "token" or "1" would spoil the words of a server.
_SHORTEST = 8

_HEADER = re.compile(
    r"(?!x-ratelimit-).*(?:auth|cookie|credential|key|passw|secret|session|signature|token)", re.IGNORECASE
)
# In a body "token" alone is what a model counts in: "max_tokens", and "token" in log probabilities.
_NAMES = (
    r"(?:[\w-]*(?:authorization|api[-_]?key|access[-_]?key|private[-_]?key|secret[-_]?key|cookie|credential|passcode"
    r"|passwd|password|passphrase|pwd|secret|session[-_]?id|signature)s?"
    r"|(?:[\w-]*[-_])?(?:auth|pass)"
    r"|[\w-]*(?:access|api|auth|bearer|csrf|id|private|refresh|secret|security|session|xsrf)[-_]?tokens?)"
)
_NAME = re.compile(_NAMES, re.IGNORECASE)
# An object or an array under the name of a secret, and what stands in it: names, texts and numbers.
_OPENED = re.compile(rf'"{_NAMES}"\s*:\s*(?=[\[{{])', re.IGNORECASE)
_HELD = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|(-?\d[\d.eE+-]*)')
# Of JSON schemas: the types, and the keywords that tell of a value. Only an object that has nothing else is a schema.
_KINDS = ("object", "array", "string", "number", "integer", "boolean", "null")
_KEYWORDS = frozenset(
    {
        *("$anchor", "$comment", "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "const"),
        *("contains", "contentEncoding", "contentMediaType", "default", "definitions", "deprecated", "description"),
        *("else", "enum", "example", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "if", "items"),
        *("maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum"),
        *("multipleOf", "not", "nullable", "oneOf", "pattern", "patternProperties", "prefixItems", "properties"),
        *("propertyNames", "readOnly", "required", "then", "title", "type", "uniqueItems", "writeOnly"),
    }
)
# Where there is a group, it is the secret; or else all is.
_PATTERNS = (
    re.compile(rf'"{_NAMES}"\s*:\s*"((?:[^"\\]|\\.)*)', re.IGNORECASE | re.DOTALL),
    # The same within a JSON text that is itself a JSON string, as the arguments of a tool are.
    re.compile(rf'\\+"{_NAMES}\\+"\s*:\s*\\+"(.*?)(?:\\+"|\Z)', re.IGNORECASE | re.DOTALL),
    re.compile(rf"(?<![\w-]){_NAMES}\s*=\s*([^&\s\"'\\;,]+)", re.IGNORECASE),
    # The same in quotation marks; after one that ends a JSON string comes another mark of JSON.
    re.compile(rf"(?<![\w-]){_NAMES}\s*=\s*\\*[\"']([^\s\"'\\,:{{}}\[\]]+)\\*[\"']", re.IGNORECASE),
    # A line of YAML, also within a JSON string; one word, since prose may begin so.
    re.compile(
        rf"(?:^|\\n)[ \t]*(?:-[ \t]+)?{_NAMES}:[ \t]+\\*[\"']?([^\s\"'\\]{{6,}})\\*[\"']?[ \t]*(?=$|\\n|\"|\#)",
        re.IGNORECASE | re.MULTILINE,
    ),
    # As Python shows a dict, or pairs.
    re.compile(rf"'{_NAMES}'\s*[:,]\s*b?'((?:[^'\\]|\\.)*)", re.IGNORECASE | re.DOTALL),
    re.compile(rf"'{_NAMES}'\s*[:,]\s*b?\"((?:[^\"\\]|\\.)*)", re.IGNORECASE | re.DOTALL),
    re.compile(  # a field of a form of several parts
        rf'\bname="?{_NAMES}"?[^\r\n]*\r?\n(?:[^\r\n]+\r?\n){{0,8}}\r?\n(.+?)(?=\r?\n--|\Z)', re.IGNORECASE | re.DOTALL
    ),
    re.compile(r"[?&][\w-]*(?:auth|credential|key|sig|signature|token)=([^&\s\"'\\#]+)", re.IGNORECASE),
    re.compile(r"(?<![\w-])(?:[\w-]*authorization|(?:set-)?cookie|[\w-]*api-key):[ \t]*([^\r\n\"'\\]+)", re.IGNORECASE),
    re.compile(r"\b(?:bearer|basic)[ ]+([\w.~+/=-]{8,})", re.IGNORECASE),
    re.compile(r"://([^\s/?#@\"'\\]+)@"),  # https://user:password@host
    re.compile(r"\bnvapi-[\w-]+"),
    re.compile(
        r"\b(?:sk|pk|rk)[-_][\w-]{16,}|\bhf_\w{16,}|\bgh[a-z]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bxox[a-z]-[\w-]{10,}"
    ),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"),  # a JSON web token
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
# What a model says comes in pieces, each in an event of its own, so that a key is nowhere in one piece.
_DELTA = re.compile(r'"(arguments|content|reasoning|reasoning_content|text|token)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_INDEX = re.compile(r'"index"\s*:\s*(\d+)')

# What tells it once more, token by token: each as a text, as its bytes or as its id.
_TOKENS = re.compile(r'"(?:bytes|(?:prompt_)?token_ids|tokens|token_strs|(?:top|prompt)_logprobs)"\s*:\s*(?=\[)')
_TOKEN = re.compile(r'"token"\s*:\s*"((?:[^"\\]|\\.)+)"')
# What JSON lets a server escape and Python does not, such as "\/"; with more backslashes in JSON within JSON.
_ESCAPE = re.compile(r"(?<!\\)(\\+)(?:/|u([0-9a-fA-F]{4}))")

_DECODER = json.JSONDecoder()

Edit: TypeAlias = tuple[int, int, str]
"""From where to where, and what to put there."""


def is_secret_header(name: str) -> bool:
    """Tell whether the value of a header is a secret, by its name."""
    return _HEADER.match(name) is not None


def may_be_secret(text: str) -> bool:
    """Tell whether a text may be one that was found by what it is: only its name tells a shorter one."""
    return text == HIDDEN or (len(text) >= _SHORTEST and not re.search(r"\s", text))


def _is_secret_parameter(name: str) -> bool:
    return is_secret_header(name) or name.lower().endswith("sig")


class Redactor:
    """Take out secrets; it remembers those it is shown."""

    def __init__(self, more: Iterable[Redaction] = ()) -> None:
        """Know the rules.

        Args:
            more: What else to take out.

        Raises:
            TypeError: It is no text and no pattern.
        """
        several = [more] if isinstance(more, str | re.Pattern) else more
        self._patterns = [*_PATTERNS, *map(_pattern, several)]
        self._seen: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def learn(self, headers: Mapping[str, str], query: str = "", body: JsonValue = None) -> None:
        """Remember the secrets of a request or an answer, to find them wherever they are repeated."""
        for name, value in headers.items():
            if is_secret_header(name):
                self._remember(value, value.partition(" ")[2], _password(value))
                self._remember(*(cookie.partition("=")[2] for cookie in _cookies(name.lower(), value)))
        self._remember(*(value for name, value in parse_qsl(query) if _is_secret_parameter(name)))
        for secret, text in _strings(body, secret=False):
            self._remember(*([text] if secret else (text[start:end] for start, end, _ in self._edits(text))))

    def text(self, text: str) -> str:
        """Take them out of a text."""
        return _edited([text], self._edits(text))[0]

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Take them out of headers."""
        return {name: HIDDEN if is_secret_header(name) else self.text(value) for name, value in headers.items()}

    def query(self, query: str) -> str:
        """Take them out of a query, and put its parts in alphabetical order."""
        parts = sorted(parse_qsl(query, keep_blank_values=True))
        return urlencode(
            [(self.text(name), HIDDEN if _is_secret_parameter(name) else self.text(value)) for name, value in parts],
            safe="*",
        )

    def json(self, value: JsonValue, *, secret: bool = False) -> JsonValue:
        """Take them out of a JSON document.

        Args:
            value: The document, or a part of it.
            secret: Whether it stands under the name of a secret.
        """
        if isinstance(value, str):
            return HIDDEN if secret else self.text(value)
        if isinstance(value, list):
            return [self.json(each, secret=secret) for each in value]
        if isinstance(value, dict):
            return {
                self.text(name): self.json(each, secret=_holds(name, each, secret=secret))
                for name, each in value.items()
            }
        return 0 if secret and is_number(value) else value

    def chunks(self, chunks: Sequence[str], *, asked: bool = False) -> list[str]:
        """Take them out of a body, also where one goes over the edge of a chunk or is told piece by piece.

        Args:
            chunks: The body.
            asked: Whether the request held one, which the body may then tell in tokens.
        """
        body = "".join(chunks)
        edits = [*self._edits(body), *self._edits_of_deltas(body)]
        return _edited(chunks, [*edits, *_edits_of_tokens(body)] if edits or asked else edits)

    def _remember(self, *secrets: str) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        if not forms <= self._seen:
            with self._lock:  # a set of its own, since another thread may be looking through the one before
                self._seen |= forms

    def _edits(self, text: str) -> Iterator[Edit]:
        yield from self._plain_edits(text)
        if _ESCAPE.search(text) is not None:
            read, starts, ends = _unescaped(text)
            yield from ((starts[start], ends[end - 1], put) for start, end, put in self._plain_edits(read))

    def _plain_edits(self, text: str) -> Iterator[Edit]:
        for secret in self._seen:
            start = text.find(secret)
            while start >= 0:
                yield start, start + len(secret), HIDDEN
                start = text.find(secret, start + 1)
        for pattern in self._patterns:
            for found in pattern.finditer(text):
                start, end = found.span(1 if pattern.groups and found[1] is not None else 0)
                if end > start:
                    yield start, end, HIDDEN
        yield from _edits_of_objects(text)

    def _edits_of_deltas(self, body: str) -> Iterator[Edit]:
        pieces: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for found in _DELTA.finditer(body):
            pieces.setdefault((found[1],), []).append(found.span(2))
            begin = body.rfind("\n", 0, found.start()) + 1
            if body.startswith("data:", begin):  # those of each choice and call once more, as their events take turns
                end = body.find("\n", found.end())
                indexes = _INDEX.findall(body, begin, len(body) if end < 0 else end)
                pieces.setdefault((found[1], "of", *indexes), []).append(found.span(2))
        for spans in pieces.values():
            whole = "".join(body[start:end] for start, end in spans)
            for from_, to, put in _merged(self._edits(whole)):
                done, shown = 0, put
                for start, end in spans:
                    first, last = max(from_ - done, 0), min(to - done, end - start)
                    if first < last:
                        yield start + first, start + last, shown
                        shown = ""
                    done += end - start


def _pattern(redaction: object) -> re.Pattern[str]:
    if isinstance(redaction, str):
        return re.compile(re.escape(redaction))
    if _is_pattern(redaction):
        return redaction
    # Not what it is: it was to be shown nowhere.
    raise TypeError(f"redact: {type(redaction).__name__} is no text and no pattern of texts.")


def _is_pattern(value: object) -> TypeGuard[re.Pattern[str]]:
    return isinstance(getattr(value, "pattern", None), str) and isinstance(value, re.Pattern)


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways in which a secret may be written."""
    escaped = json.dumps(secret)[1:-1]
    yield from (secret, escaped, json.dumps(escaped)[1:-1], html.escape(secret))
    for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    yield from _in_base64(secret.encode(errors="surrogateescape"))


def _edits_of_objects(text: str) -> Iterator[Edit]:
    """Yield every text and number within an object or an array that stands under the name of a secret."""
    for opened in _OPENED.finditer(text):
        try:
            value, end = _DECODER.raw_decode(text, opened.end())
        except (
            ValueError,
            RecursionError,
        ):  # it breaks off, or is nested too deeply: all that follows may be part of it
            value, end = None, len(text)
        if _is_schema(value):
            continue
        for held in _HELD.finditer(text, opened.end(), end):
            number = held[3] is not None
            start, stop = held.span(3 if number else 1)
            if held[2] is None and stop > start:
                yield start, stop, "0" if number else HIDDEN
        if end == len(text):
            return  # which all that follows is part of


def _edits_of_tokens(body: str) -> Iterator[Edit]:
    """Yield all that tells a text token by token: lists become empty, so that all is of the type that it was."""
    for found in _TOKEN.finditer(body):
        yield *found.span(1), HIDDEN
    for opened in _TOKENS.finditer(body):
        try:
            end = _DECODER.raw_decode(body, opened.end())[1] - 1
        except (ValueError, RecursionError):  # it breaks off
            end = len(body)
        yield opened.end() + 1, end, ""


def _unescaped(text: str) -> tuple[str, list[int], list[int]]:
    """Return a text with its JSON escaped as Python does, and where each character of that begins and ends in it."""
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0

    def add(piece: str, begins: Iterable[int], stops: Iterable[int]) -> None:
        pieces.append(piece)
        starts.extend(begins)
        ends.extend(stops)

    for found in _ESCAPE.finditer(text):
        add(text[done : found.start()], range(done, found.start()), range(done + 1, found.start() + 1))
        put = json.dumps("/" if found[2] is None else chr(int(found[2], 16)), ensure_ascii=False)[1:-1]
        if len(put) > 1 and len(found[1]) > 1:
            put = found[0]  # a quotation mark of JSON within JSON, or the like
        add(put, [found.start()] * len(put), [found.end()] * len(put))
        done = found.end()
    add(text[done:], range(done, len(text)), range(done + 1, len(text) + 1))
    return "".join(pieces), starts, ends


def _merged(edits: Iterable[Edit]) -> list[Edit]:
    """Return edits in their order, with those that overlap made one; what is within another goes with that."""
    merged: list[Edit] = []
    for start, end, put in sorted(set(edits), key=lambda edit: (edit[0], -edit[1], edit[2])):
        if merged and start < merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end, HIDDEN)
        else:
            merged.append((start, end, put))
    return merged


def _edited(pieces: Sequence[str], edits: Iterable[Edit]) -> list[str]:
    """Return the pieces of a text after edits of the whole; what is put in place stands in the piece it begins in."""
    whole = "".join(pieces)
    merged = _merged(edits)
    if not merged:
        return [*pieces]
    edited: list[str] = []
    for first, last in pairwise(accumulate(map(len, pieces), initial=0)):
        done, position = "", first
        for start, end, put in merged:
            if start < last and end > first:
                done += whole[position : max(start, first)] + (put if start >= first else "")
                position = min(end, last)
        edited.append(done + whole[position:last])
    return edited


def _strings(value: JsonValue, *, secret: bool) -> Iterator[tuple[bool, str]]:
    """Yield every text of a document, and whether it stands under the name of a secret."""
    if isinstance(value, str):
        yield secret, value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, secret=secret)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _strings(each, secret=_holds(name, each, secret=secret))


def _holds(name: str, value: JsonValue, *, secret: bool) -> bool:
    return not _is_schema(value) and (secret or _NAME.fullmatch(name) is not None)


def _is_schema(value: JsonValue) -> bool:
    """Tell a JSON schema, which tells of a parameter named `api_key` and holds none."""
    if not isinstance(value, dict) or not _KEYWORDS.issuperset(value):
        return False
    kinds = value.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    return all(kind in _KINDS for kind in named) or not value.keys().isdisjoint({"$ref", "allOf", "anyOf", "oneOf"})


def _cookies(header: str, value: str) -> list[str]:
    if header != "set-cookie":
        return value.split("; ")
    # Several in one, as HTTP clients put them together; what stands after the first semicolon tells where one goes.
    return [cookie.partition(";")[0] for cookie in value.split(", ")]


def _in_base64(secret: bytes) -> Iterator[str]:
    """Yield what of a secret stands in the base64 of any text around it, which may begin at three places."""
    for before in range(3):
        # The first letter is the neighbours' too, and so is the last.
        start, end = -(-before * 4 // 3), (before + len(secret)) * 4 // 3
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + secret)[start:end].decode()


def _password(header: str) -> str:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials).decode("latin-1").partition(":")[2]
    except binascii.Error:
        return ""
