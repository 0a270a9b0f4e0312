"""Write the vocabulary that tokens are counted with, as the package ships it: `python scripts/tekken.py`.

Source: tekken_240911.json in mistral-common 1.13.1 (https://pypi.org/project/mistral-common/1.13.1/), copyright 2024
Mistral AI, Apache-2.0. Of it the first 130,072 entries are kept, which is what its configuration says a model of
131,072 tokens has beside 1,000 special ones; tekken_240718.json has the same. What is written is compressed by zlib:
the length of each entry in bytes, one byte each, in order of rank; then the entries' bytes in the same order.
"""

import json
import zlib
from base64 import b64decode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

SOURCE = files("mistral_common") / "data" / "tekken_240911.json"
SHA256 = "1948e2d48b0e7377f1bb5f1210f1ae5f984934e75713fc07e2452729b8365316"
TARGET = Path(__file__).parents[1] / "nemotron_client" / "_data" / "tekken.bin"


def converted() -> bytes:
    """Read the source and return what is written, not yet compressed.

    Raises:
        ValueError: It is another file than the one that this was written for.
    """
    source = SOURCE.read_bytes()
    if sha256(source).hexdigest() != SHA256:
        msg = f"{SOURCE} is not the file of mistral-common 1.13.1: look at what changed before you take it."
        raise ValueError(msg)
    tekken = json.loads(source)
    size = tekken["config"]["default_vocab_size"] - tekken["config"]["default_num_special_tokens"]
    entries = [b64decode(entry["token_bytes"]) for entry in tekken["vocab"][:size]]
    return bytes(map(len, entries)) + b"".join(entries)


if __name__ == "__main__":
    TARGET.write_bytes(zlib.compress(converted(), 9))
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")
