"""Plans, commands and scripts as text for people. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill, wrap

from .command import Command
from .handed_on import KEY
from .plan import Layout, Plan, longest_window
from .preflight import Finding
from .sizes import GIB, Model

WIDTH = 71  # with the nine characters before each line of a running server's, a terminal's 80
_NARROWEST = 24  # of a column whose text is wrapped
_MOST_ROWS = 8

LICENCE = fill(
    "No weights of mistral-nemotron are published. Its model card says that for an environment of your own you need a "
    "licence from Mistral (https://build.nvidia.com/mistralai/mistral-nemotron); weights come with it, not with this.",
    WIDTH,
)
_ARITHMETIC = (
    "All of this is arithmetic from sizes, not a measurement, and nothing of it was tried on a GPU. Leave a margin: "
    "vLLM prints what is left when it starts."
)
_WORDS = (
    "The KV cache is what the server keeps of each token while it is in use; a (full) window is one prompt and answer "
    "of the length wanted. TP (tensor parallel) GPUs share each layer; PP (pipeline parallel) stages take the layers "
    "one after the other; DP (data parallel) copies of the model answer side by side."
)


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Align columns; the last is wrapped."""
    *widths, _ = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = max(WIDTH - len(indent) - sum(widths) - 2 * len(widths), _NARROWEST)
    lines: list[str] = []
    for *cells, last in rows:
        start = indent + "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True))
        text = wrap(last, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [(start + text[0]).rstrip(), *(" " * len(start) + more for more in text[1:])]
    return "\n".join(lines)


def gib(size: float) -> str:
    """Write bytes in GiB."""
    return f"{size / GIB:.1f} GiB"


def of_plan(plan: Plan) -> str:
    """Write a plan as two tables and what comes of it; where nothing fits, what would."""
    wish, machines, per_token = plan.wish, plan.machines, plan.model.kv_bytes(plan.wish.kv)
    precision = plan.model.precision
    if wish.fp8 and precision != "fp8":
        precision += " made fp8"
    facts = [
        ("model", of_model(plan.model)),
        ("weights", f"{gib(plan.weights)} ({precision})"),
        ("GPUs", f"{machines}: {gib(machines.gpu.memory)} each, of which vLLM gets {machines.share:.0%}"),
        (
            "set aside",
            f"{gib(machines.reserve)} of that on each GPU, for activations and CUDA graphs (3 to 6 are usual)",
        ),
        ("KV cache", f"{per_token / 1024:g} KiB a token ({wish.kv}), {gib(per_token * wish.window)} a full window"),
        ("wanted", f"{wish.concurrency:,} at once of {wish.window:,} tokens, prompt and answer together"),
    ]
    head = ("", "TP x PP x DP", "weights/GPU", "KV room/GPU", "tokens in all", "windows")
    ways = table([head, *(_row(layout, plan) for layout in plan.layouts[:_MOST_ROWS])])
    if (more := len(plan.layouts) - _MOST_ROWS) > 0:
        ways += f"\n    and {more} more"
    words = [fill(text, WIDTH) for text in (_WORDS, _verdict(plan))]
    parts = ["The plan", table(facts, "  "), "What each way to use all the GPUs leaves", ways, *words]
    if plan.nearest:
        nearest = ((text, f"{each}: {each.sequences:,} of {each.window:,} tokens") for text, each in plan.nearest)
        parts.append("The nearest that would do:\n" + table(list(nearest), "  "))
    return "\n\n".join([*parts, fill(_ARITHMETIC, WIDTH)])


def of_cpu(model: Model) -> str:
    """Write what is planned without GPUs."""
    text = f"On the CPU, slowly, to try things out: {of_model(model)}; {gib(model.weights)} of weights."
    return fill(text, WIDTH)


def of_model(model: Model) -> str:
    """Write what is known of a model in a line."""
    heads = "" if model.heads is None else f"{model.heads} heads, "
    size = "" if model.parameters is None else f"{_count(model.parameters)} parameters, "
    return f"{size}{model.layers} layers, {heads}{model.kv_heads} KV heads of {model.head_dim}"


def _count(number: int) -> str:
    if number >= 10**9:
        return f"{number / 1e9:,.4g} billion"
    return f"{number / 1e6:.4g} million" if number >= 10**6 else f"{number:,}"


def _row(layout: Layout, plan: Plan) -> tuple[str, ...]:
    room = gib(layout.room) if layout.room > 0 else "none"
    fits = f"{layout.sequences:,}" if layout.sequences else "none"
    sizes = f"{layout.tensor} x {layout.pipeline} x {layout.data}"
    return ("->" if layout == plan.chosen else "", sizes, gib(layout.weights), room, f"{layout.tokens:,}", fits)


def _verdict(plan: Plan) -> str:
    """Say in a sentence whether it fits, and if not, what doesn't."""
    wish, machines = plan.wish, plan.machines
    if plan.chosen:
        many = "one full window" if plan.chosen.sequences == 1 else f"{plan.chosen.sequences:,} full windows"
        return f"It fits. Chosen is {plan.chosen}, which holds {many} at once; {wish.concurrency:,} wanted."
    most = max(each.sequences for each in plan.layouts)
    if all(each.room <= 0 for each in plan.layouts):
        least = min(each.weights for each in plan.layouts)
        why = (
            f"the weights: at best there are {gib(least)} of them for each GPU, which has "
            f"{gib(max(machines.usable - machines.reserve, 0))} for them"
        )
    elif most:
        why = f"the number: at most {most:,} full windows at once, not {wish.concurrency:,}"
    else:
        why = f"the window: beside the weights there is room for {longest_window(plan.layouts, wish):,} tokens at most"
    hopeless = "" if plan.nearest else " No single change that this knows would help: use more, or larger, GPUs."
    return f"It does not fit. What doesn't is {why}.{hopeless}"


def of_commands(commands: Sequence[Command]) -> str:
    """Write the command of each node as one would type it, and once what each part is for."""
    reasons: list[tuple[str, str]] = []
    parts: list[str] = []
    for rank, command in enumerate(commands):
        where = f" on node {rank}, the first" if rank == 0 else f" on node {rank}"
        parts += ["The command" + (where if len(commands) > 1 else ""), of_command(command)]
        reasons += ((name, _SETTINGS[name]) for name in command.environment)
        reasons += ((flag.words[0].partition("=")[0], flag.why) for flag in command.flags)
    return "\n\n".join([*parts, "What each part is for", table(list(dict.fromkeys(reasons)), "  ")])


def of_command(command: Command) -> str:
    """Write a command as one would type it."""
    settings = wrap(" ".join(f"{name}={value}" for name, value in command.environment.items()), WIDTH)
    start = [f"  {line}" for line in settings]
    first = [*start, f"  {shlex.join(command.before)}"] if command.before else []
    return "\n".join(" \\\n".join(lines) for lines in (first, [*start, *_lines(command)]) if lines)


_SETTINGS: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "fetch nothing: the weights are here",
    "VLLM_NO_USAGE_STATS": "send no statistics to vLLM's makers",
    "VLLM_CPU_KVCACHE_SPACE": "GiB of memory for the KV cache",
    "RAY_ADDRESS": "the Ray cluster to use",
    "RAY_USAGE_STATS_ENABLED": "send no statistics to Ray's makers",
}


