"""What vLLM has against the values in a body, in its words and in the order in which it looks at them. Pure."""

import json
from collections.abc import Iterator, Sequence
from math import isfinite

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import ChatBody, ResponseFormat, StructuredOutputs, TextBody
from nemotron_client.testing.refusals import refused
from nemotron_client.testing.replies import Reply, error

MOST_CHOICES = 16_384


def impossible(body: ChatBody | TextBody, room: int) -> Iterator[Reply]:
    """Yield the values that vLLM refuses.

    Args:
        body: What is asked.
        room: How many tokens the window has left for an answer.
    """
    if isinstance(body, ChatBody):
        yield from broken_json(body)
    if body.use_beam_search:  # which looks at little else
        yield from _wrong_count("beam_width", body.n)
        return
    yield from _out_of_range(body)
    yield from _wrong_outputs(body)
    most = room if body.most_tokens is None else min(body.most_tokens, room)
    if most < (0 if body.echo and isinstance(body, TextBody) else 1):
        yield refused(f"max_tokens must be at least 1, got {most}.", "max_tokens", most)
    if body.min_tokens < 0:
        yield error(400, f"min_tokens must be greater than or equal to 0, got {body.min_tokens}.")
    if body.min_tokens > most:
        yield error(400, f"min_tokens must be less than or equal to max_tokens={most}, got {body.min_tokens}.")
    if "" in body.stops:
        yield error(400, "stop cannot contain an empty string.")
    if "" in body.bad_words:
        yield error(400, f"bad_words cannot contain an empty string. Got bad_words={once(body.bad_words)}")
    if body.temperature == 0 and body.n not in {None, 1}:
        yield error(400, f"n must be 1 when using greedy sampling, got {body.n}.")


def once(words: Sequence[str]) -> list[str]:
    """Return each word once, in their order."""
    return [*dict.fromkeys(words)]


def is_too_large(value: object) -> bool:
    """Tell a number that vLLM can't hand to its engine."""
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def everything_in(*values: object) -> Iterator[object]:
    """Yield values, and what those hold that are objects or arrays, however deep it is."""
    left = [*values]
    while left:
        value = left.pop()
        yield value
        if is_object(value):
            left += [*value, *value.values()]
        elif is_array(value):
            left += value


def broken_json(body: ChatBody) -> Iterator[Reply]:
    """Yield what Python says of a schema that is given as text and is no JSON."""
    outputs = body.structured_outputs
    if outputs is None or not isinstance(outputs.json_, str):
        return
    try:
        json.loads(outputs.json_)
    except (ValueError, RecursionError) as wrong:
        yield error(400, str(wrong))


def _wrong_outputs(body: ChatBody | TextBody) -> Iterator[Reply]:
    """Yield that an answer is held to nothing, or to two things, `response_format` taken into account."""
    outputs, wanted = body.structured_outputs, body.response_format
    schema = wanted.json_schema if isinstance(wanted, ResponseFormat) and wanted.type == "json_schema" else None
    without_any = schema is not None and schema.json_schema is None and (isinstance(body, TextBody) or body.tools)
    if outputs is None and not without_any:
        return
    held = held_to(outputs or StructuredOutputs())
    kinds = kinds_of(held)
    takes_its_place = isinstance(body, TextBody) and kinds == {"json"}
    if schema is not None and schema.json_schema is not None and len(kinds) == 1 and not takes_its_place:
        if kinds & {"json", "json_object"} and isinstance(body, ChatBody):
            from nemotron_client.testing.grammar import of_conversation

            held |= {"grammar": of_conversation(body), "json_object": None}
        kinds.add("response_format")
        held["json"] = schema.json_schema
    if isinstance(body, TextBody) and held["json_object"] is False:
        told = (
            "structured_outputs.json_object must be True if set; omit structured_outputs to disable structured outputs"
        )
        yield error(400, told)
    if wanted is not None and wanted.type == "json_object" and not kinds & {"json", "json_object"}:
        kinds.add("json_object")
        held["json_object"] = True
    yield from not_one_kind(held, len(kinds))


def held_to(outputs: StructuredOutputs) -> dict[str, object]:
    """Return what an answer is held to, as vLLM shows it."""
    held = outputs.model_dump(by_alias=True, exclude={*(outputs.model_extra or ())})
    return {**held, "_backend": None, "_backend_was_auto": False}


def kinds_of(held: dict[str, object]) -> set[str]:
    """Return in which ways an answer is held to something."""
    names = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
    return {name for name in names if held[name] is not None}


def not_one_kind(held: dict[str, object], kinds: int) -> Iterator[Reply]:
    """Yield that an answer is held to nothing, or to two things."""
    if not kinds:
        yield error(400, f"You must use one kind of structured outputs constraint but none are specified: {held}")
    if kinds > 1:
        told = "You can only use one kind of structured outputs constraint but multiple are specified"
        yield error(400, f"{told}: {held}")


def _out_of_range(body: ChatBody | TextBody) -> Iterator[Reply]:
    if no_numbers := [known for known in body.logit_bias or () if number(known) is None]:
        told = f"logit_bias contains key(s) that cannot be converted to integer token IDs: {no_numbers}"
        yield refused(told, "logit_bias", no_numbers)
    yield from _wrong_count("n", body.n)
    if any(map(is_too_large, everything_in(body.kv_transfer_params, body.ec_transfer_params, body.vllm_xargs))):
        yield refused("extra_args integers must be between -2**63 and 2**64 - 1.", "extra_args")
    yield from _wrong_penalties(body)
    yield from wrong_temperature(body.temperature)
    if body.top_p is not None and not 0 < body.top_p <= 1:
        yield refused(f"top_p must be in (0, 1], got {body.top_p}.", "top_p", body.top_p)
    if body.top_k is not None and body.top_k < -1:
        yield error(400, f"top_k must be 0 (disable), or at least 1, got {body.top_k}.")
    if body.min_p is not None and not 0 <= body.min_p <= 1:
        yield error(400, f"min_p must be in [0, 1], got {body.min_p}.")


def _wrong_count(name: str, count: int | None) -> Iterator[Reply]:
    if count is not None and count < 1:
        yield error(400, f"{name} must be at least 1, got {count}.")
    if count is not None and count > MOST_CHOICES:
        told = "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        yield error(400, f"{name} must be at most {MOST_CHOICES}, got {count}. {told}")


def _wrong_penalties(body: ChatBody | TextBody) -> Iterator[Reply]:
    for name, value in (("presence_penalty", body.presence_penalty), ("frequency_penalty", body.frequency_penalty)):
        if value is not None and not -2 <= value <= 2:
            yield error(400, f"{name} must be in [-2, 2], got {value}.")
    if body.repetition_penalty is not None and not isfinite(body.repetition_penalty):
        yield error(400, f"repetition_penalty must be a finite number, got {body.repetition_penalty}.")
    if body.repetition_penalty is not None and body.repetition_penalty <= 0:
        yield error(400, f"repetition_penalty must be greater than zero, got {body.repetition_penalty}.")


def wrong_temperature(value: float | None) -> Iterator[Reply]:
    """Yield what is wrong with a temperature."""
    if value is None or 0 <= value <= 2:
        return
    rule = "must be in [0, 2]" if value > 2 else "must be non-negative"
    rule = rule if isfinite(value) else "must be a finite number"
    yield refused(f"temperature {rule}, got {value}.", "temperature", value)


def number(text: str) -> int | None:
    """Return the number that a text is, None if it is none."""
    try:
        return int(text)
    except ValueError:  # which thousands of digits are too
        return None
