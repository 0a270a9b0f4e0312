"""What the tests of cassettes record and read."""

import json
from pathlib import Path
from typing import Any

from nemotron_client.testing import (
    Cassette,
    MockServer,
)
from nemotron_client.testing.replies import MODEL

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
