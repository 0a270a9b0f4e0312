"""Get typed objects out of a text: whole, and while they grow.

python examples/extract.py
"""

import sys
from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from nemotron_client import Nemotron, ParsedDelta, ParsedDone, ResponseFormatError

LETTER = (
    "Please send 12 boxes of green tea and 3 kettles to Ada Lovelace, 12 St James's Square, London, by 1 March 2027. "
    "It is urgent."
)


class Item(BaseModel):
    """Something that is ordered."""

    name: str = Field(max_length=60)  # limits keep a model that rambles from filling max_tokens
    quantity: int = Field(ge=1, le=10_000)


class Order(BaseModel):
    """An order."""

    customer: str = Field(max_length=60)
    address: str = Field(max_length=100)
    deliver_by: date
    priority: Literal["normal", "urgent"]
    items: list[Item] = Field(min_length=1, max_length=10)


def main() -> None:
    """Extract the order twice."""
    messages = f"Extract the order from this letter:\n\n{LETTER}"
    with Nemotron() as client:
        done = client.chat.completions.parse(messages=messages, response_format=Order, max_tokens=500)
        order = done.parsed  # an Order, for type checkers too
        print(f"{order.customer} wants {len(order.items)} kinds of things by {order.deliver_by:%d %B %Y}")

        with client.chat.completions.stream_parse(messages=messages, response_format=Order, max_tokens=500) as stream:
            for event in stream:
                if isinstance(event, ParsedDelta):
                    print(f"so far: {event.value}")
                elif isinstance(event, ParsedDone):
                    print(f"done: {event.value!r}")


if __name__ == "__main__":
    try:
        main()
    except ResponseFormatError as error:
        sys.exit(f"{error}\nThe answer was: {error.text}")
