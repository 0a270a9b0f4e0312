"""How many tokens requests and answers are, counted as servers count them (docs/explanation/protocol.md).

The vocabulary is loaded with the first count.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nemotron_client._json import is_array, is_object
from nemotron_client.errors import InvalidRequestError
from nemotron_client.messages import read_messages
from nemotron_client.testing.tokenizing import prompts, read_arguments
from nemotron_client.tokens import TokenCounter

_START = 1  # <s>
_MARKS = 2  # [TOOL_CALLS] before a call's name, [ARGS] after it
_END = 1  # </s>
_COUNTER = TokenCounter()


def prompt_tokens(fields: Mapping[str, Any]) -> int:
    """Count a request's conversation with its tools, or its prompts; 0 for what is none."""
    if "messages" not in fields:
        return sum(map(_of_prompt, prompts(fields.get("prompt"))))
    try:
        messages = [_as_vllm_reads(message) for message in read_messages(fields["messages"])]
        return _COUNTER.count(messages, fields.get("tools")).total
    except InvalidRequestError:
        return 0


def answer_tokens(text: str, calls: Iterable[tuple[str, str]], *, ended: bool) -> int:
    """Count what the model wrote: a text, calls (name and arguments), and the token by which it ends."""
    from nemotron_client._tekken import encoded

    called = sum(_MARKS + encoded(name) + encoded(arguments) for name, arguments in calls)
    return encoded(text) + called + (_END if ended else 0)


def _as_vllm_reads(message: Mapping[str, Any]) -> Mapping[str, Any]:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_call(call) for call in calls]} if is_array(calls) else message


def _call(call: object) -> object:
    function = call.get("function") if is_object(call) else None
    arguments = function.get("arguments") if is_object(function) else None
    if not is_object(call) or not is_object(function) or not isinstance(arguments, str):
        return call
    return {**call, "function": {**function, "arguments": read_arguments(arguments)}}


def _of_prompt(prompt: str | Sequence[int]) -> int:
    return _START + answer_tokens(prompt, (), ended=False) if isinstance(prompt, str) else len(prompt)
