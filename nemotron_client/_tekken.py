"""Tekken: how many tokens a text is.

Importing this loads tiktoken and the vocabulary (0.15 s, 55 MB); the lock that Python has for each import makes that
happen once. So import it inside functions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from importlib.resources import files
from itertools import accumulate, pairwise

from tiktoken import Encoding

ENTRIES = 130_072
# As in mistral-common's tekken_240911.json; _data/README.md tells of its origin.
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# At 999,999 blanks in a row tiktoken panics (measured: 0.13, 0.14), and mistral-common with it. Cut into pieces such a
# text may have a few tokens more.
LONGEST_BLANK = 900_000
_BESIDE = 100  # characters that take as much memory as an entry of a dict and an empty string


def _load() -> Encoding:
    data = zlib.decompress((files("nemotron_client") / "_data" / "tekken.bin").read_bytes())
    ends = accumulate(data[:ENTRIES], initial=ENTRIES)
    ranks = {data[start:end]: rank for rank, (start, end) in enumerate(pairwise(ends))}
    return Encoding("tekken", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


ENCODING = _load()


class Counts:
    """What was counted lately: a young and an old generation, so that forgetting takes neither time nor a lock."""

    def __init__(self, tokens: Callable[[str], int], room: int = 2_000_000) -> None:
        """Begin with nothing.

        Args:
            tokens: Counts a text.
            room: How many characters a generation holds, some for each text beside its own; a text may be longer.
        """
        self._tokens, self._room, self._held = tokens, room, 0
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """Return how many tokens a text is."""
        tokens = self._young.get(text)
        if tokens is not None:
            return tokens
        tokens = self._old.get(text)
        if tokens is None:
            tokens = self._tokens(text)
        if self._held > self._room:
            self._old, self._young, self._held = self._young, {}, 0
        self._young[text] = tokens
        self._held += len(text) + _BESIDE
        return tokens


def encoded(text: str) -> int:
    """Count a text."""
    # Not encode(), which would look for control tokens: text that looks like one is text.
    return sum(len(ENCODING.encode_ordinary(piece)) for piece in pieces(text))


def pieces(text: str) -> list[str]:
    """Cut a text that has more blanks in a row than tiktoken bears."""
    if len(text) <= LONGEST_BLANK or not any(len(blank) > LONGEST_BLANK for blank in re.findall(r"\s+", text)):
        return [text]
    return [text[start : start + LONGEST_BLANK] for start in range(0, len(text), LONGEST_BLANK)]


count = Counts(encoded)
