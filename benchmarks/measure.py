"""Start the workers, measure them in turn, and write down what came out."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from statistics import median
from subprocess import DEVNULL, PIPE, Popen, run
from typing import TypeAlias

from benchmarks.contenders import RAW

Figures: TypeAlias = "dict[str, list[float]]"
"""By name, what each round found."""

# Compiled modules are to be used and kept, whatever the shell says: users have them.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_ENVIRONMENT["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or else importing it fetches a file


class Worker:
    """One contender's process."""

    def __init__(self, python: str, name: str, url: str) -> None:
        """Start it and wait until its library is loaded."""
        self._process = Popen(  # noqa: S603 - an interpreter that the user names
            [python, "-m", "benchmarks.worker", name, url],
            env=_ENVIRONMENT,
            stdin=PIPE,
            stdout=PIPE,
            stderr=None if python == sys.executable else DEVNULL,
            text=True,
        )
        self.ready = self._read() == 0

    def measure(self, what: str, **details: object) -> float | None:
        """Have something measured; None if the library could not do it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        """End the process."""
        with self._process:
            pass

    def _read(self) -> float | None:
        assert self._process.stdout is not None
        value: float | None = json.loads(self._process.stdout.readline() or "null")
        return value


@contextmanager
def workers(names: Iterable[str], pythons: Iterable[str], url: str) -> Generator[dict[str, Worker]]:
    """Start the contenders, each with the first interpreter that has it; one that none has is left out."""
    started: dict[str, Worker] = {}
    try:
        for name in names:
            for python in pythons:
                worker = Worker(python, name, url)
                if worker.ready:
                    started[name] = worker
                    break
                worker.stop()
        yield started
    finally:
        for worker in started.values():
            worker.stop()


def in_turn(rounds: int, measure: Mapping[str, Callable[[], float | None]]) -> Figures:
    """Measure each in so many rounds, after one that doesn't count.

    All take their turn in each round, so that they share good times and bad. One that fails is left out.
    """
    found: Figures = {name: [] for name in measure}
    for number in range(rounds + 1):
        for name in tuple(found):
            value = measure[name]()
            if value is None:
                del found[name]
            elif number:
                found[name].append(value)
    return found


def python(interpreter: str, code: str) -> str | None:
    """Run a fresh interpreter and return what it prints; None if it fails."""
    done = run(  # noqa: S603 - an interpreter that the user names
        [interpreter, "-c", code], env=_ENVIRONMENT, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def table(
    title: str, columns: Mapping[str, Figures], targets: Mapping[str, str], *, scale: float = 1.0, base: str = RAW
) -> None:
    """Print a section: medians, and medians of the ratios in each round.

    Args:
        title: With the unit.
        columns: For each column the rows, and what each round found.
        targets: For some rows what they should be.
        scale: What is printed for one of what was found.
        base: The row that the others are compared with.
    """
    print(f"\n## {title}\n")
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    cells = [["", *columns, "target"]]
    for name in rows:
        values = [_cell(column.get(name), column.get(base), scale) for column in columns.values()]
        cells.append([name, *values, targets.get(name, "")])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for number, row in enumerate(cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if not number:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|", flush=True)


def _cell(values: list[float] | None, base: list[float] | None, scale: float) -> str:
    if values is None:
        return "-"
    middle = f"{median(values) * scale:,.1f}"
    if base is None:
        return middle
    return f"{middle} ({median(value / other for value, other in zip(values, base, strict=True)):.2f} x)"
