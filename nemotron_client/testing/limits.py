"""What vLLM has against the values in a body, in its words and in the order in which it looks at them. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.forms import (
    ChatBody,
    RepetitionDetectionParams,
    ResponseFormat,
    StructuralTag,
    StructuredOutputs,
    TextBody,
)
from nemotron_client.testing.replies import Reply, error
from nemotron_client.testing.schemas import is_compiled, read
from nemotron_client.testing.tokenizing import VOCABULARY

_Fields: TypeAlias = Mapping[str, Any]

MOST_CHOICES = 16_384
_MOST_LOGPROBS = 20
_MOST_PROMPTS = 1024
_LONGEST_SALT = 128
_TAGS = frozenset(
    {
        *("any_text", "const_string", "grammar", "json_schema", "or", "qwen_xml_parameter", "regex", "sequence"),
        *("tag", "tags_with_separator", "triggered_tags"),
    }
)
_USAGE = 'Correct usage: `{"type": "function", "function": {"name": "my_function"}}`'


def refused(told: str, param: str, value: object = None) -> Reply:
    """Refuse a value in the words of vLLM."""
    where = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return error(400, f"{told} ({where})", param=param)


def contradictions(fields: _Fields) -> Iterator[Reply]:
    """Yield what does not go together; vLLM looks at it before the form of the rest."""
    if fields.get("continue_final_message") and fields.get("add_generation_prompt"):
        yield error(400, "Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    yield from _wrong_choice(fields.get("tools"), fields.get("tool_choice"))
    outputs = fields.get("structured_outputs")
    if is_object(outputs):
        yield from _contradictory_outputs(outputs, fields)
    elif outputs is not None:  # a mistake of vLLM's own
        yield error(500, f"'{type(outputs).__name__}' object has no attribute 'get'")
    if "messages" not in fields:
        yield from _wrong_count(fields, "prompt")
        yield from _wrong_count(fields, "prompt_embeds")
    yield from _contradictory_logprobs(fields)
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


def _contradictory_outputs(outputs: _Fields, fields: _Fields) -> Iterator[Reply]:
    kinds = sum(outputs.get(name) is not None for name in ("json", "regex", "choice"))
    if kinds > 1:
        told = "You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice')."
        yield error(400, told) if "messages" in fields else refused(told, "structured_outputs")
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


def _has_format(tag: object) -> bool:
    return is_object(tag) and "format" in tag


def _contradictory_logprobs(fields: _Fields) -> Iterator[Reply]:
    chat = "messages" in fields
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
    if chat and top and not fields.get("logprobs"):
        yield refused("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def impossible(body: ChatBody | TextBody, room: int) -> Iterator[Reply]:
    """Yield the values that vLLM refuses.

    Args:
        body: What is asked.
        room: How many tokens the window has left for an answer.
    """
    most = room if body.most_tokens is None else min(body.most_tokens, room)
    yield from _wrong_repetition(body.repetition_detection)
    yield from _out_of_range(body)
    if isinstance(body, ChatBody):
        yield from _broken_json(body)
    yield from _wrong_outputs(body)
    if most < (0 if body.echo and isinstance(body, TextBody) else 1):
        yield refused(f"max_tokens must be at least 1, got {most}.", "max_tokens", most)
    if body.min_tokens < 0:
        yield error(400, f"min_tokens must be greater than or equal to 0, got {body.min_tokens}.")
    if body.min_tokens > most:
        yield error(400, f"min_tokens must be less than or equal to max_tokens={most}, got {body.min_tokens}.")
    if "" in ([body.stop] if isinstance(body.stop, str) else body.stop or ()):
        yield error(400, "stop cannot contain an empty string.")
    if "" in body.bad_words:
        yield error(400, f"bad_words cannot contain an empty string. Got bad_words={body.bad_words}")


def refused_by_engine(body: ChatBody | TextBody) -> Iterator[Reply]:
    """Yield what vLLM refuses when a stream has begun already, since its engine is the first to look at it."""
    yield from _out_of_vocabulary(body)
    if body.thinking_token_budget not in {None, -1}:
        told = "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-parser"
        yield error(400, f"{told} and/or --reasoning-config to use thinking_token_budget.")
    tag = None if body.structured_outputs is None else body.structured_outputs.structural_tag
    if isinstance(body.response_format, StructuralTag) or (tag is not None and _has_format(read(tag))):
        yield error(400, "Invalid grammar specification: 'triggers'")  # llguidance's, which knows the older form alone
    if body.structured_outputs is not None:
        yield from _unusable_outputs(body.structured_outputs)
        yield from _broken_json(body)
    if is_compiled(body):
        from nemotron_client.testing.grammar import grammar_error  # whose compiler only these need

        wrong = grammar_error(body)
        if wrong is not None:
            yield error(400, wrong)


def _unusable_outputs(outputs: StructuredOutputs) -> Iterator[Reply]:
    if outputs.choice == []:
        yield error(400, "Choice '[]' cannot be an empty list")
    if outputs.grammar is not None and not outputs.grammar.strip():
        yield error(400, "structured_outputs.grammar cannot be an empty string")
    if "\x00" in (outputs.regex or ""):
        yield error(400, "structured_outputs.regex must not contain a NUL character ('\\x00')")


def _broken_json(body: ChatBody | TextBody) -> Iterator[Reply]:
    """Yield what Python says of a schema that is given as text and is no JSON, unless another takes its place."""
    outputs, wanted = body.structured_outputs, body.response_format
    if outputs is None or not isinstance(outputs.json_, str):
        return
    if isinstance(body, TextBody) and isinstance(wanted, ResponseFormat) and wanted.json_schema is not None:
        return
    try:
        json.loads(outputs.json_)
    except (ValueError, RecursionError) as wrong:
        yield error(400, str(wrong))


def _wrong_repetition(wanted: RepetitionDetectionParams | None) -> Iterator[Reply]:
    if wanted is None:
        return
    if wanted.max_pattern_size < 0 or not 0 <= wanted.min_pattern_size <= wanted.max_pattern_size:
        told = "max_pattern_size, min_pattern_size must be >=0, with min_pattern_size <= max_pattern_size."
        yield error(400, f"{told} Set both to 0 to disable repetitive pattern detection.")
    if wanted.max_pattern_size > 0 and wanted.min_count < 2:
        told = "min_count must be >= 2 to detect repetitive patterns in engine output. If you do not wish to detect"
        yield error(400, f"{told} repetitive patterns, set max_pattern_size to 0.")


def _wrong_outputs(body: ChatBody | TextBody) -> Iterator[Reply]:
    """Yield that an answer is held to nothing, or to two things."""
    outputs, wanted = body.structured_outputs, body.response_format
    schema = wanted.json_schema if isinstance(wanted, ResponseFormat) and wanted.type == "json_schema" else None
    without_any = schema is not None and schema.json_schema is None and (isinstance(body, TextBody) or body.tools)
    if outputs is None and not without_any:
        return
    held = (outputs or StructuredOutputs()).model_dump(by_alias=True)
    kinds = {
        name
        for name in ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
        if held[name] is not None
    }
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
    shown = {**held, "_backend": None, "_backend_was_auto": False}
    if not kinds:
        yield error(400, f"You must use one kind of structured outputs constraint but none are specified: {shown}")
    if len(kinds) > 1:
        told = "You can only use one kind of structured outputs constraint but multiple are specified"
        yield error(400, f"{told}: {shown}")


def _out_of_range(body: ChatBody | TextBody) -> Iterator[Reply]:
    if no_numbers := [known for known in body.logit_bias or () if _number(known) is None]:
        told = f"logit_bias contains key(s) that cannot be converted to integer token IDs: {no_numbers}"
        yield refused(told, "logit_bias", no_numbers)
    if body.n is not None and body.n < 1:
        yield error(400, f"n must be at least 1, got {body.n}.")
    if body.n is not None and body.n > MOST_CHOICES:
        told = "To increase this limit, set the VLLM_MAX_N_SEQUENCES environment variable."
        yield error(400, f"n must be at most {MOST_CHOICES}, got {body.n}. {told}")
    for name, value in (("presence_penalty", body.presence_penalty), ("frequency_penalty", body.frequency_penalty)):
        if value is not None and not -2 <= value <= 2:
            yield error(400, f"{name} must be in [-2, 2], got {value}.")
    if body.repetition_penalty is not None and body.repetition_penalty <= 0:
        yield error(400, f"repetition_penalty must be greater than zero, got {body.repetition_penalty}.")
    yield from _wrong_temperature(body.temperature)
    if body.top_p is not None and not 0 < body.top_p <= 1:
        yield refused(f"top_p must be in (0, 1], got {body.top_p}.", "top_p", body.top_p)
    if body.top_k is not None and body.top_k < -1:
        yield error(400, f"top_k must be 0 (disable), or at least 1, got {body.top_k}.")
    if body.min_p is not None and not 0 <= body.min_p <= 1:
        yield error(400, f"min_p must be in [0, 1], got {body.min_p}.")


def _wrong_temperature(value: float | None) -> Iterator[Reply]:
    if value is None or 0 <= value <= 2:
        return
    rule = "must be in [0, 2]" if value > 2 else "must be non-negative"
    rule = rule if isfinite(value) else "must be a finite number"
    yield refused(f"temperature {rule}, got {value}.", "temperature", value)


def _out_of_vocabulary(body: ChatBody | TextBody) -> Iterator[Reply]:
    for kind, name, most in (
        ("sample", "logprobs", body.most_logprobs),
        ("prompt", "prompt_logprobs", body.prompt_logprobs),
    ):
        wanted = VOCABULARY if most == -1 else most
        if wanted is not None and wanted > _MOST_LOGPROBS:
            told = f"Requested {kind} logprobs of {wanted}, which is greater than max allowed: {_MOST_LOGPROBS}"
            yield refused(told, name, wanted)
    for name, tokens in (
        ("logit_bias", map(_number, body.logit_bias or ())),
        ("stop_token_ids", body.stop_token_ids or ()),
    ):
        if strange := _strange(token for token in tokens if token is not None):
            told = f"token_id(s) {strange} in {name} contain out-of-vocab token ids. Vocabulary size: {VOCABULARY}"
            yield refused(told, name, strange)
    if body.allowed_token_ids == []:
        yield refused("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
    if strange := _strange(body.allowed_token_ids or ()):
        yield refused("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids", strange)


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # which thousands of digits are too
        return None


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
