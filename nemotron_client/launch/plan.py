"""Which parallel sizes hold a model, and how many full windows at once. Pure.

What it says is arithmetic: nothing here was measured on a GPU (docs/decisions/launcher.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nemotron_client.errors import ConfigurationError

from .sizes import BYTES, GIB, GPU, GPUS, WINDOW, Model, Precision, check_ranges

# For activations and CUDA graphs, on each GPU: 3 to 6 GiB are usual (docs/explanation/protocol.md, "Sizing").
RESERVE = 5 * GIB
# vLLM's own default in 0.32 is 0.92; what is left is for what other programs hold, and for fragments.
SHARE = 0.9
_STEP = 1024  # a smaller window is offered in such steps


@dataclass(frozen=True, slots=True)
class Machines:
    """The hardware.

    Attributes:
        gpu: The kind of card.
        gpus: How many in each node.
        nodes: How many nodes.
        share: The part of each card's memory that vLLM may take.
        reserve: Bytes of that on each card for other things than weights and KV cache.
    """

    gpu: GPU
    gpus: int
    nodes: int = 1
    share: float = SHARE
    reserve: int = RESERVE

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        check_ranges(self)
        if not 0 < self.share <= 1:
            raise ConfigurationError(f"A share of {self.share:g} of a GPU's memory: give more than 0 and at most 1.")

    @property
    def usable(self) -> int:
        """Bytes on each card for weights, KV cache and the reserve."""
        return int(self.gpu.memory * self.share)

    def __str__(self) -> str:
        """Name them: ``2 nodes of 8x H100 80 GB``."""
        cards = f"{self.gpus}x {self.gpu.name}"
        return cards if self.nodes == 1 else f"{self.nodes} nodes of {cards}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the server shall do.

    Attributes:
        fp8: Serve the weights in fp8, whatever they are in now.
        kv: What the KV cache is in.
        window: The longest sequence, prompt and answer, in tokens.
        concurrency: How many sequences of that length at once.
        tensor: How many GPUs share each layer; None to choose.
        pipeline: Over how many stages the layers are spread; None to choose.
    """

    fp8: bool = False
    kv: Precision = "bf16"
    window: int = WINDOW
    concurrency: int = 1
    tensor: int | None = None
    pipeline: int | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to spread a model over the GPUs, and what it leaves.

    Attributes:
        tensor: GPUs that share each layer.
        pipeline: Stages that the layers are spread over, one after the other.
        data: Copies of the model, each with its own KV cache.
        weights: Bytes on each GPU; here and below, of the pipeline stage with room for the fewest tokens.
        room: Bytes left on each GPU for its KV cache; below 0 if not even the weights fit.
        kv_bytes: Bytes for each token on each GPU.
        window: Tokens of a full sequence.
    """

    tensor: int
    pipeline: int
    data: int
    weights: int
    room: int
    kv_bytes: int
    window: int

    @property
    def tokens(self) -> int:
        """How many tokens all KV caches hold together."""
        return max(self.room, 0) // self.kv_bytes * self.data

    @property
    def sequences(self) -> int:
        """How many full windows all copies hold at once."""
        return max(self.room, 0) // (self.kv_bytes * self.window) * self.data

    @property
    def gpus(self) -> int:
        """How many GPUs one copy takes."""
        return self.tensor * self.pipeline

    def __str__(self) -> str:
        """Name the sizes: ``TP 8 x PP 2 x DP 1``."""
        return f"TP {self.tensor} x PP {self.pipeline} x DP {self.data}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked, what there is, and what comes of it.

    Attributes:
        model: The model.
        machines: The hardware.
        wish: What was asked for.
        layouts: Every way to spread the model over all of the GPUs, the best first.
        chosen: The one to use; None if none does what was asked.
        nearest: Where none does: changes that would, each with what comes of it.
    """

    model: Model
    machines: Machines
    wish: Wish
    layouts: tuple[Layout, ...]
    chosen: Layout | None
    nearest: tuple[tuple[str, Layout], ...] = ()

    @property
    def weights(self) -> int:
        """Bytes of the weights as they are served."""
        return _weights(self.model, self.wish)


def plan(model: Model, machines: Machines, wish: Wish) -> Plan:
    """Choose how to spread a model over GPUs.

    Taken is what does all that was asked with the fewest pipeline stages (each waits for the one before), of these
    what holds most full windows, of these what has the largest tensor-parallel size (the shortest answer times).

    Args:
        model: The model.
        machines: The hardware.
        wish: What the server shall do.

    Returns:
        The plan; without a choice, but with what would do, if nothing does.

    Raises:
        ConfigurationError: The window or the precision is none for this model, or the parallel sizes that were asked
            for can't be.
    """
    model.check(wish.window, fp8=wish.fp8)
    layouts = tuple(sorted(_layouts(model, machines, wish), key=_order))
    if not layouts:
        raise ConfigurationError(
            f"No parallel sizes as asked (tensor {wish.tensor or 'any'}, pipeline {wish.pipeline or 'any'}) divide "
            f"{machines} and {_heads(model)}. Possible are: "
            f"{', '.join(map(str, _layouts(model, machines, replace(wish, tensor=None, pipeline=None))))}."
        )
    chosen = next((each for each in layouts if _does(each, wish)), None)
    return Plan(model, machines, wish, layouts, chosen, () if chosen else tuple(_nearest(model, machines, wish)))


