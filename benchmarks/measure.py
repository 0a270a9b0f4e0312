"""Start the workers, measure them in turn, and write down what came out."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from subprocess import DEVNULL, PIPE, Popen, run

from benchmarks.contenders import RAW

# Compiled modules are to be used and kept, whatever the shell says: users have them.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_ENVIRONMENT["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or else importing it fetches a file


class Worker:
    """One contender's process."""

    def __init__(self, python: str, name: str, url: str) -> None:
        """Start it and wait until its library is loaded."""
        self._process = Popen(
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
def workers(names: Iterable[str], pythons: Iterable[str], url: str) -> Iterator[dict[str, Worker]]:
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


def in_turn(rounds: int, measure: Mapping[str, Callable[[], float | None]]) -> dict[str, float]:
    """Return the median of each over so many rounds, after one that doesn't count.

    All are measured in each round, so that they share good times and bad.
    """
    found: dict[str, list[float]] = {name: [] for name in measure}
    for number in range(rounds + 1):
        for name, once in measure.items():
            value = once()
            if value is not None and number:
                found[name].append(value)
    return {name: median(values) for name, values in found.items() if values}


def python(interpreter: str, code: str) -> str | None:
    """Run a fresh interpreter and return what it prints; None if it fails."""
    done = run([interpreter, "-c", code], env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def table(
    title: str, columns: Mapping[str, Mapping[str, float]], targets: Mapping[str, str], *, scale: float = 1.0, base: str = RAW
) -> None:
    """Print a section.

    Args:
        title: With the unit.
        columns: For each column the values by row; "base" gives the ratios.
        targets: For some rows what they should be.
        scale: What values are multiplied by.
        base: The row that the others are divided by.
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


def _cell(value: float | None, base: float | None, scale: float) -> str:
    if value is None:
        return "-"
    return f"{value * scale:,.1f}" + (f" ({value / base:.2f} x)" if base else "")
