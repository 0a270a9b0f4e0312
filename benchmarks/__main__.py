"""Print what this library costs beside others: CPU time of the client alone, medians of rounds in which all take turns.

Nothing here fails because something was slow: times are told, not tested. A peer that is not installed is left out.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from unittest.mock import patch

from benchmarks import turns
from benchmarks.contenders import BASE_IMPORT, CONTENDERS, EVENTS, FIRST_ANSWERS, IMPORTS, OURS, RAW
from benchmarks.counting import MISTRAL
from benchmarks.measure import Figures, Worker, in_turn, python, table, workers
from benchmarks.mock import mock, replays
from benchmarks.server import MODEL, running
from nemotron_client import Nemotron
from nemotron_client._engine.admission import Candidate
from nemotron_client._engine.sse import SSEDecoder
from nemotron_client.budget import TokenBudget

# What a first request doesn't need, or not before it is sent.
_UNWANTED = frozenset(
    {"anyio", "httpx", "httpx2", "jsonschema", "pytest", "rich", "starlette", "tenacity", "tiktoken", "trio", "uvicorn"}
)
_IMPORT = """
import sys, time
before, started = set(sys.modules), time.process_time()
{}
took = time.process_time() - started
import json
print(json.dumps([took, [name for name in sys.modules if name not in before]]))
"""


@dataclass(frozen=True)
class _Run:
    """How much is measured, by which interpreters, and where the server is."""

    quick: bool
    pythons: Sequence[str]
    url: str

    def many(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    def workers(self, *names: str) -> AbstractContextManager[dict[str, Worker]]:
        return workers(names, self.pythons, self.url)


def _ask(started: Mapping[str, Worker], rounds: int, what: str, parts: int, **details: object) -> Figures:
    """Have each worker measure something, and return what that is for one of so many parts."""
    found = in_turn(rounds, {name: partial(worker.measure, what, **details) for name, worker in started.items()})
    return {name: [value / parts for value in values] for name, values in found.items()}


def imports(run: _Run) -> None:
    """Measure importing, and a whole program with one answer."""
    rounds = run.many(7, 1)
    modules: dict[str, list[str]] = {}

    def once(interpreter: str, name: str, code: str) -> float | None:
        printed = python(interpreter, _IMPORT.format(code))
        if printed is None:
            return None
        took: float
        took, modules[name] = json.loads(printed)
        return took

    def measured(programs: dict[str, str]) -> Figures:
        found: dict[str, Callable[[], float | None]] = {}
        for name, code in programs.items():
            for interpreter in run.pythons:
                if once(interpreter, name, code) is not None:
                    found[name] = partial(once, interpreter, name, code)
                    break
        return in_turn(rounds, found)

    took = measured(IMPORTS)
    table("Importing, CPU ms", {"": took}, {OURS: "<= 1.25 x"}, scale=1e3, base=BASE_IMPORT)
    table("Modules that are imported", {"": {name: [len(modules[name])] for name in took}}, {}, base="")
    unwanted = sorted(_UNWANTED.intersection(modules[OURS]))
    print(f"\nLoaded by `import nemotron_client` without need: {', '.join(unwanted) or 'none'}.")
    first = measured({name: code.replace("URL", repr(run.url)) for name, code in FIRST_ANSWERS.items()})
    table("From the start of a program to its first answer, CPU ms", {"blocking": first}, {}, scale=1e3)


def streams(run: _Run) -> None:
    """Measure streamed chunks."""
    rounds, chunks, paced = run.many(7, 2), run.many(2000, 500), run.many(300, 50)
    with run.workers(*CONTENDERS) as started:
        columns = {
            # Three times as many, since these are short and their ratios close to the target.
            "blocking": _ask(started, 3 * rounds, "stream", chunks, chunks=chunks, how=""),
            "asynchronous": _ask(started, 3 * rounds, "astream", chunks, chunks=chunks, how=""),
            "blocking, paced": _ask(started, rounds, "stream", paced, chunks=paced, how="paced "),
            "asynchronous, paced": _ask(started, rounds, "astream", paced, chunks=paced, how="paced "),
        }
    targets = {OURS: "<= 1.1 x, and openai / 6", EVENTS: "<= 1.5 x"}
    table(f"A streamed chunk, CPU us (streams of {chunks:,}; paced: one a millisecond)", columns, targets, scale=1e6)
    many = run.many(1000, 100)
    with run.workers(RAW, OURS, EVENTS) as started:
        column = _ask(started, 1, "astreams", many * 20, streams=many, chunks=20, how="paced ")
    table(f"A streamed chunk, {many:,} streams at once, CPU us", {"asynchronous, paced": column}, {}, scale=1e6)


def requests(run: _Run) -> None:
    """Measure whole answers."""
    rounds, count = run.many(15, 2), run.many(200, 50)
    with run.workers(*(name for name in CONTENDERS if not name.endswith(".stream()"))) as started:
        columns = {
            "one after the other": _ask(started, rounds, "answers", count, count=count),
            "asynchronous": _ask(started, rounds, "at_once", count, count=count, tasks=1),
            "50 at once": _ask(started, rounds, "at_once", count, count=count, tasks=50),
        }
    table("A request, CPU us", columns, {OURS: "<= 1.15 x"}, scale=1e6)


def growing(run: _Run) -> None:
    """Measure what has to cost the same however much there is of it."""
    rounds, few, many = run.many(3, 1), run.many(10_000, 1_000), run.many(100_000, 10_000)
    with run.workers(EVENTS) as started:

        def stream(chunks: int) -> float | None:
            took = started[EVENTS].measure("stream", chunks=chunks, how="")
            return None if took is None else took / chunks

        deltas = in_turn(rounds, {f"{count:,} deltas": partial(stream, count) for count in (few, many)})
    table("A delta of a long stream, CPU us", {"blocking": deltas}, {}, scale=1e6, base=f"{few:,} deltas")

    def event(mebibytes: int) -> float:
        decoder, piece, started = SSEDecoder(), b"x" * 1024, process_time()
        decoder.feed(b"data: ")
        for _ in range(mebibytes * 1024):
            decoder.feed(piece)
        (event,) = decoder.feed(b"\n\n")
        assert len(event.data) == mebibytes * 1024 * 1024
        return (process_time() - started) / mebibytes

    events = in_turn(run.many(9, 3), {f"{size} MiB": partial(event, size) for size in (1, 8)})
    table("A MiB of one event that comes in pieces of 1 KiB, CPU us", {"decoder": events}, {}, scale=1e6, base="1 MiB")


def memory(run: _Run) -> None:
    """Measure what requests leave behind."""
    count, warm_up = run.many(10_000, 200), run.many(2_000, 100)
    columns: dict[str, Figures] = {}
    for how, tasks in (("one after the other", 0), ("50 at once", 50)):
        with run.workers(RAW, OURS) as started:
            found = {
                name: each.measure("growth", count=count, tasks=tasks, warm_up=warm_up)
                for name, each in started.items()
            }
        columns[how] = {name: [value / 1024] for name, value in found.items() if value is not None}
    table(f"Memory that {count:,} requests leave behind, KiB", columns, {OURS: "none to speak of"}, base="")


def retries(run: _Run) -> None:
    """Measure a request that is sent again beside as many requests."""
    count = run.many(100, 20)
    with Nemotron(base_url=run.url, model=MODEL) as client, patch("nemotron_client._transport.blocking.sleep"):

        def ask(prompt: str, times: int) -> float:
            started = process_time()
            for _ in range(count * times):
                client.chat.completions.create(messages=prompt)
            return (process_time() - started) / count

        found = in_turn(
            run.many(9, 2),
            {"three requests": partial(ask, "Say hello.", 3), "one, sent three times": partial(ask, "2 failures", 1)},
        )
    plain, retried = found.values()
    found["difference"] = [one - other for one, other in zip(retried, plain, strict=True)]
    table(
        "Two retries, CPU us", {"blocking": found}, {"difference": "<= 200 a retry"}, scale=1e6, base="three requests"
    )


def tokens(run: _Run) -> None:
    """Measure counting tokens, and proving without it that a request fits."""

    def once(interpreter: str, name: str) -> dict[str, float] | None:
        printed = python(
            interpreter, f"import json; from benchmarks.counting import measure; print(json.dumps(measure({name!r})))"
        )
        return None if printed is None else json.loads(printed)

    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(run.many(7, 1)):
        for name in (OURS, MISTRAL):
            told = (once(interpreter, name) for interpreter in run.pythons)
            for what, value in (next(filter(None, told), None) or {}).items():
                found.setdefault(what, {}).setdefault(name, []).append(value)
    columns = {"importing": found["import"], "loading": found["load"]}
    table("Until tokens can be counted, CPU ms", columns, {OURS: "loading <= 0.3 x"}, scale=1e3, base=MISTRAL)
    table("Memory that loading takes, MB", {"": found["memory"]}, {OURS: "<= 60"}, scale=1e-6, base=MISTRAL)
    size = f"{found['tokens'][OURS][0]:,.0f} tokens"
    table(f"{size} in 201 messages, CPU ms", {"": found["whole"]}, {OURS: "<= 0.6 x"}, scale=1e3, base=MISTRAL)
    share = [more / whole for more, whole in zip(found["more"][OURS], found["whole"][OURS], strict=True)]
    table(
        "The same with an answer and a question more, % of that",
        {"": {OURS: share}},
        {OURS: "<= 2"},
        scale=100,
        base="",
    )

    def prove(text: str) -> float:
        count, budget = run.many(1000, 10), TokenBudget()
        body = {"messages": [{"role": "user", "content": text} for _ in range(100)]}
        started = process_time()
        for _ in range(count):
            assert Candidate(body, budget).proven()
        return (process_time() - started) / count

    proofs = in_turn(run.many(9, 1), {each: partial(prove, each[-1] * 200) for each in ("all a", "all \u00e9")})
    table(
        "Proving that 100 messages of 200 characters fit, CPU us", {"": proofs}, {"all a": "<= 30"}, scale=1e6, base=""
    )


def server(run: _Run) -> None:
    """Measure the test server, and tests that need none."""
    streams, words = 50, run.many(2000, 200)
    columns: dict[str, Figures] = {"a second": {"chunks": []}, "a CPU second": {"chunks": []}}
    with mock(words) as served:
        for _ in range(run.many(5, 1)):
            chunks, seconds, cpu = served.stream(streams)
            columns["a second"]["chunks"].append(chunks / seconds)
            columns["a CPU second"]["chunks"].append(chunks / cpu)
    table(f"MockServer, {streams} streams at once", columns, {"chunks": ">= 20,000"}, base="")
    with TemporaryDirectory() as folder:
        found = in_turn(run.many(50, 2), replays(folder))
    table("A test with a question and a stream of 20 words, ms", {"": found}, {"replayed": "<= 5"}, scale=1e3, base="")


def tools(run: _Run) -> None:
    """Measure a turn of the agent loop beside one that is written out."""
    with turns.Runs(run.url, run.many(20, 3)) as runs:
        found = in_turn(
            run.many(15, 2),
            {
                "blocking, by hand": runs.by_hand,
                "a plain function": partial(runs.run_tools, turns.get_weather),
                "one with a limit, in a thread": partial(runs.run_tools, turns.get_weather_in_time),
                "asynchronous, by hand": runs.by_hand_async,
                "an asynchronous function": partial(runs.run_tools_async, turns.get_weather_async),
                "a plain one, in a thread": partial(runs.run_tools_async, turns.get_weather),
            },
        )
    names = list(found)
    for base, others in ((names[0], names[1:3]), (names[3], names[4:])):
        for name in others:
            found[f"{name}: added"] = [one - other for one, other in zip(found[name], found[base], strict=True)]
    targets = {name: "<= 300" for name in found if name not in names}
    table(f"A turn of the agent loop, of {turns.TURNS}, CPU us", {"": found}, targets, scale=1e6, base="")


_SECTIONS = (imports, streams, requests, growing, memory, retries, tokens, server, tools)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything works; the figures mean little")
    parser.add_argument("--python", action="append", default=[], help="another interpreter, which has peers installed")
    parser.add_argument("--only", choices=[section.__name__ for section in _SECTIONS], help="one section")
    given = parser.parse_args()
    pythons = (sys.executable, *given.python)
    started = perf_counter()
    print(f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores")
    with running() as url:
        for section in _SECTIONS:
            if given.only in (None, section.__name__):
                section(_Run(given.quick, pythons, url))
    print(f"\n{perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    _main()
