"""Hold the launcher to a real vLLM; run by hand or by nox, with vLLM in an environment of its own.

    python -m tests.launch.real_vllm --vllm VENV/bin/vllm --weights DIR [--port 8790]

1. The pinned list of flags (`tests/fixtures/vllm-0.32-flags.json`) is what vLLM's parser knows.
2. Its parser takes every command line of `commands.py`.
3. Its configuration takes those for several machines, made for the model in DIR (which is small: 4 heads).
4. `python -m nemotron_client.launch vllm --cpu` starts it, a client gets an answer, and SIGINT, in a second run
   SIGTERM, ends it with status 0 and no process left.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from nemotron_client import Nemotron
from nemotron_client.launch import GPUS, Machines, Wish, command, plan
from nemotron_client.launch.checkpoint import read
from nemotron_client.launch.command import KEY, Server
from tests.launch.commands import commands

HERE = Path(__file__).parent
FLAGS = HERE.parent / "fixtures/vllm-0.32-flags.json"


def ask_parser(vllm: Path, what: str, told: str = "") -> str:
    """Run `vllm_parser.py` with vLLM's Python."""
    words = [str(vllm.with_name("python")), str(HERE / "vllm_parser.py"), what]
    done = subprocess.run(words, input=told, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603
    if done.returncode:
        sys.exit(f"vllm_parser.py {what}:\n{done.stderr[-4000:]}")
    return done.stdout


def check_flags(vllm: Path) -> None:
    """Compare the pinned list with the real one."""
    real, pinned = json.loads(ask_parser(vllm, "flags")), json.loads(FLAGS.read_text())
    if real != pinned:
        differ = sorted(name for name in real.keys() | pinned.keys() if real.get(name) != pinned.get(name))
        sys.exit(f"{FLAGS.name} is not what this vLLM knows: {', '.join(differ)}")
    print(f"flags: all {len(pinned)} as pinned")


def check_commands(vllm: Path, weights: Path) -> None:
    """Put every command line before the parser, and those for several machines before the configuration."""
    every = [made.argv[2:] for each in commands(weights).values() for made in each if made.executable == "vllm"]
    ask_parser(vllm, "check", json.dumps(every))
    print(f"parser: {len(every)} command lines taken")
    checkpoint = read(weights)
    server = Server(folder=weights, format=checkpoint.format, head="127.0.0.1")
    model, two = checkpoint.facts.model(), Machines(GPUS["H100"], 2, 2)
    wishes = [Wish(window=8192, tensor=2, pipeline=pipeline) for pipeline in (1, 2)]
    spread = [made.argv[2:] for wish in wishes for made in command.on_gpus(server, plan(model, two, wish))]
    ask_parser(vllm, "configure", json.dumps(spread))
    print(f"configuration: {len(spread)} command lines for two machines taken")


def check_life(vllm: Path, weights: Path, port: int, number: signal.Signals) -> None:
    """Start it by the launcher, ask it something, and end it by a signal."""
    words = [sys.executable, "-m", "nemotron_client.launch", "vllm", "--cpu", "--window", "8192"]
    words += ["--vllm", str(vllm), "--weights", str(weights), "--port", str(port), "--ready-timeout", "300"]
    answer, session = "", 0
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as running:  # noqa: S603
        assert running.stderr is not None
        for line in running.stderr:
            print(line, end="", flush=True)
            if "Ctrl-C ends it." in line:
                with Nemotron(base_url=f"http://127.0.0.1:{port}/v1", api_key=os.environ.get(KEY)) as client:
                    answer = client.chat.completions.create(messages="Hello", max_tokens=20).text
                session = child_of(running.pid)
                running.send_signal(number)
    left = [process for process, of in sessions().items() if of == session]
    if running.returncode or not answer or left:
        sys.exit(f"{number.name}: status {running.returncode}, answer {answer!r}, left {left}")
    print(f"{number.name}: answered {answer!r}, ended with status 0, no process left")


def sessions() -> dict[int, int]:
    """Return the session of each process that runs; those that have ended and wait to be noticed aside."""
    found: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                found[int(process.name)] = int(session)
    return found


def child_of(launcher: int) -> int:
    """Return the process that the launcher has started: the leader of a session."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(child) for child in children if sessions().get(int(child)) == int(child))


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, required=True, help="vLLM's program")
    parser.add_argument("--weights", type=Path, required=True, help="a small model in Mistral's format")
    parser.add_argument("--port", type=int, default=8790)
    options = parser.parse_args()
    check_flags(options.vllm)
    check_commands(options.vllm, options.weights)
    for number in (signal.SIGINT, signal.SIGTERM):
        check_life(options.vllm, options.weights, options.port, number)


if __name__ == "__main__":
    main()
