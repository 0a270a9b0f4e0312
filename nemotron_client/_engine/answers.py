"""An answer as it came to one that the caller's own code understands: its names for tools, calls out of the text."""

from __future__ import annotations

from nemotron_client.completions import ChatCompletion

from .calls import Call
from .offered import restore_names
from .raw_calls import recovered_calls


def restore(answer: ChatCompletion, call: Call) -> None:
    """Put a whole answer right, in place.

    Args:
        answer: Fresh from the server.
        call: What was asked.
    """
    if call.offered:
        for choice in answer.choices:
            message = choice.message
            found = None if message.tool_calls else recovered_calls(message.content or "", call.offered, seed=answer.id)
            if found is not None and found.calls:
                message.content, message.tool_calls = found.text or None, list(found.calls)
            elif found is not None:
                choice.finish_reason = "length"  # a call that was cut off: it stays text, and the answer isn't whole
    if call.names:
        restore_names(answer, call.names)
