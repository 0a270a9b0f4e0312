"""Summarise a document that is longer than the window: each part of it, then the summaries.

python examples/summarise.py document.txt
"""

import sys
from pathlib import Path

from nemotron_client import ContextOverflowError, Message, Nemotron

ANSWER = 400  # tokens that a summary may have
SHORTEST = 200  # characters; what is shorter is not worth dividing
BREAKS = ("\n\n", "\n", ". ", " ")


def question(text: str) -> list[Message]:
    """Ask for a summary."""
    return [
        {"role": "system", "content": "You sum up what you are given, in a paragraph of at most 200 words."},
        {"role": "user", "content": text},
    ]


def parts(client: Nemotron, text: str) -> list[str]:
    """Divide a text, in halves of halves, until each part and its summary fit the window."""
    if len(text) < SHORTEST or client.tokens.check(messages=question(text), max_tokens=ANSWER).fits:
        return [text]
    quarter, middle = len(text) // 4, len(text) // 2
    ends = (text.rfind(each, quarter, middle) for each in BREAKS)
    end = next((end for end in ends if end > 0), middle)
    return parts(client, text[:end]) + parts(client, text[end:])


def summarise(client: Nemotron, text: str) -> str:
    """Sum a text up, however long it is."""
    divided = parts(client, text)
    summaries: list[str] = []
    for number, part in enumerate(divided, start=1):
        done = client.chat.completions.create(messages=question(part), max_tokens=ANSWER, temperature=0.2)
        summaries.append(done.text.strip())
        report = client.tokens.check(messages=question(part), max_tokens=ANSWER)
        print(f"part {number} of {len(divided)}: {report.used} of {report.limit} tokens", file=sys.stderr)
    whole = "\n\n".join(summaries)
    shorter = len(whole) < len(text)  # not so where the window has hardly more room than a summary takes
    return summarise(client, whole) if len(divided) > 1 and shorter else whole


def main() -> None:
    """Read a document and print its summary."""
    if len(sys.argv) != 2:
        sys.exit("Which document? python examples/summarise.py document.txt")
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    with Nemotron() as client:
        client.models.list()  # a server of one's own tells its window there
        try:
            print(summarise(client, text))
        except ContextOverflowError as error:
            sys.exit(f"The window is too small for that: {error}")


if __name__ == "__main__":
    main()
