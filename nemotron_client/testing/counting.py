"""How many tokens requests and answers are, counted as servers count them (docs/explanation/protocol.md).

The vocabulary is loaded with the first count.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemotron_client.errors import InvalidRequestError
from nemotron_client.messages import read_messages
from nemotron_client.testing.tokenizing import prompts
from nemotron_client.tokens import TokenCounter, readings

_START = 1  # <s>
_MARKS = 2  # [TOOL_CALLS] before a call's name, [ARGS] after it
_END = 1  # </s>
_COUNTER = TokenCounter()


def prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Count a request's conversation with its tools, or its prompts; 0 for what is none."""
    if "messages" not in fields:
        return sum(map(_of_prompt, prompts(fields.get("prompt"))))
    try:
        *_, messages = readings(read_messages(fields["messages"]))  # the last is vLLM's
        return _COUNTER.count(messages, fields.get("tools")).total
    except InvalidRequestError:
        return 0


def answer_tokens(text: str, calls: Iterable[tuple[str, str]], *, ended: bool) -> int:
    """Count what the model wrote: a text, calls (name and arguments), and the token by which it ends."""
    from nemotron_client._tekken import encoded

    called = sum(_MARKS + encoded(name) + encoded(arguments) for name, arguments in calls)
    return encoded(text) + called + (_END if ended else 0)


def _of_prompt(prompt: str | Sequence[int]) -> int:
    return _START + answer_tokens(prompt, (), ended=False) if isinstance(prompt, str) else len(prompt)
