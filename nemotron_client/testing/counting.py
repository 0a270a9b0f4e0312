"""How many tokens requests and answers are, counted as servers count them (docs/explanation/protocol.md).

The vocabulary is loaded with the first count.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemotron_client._json import is_array
from nemotron_client.errors import InvalidRequestError
from nemotron_client.tokens import TokenCounter

VOCABULARY = 131_072

_START = 1  # <s>, and its id
_CONTROLS = 1000  # tokens that no text has, before those of texts
_MARKS = 2  # [TOOL_CALLS] before a call's name, [ARGS] after it
_END = 1  # </s>
_COUNTER = TokenCounter()


def prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Count a request's conversation with its tools, or its prompts; 0 for what is none."""
    if "messages" not in fields:
        return sum(map(_of_prompt, _prompts(fields.get("prompt") or ())))
    try:
        return _COUNTER.count(fields["messages"], fields.get("tools")).total
    except InvalidRequestError:
        return 0


def answer_tokens(text: str, calls: Iterable[tuple[str, str]], *, ended: bool) -> int:
    """Count what the model wrote: a text, calls (name and arguments), and the token by which it ends."""
    from nemotron_client._tekken import encoded

    called = sum(_MARKS + encoded(name) + encoded(arguments) for name, arguments in calls)
    return encoded(text) + called + (_END if ended else 0)


def first_tokens(text: str, limit: int) -> str:
    """Return what the first tokens of a text spell; a character whose last byte is missing is left out."""
    from nemotron_client._tekken import ENCODING

    return ENCODING.decode_bytes(ENCODING.encode_ordinary(text)[:limit]).decode("utf-8", "ignore")


def token_ids(fields: Mapping[str, Any]) -> list[int]:
    """Return what `/tokenize` makes of a prompt; of a conversation only as many numbers as it has tokens."""
    from nemotron_client._tekken import ENCODING

    if is_array(fields.get("messages")):  # a prompt beside it is passed over
        return [*range(prompt_tokens(fields))]
    ids = [_CONTROLS + rank for rank in ENCODING.encode_ordinary(fields["prompt"])]
    return [_START, *ids] if fields.get("add_special_tokens", True) else ids


def _prompts(prompt: str | Sequence[Any]) -> Sequence[str | Sequence[int]]:
    return [prompt] if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else prompt


def _of_prompt(prompt: str | Sequence[int]) -> int:
    return _START + answer_tokens(prompt, (), ended=False) if isinstance(prompt, str) else len(prompt)