def of_findings(findings: Iterable[Finding]) -> str:
    """Write what was looked at, the problems with what to do."""
    rows = [(each.level, each.what + (f": {each.remedy}" if each.remedy else "")) for each in findings]
    return table(rows, "  ")


def of_dry_run(*, starts: bool, patience: int) -> str:
    """Say what would happen without --dry-run.

    Args:
        starts: Whether the server would be started here.
        patience: For how many seconds it would be waited for.
    """
    if starts:
        return fill(
            "Nothing was started. Without --dry-run, the command above would be, and for "
            f"{patience:,} s at most (--ready-timeout) it would be waited for until it answers.",
            WIDTH,
        )
    return fill(
        "Nothing was started. Without --dry-run nothing would be started here either, because of the problems (so the "
        "exit status is 1). On a machine without such problems, the command above is started.",
        WIDTH,
    )


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
    lines += [shlex.join(command.before)] if command.before else []
    typed = " \\\n".join(line.removeprefix("  ") for line in _lines(command))
    return "\n".join([*lines, f"exec {typed}", ""])


def usage(url: str, *, with_key: bool, insecure: bool) -> str:
    """Write the two lines of Python that use a server, after what they import, to be pasted as they are.

    Args:
        url: Where its API is.
        with_key: Whether clients must send a key.
        insecure: Whether the client would refuse plain http to that host.
    """
    given = [f'base_url="{url}"']
    given += [f'api_key=os.environ["{KEY}"]'] if with_key else []
    given += ["allow_insecure=True"] if insecure else []
    call = "".join(f"\n    {each}," for each in given) + "\n" if len(given) > 1 else given[0]
    lines = [
        *(["import os"] if with_key else []),
        "from nemotron_client import Nemotron",
        f"client = Nemotron({call})",
        'print(client.chat.completions.create(messages="Hello").text)',
    ]
    return "\n".join(lines)


def _lines(command: Command) -> list[str]:
    first, *rest = command.flags
    return [f"  {shlex.join((command.executable, *first.words))}", *(f"    {shlex.join(flag.words)}" for flag in rest)]
