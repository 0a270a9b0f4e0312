"""Ask a question and print the answer.

python examples/ask.py "Why is the sky blue?"
"""

import sys

from nemotron_client import Nemotron, NemotronError


def main() -> None:
    """Ask."""
    question = " ".join(sys.argv[1:]) or "Hello"
    with Nemotron() as client:
        try:
            done = client.chat.completions.create(messages=question, temperature=0.6, max_tokens=500)
        except NemotronError as error:
            sys.exit(f"{type(error).__name__}: {error}")
    print(done.text)
    if done.truncated:
        print("(cut short by max_tokens or the window)", file=sys.stderr)
    if done.usage:
        print(f"({done.usage.total_tokens} tokens in {done.response.elapsed:.1f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
