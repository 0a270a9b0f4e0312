"""How many tokens requests and answers are, counted as servers count them (docs/explanation/protocol.md).

The vocabulary is loaded with the first count.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from nemotron_client.testing.tokenizing import prompt_ids

_MARKS = 2  # [TOOL_CALLS] before a call's name, [ARGS] after it
_END = 1  # </s>


def prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Count a request's conversation with its tools, or its prompts; 0 for what is none."""
    return sum(map(len, prompt_ids(fields)))


def answer_tokens(text: str, calls: Iterable[tuple[str, str]], *, ended: bool) -> int:
    """Count what the model wrote: a text, calls (name and arguments), and the token by which it ends."""
    from nemotron_client._tekken import encoded

    called = sum(_MARKS + encoded(name) + encoded(arguments) for name, arguments in calls)
    return encoded(text) + called + (_END if ended else 0)
