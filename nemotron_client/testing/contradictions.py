"""What vLLM finds in a body before it reads the form of the whole: what doesn't go together. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import RepetitionDetectionParams, StructuredOutputs
from nemotron_client.testing.limits import held_to, kinds_of, not_one_kind
from nemotron_client.testing.refusals import refused
from nemotron_client.testing.replies import Reply, error
from nemotron_client.testing.schemas import read

_Fields: TypeAlias = Mapping[str, Any]

T = TypeVar("T")

_OUTPUTS: TypeAdapter[StructuredOutputs | None] = TypeAdapter(StructuredOutputs | None)
_REPETITION: TypeAdapter[RepetitionDetectionParams | None] = TypeAdapter(RepetitionDetectionParams | None)
_MOST_PROMPTS = 1024
_LONGEST_SALT = 128
_TAGS = frozenset(
    {
        *("any_text", "const_string", "grammar", "json_schema", "or", "qwen_xml_parameter", "regex", "sequence"),
        *("tag", "tags_with_separator", "triggered_tags"),
    }
)
_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


def contradictions(fields: _Fields, *, chat: bool) -> Iterator[Reply]:
    """Yield what does not go together; vLLM looks at it before the form of the rest.

    Args:
        fields: The body.
        chat: Whether it is one for /v1/chat/completions.
    """
    if fields.get("continue_final_message") and fields.get("add_generation_prompt"):
        yield error(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    yield from _wrong_choice(fields.get("tools"), fields.get("tool_choice"))
    outputs = fields.get("structured_outputs")
    if is_object(outputs):
        yield from _contradictory_outputs(outputs, fields, chat=chat)
    elif outputs is not None:  # a mistake of vLLM's own
        yield error(500, f"'{type(outputs).__name__}' object has no attribute 'get'")
    if not chat:
        yield from _wrong_count(fields, "prompt")
        yield from _wrong_count(fields, "prompt_embeds")
    yield from _contradictory_logprobs(fields, chat=chat)
    yield from _wrong_salt(fields.get("cache_salt"))
    if fields.get("stream_options") and not fields.get("stream"):
        yield refused("Stream options can only be defined when `stream=True`.", "stream_options")
    wanted = fields.get("response_format")
    if is_object(wanted) and wanted.get("type") == "json_schema" and wanted.get("json_schema") is None:
        told = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        yield refused(told, "response_format")
    if is_object(wanted) and wanted.get("type") == "structural_tag" and not _is_structural_tag(wanted):
        yield refused("Invalid response_format structural_tag specification.", "response_format")
    budget = fields.get("thinking_token_budget")
    if budget is not None and (type(budget) is not int or budget < -1):
        told = "`thinking_token_budget` must be a non-negative integer or -1 for unlimited."
        yield refused(told, "thinking_token_budget", budget)
    if not chat and fields.get("prompt") in (None, "") and fields.get("prompt_embeds") in (None, []):
        yield refused("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")


def wrong_when_read(fields: _Fields) -> Iterator[Reply]:
    """Yield what is wrong with those parts of a body that vLLM judges while it still reads the rest."""
    outputs = _read(_OUTPUTS, fields.get("structured_outputs"))
    if outputs is not None:
        held = held_to(outputs)
        yield from not_one_kind(held, len(kinds_of(held)))
    yield from _wrong_repetition(_read(_REPETITION, fields.get("repetition_detection")))


def _read(form: TypeAdapter[T | None], value: object) -> T | None:
    """Return a part; None of one that has another form, which is told with the form of the whole."""
    try:
        return form.validate_python(value)
    except ValidationError:
        return None


def _wrong_repetition(wanted: RepetitionDetectionParams | None) -> Iterator[Reply]:
    if wanted is None:
        return
    if wanted.max_pattern_size < 0 or not 0 <= wanted.min_pattern_size <= wanted.max_pattern_size:
        told = "max_pattern_size, min_pattern_size must be >=0, with min_pattern_size <= max_pattern_size."
        yield error(400, f"{told} Set both to 0 to disable repetitive pattern detection.")
    if wanted.max_pattern_size > 0 and wanted.min_count < 2:
        told = "min_count must be >= 2 to detect repetitive patterns in engine output. If you do not wish to detect"
        yield error(400, f"{told} repetitive patterns, set max_pattern_size to 0.")


def _wrong_count(fields: _Fields, name: str) -> Iterator[Reply]:
    several = fields.get(name)
    if is_array(several) and len(several) > _MOST_PROMPTS and not all(isinstance(each, int) for each in several):
        told = f"{name} list length {len(several)} exceeds the maximum allowed count of {_MOST_PROMPTS}. To increase"
        yield refused(f"{told} this limit, set the VLLM_MAX_COMPLETION_PROMPTS environment variable.", name)


def _wrong_salt(salt: object) -> Iterator[Reply]:
    if salt is None:
        return
    if not isinstance(salt, str) or not salt:
        yield refused("Parameter 'cache_salt' must be a non-empty string if provided.", "cache_salt")
    elif len(salt) > _LONGEST_SALT or re.search(r"[@/\\\0]", salt):
        told = "must be at most 128 characters and must not contain '@', '/', '\\\\', or NUL."
        yield refused(f"Parameter 'cache_salt' {told}", "cache_salt")


def _contradictory_outputs(outputs: _Fields, fields: _Fields, *, chat: bool) -> Iterator[Reply]:
    kinds = sum(outputs.get(name) is not None for name in ("json", "regex", "choice"))
    if kinds > 1:
        told = "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
        yield error(400, told) if chat else refused(told, "structured_outputs")
    if kinds and fields.get("tool_choice", "none") not in ("none", "auto", "required"):
        yield error(400, "You can only either use constraints for structured outputs or tools, not both.")
    tag = outputs.get("structural_tag")
    if tag is not None and not _is_structural_tag(read(tag) if isinstance(tag, str) else tag):
        yield refused("Invalid structured_outputs structural_tag specification.", "structured_outputs")


def _is_structural_tag(tag: object) -> bool:
    """Tell a structural tag of vLLM's older form, or of its newer one, of which only the kind is looked at."""
    if not is_object(tag):
        return False
    form, structures, triggers = tag.get("format"), tag.get("structures"), tag.get("triggers")
    if is_object(form) or not is_array(structures) or not is_array(triggers):
        return is_object(form) and str(form.get("type")) in _TAGS
    beginnings = [str(each.get("begin")) if is_object(each) else "" for each in structures]
    return bool(beginnings) and all(each.startswith((*map(str, triggers),)) for each in beginnings)


