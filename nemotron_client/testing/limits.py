"""What vLLM has against the values in a body, in its words and in the order in which it looks at them. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.bodies import Body, ChatBody, TextBody
from nemotron_client.testing.counting import VOCABULARY
from nemotron_client.testing.replies import Reply, error

_Fields: TypeAlias = Mapping[str, Any]

_MOST_LOGPROBS = 20
_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


def refused(told: str, param: str, value: object = None) -> Reply:
    """Refuse a value in the words of vLLM."""
    where = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return error(400, f"{told} ({where})", param=param)


def contradictions(fields: _Fields) -> Iterator[Reply]:
    """Yield what does not go together; vLLM looks at it before the form of the rest."""
    yield from _wrong_choice(fields.get("tools"), fields.get("tool_choice"))
    outputs = fields.get("structured_outputs")
    if is_object(outputs) and sum(outputs.get(name) is not None for name in ("json", "regex", "choice")) > 1:
        kinds = "('json', 'regex' or 'choice')"
        yield error(400, f"You can only use one kind of constraints for structured outputs {kinds}.")
    top = fields.get("top_logprobs")
    if isinstance(top, int) and top < -1:
        yield refused("`top_logprobs` must be a positive value or -1.", "top_logprobs", top)
    if top and not fields.get("logprobs"):
        yield refused("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if fields.get("stream_options") and not fields.get("stream"):
        yield refused("Stream options can only be defined when `stream=True`.", "stream_options")
    wanted = fields.get("response_format")
    if is_object(wanted) and wanted.get("type") == "json_schema" and wanted.get("json_schema") is None:
        told = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        yield refused(told, "response_format")


def impossible(body: ChatBody | TextBody, room: int) -> Iterator[Reply]:
    """Yield the values that vLLM refuses.

    Args:
        body: What is asked.
        room: How many tokens the window has left for an answer.
    """
    most = room if body.most_tokens is None else min(body.most_tokens, room)
    yield from _out_of_range(body)
    if most < 1:
        yield refused(f"max_tokens must be at least 1, got {most}.", "max_tokens", most)
    if body.min_tokens < 0:
        yield error(400, f"min_tokens must be greater than or equal to 0, got {body.min_tokens}.")
    if body.min_tokens > most:
        yield error(400, f"min_tokens must be less than or equal to max_tokens={most}, got {body.min_tokens}.")
    if "" in ([body.stop] if isinstance(body.stop, str) else body.stop or ()):
        yield error(400, "stop cannot contain an empty string.")
    if "" in body.bad_words:
        yield error(400, f"bad_words cannot contain an empty string. Got bad_words={body.bad_words}")
    yield from _out_of_vocabulary(body)


def _out_of_range(body: Body) -> Iterator[Reply]:
    if no_numbers := [known for known in body.logit_bias or () if not known.removeprefix("-").isdecimal()]:
        told = f"logit_bias contains key(s) that cannot be converted to integer token IDs: {no_numbers}"
        yield refused(told, "logit_bias", no_numbers)
    if body.n is not None and body.n < 1:
        yield error(400, f"n must be at least 1, got {body.n}.")
    for name, value in (("presence_penalty", body.presence_penalty), ("frequency_penalty", body.frequency_penalty)):
        if value is not None and not -2 <= value <= 2:
            yield error(400, f"{name} must be in [-2, 2], got {value}.")
    if body.repetition_penalty is not None and body.repetition_penalty <= 0:
        yield error(400, f"repetition_penalty must be greater than zero, got {body.repetition_penalty}.")
    if body.temperature is not None and not 0 <= body.temperature <= 2:
        rule = "must be in [0, 2]" if body.temperature > 2 else "must be non-negative"
        yield refused(f"temperature {rule}, got {body.temperature}.", "temperature", body.temperature)
    if body.top_p is not None and not 0 < body.top_p <= 1:
        yield refused(f"top_p must be in (0, 1], got {body.top_p}.", "top_p", body.top_p)
    if body.top_k is not None and body.top_k < -1:
        yield error(400, f"top_k must be 0 (disable), or at least 1, got {body.top_k}.")
    if body.min_p is not None and not 0 <= body.min_p <= 1:
        yield error(400, f"min_p must be in [0, 1], got {body.min_p}.")


def _out_of_vocabulary(body: ChatBody | TextBody) -> Iterator[Reply]:
    for kind, name, wanted in (
        ("sample", "logprobs", body.most_logprobs),
        ("prompt", "prompt_logprobs", body.prompt_logprobs),
    ):
        if wanted is not None and wanted > _MOST_LOGPROBS:
            told = f"Requested {kind} logprobs of {wanted}, which is greater than max allowed: {_MOST_LOGPROBS}"
            yield refused(told, name, wanted)
    for name, tokens in (
        ("logit_bias", map(int, body.logit_bias or ())),
        ("stop_token_ids", body.stop_token_ids or ()),
    ):
        if strange := [token for token in tokens if not 0 <= token < VOCABULARY]:
            told = f"token_id(s) {strange} in {name} contain out-of-vocab token ids. Vocabulary size: {VOCABULARY}"
            yield refused(told, name, strange)
    if body.allowed_token_ids == []:
        yield refused("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
    if strange := _strange(body.allowed_token_ids or ()):
        yield refused("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids", strange)
    if (body.structured_outputs or {}).get("choice") == []:
        yield error(400, "Choice '[]' cannot be an empty list")


def _strange(tokens: Iterable[int]) -> list[int]:
    return [token for token in tokens if not 0 <= token < VOCABULARY]


def _wrong_choice(tools: object, choice: object) -> Iterator[Reply]:
    if tools == []:
        told = "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely."
        yield refused(told, "tools")
    if choice is None or choice == "none":
        return
    if tools is None:
        yield refused("When using `tool_choice`, `tools` must be set.", "tool_choice")
    elif not is_object(choice) and choice not in ("auto", "required"):
        kinds = 'Only named tools, "none", "auto" or "required" are supported.'
        yield refused(f"Invalid value for `tool_choice`: {choice}! {kinds}", "tool_choice")
    elif is_object(choice):
        yield from _wrong_name(tools if is_array(tools) else (), choice.get("function"))


def _wrong_name(tools: Sequence[object], function: object) -> Iterator[Reply]:
    offered = [tool.get("function") for tool in tools if is_object(tool)]
    if not is_object(function):
        told = f"Invalid value for `function`: `{function}` in `tool_choice`! {_USAGE}"
        yield refused(told, "tool_choice.function")
    elif "name" not in function:
        told = f"Expected field `name` in `function` in `tool_choice`! {_USAGE}"
        yield refused(told, "tool_choice.function.name")
    elif not isinstance(name := function["name"], str) or not name:
        told = f"Invalid `name` in `function`: `{name}` in `tool_choice`! {_USAGE}"
        yield refused(told, "tool_choice.function.name")
    elif name not in [each.get("name") for each in offered if is_object(each)]:
        yield refused("The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice")
