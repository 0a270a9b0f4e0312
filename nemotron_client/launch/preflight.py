"""Judge whether a server can start on a machine, from what ``machine.py`` saw of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from . import handed_on
from .handed_on import KEY
from .plan import Plan
from .sizes import GIB, GPU, GPUS, Model

Level = Literal["ok", "warning", "problem"]

_HOPPER = (9, 0)
# Of mistral_common, with vLLM 0.32. With 1.12 the same requests are answered (docs/explanation/protocol.md, "Sizing").
_CLASHING = (1, 13)
# Docker gives a container 64 MiB; vLLM's and NVIDIA's own instructions ask for 16 GiB or the host's.
_LEAST_SHARED, _USUAL_SHARED = GIB, 16 * GIB


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU of this machine.

    Attributes:
        name: As the driver calls it.
        total: Its memory in MiB.
        free: What no program holds, in MiB.
        capability: CUDA's compute capability: (9, 0) is Hopper, (10, 0) Blackwell.
    """

    name: str
    total: int
    free: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen of this machine.

    Attributes:
        cards: Its GPUs that may be used, or why there are none.
        vllm: Path of vLLM's program; None if it isn't there.
        versions: Of the distributions installed beside it, by name, as far as known.
        port: Why the port can't be used; None if it can.
        shared: Bytes of /dev/shm; None where there is none.
        memory: Bytes of free main memory; None where unknown.
    """

    cards: tuple[Card, ...] | str
    vllm: str | None
    versions: dict[str, str]
    port: str | None
    shared: int | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        level: A problem keeps the server from starting, or its tools from working.
        what: What was found.
        remedy: What to do about it.
    """

    level: Level
    what: str
    remedy: str = ""


def kind(card: Card) -> GPU:
    """Return what is known of a card, or make it of what the driver says."""
    names = {"H200": "H200", "B200": "B200", "H100 NVL": "H100-NVL", "H100": "H100"}
    found = next((GPUS[key] for name, key in names.items() if name in card.name), None)
    own = GPU.of(card.name, card.total)
    return found if found and found.memory == own.memory else own


def on_gpus(plan: Plan, machine: Machine) -> Iterator[Finding]:
    """Judge this machine's part in a plan."""
    wanted, cards = plan.machines, machine.cards
    if isinstance(cards, str):
        yield Finding(
            "problem",
            f"no GPU: {cards}",
            f"run this where {wanted.gpus}x {wanted.gpu.name} are, or try vLLM on the CPU with --cpu",
        )
        return
    shown = f"{len(cards)}x {cards[0].name}"
    if len(cards) < wanted.gpus:
        yield Finding("problem", f"{shown}, the plan needs {wanted.gpus}", f"plan with --gpus {len(cards)}x...")
    else:
        yield Finding("ok", shown)
    yield from _memory(plan, cards[: wanted.gpus])
    oldest = min(card.capability for card in cards)
    if oldest < _HOPPER:
        generation = "older than Hopper (compute capability {}.{})".format(*oldest)
        yield Finding("warning", generation, "the model card names Hopper; fp8 may be slow or missing")
    if wanted.gpus > 1:
        yield _shared(machine.shared)


def on_cpu(model: Model, window: int, concurrency: int, machine: Machine) -> Iterator[Finding]:
    """Judge whether a model can be served from main memory."""
    needed = model.weights + max(model.kv_bytes("bf16") * window * concurrency, GIB) + 2 * GIB
    told = f"about {needed / GIB:.0f} GiB of memory needed"
    if machine.memory is None:
        yield Finding("warning", f"{told}, and what is free can't be seen here")
    elif machine.memory < needed:
        yield Finding("problem", f"{told}, {machine.memory / GIB:.0f} free", "use a smaller --window, or GPUs")
    else:
        yield Finding("ok", f"{told}, {machine.memory / GIB:.0f} free")