def _contradictory_logprobs(fields: _Fields, *, chat: bool) -> Iterator[Reply]:
    yield from _unsupported_ids(fields, chat=chat)
    names = ("prompt_logprobs", "top_logprobs" if chat else "logprobs")
    if fields.get("logprob_token_ids") and not (fields.get("logprobs") if chat else "logprobs" in fields):
        told = f"when using `logprob_token_ids`, `logprobs` must be set{' to true' if chat else ''}."
        yield refused(told, "logprob_token_ids")
    for name in names:
        if not isinstance(value := fields.get(name), int | float | None):
            yield refused(f"`{name}` must be an integer.", name, value)
    prompt, top = (value if isinstance(value := fields.get(name), int | float) else 0 for name in names)
    if fields.get("stream") and (prompt > 0 or prompt == -1):
        yield refused("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")
    for name, value in zip(names, (prompt, top), strict=True):
        if value < 0 and value != -1:
            yield refused(f"`{name}` must be a positive value or -1.", name, value)
    if chat and (top == -1 or top > 0) and not fields.get("logprobs"):
        yield refused("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def _unsupported_ids(fields: _Fields, *, chat: bool) -> Iterator[Reply]:
    if not fields.get("logprob_token_ids"):
        return
    if fields.get("use_beam_search"):
        yield refused("`logprob_token_ids` is not supported with beam search.", "logprob_token_ids")
    if not chat and fields.get("echo") and fields.get("max_tokens") == 0:
        told = "`logprob_token_ids` is not supported when `echo=True` and `max_tokens=0` because no output tokens are"
        yield refused(f"{told} generated.", "logprob_token_ids")


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
