"""What to run on each node: argument lists and environment, never a line for a shell. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from nemotron_client.config import MODEL, is_hosted, resolve
from nemotron_client.errors import ConfigurationError

from . import handed_on
from .checkpoint import HF, MISTRAL, Format
from .plan import Plan
from .sizes import GIB, GPUS, Model

Backend = Literal["native", "ray"]

MASTER_PORT, RAY_PORT = 29_501, 6379  # vLLM's and Ray's own defaults

# How many requests vLLM 0.32 runs at once unless it is told: on the cards that are known here, on others, on a CPU.
_AT_ONCE, _AT_ONCE_ELSEWHERE, _AT_ONCE_ON_CPU = 1024, 256, 128
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class Flag:
    """One part of the command, with what it is for.

    Attributes:
        words: The flag and its value, if it has one.
        why: A few words for someone who has never run vLLM.
    """

    words: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Command:
    """What runs on one node.

    Attributes:
        executable: The program.
        flags: Its arguments.
        environment: What is set for it, where the user has set nothing.
        before: A command to run to its end first.
        serves: Whether the API is on this node.
    """

    executable: str
    flags: tuple[Flag, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    before: tuple[str, ...] = ()
    serves: bool = True

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole argument list."""
        return (self.executable, *(word for flag in self.flags for word in flag.words))

    def beside(self, environment: Mapping[str, str]) -> Command:
        """Return it as it runs where these variables are set, which come before its own."""
        return replace(self, environment={k: v for k, v in self.environment.items() if k not in environment})


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is served, where and by what.

    Attributes:
        folder: The weights.
        format: Of the weights; None where they could not be looked at, and then it is taken to be Mistral's.
        tokenizer: The name of its tokenizer's file; None where there is none, or it is not known.
        executable: vLLM's program.
        host: The address to listen on.
        port: The port.
        head: The address of the first node, for the others; None with one node.
        backend: How several nodes find each other.
        extra: Flags handed on to vLLM as they are.
    """

    folder: Path
    format: Format | None = None
    tokenizer: str | None = None
    executable: str = "vllm"
    host: str = "127.0.0.1"
    port: int = 8000
    head: str | None = None
    backend: Backend = "native"
    extra: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be, or what would make the plan untrue.

        Raises:
            ConfigurationError: The program, an address, the port or a handed-on flag can't be used.
        """
        if not self.executable.isprintable():
            raise ConfigurationError(f"--vllm {self.executable!r}: the path holds characters that can't be printed.")
        if not Path(self.executable).name:
            raise ConfigurationError(f"--vllm {self.executable!r}: give vLLM's program, e.g. /opt/vllm/bin/vllm.")
        if not 0 < self.port < 65_536:
            raise ConfigurationError(f"--port {self.port}: give a number from 1 to 65535.")
        for name, host in (("--host", self.host), ("--head", self.head)):
            if host is not None and not _is_host(host):
                raise ConfigurationError(f"{name} {host!r} is no address and no host name.")
        if is_hosted(self.host.lower().rstrip(".")):
            raise ConfigurationError(
                f"--host {self.host}: clients take a name of nvidia.com for NVIDIA's own endpoint. Give the address."
            )
        handed_on.check(self.extra)

    @property
    def url(self) -> str:
        """Where a client on this machine finds the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - every address has this one
        return f"http://[{host}]:{self.port}/v1" if ":" in host else f"http://{host}:{self.port}/v1"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (_is_ip(self.host) and ip_address(self.host).is_loopback)

    @property
    def ray(self) -> str:
        """Ray's program: beside vLLM's, or on the path as that is."""
        return str(Path(self.executable).with_name("ray"))

    @property
    def insecure(self) -> bool:
        """Whether a client refuses plain http to it unless told ``allow_insecure=True``."""
        try:
            resolve({}, base_url=self.url)
        except ConfigurationError:
            return True
        return False


def on_gpus(server: Server, plan: Plan) -> list[Command]:
    """Return the command of each node, the first node's first.

    Raises:
        ConfigurationError: Nothing in the plan fits, or there are several nodes and no address of the first.
    """
    layout, wish, nodes = plan.chosen, plan.wish, plan.machines.nodes
    if layout is None:
        raise ConfigurationError("The plan holds no layout that does what was asked, so there is nothing to run.")
    if nodes > 1 and server.head is None:
        raise ConfigurationError(f"--nodes {nodes}: give --head ADDRESS, at which the other nodes reach the first one.")
    flags = [
        *_common(server, wish.window),
        Flag(
            ("--gpu-memory-utilization", f"{plan.machines.share:g}"), "the part of each GPU's memory that it may take"
        ),
        Flag(("--tensor-parallel-size", str(layout.tensor)), "GPUs that share the work of each layer"),
    ]
    if layout.pipeline > 1:
        flags.append(Flag(("--pipeline-parallel-size", str(layout.pipeline)), "stages that the layers are spread over"))
    if layout.data > 1:
        flags.append(Flag(("--data-parallel-size", str(layout.data)), "copies of the model behind the one address"))
    if wish.fp8 and plan.model.precision != "fp8":
        flags.append(Flag(("--quantization", "fp8"), "weights in 8 bits: half the memory, on Hopper's own fp8 units"))
    if wish.kv == "fp8":
        flags.append(Flag(("--kv-cache-dtype", "fp8"), "the KV cache in 8 bits: twice as many tokens at once"))
    usual = _AT_ONCE if plan.machines.gpu in GPUS.values() else _AT_ONCE_ELSEWHERE
    flags += _at_once(-(-wish.concurrency // layout.data), usual)
    if nodes == 1:
        return [_command(server, flags)]
    return _by_ray(server, flags, nodes, layout.data) if server.backend == "ray" else _natively(server, flags, nodes)


def on_cpu(server: Server, model: Model, window: int, concurrency: int) -> Command:
    """Return the command that serves on this machine's CPU, to try things out without a GPU."""
    flags = [
        *_common(server, window),
        Flag(("--dtype", "bfloat16"), "numbers of 16 bits, which the memory is counted in"),
        Flag(("--enforce-eager",), "start without compiling first"),
        *_at_once(concurrency, _AT_ONCE_ON_CPU),
    ]
    cache = max(-(-model.kv_bytes("bf16") * window * concurrency // GIB), 1)
    return _command(server, flags, {"VLLM_CPU_KVCACHE_SPACE": str(cache)})


# With vLLM's own default the first request that is held to anything decides it for good, and with one of the two some
# schemas are a 500 (docs/explanation/protocol.md, "Structured output").
_ONE_COMPILER = Flag(
    ("--structured-outputs-config", '{"backend": "guidance"}'), "what holds answers to a schema: llguidance"
)


def _common(server: Server, window: int) -> list[Flag]:
    mistral = server.format is None or server.format.name == "mistral"
    load, config = ("mistral", MISTRAL.config) if mistral else ("safetensors", HF.config)
    file = server.tokenizer or (MISTRAL.tokenizer if mistral else HF.tokenizer)
    tokenizer = "auto" if file == HF.tokenizer else "mistral"
    # llguidance knows no other of Mistral's tokenizers.
    compiler = [_ONE_COMPILER] if file in {MISTRAL.tokenizer, HF.tokenizer} else []
    return [
        Flag(("serve", str(server.folder)), "start an OpenAI-compatible server for the weights in this folder"),
        Flag(("--served-model-name", MODEL), "the name that clients ask for"),
        Flag(("--host", server.host), "who can reach it: 127.0.0.1 is this machine only, 0.0.0.0 everyone"),
        Flag(("--port", str(server.port)), "where it listens"),
        Flag(("--tokenizer-mode", tokenizer), f"how text becomes tokens: by {file}"),
        Flag(("--config-format", "mistral" if mistral else "hf"), f"which file describes the model: {config}"),
        Flag(("--load-format", load), "which files hold the weights"),
        Flag(("--tool-call-parser", "mistral"), "how the model writes tool calls"),
        Flag(
            ("--enable-auto-tool-choice",),
            "let it decide to call a tool; without this calls stay plain text or are refused",
        ),
        Flag(("--max-model-len", str(window)), "the window: the longest prompt and answer together, in tokens"),
        Flag(("--enable-prefix-caching",), "work out the start that requests share (system prompt, tools) only once"),
        *compiler,
    ]


def _at_once(wanted: int, usual: int) -> list[Flag]:
    if wanted <= usual:
        return []
    return [Flag(("--max-num-seqs", str(wanted)), f"requests at once in each copy, as wanted; else it runs {usual:,}")]


def _command(server: Server, flags: Sequence[Flag], environment: Mapping[str, str] | None = None) -> Command:
    given = [
        Flag(words, "handed on as given; of two of a name the last counts") for words in handed_on.parts(server.extra)
    ]
    quiet = {
        "HF_HUB_OFFLINE": "1",  # the weights are here: nothing is fetched, and no name is looked up
        "VLLM_NO_USAGE_STATS": "1",  # vLLM would send them to its makers
    }
    return Command(server.executable, (*flags, *given), quiet | dict(environment or {}))


def _natively(server: Server, flags: list[Flag], nodes: int) -> list[Command]:
    commands: list[Command] = []
    for rank in range(nodes):
        own = [
            Flag(("--nnodes", str(nodes)), "how many machines; the same command, but for the rank, runs on each"),
            Flag(("--node-rank", str(rank)), "which of them this is"),
            Flag(("--master-addr", str(server.head)), "the first machine, which the others look for"),
            Flag(("--master-port", str(MASTER_PORT)), "and where: open it between the machines"),
        ]
        if rank:
            own.append(Flag(("--headless",), "only work; the first machine answers the clients"))
        commands.append(replace(_command(server, [*flags, *own]), serves=rank == 0))
    return commands


def _by_ray(server: Server, flags: list[Flag], nodes: int, copies: int) -> list[Command]:
    own = [Flag(("--distributed-executor-backend", "ray"), "find the other machines by Ray")]
    if copies > 1:
        own.append(Flag(("--data-parallel-backend", "ray"), "place the copies by Ray too"))
    address = f"[{server.head}]:{RAY_PORT}" if ":" in str(server.head) else f"{server.head}:{RAY_PORT}"
    ray = server.ray
    quiet = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray would send them to its makers
    first = _command(server, [*flags, *own], {"RAY_ADDRESS": address} | quiet)
    start = (ray, "start", "--head", f"--node-ip-address={server.head}", f"--port={RAY_PORT}")
    join = Flag(("start", f"--address={address}", "--block"), "join the Ray cluster of the first machine, and work")
    return [
        Command(first.executable, first.flags, first.environment, before=start),
        *(Command(ray, (join,), quiet, serves=False) for _ in range(nodes - 1)),
    ]


def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None or ("%" not in host and _is_ip(host))  # after % anything may stand


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
