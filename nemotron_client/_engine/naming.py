"""Ids and names that the model accepts, in place of those that it refuses: always the same, and never one for two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from string import ascii_letters, digits

ID = re.compile(r"[a-zA-Z0-9]{9}")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

_ALPHABET = digits + ascii_letters
_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")


def make_id(text: str, attempt: int = 0) -> str:
    """Make nine letters or digits of any text."""
    # A text from JSON may hold half of a surrogate pair.
    number = int.from_bytes(sha256(f"{attempt} {text}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
    made = ""
    for _ in range(9):
        number, rest = divmod(number, len(_ALPHABET))
        made += _ALPHABET[rest]
    return made


def make_name(text: str, attempt: int = 0) -> str:
    """Make a tool's name of any text, one that can still be read where possible."""
    plain = _REFUSED.sub("_", text)[:64] or "unnamed"  # servers have sent calls without a name
    if attempt == 0 and plain.strip("_"):
        return plain
    return f"{plain[:54]}_{make_id(text, attempt)}"


class Substitutes:
    """What is sent in place of words that the model refuses.

    Attributes:
        own: The caller's word for each word that was made.
    """

    def __init__(
        self, accepted: re.Pattern[str], make: Callable[[str, int], str], known: Callable[[], Iterable[str]]
    ) -> None:
        """Begin with none.

        Args:
            accepted: What a word has to match whole.
            make: Makes another word of one, and further ones with a growing second argument.
            known: Gives all words of the request, in case one has to be made: it may be none of them.
        """
        self.own: dict[str, str] = {}
        self._accepted = accepted
        self._make = make
        self._known = known
        self._sent: dict[str, str] = {}
        self._taken: set[str] | None = None

    def of(self, word: str) -> str:
        """Return what is sent for a word: itself, where it is accepted."""
        sent = self._sent.get(word)
        if sent is None:
            sent = self._sent[word] = word if self._accepted.fullmatch(word) else self._made(word)
        return sent

    def _made(self, word: str) -> str:
        if self._taken is None:
            self._taken = set(self._known())
        attempt = 0
        while (made := self._make(word, attempt)) in self._taken:
            attempt += 1
        self._taken.add(made)
        self.own[made] = word
        return made
