"""The command line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Literal

from .command import Backend
from .handed_on import KEY
from .plan import SHARE
from .sizes import GPUS, WINDOW, Precision

_COUNT = re.compile(r"([0-9]{1,16}(?:\.[0-9]{1,9})?)([BMTbmt]?)")
_ON_GPUS = (
    *("--gpus", "--nodes", "--gpu-memory-utilization", "--tensor-parallel", "--pipeline-parallel"),
    *("--precision", "--kv-cache"),
)
_KEYS = ("--api", "--hf-t")  # as vLLM's --api-key and --hf-token begin, and no option of ours
_ON_STARTING = ("--force", "--ready-timeout", "--node-rank")
_NUMBER = re.compile(r"[0-9]{1,12}")
_TIMES = {"": 1, "M": 10**6, "B": 10**9, "T": 10**12}

_PROGRAM = "python -m nemotron_client.launch"
_ABOUT = """\
Run mistral-nemotron on GPUs of your own. vLLM is the program that serves the
model there: it answers over HTTP like NVIDIA's endpoint, and this library's
client talks to it. `plan` works out which GPUs hold the model. `vllm` starts
the server, waits until it answers and stays until it ends; with --dry-run it
explains what it would do and starts nothing. The weights are yours to bring:
none is published for this model."""
_FIRST_STEPS = f"""\
first steps:
  {_PROGRAM} plan --params 24B --layers 40 \\
    --kv-heads 8 --head-dim 128 --gpus 1xH100
  {_PROGRAM} plan --weights DIR --gpus 8xH100
  {_PROGRAM} vllm --weights DIR --gpus 8xH100 --dry-run
  {_PROGRAM} vllm --weights DIR --cpu --window 4096

`plan --help` and `vllm --help` list the options."""


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
    output: str | None
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
    parser, planning, serving = _parsers()
    if not own:
        parser.print_help(sys.stderr)
        parser.exit(2)
    _refuse_what_may_be_a_key(parser, own)
    options, unknown = parser.parse_known_args(own, namespace=Options())
    if unknown:
        flags = [_name(word) for word in unknown if word.startswith("-")]
        parser.error(f"unknown: {', '.join(flags) or 'a word that belongs to no option'}. Flags of vLLM go after --")
    if extra and options.command == "plan":
        planning.error("flags after -- are for vLLM: use them with `vllm`")
    if options.command == "vllm":
        _check_together(serving, options)
    options.extra = extra
    return options


def _refuse_what_may_be_a_key(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Refuse vLLM's options for keys before argparse shows their values, as it does with what it does not know."""
    for name in map(_name, words):
        if name.startswith(_KEYS):
            parser.error(f"{name}: set the environment variable {KEY}; every user here can read a command line")
    if words[0] not in {"plan", "vllm", "-h", "--help"}:
        parser.error("the first word must be plan or vllm")


