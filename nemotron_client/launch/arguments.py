"""The command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Literal

from .command import KEY, Backend
from .plan import SHARE
from .sizes import GPUS, WINDOW, Precision

_COUNT = re.compile(r"(\d+(?:\.\d+)?)([bm]?)", re.IGNORECASE)
_TIMES = {"": 1, "m": 10**6, "b": 10**9}

_ABOUT = """\
Plan and start vLLM, the server that can run mistral-nemotron on GPUs of your own. `plan` works out which GPUs hold the
model. `vllm` starts the server there, waits until it answers and stays until it ends; with --dry-run it only explains
what it would do."""


class Options(argparse.Namespace):
    """What the command line said; those of the server are there for ``vllm`` only."""

    command: Literal["plan", "vllm"]
    weights: str | None
    params: int | None
    layers: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    precision: Literal["as-is", "fp8"]
    gpus: str | None
    nodes: int
    gpu_memory_utilization: float
    tensor_parallel: int | None
    pipeline_parallel: int | None
    window: int | None
    concurrency: int
    kv_cache: Precision
    vllm: str
    host: str
    port: int
    cpu: bool
    ready_timeout: int
    force: bool
    head: str | None
    node_rank: int
    backend: Backend
    dry_run: bool
    emit: Literal["script"] | None
    output: str
    extra: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> Options:
    """Read a command line; what follows ``--`` becomes ``extra``.

    Raises:
        SystemExit: It is wrong, or asked for help; the reason is printed.
    """
    own, extra = list(arguments), tuple[str, ...]()
    if "--" in own:
        cut = own.index("--")
        own, extra = own[:cut], tuple(own[cut + 1 :])
    parser = argparse.ArgumentParser(prog="python -m nemotron_client.launch", description=_ABOUT, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="plan | vllm")
    planning = commands.add_parser("plan", help="work out what fits; start nothing", allow_abbrev=False)
    serving = commands.add_parser(
        "vllm",
        help="plan, check this machine, start vLLM and wait until it answers",
        epilog="What follows -- goes to vLLM as it is: ... -- --max-num-seqs 64",
        allow_abbrev=False,
    )
    for each in (planning, serving):
        _add_planning(each)
    _add_serving(serving)
    options = parser.parse_args(own, namespace=Options())
    if extra and options.command == "plan":
        parser.error("flags after -- are for vLLM: use them with `vllm`")
    options.extra = extra
    return options


def _add_planning(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("the model", "read from --weights; what you give comes before what is read")
    model.add_argument("--weights", metavar="DIR", help="the folder with params.json (or config.json) and the weights")
    model.add_argument("--params", type=_count, metavar="123B", help="how many parameters")
    model.add_argument("--layers", type=_number, metavar="N")
    model.add_argument("--heads", type=_number, metavar="N", help="query heads")
    model.add_argument("--kv-heads", type=_number, metavar="N")
    model.add_argument("--head-dim", type=_number, metavar="N")
    model.add_argument("--precision", choices=["as-is", "fp8"], default="as-is", help="serve the weights as they are")
    machines = parser.add_argument_group("the machines")
    known = ", ".join(f"8x{name}" for name in GPUS)
    machines.add_argument("--gpus", metavar="8xH100", help=f"in each node: {known}; without it, those of this machine")
    machines.add_argument("--nodes", type=_number, default=1, metavar="N", help="default: 1")
    machines.add_argument("--gpu-memory-utilization", type=float, default=SHARE, metavar=f"{SHARE}")
    machines.add_argument("--tensor-parallel", type=_number, metavar="N", help="GPUs that share each layer")
    machines.add_argument(
        "--pipeline-parallel", type=_number, metavar="N", help="stages that the layers are spread over"
    )
    wish = parser.add_argument_group("what it shall do")
    wish.add_argument("--window", type=_number, metavar="TOKENS", help=f"default: {WINDOW}, or the model's own if less")
    wish.add_argument("--concurrency", type=_number, default=1, metavar="N", help="full windows at once; default: 1")
    wish.add_argument("--kv-cache", choices=["bf16", "fp8"], default="bf16", help="fp8 holds twice as much")


def _add_serving(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("the server", f"set {KEY} to a key that clients must send")
    server.add_argument("--vllm", default="vllm", metavar="PATH", help="vLLM's program; default: the one on the path")
    server.add_argument("--api-key", action=_RefuseKey, help=argparse.SUPPRESS)
    server.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine only")
    server.add_argument("--port", type=_number, default=8000, help="default: 8000")
    server.add_argument("--cpu", action="store_true", help="serve on the CPU, slowly, to try things out")
    server.add_argument("--ready-timeout", type=_number, default=1800, metavar="SECONDS", help="default: 1800")
    server.add_argument("--force", action="store_true", help="start though a check found a problem")
    nodes = parser.add_argument_group("several machines")
    nodes.add_argument("--head", metavar="ADDRESS", help="of the first node, as the others reach it")
    nodes.add_argument("--node-rank", type=int, default=0, metavar="N", help="which node this is; 0 is the first")
    nodes.add_argument("--backend", choices=["native", "ray"], default="native", help="default: native, vLLM's own")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="show the plan, the command and the checks; start nothing")
    how.add_argument("--emit", choices=["script"], help="write a bash script for each node; start nothing")
    parser.add_argument("--output", default=".", metavar="DIR", help="where --emit writes; default: here")


class _RefuseKey(argparse.Action):
    """Refuse vLLM's own option for a key, without showing it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option_string: str | None = None
    ) -> None:
        del namespace, values, option_string
        parser.error(f"--api-key: set the environment variable {KEY}; every user here can read a command line")


def _count(text: str) -> int:
    """Read a number of parameters: 123B, 23.57b, 800M, 7000000000."""
    found = _COUNT.fullmatch(text)
    count = int(float(found[1]) * _TIMES[found[2].lower()]) if found else 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of parameters: give e.g. 123B")
    return count


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)
