"""Print an answer while it is written.

python examples/stream.py "Tell me a story."
"""

import sys

from nemotron_client import Nemotron, StreamInterruptedError


def main() -> None:
    """Stream."""
    question = " ".join(sys.argv[1:]) or "Tell me a story."
    with Nemotron() as client:
        try:
            with client.chat.completions.stream(messages=question, max_tokens=500) as stream:
                for text in stream.text_deltas():
                    print(text, end="", flush=True)
                print()
        except StreamInterruptedError as error:  # what came is on the screen already, and in error.partial
            sys.exit(f"\nIt broke off: {error}")


if __name__ == "__main__":
    main()
