"""Plan and start a vLLM server: ``python -m nemotron_client.launch --help``."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nemotron_client.errors import ConfigurationError

from . import command, preflight, show
from .arguments import Options, parse
from .checkpoint import Checkpoint, Facts, locate, read
from .command import Command, Server
from .handed_on import KEY
from .machine import find_cards, look
from .plan import Machines, Plan, Wish, plan
from .preflight import Card, Finding, Machine
from .sizes import GPU, GPUS, WINDOW, Model

_CARDS = re.compile(r"([0-9]{1,6})[xX](.+)")


@dataclass(frozen=True, slots=True)
class _Job:
    """All that was worked out before anything starts.

    Attributes:
        server: What is served.
        commands: Of each node; none if nothing fits.
        text: The plan, for people.
        here: What this machine says to it.
        anywhere: What is to be said of it on whatever machine it runs.
        refusal: Why it is not started here; None if it is.
    """

    server: Server
    commands: Sequence[Command]
    text: str
    here: Sequence[Finding]
    anywhere: Sequence[Finding]
    refusal: str | None

    @property
    def usage(self) -> str:
        """The lines of Python that use it."""
        return show.usage(self.server.url, with_key=_has_key(), insecure=self.server.insecure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: Of the command line.

    Returns:
        The exit status: of a server that ran, its own; else as grep's: 0 for yes; 1 for no (it does not fit, a check
        found a problem, the server never answered); 2 if what was given can't be used, which is then named.
    """
    status = _status(parse(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough: `| head`
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or Python would end with a complaint, and another status
    return status


def _status(options: Options) -> int:
    try:
        return _plan(options) if options.command == "plan" else _serve(options)
    except BrokenPipeError:
        return 128 + 13  # SIGPIPE, by whose name not every system knows it
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before there is a server to pass it on to
        return 128 + signal.SIGINT


def _plan(options: Options) -> int:
    cards = find_cards() if options.gpus is None else ()
    found = None if options.weights is None else _read(locate(options.weights), options)
    made = _planned(options, _model(options, found), cards)
    print(show.of_plan(made))
    if found is not None:
        print(f"\nThe folder\n\n{show.of_findings(_of_weights(found))}")
    return 0 if made.chosen else 1


def _serve(options: Options) -> int:
    job = _prepare(options)
    if options.dry_run or not job.commands:
        return _explain(options, job)
    return _emit(options, job) if options.emit else _run(options, job)


def _read(folder: Path, options: Options) -> Checkpoint | str:
    """Read the weights' folder, or say why it can't be: where the model is described, planning goes on without."""
    try:
        return read(folder)
    except ConfigurationError as error:
        if options.params is None:
            raise
        return str(error)


def _model(options: Options, found: Checkpoint | str | None) -> Model:
    told = Facts(
        parameters=options.params,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.kv_heads,
        head_dim=options.head_dim,
    )
    if isinstance(found, Checkpoint):
        return found.facts.overridden(told).model(found.problems)
    return Facts().overridden(told).model()


def _of_weights(found: Checkpoint | str) -> Iterable[Finding]:
    return preflight.of_weights(found.problems if isinstance(found, Checkpoint) else found)


def _window(options: Options, model: Model) -> int:
    window = options.window or min(WINDOW, model.window or WINDOW)
    model.check(window)
    return window


def _planned(options: Options, model: Model, cards: tuple[Card, ...] | str) -> Plan:
    wish = Wish(
        fp8=options.precision == "fp8",
        kv=options.kv_cache,
        window=_window(options, model),
        concurrency=options.concurrency,
        tensor=options.tensor_parallel,
        pipeline=options.pipeline_parallel,
    )
    gpu, gpus = _read_gpus(options.gpus) if options.gpus is not None else _own_gpus(cards)
    return plan(model, Machines(gpu, gpus, options.nodes, options.gpu_memory_utilization), wish)


def _own_gpus(cards: tuple[Card, ...] | str) -> tuple[GPU, int]:
    if isinstance(cards, str):
        raise ConfigurationError(
            f"This machine has no GPU that can be used ({cards}). Say which ones to plan for, e.g. --gpus 8xH100; "
            "with `vllm`, --cpu tries things out without any."
        )
    smallest = min(cards, key=lambda card: card.total)
    return preflight.kind(smallest), len(cards)


def _read_gpus(asked: str) -> tuple[GPU, int]:
    found = _CARDS.fullmatch(asked)
    gpu = GPUS.get(found[2].upper()) if found else None
    if found is None or gpu is None:
        known = ", 8x".join(GPUS)
        raise ConfigurationError(f"--gpus {asked[:40]!r}: give a number and a kind: 8x{known}.")
    return gpu, int(found[1])


def _server(options: Options, folder: Path, found: Checkpoint | str) -> Server:
    format_, tokenizer = (found.format, found.tokenizer) if isinstance(found, Checkpoint) else (None, None)
    return Server(
        folder=folder,
        format=format_,
        tokenizer=tokenizer,
        executable=str(Path(options.vllm).absolute()) if os.sep in options.vllm else options.vllm,  # in scripts too
        host=options.host,
        port=options.port,
        head=options.head,
        backend=options.backend,
        extra=options.extra,
    )


def _prepare(options: Options) -> _Job:
    if options.weights is None:
        raise ConfigurationError("--weights DIR is needed: the folder of the weights that shall be served.")
    folder = locate(options.weights)
    found = _read(folder, options)
    server, model = _server(options, folder, found), _model(options, found)
    machine = look(server.executable, server.host, server.port)
    commands, text, here = (_on_cpu if options.cpu else _on_gpus)(options, server, model, machine)
    here += [*preflight.of_software(machine, server.executable), *_of_weights(found)]
    if server.backend == "ray":
        here.append(preflight.of_ray(server.ray, shutil.which(server.ray)))
    anywhere = list(preflight.of_flags(server.extra))
    if options.node_rank == 0:
        here.append(preflight.of_port(machine.port))
        anywhere += preflight.of_reach(
            server.host, loopback=server.loopback, insecure=server.insecure, with_key=_has_key()
        )
    return _Job(server, commands, text, here, anywhere, _refusal(options, machine, here))


def _refusal(options: Options, machine: Machine, here: Iterable[Finding]) -> str | None:
    if options.node_rank == 0 and machine.port:  # another server there would be found ready
        return "Not started, nor with --force: it could not listen, and what does so already would be taken for it."
    if options.force or all(finding.level != "problem" for finding in here):
        return None
    return "Not started, as there is a problem. --force starts it nevertheless."


def _on_gpus(
    options: Options, server: Server, model: Model, machine: Machine
) -> tuple[list[Command], str, list[Finding]]:
    made = _planned(options, model, machine.cards)
    commands = command.on_gpus(server, made) if made.chosen else []
    return commands, show.of_plan(made), list(preflight.on_gpus(made, machine))


def _on_cpu(
    options: Options, server: Server, model: Model, machine: Machine
) -> tuple[list[Command], str, list[Finding]]:
    window = _window(options, model)
    made = command.on_cpu(server, model, window, options.concurrency)
    return [made], show.of_cpu(model), list(preflight.on_cpu(model, window, options.concurrency, machine))


def _explain(options: Options, job: _Job) -> int:
    print(show.LICENCE, job.text, sep="\n\n")
    if not job.commands:
        print("\nSo there is no command to show.")
        return 1
    commands = [each.beside(os.environ) for each in job.commands]
    print(f"\n{show.of_commands(commands)}\n\nThis machine\n\n{show.of_findings([*job.here, *job.anywhere])}\n")
    print(show.of_dry_run(starts=job.refusal is None, patience=options.ready_timeout))
    print(f"\nOnce it answers, these lines of Python use it:\n\n{job.usage}")
    return 1 if job.refusal else 0


def _emit(options: Options, job: _Job) -> int:
    folder = locate("." if options.output is None else options.output)
    about, nodes = f"{show.LICENCE}\n{job.text}", len(job.commands)
    written: list[Path] = []
    for rank, each in enumerate(job.commands):
        path = folder / f"serve-node{rank}.sh"
        try:
            with path.open("x", encoding="utf-8") as file:  # never over a file that may have been edited
                written.append(path)
                file.write(show.script(each, rank=rank, nodes=nodes, with_key=_has_key(), about=about))
            path.chmod(0o755)
        except OSError as error:
            for half in written:  # or the next try would fail at these
                half.unlink()
            raise ConfigurationError(f"{path} can't be written: {error.strerror}. See --output.") from None
    print(*written, sep="\n")
    if job.anywhere:
        _print(show.of_findings(job.anywhere))
    return 0


def _run(options: Options, job: _Job) -> int:
    if platform.system() != "Linux":
        raise ConfigurationError("vLLM is started on Linux only; plan, --dry-run and --emit script work anywhere.")
    from .supervise import Patience, Supervisor

    findings = show.of_findings([*job.here, *job.anywhere])
    _say(f"{show.LICENCE}\n\n{job.text}\n\nThis machine\n\n{findings}\n\n")
    if job.refusal:
        _say(job.refusal)
        return 1
    chosen = job.commands[options.node_rank]
    _say(show.of_command(chosen.beside(os.environ)))
    return Supervisor(
        chosen,
        job.server.url,
        os.environ,
        out=sys.stdout.buffer,
        say=_say,
        answered=lambda: _print(job.usage),
        patience=Patience(start=options.ready_timeout),
    ).run()


def _has_key() -> bool:
    return bool(os.environ.get(KEY))


def _say(text: str) -> None:
    for line in text.splitlines():
        _print(f"[launch] {line}".rstrip())


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, which is no reason to end the server
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
