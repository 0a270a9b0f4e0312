"""Print two answers while they are written, side by side, on asyncio or trio.

python examples/async_stream.py trio
"""

import sys

import anyio

from nemotron_client import AsyncNemotron


async def tell(client: AsyncNemotron, name: str, question: str) -> None:
    """Print each line of an answer as soon as it is whole."""
    line = ""
    async with client.chat.completions.stream(messages=question, max_tokens=500) as stream:
        async for text in stream.text_deltas():
            *lines, line = (line + text).split(". ")
            for each in lines:
                print(f"{name}: {each}.")
    print(f"{name}: {line}")


async def main() -> None:
    """Stream both at once."""
    async with AsyncNemotron() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(tell, client, "A", "Tell me a story.")
        tasks.start_soon(tell, client, "B", "Hello")


if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