def of_software(machine: Machine, executable: str) -> Iterator[Finding]:
    """Judge the installed vLLM and what stands beside it."""
    if machine.vllm is None:
        yield Finding(
            "problem",
            f"{executable!r} is not a program here",
            "pip install vllm==0.32.0, or say where it is with --vllm PATH",
        )
        return
    version = machine.versions.get("vllm")
    if version is None:
        yield Finding("warning", f"{machine.vllm}: its version can't be seen", "vLLM 0.32 is what this was tried with")
    elif not version.startswith("0.32."):
        yield Finding("warning", f"vLLM {version}", "0.32 is what this was tried with; others may know other flags")
    else:
        yield Finding("ok", f"vLLM {version}")
    other = machine.versions.get("mistral_common", "")
    if version and version.startswith("0.32.") and _numbers(other) >= _CLASHING:
        yield Finding(
            "problem",
            f"vLLM {version} with mistral_common {other}: requests with tools are refused (400, get_lark_from_jinja() "
            "missing 1 required positional argument)",
            "pip install 'mistral_common<1.13' beside that vLLM",
        )


def of_ray(program: str, found: str | None) -> Finding:
    """Judge whether Ray's program is where vLLM is, from its path if it was found."""
    if found is None:
        return Finding("problem", f"{program!r} is not a program here", "pip install ray beside that vLLM")
    return Finding("ok", f"Ray: {found}")


def of_weights(problems: Sequence[str] | str) -> Iterator[Finding]:
    """Judge a folder of weights, from what is wrong with it, or why it can't be read at all."""
    if isinstance(problems, str):
        yield Finding("problem", "all of this is from what you told of the model, not from its files", problems)
        return
    for problem in problems:
        yield Finding("problem", f"weights: {problem}", "copy or download the folder again, whole")
    if not problems:
        yield Finding("ok", "weights: all files are there, readable and whole")


def of_flags(extra: Sequence[str]) -> Iterator[Finding]:
    """Judge the flags after ``--``."""
    for flag, why in handed_on.warnings(extra):
        yield Finding("warning", f"{flag} after --", why)


def of_port(problem: str | None) -> Finding:
    """Judge the address to listen on."""
    if problem is None:
        return Finding("ok", "the port is free")
    return Finding("problem", problem, "give one of this machine that nothing else uses: --host, --port")


def of_reach(host: str, *, loopback: bool, insecure: bool, with_key: bool) -> Iterator[Finding]:
    """Judge who may use a server, and who may read along.

    Args:
        host: Where it listens.
        loopback: Whether only this machine can reach it.
        insecure: Whether clients refuse plain http to it.
        with_key: Whether clients must send a key.
    """
    if not loopback and not with_key:
        yield Finding(
            "warning", "everyone who reaches this machine can use the server", f"set {KEY} to a key of your choice"
        )
    if insecure:
        yield Finding(
            "warning",
            f"{host} may be public, and plain http can be read on the way",
            "put what speaks https before it; clients refuse it as it is unless told allow_insecure=True",
        )


def _memory(plan: Plan, cards: Sequence[Card]) -> Iterator[Finding]:
    for number, card in enumerate(cards):
        has = GPU.of(card.name, card.total).memory
        if has < plan.machines.gpu.memory:
            shown = f"GPU {number} has {has / GIB:.0f} GiB, the plan counts on {plan.machines.gpu.memory / GIB:.0f}"
            yield Finding("problem", shown, "plan with the GPUs that are here: leave --gpus away")
        if card.free < card.total * plan.machines.share:
            yield Finding(
                "problem",
                f"GPU {number} has {card.free:,} of {card.total:,} MiB free, vLLM wants {plan.machines.share:.0%}",
                "end the programs that nvidia-smi lists, or lower --gpu-memory-utilization",
            )


def _shared(size: int | None) -> Finding:
    shown = "no shared memory (/dev/shm)" if size is None else f"{size / GIB:.2g} GiB of shared memory"
    remedy = "several GPUs talk through it: start the container with --ipc=host or --shm-size=16g"
    if size is None or size < _LEAST_SHARED:
        return Finding("problem", shown, remedy)
    return Finding("warning", shown, remedy) if size < _USUAL_SHARED else Finding("ok", shown)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))