def spread(model: Model, machines: Machines, wish: Wish, tensor: int, pipeline: int) -> Layout:
    """Work out one layout; the division of the heads is the caller's to check."""
    heads = max(model.kv_heads // tensor, 1)  # of each layer on each GPU of a stage
    stages: list[Layout] = []
    for layers, whole in _stages(model, wish, pipeline):
        weights = -(-whole // tensor)
        stages.append(
            Layout(
                tensor=tensor,
                pipeline=pipeline,
                data=machines.gpus * machines.nodes // (tensor * pipeline),
                weights=weights,
                room=machines.usable - machines.reserve - weights,
                kv_bytes=2 * layers * heads * model.head_dim * BYTES[wish.kv],
                window=wish.window,
            )
        )
    return min(stages, key=lambda stage: (stage.tokens, stage.room))  # no stage keeps more tokens than another


def _stages(model: Model, wish: Wish, pipeline: int) -> Iterator[tuple[int, int]]:
    """Yield the layers of each kind of pipeline stage, and the bytes of its weights, as vLLM's `get_pp_indices` does.

    What layers are left over go one by one to the stages before the last, backwards. The first has the embeddings, the
    last the output head, or the embeddings again where they serve for it.
    """
    whole = _weights(model, wish)
    if pipeline == 1:
        yield model.layers, whole
        return
    layers, left = divmod(model.layers, pipeline)
    kinds = [(layers + (left == pipeline - 1), model.embeddings), (layers, model.head or model.embeddings)]
    if pipeline > 2:
        kinds.append((layers + (left > 0), 0))
    for each, more in kinds:
        yield each, -(-(whole - model.embeddings - model.head) * each // model.layers) + more


def _weights(model: Model, wish: Wish) -> int:
    return model.weights_fp8 if wish.fp8 else model.weights


def _heads(model: Model) -> str:
    queries = "" if model.heads is None else f"{model.heads} heads, "
    return f"the model's {queries}{model.kv_heads} KV heads and {model.layers} layers"


def _does(layout: Layout, wish: Wish) -> bool:
    return layout.sequences >= max(wish.concurrency, 1)


def _order(layout: Layout) -> tuple[int, int, int, int]:
    return (layout.sequences == 0, layout.pipeline, -layout.sequences, -layout.tensor)


def _layouts(model: Model, machines: Machines, wish: Wish) -> Iterator[Layout]:
    """Yield each way to use all GPUs: a copy takes an equal part of a node, or some whole nodes."""
    parts = _divisors(machines.gpus)
    copies = [*parts, *(machines.gpus * nodes for nodes in _divisors(machines.nodes)[1:])]
    # Tensor parallelism stays within a node: each layer waits for its exchange, which the network slows down.
    for tensor in parts:
        if not model.divides(tensor) or wish.tensor not in {None, tensor}:
            continue
        for gpus in copies:
            pipeline, left = divmod(gpus, tensor)
            if not left and 1 <= pipeline <= model.layers and wish.pipeline in {None, pipeline}:
                yield spread(model, machines, wish, tensor, pipeline)


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _nearest(model: Model, machines: Machines, wish: Wish) -> Iterator[tuple[str, Layout]]:
    """Yield changes after which it does what was asked: of each kind the smallest."""
    for kind in _changes(model, machines, wish):
        for text, other_machines, other_wish in kind:
            layouts = sorted(_layouts(model, other_machines, other_wish), key=_order)
            best = next((each for each in layouts if _does(each, other_wish)), None)
            if best:
                yield text, best
                break


def _changes(model: Model, machines: Machines, wish: Wish) -> Iterator[list[tuple[str, Machines, Wish]]]:
    layouts = list(_layouts(model, machines, wish))
    most = max(each.sequences for each in layouts)
    if most:
        yield [(f"--concurrency {most}", machines, replace(wish, concurrency=most))]
    longest = longest_window(layouts, wish)
    if longest:
        yield [(f"--window {longest}", machines, replace(wish, window=longest))]
    if wish.tensor or wish.pipeline:
        yield [("no parallel sizes given", machines, replace(wish, tensor=None, pipeline=None))]
    fp8 = [("--kv-cache fp8", replace(wish, kv="fp8"))] if wish.kv == "bf16" else []
    if model.weights_fp8 < _weights(model, wish):
        fp8.append(("--precision fp8", replace(wish, fp8=True)))
        fp8.append(("--precision fp8 --kv-cache fp8", replace(wish, fp8=True, kv="fp8")))
    yield [(text, machines, each) for text, each in fp8]
    yield [(_asked(more), more, wish) for more in _more_gpus(machines)]
    larger = [replace(machines, gpu=gpu) for gpu in GPUS.values() if gpu.memory > machines.gpu.memory]
    yield [(_asked(other), other, wish) for other in larger]


def longest_window(layouts: Iterable[Layout], wish: Wish) -> int:
    """Return the longest window, in tokens, of which as many as wanted fit; 0 if none."""
    return max(_longest(each, wish) for each in layouts)


def _longest(layout: Layout, wish: Wish) -> int:
    each = -(-wish.concurrency // layout.data)  # sequences in one copy
    return max(layout.room, 0) // layout.kv_bytes // each // _STEP * _STEP


def _more_gpus(machines: Machines) -> Iterator[Machines]:
    yield from (replace(machines, gpus=gpus) for gpus in (2, 4, 8) if gpus > machines.gpus)
    full = max(machines.gpus, 8)
    yield from (replace(machines, gpus=full, nodes=nodes) for nodes in (2, 4, 8, 16) if nodes > machines.nodes)


def _asked(machines: Machines) -> str:
    """Return the options that ask for these machines; words, if their cards have no option."""
    name = next((name for name, gpu in GPUS.items() if gpu == machines.gpu), None)
    if name is None:
        return str(machines)
    return f"--gpus {machines.gpus}x{name}" + (f" --nodes {machines.nodes}" if machines.nodes > 1 else "")
