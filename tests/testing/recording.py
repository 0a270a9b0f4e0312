"""What the tests of cassettes record and read."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nemotron_client.testing import (
    Cassette,
    MockServer,
)
from nemotron_client.testing.replies import MODEL

# Of letters no word here has, so that taking one out can't spoil another.
TOKENS = st.text("QXZ0123456789", min_size=8, max_size=40)
KEY = "nvapi-made-up-0123456789"
ELSEWHERE = "http://nobody-is-here/v1"


def ask(cassette: Cassette, question: str = "Hello", base_url: str = ELSEWHERE, temperature: float = 1) -> str | None:
    with cassette.client(base_url=base_url, model=MODEL, api_key=KEY, max_retries=0) as client:
        return client.chat.completions.create(messages=question, temperature=temperature).text


def record(path: Path, server: MockServer, *questions: str) -> None:
    with Cassette(path, "record") as cassette:
        for question in questions:
            ask(cassette, question, server.base_url)


def held_in(path: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads(path.read_text())
    return held


def cut_up(text: str, cuts: list[int]) -> list[str]:
    """Cut a text at these places, as many as lie in it."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]