def _name(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """Make the parser of the program, and those of its two commands."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        usage="%(prog)s plan | vllm [options]",
        description=_ABOUT,
        epilog=_FIRST_STEPS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="plan | vllm", prog=_PROGRAM)
    planning = commands.add_parser(
        "plan",
        help="work out which GPUs hold the model; start nothing",
        description="Work out which GPUs hold the model. Nothing is started.",
        usage="%(prog)s [options]",
        allow_abbrev=False,
    )
    serving = commands.add_parser(
        "vllm",
        help="plan, check this machine, start vLLM there and wait until it answers",
        description="Plan, check this machine, start vLLM there, and stay until it ends.",
        epilog="What follows -- goes to vLLM as it is: ... -- --enable-log-requests",
        usage="%(prog)s [options] [-- flags of vLLM]",
        allow_abbrev=False,
    )
    for each in (planning, serving):
        _add_model(each)
        _add_plan(each)
    _add_serving(serving)
    return parser, planning, serving


def _check_together(parser: argparse.ArgumentParser, options: Options) -> None:
    """Refuse options of which one would be passed over in silence."""
    if options.cpu and (flag := _given(parser, options, _ON_GPUS)):
        parser.error(f"{flag} is for GPUs: leave it or --cpu away")
    if options.emit and (flag := _given(parser, options, _ON_STARTING)):
        parser.error(f"{flag} is for starting: leave it or --emit away")
    if options.nodes == 1 and (options.head or options.backend != "native"):
        parser.error("--head and --backend are for several machines: give --nodes too")
    if not 0 <= options.node_rank < options.nodes:
        parser.error(f"--node-rank {options.node_rank}: with --nodes {options.nodes} give 0 to {options.nodes - 1}")
    if options.output is not None and not options.emit:
        parser.error("--output is where --emit script writes: give that too")


def _given(parser: argparse.ArgumentParser, options: Options, flags: Sequence[str]) -> str | None:
    """Return the first of some flags that asks for something else than its default."""
    names = {flag: flag.removeprefix("--").replace("-", "_") for flag in flags}
    return next((flag for flag, name in names.items() if getattr(options, name) != parser.get_default(name)), None)


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("the model", "read from --weights; what you give comes before what is read")
    model.add_argument("--weights", metavar="DIR", help="folder with params.json (or config.json) and the weight files")
    model.add_argument("--params", type=_count, metavar="123B", help="number of parameters; B is billion, M million")
    model.add_argument("--layers", type=_number, metavar="N", help="transformer layers")
    model.add_argument("--heads", type=_number, metavar="N", help="query heads of each layer")
    model.add_argument("--kv-heads", type=_number, metavar="N", help="key-value heads of each layer")
    model.add_argument("--head-dim", type=_number, metavar="N", help="numbers in each head")
    model.add_argument(
        "--precision",
        choices=["as-is", "fp8"],
        default="as-is",
        help="of the weights: as they are, the default; or made fp8 when they are loaded, in half the memory",
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    machines = parser.add_argument_group("the machines")
    known = ", ".join(GPUS)
    machines.add_argument("--gpus", metavar="8xH100", help=f"in each machine; default: its own. Kinds: {known}")
    machines.add_argument("--nodes", type=_number, default=1, metavar="N", help="machines; default: 1")
    machines.add_argument(
        "--gpu-memory-utilization",
        type=float,
        default=SHARE,
        metavar=f"{SHARE}",
        help=f"the part of each GPU's memory that vLLM may take; default: {SHARE}",
    )
    machines.add_argument("--tensor-parallel", type=_number, metavar="N", help="GPUs that share each layer")
    machines.add_argument(
        "--pipeline-parallel", type=_number, metavar="N", help="stages that the layers are spread over"
    )
    wish = parser.add_argument_group("what it shall do")
    wish.add_argument(
        "--window",
        type=_number,
        metavar="TOKENS",
        help=f"longest prompt and answer together; default: {WINDOW}, or the model's own if less",
    )
    wish.add_argument("--concurrency", type=_number, default=1, metavar="N", help="full windows at once; default: 1")
    wish.add_argument(
        "--kv-cache",
        choices=["bf16", "fp8"],
        default="bf16",
        help="what is kept of each token while it is in use; fp8 takes half; default: bf16",
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("the server", f"set {KEY} to a key that clients must send")
    server.add_argument("--vllm", default="vllm", metavar="PATH", help="vLLM's program; default: the one on the path")
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
    parser.add_argument("--output", metavar="DIR", help="where --emit writes; default: here")


def _count(text: str) -> int:
    """Read a number of parameters: 123B, 23.57b, 800M, 1T, 7000000000."""
    found = _COUNT.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number of parameters: give e.g. 123B")
    count = round(float(found[1]) * _TIMES[found[2].upper()])
    if count < _TIMES["M"]:
        meant = "give e.g. 123B" if found[2] else f"write {found[1]}B for billions"
        raise argparse.ArgumentTypeError(f"{text!r} is too few for a model: {meant}")
    return count


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 1, written out in digits")
    return int(text)
