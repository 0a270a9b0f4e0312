"""Parts of messages and messages, most of which are none."""

from typing import Any

URL = {"url": "http://localhost/a"}
FEW: dict[str, object] = {
    "a text": {"type": "text", "text": "x"},
    "none": {"type": ["x"]},
    "a word": "x",
    "of a Responses API": {"type": "input_text", "text": "x"},
    "a refusal": {"type": "refusal", "refusal": "x"},
    "a picture": {"type": "image_url", "image_url": URL},
}
PARTS: dict[str, object] = {
    **FEW,
    "null": None,
    "a number": 5,
    "empty": {},
    "without a type": {"text": "x"},
    "of no known type": {"type": "video"},
    "of a type that is a number": {"type": 5, "text": "x"},
    "a text without any": {"type": "text"},
    "a text that is null": {"type": "text", "text": None},
    "a text with more": {"type": "text", "text": "x", "more": 1},
    "a refusal without any": {"type": "refusal"},
    "thinking without any": {"type": "thinking"},
    "a picture without any": {"type": "image_url"},
    "a picture of no URL": {"type": "image_url", "image_url": {}},
    "a picture of another type": {"type": "text", "text": "x", "image_url": "http://localhost/a"},
    "a picture by its URL": {"image_url": "http://localhost/a"},
    "a picture by what is no URL": {"image_url": 5},
    "a picture of Python's": {"type": "image_pil", "image_pil": None},
    "a picture's numbers": {"type": "image_embeds", "image_embeds": "x"},
    "a sound": {"type": "audio_url", "audio_url": URL},
    "a sound by its URL": {"audio_url": "http://localhost/a"},
    "a sound in bytes": {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
    "a sound of no known format": {"type": "input_audio", "input_audio": {"data": "x", "format": "ogg"}},
    "a film": {"type": "video_url", "video_url": URL},
    "a film without any": {"type": "video_url"},
    "a file": {"type": "file", "file": {}},
    "a file without any": {"type": "file"},
    "a tool's": {"type": "tool_reference", "name": "x"},
}
MESSAGES: dict[str, Any] = {
    "null": None,
    "a number": 5,
    "a list": [],
    "empty": {},
    "of no content": {"role": "user", "content": None},
    "of a number": {"role": "user", "content": 5},
    "of an empty list": {"role": "user", "content": []},
    "of a name that is a number": {"role": "user", "content": "x", "name": 5},
    "of a role that is a number": {"role": 5},
    "of two roles": {"role": ["user"], "content": "x"},
    "of an id that is a number": {"role": "tool", "content": "x", "tool_call_id": 5},
    "of a function": {"role": "function", "name": "x", "content": None},
    "of an assistant with a number": {"role": "assistant", "content": 5},
}
