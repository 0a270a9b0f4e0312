"""Plan and start a vLLM server: ``python -m nemotron_client.launch --help``."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemotron_client.errors import ConfigurationError

from . import command, preflight, show
from .arguments import Options, parse
from .checkpoint import Checkpoint, Facts, locate, read
from .command import KEY, Command, Server
from .machine import find_cards, look
from .plan import Machines, Plan, Wish, plan
from .preflight import Finding, Machine
from .sizes import GPU, GPUS, WINDOW, Model

_CARDS = re.compile(r"(\d+)x(.+)")


@dataclass(frozen=True, slots=True)
class _Job:
    """All that was worked out before anything starts.

    Attributes:
        server: What is served.
        commands: Of each node; none if nothing fits.
        text: The plan, for people.
        findings: What this machine says to it.
    """

    server: Server
    commands: Sequence[Command]
    text: str
    findings: Sequence[Finding]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Of the command line.

    Returns:
        The exit status: of a server that ran, its own; 1 for what can't be; 2 for a wrong command line.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if options.command == "plan":
            made = _planned(options, _checkpoint(options))
            print(show.of_plan(made))
            return 0 if made.chosen else 1
        job = _on_cpu(options) if options.cpu else _on_gpus(options)
        if options.dry_run or not job.commands:
            return _explain(job)
        return _emit(options, job) if options.emit else _run(options, job)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1


def _checkpoint(options: Options) -> Checkpoint | None:
    """Read the weights' folder; one that can't be read is no obstacle to planning with what was told."""
    if options.weights is None:
        return None
    try:
        return read(locate(options.weights))
    except ConfigurationError:
        if options.params is None:
            raise
        return None


def _model(options: Options, checkpoint: Checkpoint | None) -> Model:
    told = Facts(
        parameters=options.params,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.kv_heads,
        head_dim=options.head_dim,
    )
    return (checkpoint.facts if checkpoint else Facts()).overridden(told).model()


def _window(options: Options, model: Model) -> int:
    window = options.window or min(WINDOW, model.window or WINDOW)
    model.check(window)
    return window


def _planned(options: Options, checkpoint: Checkpoint | None) -> Plan:
    model = _model(options, checkpoint)
    wish = Wish(
        fp8=options.precision == "fp8",
        kv=options.kv_cache,
        window=_window(options, model),
        concurrency=options.concurrency,
        tensor=options.tensor_parallel,
        pipeline=options.pipeline_parallel,
    )
    gpu, gpus = _cards(options.gpus)
    return plan(model, Machines(gpu, gpus, options.nodes, options.gpu_memory_utilization), wish)


def _cards(asked: str | None) -> tuple[GPU, int]:
    if asked is None:
        cards = find_cards()
        if isinstance(cards, str) or not cards:
            why = cards if isinstance(cards, str) else "none is visible"
            raise ConfigurationError(
                f"This machine has no GPU that can be seen ({why}). Say which ones to plan for, e.g. --gpus 8xH100; "
                "with `vllm`, --cpu tries things out without any."
            )
        smallest = min(cards, key=lambda card: card.total)
        return preflight.kind(smallest), len(cards)
    found = _CARDS.fullmatch(asked)
    gpu = GPUS.get(found[2].upper()) if found else None
    if found is None or gpu is None:
        raise ConfigurationError(f"--gpus {asked!r}: give a number and a kind: 8x{', 8x'.join(GPUS)}.")
    return gpu, int(found[1])


def _server(options: Options, checkpoint: Checkpoint | None) -> Server:
    if options.weights is None:
        raise ConfigurationError("--weights DIR is needed: the folder of the weights that shall be served.")
    return Server(
        folder=locate(options.weights),
        format=checkpoint.format if checkpoint else None,
        mistral_tokenizer=checkpoint.mistral_tokenizer if checkpoint else True,
        executable=options.vllm,
        host=options.host,
        port=options.port,
        head=options.head,
        backend=options.backend,
        extra=options.extra,
    )


def _on_gpus(options: Options) -> _Job:
    checkpoint = _checkpoint(options)
    server, made = _server(options, checkpoint), _planned(options, checkpoint)
    commands = command.on_gpus(server, made) if made.chosen else []
    machine = look(server.executable, server.host, server.port)
    return _Job(
        server,
        commands,
        show.of_plan(made),
        [*preflight.on_gpus(made, machine), *_findings(server, checkpoint, machine, serves=options.node_rank == 0)],
    )


def _on_cpu(options: Options) -> _Job:
    checkpoint = _checkpoint(options)
    server, model = _server(options, checkpoint), _model(options, checkpoint)
    window = _window(options, model)
    machine = look(server.executable, server.host, server.port)
    judged = preflight.on_cpu(model, window, options.concurrency, machine)
    return _Job(
        server,
        [command.on_cpu(server, model, window, options.concurrency)],
        f"On the CPU, for trying things out: {show.of_model(model)}; {show.gib(model.weights)} of weights.",
        [*judged, *_findings(server, checkpoint, machine, serves=True)],
    )


def _findings(server: Server, checkpoint: Checkpoint | None, machine: Machine, *, serves: bool) -> Iterable[Finding]:
    yield from preflight.of_software(machine, server.executable)
    yield from preflight.of_weights(server.folder, None if checkpoint is None else checkpoint.problems)
    if serves:
        yield preflight.of_port(machine.port)
        yield from preflight.of_reach(loopback=server.loopback, with_key=bool(os.environ.get(KEY)), key_name=KEY)


def _explain(job: _Job) -> int:
    print(show.LICENCE, job.text, sep="\n\n")
    if not job.commands:
        print("\nSo there is no command to show.")
        return 1
    print(f"\n{show.of_commands(job.commands)}\n\nThis machine\n\n{show.of_findings(job.findings)}")
    print(
        "\nNothing was started. Without --dry-run it would be, unless a problem is listed. Once it answers, use it:\n"
    )
    print(show.usage(job.server.url, with_key=bool(os.environ.get(KEY))))
    return 0


def _emit(options: Options, job: _Job) -> int:
    for rank, each in enumerate(job.commands):
        text = show.script(
            each,
            rank=rank,
            nodes=len(job.commands),
            with_key=bool(os.environ.get(KEY)),
            about=f"{show.LICENCE}\n{job.text}",
        )
        path = Path(options.output, f"serve-node{rank}.sh")
        try:
            with path.open("x", encoding="utf-8") as file:  # never over a file that may have been edited
                file.write(text)
            path.chmod(0o755)
        except OSError as error:
            raise ConfigurationError(f"{path} can't be written: {error.strerror}. See --output.") from None
        print(path)
    return 0


def _run(options: Options, job: _Job) -> int:
    if platform.system() != "Linux":
        raise ConfigurationError("vLLM is started on Linux only; plan, --dry-run and --emit script work anywhere.")
    from .supervise import Patience, Supervisor

    if not 0 <= options.node_rank < len(job.commands):
        raise ConfigurationError(
            f"--node-rank {options.node_rank}: with --nodes {options.nodes} give 0 to {options.nodes - 1}."
        )
    _say(show.LICENCE)
    _say(f"{job.text}\n\n{show.of_findings(job.findings)}")
    if any(finding.level == "problem" for finding in job.findings) and not options.force:
        _say("Not started, as there is a problem. --force starts it nevertheless.")
        return 1
    chosen = job.commands[options.node_rank]
    _say(show.of_command(chosen))
    supervisor = Supervisor(
        chosen,
        job.server.url,
        os.environ,
        out=sys.stdout.buffer,
        say=_say,
        patience=Patience(start=options.ready_timeout),
    )
    return supervisor.run()


def _say(text: str) -> None:
    for line in text.splitlines():
        with contextlib.suppress(OSError):  # nobody reads it any more, which is no reason to end the server
            print(f"[launch] {line}".rstrip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
