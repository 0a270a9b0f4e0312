"""Plans, commands and scripts as text for people. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from .command import KEY, Command
from .plan import Layout, Plan
from .preflight import Finding
from .sizes import GIB, Model

LICENCE = """\
No weights of mistral-nemotron are published. Its model card says that for an environment of your own you need a
licence from Mistral (https://build.nvidia.com/mistralai/mistral-nemotron); weights come with it, not with this."""

_MOST_ROWS = 8
_ARITHMETIC = "This is arithmetic from sizes, not a measurement: vLLM itself prints what is left when it starts."


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Align columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join((indent + line).rstrip() for line in lines)


def gib(size: float) -> str:
    """Write bytes in GiB."""
    return f"{size / GIB:.1f} GiB"


def of_plan(plan: Plan) -> str:
    """Write a plan as two tables, and what would do where nothing does."""
    wish, machines, per_token = plan.wish, plan.machines, plan.model.kv_bytes(plan.wish.kv)
    precision = (
        f"{plan.model.precision} made fp8" if wish.fp8 and plan.model.precision != "fp8" else plan.model.precision
    )
    facts = [
        ("model", of_model(plan.model)),
        ("weights", f"{gib(plan.weights)} ({precision})"),
        ("GPUs", f"{machines}: {gib(machines.gpu.memory)} each, of which vLLM gets {machines.share:.0%}"),
        ("set aside", f"{gib(machines.reserve)} on each GPU for activations and CUDA graphs (3 to 6 are usual)"),
        ("KV cache", f"{per_token / 1024:g} KiB a token ({wish.kv}), {gib(per_token * wish.window)} a full window"),
        ("wanted", f"{wish.concurrency} at once of {wish.window:,} tokens, prompt and answer together"),
    ]
    head = ("TP x PP x DP", "weights/GPU", "KV room/GPU", "tokens in all", "full windows", "")
    rows = [head, *(_row(layout, plan) for layout in plan.layouts[:_MOST_ROWS])]
    more = len(plan.layouts) - _MOST_ROWS
    ways = table(rows, "  ") + (f"\n  and {more} more" if more > 0 else "")
    parts = ["The plan", table(facts, "  "), "What each way to use all the GPUs leaves", ways, _WORDS]
    if plan.chosen is None:
        parts += ["Nothing here does what was asked.", _nearest(plan)]
    return "\n\n".join([*parts, _ARITHMETIC])


_WORDS = """\
  TP (tensor parallel) GPUs share each layer; PP (pipeline parallel) stages take the layers one after the other;
  DP (data parallel) copies of the model answer side by side."""


def of_model(model: Model) -> str:
    """Write what is known of a model in a line."""
    heads = "" if model.heads is None else f"{model.heads} heads, "
    count = model.parameters or 0
    size = f"{count / 1e9:.4g} billion parameters, " if count >= 10**9 else f"{count / 1e6:.3g} million parameters, "
    size = size if count else ""
    return f"{size}{model.layers} layers, {heads}{model.kv_heads} KV heads of {model.head_dim}"


def of_commands(commands: Sequence[Command]) -> str:
    """Write the command of each node as one would type it, and once what each part is for."""
    reasons: dict[str, str] = {}
    parts: list[str] = []
    for rank, command in enumerate(commands):
        where = f" on node {rank}, the first" if rank == 0 else f" on node {rank}"
        parts += ["The command" + (where if len(commands) > 1 else ""), of_command(command)]
        reasons |= {f"{name}={value}": _SETTINGS[name] for name, value in command.environment.items()}
        reasons |= {shlex.join(flag.words): flag.why for flag in command.flags}
    return "\n\n".join([*parts, "What each part is for", table(list(reasons.items()), "  ")])


def of_command(command: Command) -> str:
    """Write a command as one would type it."""
    settings = " ".join(f"{name}={value}" for name, value in command.environment.items())
    lines = [f"  {settings}", *_lines(command)] if settings else _lines(command)
    return "\n".join([*(f"  {shlex.join(words)}" for words in command.before), " \\\n".join(lines)])


_SETTINGS: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "fetch nothing: the weights are here",
    "VLLM_NO_USAGE_STATS": "send no statistics to vLLM's makers",
    "VLLM_CPU_KVCACHE_SPACE": "GiB of memory for the KV cache",
    "RAY_ADDRESS": "the Ray cluster to use",
}


def of_findings(findings: Iterable[Finding]) -> str:
    """Write what was looked at, the problems with what to do."""
    rows = [(each.level, each.what + (f": {each.remedy}" if each.remedy else "")) for each in findings]
    return table(rows, "  ")


def script(command: Command, *, rank: int, nodes: int, with_key: bool, about: str) -> str:
    """Write a bash script that runs a command.

    Args:
        command: What to run.
        rank: Of which node.
        nodes: How many there are.
        with_key: Whether clients must send a key. The script asks for the variable; no key is ever in it.
        about: Lines that describe it.
    """
    lines = [
        "#!/usr/bin/env bash",
        f"# Node {rank} of {nodes} (0 is the first). Written by python -m nemotron_client.launch.",
    ]
    lines += [f"# {line}".rstrip() for line in about.splitlines()]
    lines += ["set -euo pipefail", ""]
    if with_key and command.serves:
        lines.append(f': "${{{KEY}:?set it to the key that clients must send}}"')
    lines += [f'export {name}="${{{name}:-{value}}}"' for name, value in command.environment.items()]
    lines += [shlex.join(words) for words in command.before]
    typed = " \\\n".join(line.removeprefix("  ") for line in _lines(command))
    return "\n".join([*lines, f"exec {typed}", ""])


def usage(url: str, *, with_key: bool) -> str:
    """Write the two lines of Python that use a server."""
    first = "import os; from nemotron_client import Nemotron" if with_key else "from nemotron_client import Nemotron"
    key = f', api_key=os.environ["{KEY}"]' if with_key else ""
    ask = '.chat.completions.create(messages="Hello").text'
    return f'  {first}\n  print(Nemotron(base_url="{url}"{key}){ask})'


def _lines(command: Command) -> list[str]:
    first, *rest = command.flags
    return [f"  {shlex.join((command.executable, *first.words))}", *(f"    {shlex.join(flag.words)}" for flag in rest)]


def _row(layout: Layout, plan: Plan) -> tuple[str, ...]:
    room = gib(layout.room) if layout.room > 0 else "the weights don't fit"
    fits = str(layout.sequences) if layout.sequences else "none"
    mark = "<- chosen" if layout == plan.chosen else ""
    sizes = f"{layout.tensor} x {layout.pipeline} x {layout.data}"
    return (sizes, gib(layout.weights), room, f"{layout.tokens:,}", fits, mark)


def _nearest(plan: Plan) -> str:
    if not plan.nearest:
        return "No single change of the ones this knows would help: use more, or larger, GPUs."
    rows = [
        (text, f"{layout}: {layout.sequences} at once of {layout.window:,} tokens") for text, layout in plan.nearest
    ]
    return "The nearest that would:\n" + table(rows, "  ")
