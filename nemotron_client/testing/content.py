"""What vLLM has against the parts of a message's content: it reads texts alone, and tells of what is none. Pure.

Parts are tried as those of OpenAI's classes for the message's role, so what is told of one that is none of these is
pydantic's own list.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nemotron_client._json import is_array, is_object
from nemotron_client.testing.message_forms import AnswerParts, Parts, TextParts
from nemotron_client.testing.refusals import refused
from nemotron_client.testing.replies import Reply, error

_OPEN = ConfigDict(extra="allow")
_OF_USER: TypeAdapter[Parts] = TypeAdapter(Parts, config=_OPEN)
_OF_ASSISTANT: TypeAdapter[AnswerParts] = TypeAdapter(AnswerParts, config=_OPEN)
_OTHER: TypeAdapter[TextParts] = TypeAdapter(TextParts, config=_OPEN)

_NOT_MULTIMODAL = "The model is not multimodal."
_TYPES = (
    "audio_embeds, audio_url, image_embeds, image_pil, image_url, input_audio, input_image, input_text, output_text, "
    "prompt_embeds, refusal, text, thinking, tool_reference, video_embeds, video_url"
)
# A part, and in which field it holds what its name says.
_KNOWN: Mapping[str, tuple[str, type | tuple[type, ...], str]] = {
    "refusal": ("refusal", str, "'refusal' is not a valid ChunkTypes"),
    "tool_reference": ("name", str, "'tool_reference' is not a valid ChunkTypes"),
    "thinking": ("thinking", str, "think tokens are not available for this tokenizer."),
    **{name: (name, (str, dict), _NOT_MULTIMODAL) for name in ("image_embeds", "audio_embeds", "video_embeds")},
}
_MEDIA = ("image_url", "audio_url", "video_url", "image_pil", "input_audio")


def wrong_parts(message: Mapping[str, Any], model: str) -> Iterator[Reply]:
    """Yield what is wrong with the parts of a message.

    Args:
        message: With a known role.
        model: The name of the model that is asked.
    """
    content = message.get("content")
    if not is_array(content):
        return
    for part in content:
        told = _not_text(part, model)
        if told is not None:
            yield error(400, told)
        if is_object(part) and part.get("type") and not isinstance(part["type"], str):
            yield from _of_odd_type(part, message["role"])
        if is_object(part) and part.get("type") == "file" and is_object(part.get("file")):
            yield refused(f"Unsupported chat content part type: 'file'. Supported types: {_TYPES}.", "type", "file")
    told = _of_no_class(message["role"], content)
    if told is not None:
        yield error(400, told)


def _not_text(part: object, model: str) -> str | None:
    """Return what is told of a part that has the form of something else than a text."""
    if not is_object(part):
        return None
    kind = part.get("type")
    if isinstance(kind, str) and kind in _KNOWN:
        name, form, told = _KNOWN[kind]
        return told if name in part and isinstance(part[name], form) else None
    return f"{model} is not a multimodal model" if any(_is_media(part, name) for name in _MEDIA) else None


def _of_odd_type(part: Mapping[str, object], role: str) -> Iterator[Reply]:
    """Yield what is told of a part whose type is no text."""
    kind = part["type"]
    if role == "system" and (is_object(kind) or is_array(kind)):
        yield error(400, f"unhashable type: '{type(kind).__name__}'")
    if any(isinstance(part.get(name), str) for name in ("image_url", "audio_url", "video_url")):
        yield refused("Invalid 'type' field in multimodal part.", "type")


def _is_media(part: Mapping[str, object], name: str) -> bool:
    """Tell whether a part is a picture, a sound or a film: with a type, or by a URL alone."""
    if name not in part:
        return False
    value = part[name]
    if "type" not in part:
        return isinstance(value, str)
    if part["type"] != name:
        return False
    if name == "input_audio":
        return is_object(value) and isinstance(value.get("data"), str) and value.get("format") in ("wav", "mp3")
    return name == "image_pil" or (is_object(value) and isinstance(value.get("url"), str))


def _of_no_class(role: str, parts: Sequence[object]) -> str | None:
    forms: dict[str, TypeAdapter[Any]] = {"user": _OF_USER, "assistant": _OF_ASSISTANT}
    try:
        for _ in forms.get(role, _OTHER).validate_python(parts):
            pass  # each is read when it is come to
    except ValidationError as wrong:
        return in_words_of_vllm(wrong)
    return None


def in_words_of_vllm(wrong: ValidationError) -> str:
    """Return what pydantic says, as vLLM's version of it does, whichever is installed here."""
    return re.sub(r"(?<=errors\.pydantic\.dev/)[\d.]+", "2.14", str(wrong))
