"""What a model weighs and what a card holds, in bytes. Pure arithmetic (docs/explanation/protocol.md, "Sizing")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nemotron_client.errors import ConfigurationError

Precision = Literal["bf16", "fp8"]

MIB, GIB = 2**20, 2**30
BYTES: dict[Precision, int] = {"bf16": 2, "fp8": 1}
WINDOW = 131_072

# Far above all that exists: what is larger is a slip, or made to keep the arithmetic busy for ever.
MOST = {
    "layers": 10_000,
    "heads": 10_000,
    "kv_heads": 10_000,
    "head_dim": 100_000,
    "weights": 10**16,
    "window": 10**9,
    "concurrency": 10**9,
    "tensor": 10_000,
    "pipeline": 10_000,
    "gpus": 128,
    "nodes": 1_000,
}
# What vLLM can make fp8 of; other weights are quantized already.
PLAIN = frozenset({"bf16", "fp16", "fp32"})

# Of what nvidia-smi shows, for the driver and the CUDA context: PyTorch sees half a GiB less to begin with.
_CONTEXT = 3 * GIB // 2


def check_ranges(holder: object) -> None:
    """Refuse numbers that can't be.

    Args:
        holder: Its fields that have a limit, and are not None, are looked at.

    Raises:
        ConfigurationError: One is below 1 or above its limit.
    """
    for name, most in MOST.items():
        value = getattr(holder, name, None)
        if value is not None and not 1 <= value <= most:
            shown = f"{value:,}" if value < 1 else "too many"
            raise ConfigurationError(f"{name} ({shown}): give a number from 1 to {most:,}.")


@dataclass(frozen=True, slots=True)
class GPU:
    """One kind of card.

    Attributes:
        name: As NVIDIA calls it, shortened.
        memory: Bytes that a process can use.
    """

    name: str
    memory: int

    @classmethod
    def of(cls, name: str, mib: int) -> GPU:
        """Make one of what nvidia-smi shows.

        Args:
            name: The card.
            mib: Its total memory in MiB.
        """
        return cls(name, (mib * MIB - _CONTEXT) // GIB * GIB)


# The MiB are nvidia-smi's "memory.total" of these cards. H100 is SXM or PCIe, both with 80 GB.
GPUS: dict[str, GPU] = {
    "H100": GPU.of("H100 80 GB", 81_559),
    "H100-NVL": GPU.of("H100 NVL 94 GB", 95_830),
    "H200": GPU.of("H200 141 GB", 143_771),
    "B200": GPU.of("B200 180 GB", 183_359),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the arithmetic needs to know of a model.

    Attributes:
        layers: How many transformer layers.
        kv_heads: Key-value heads in each.
        head_dim: Numbers in each head.
        weights: Bytes of its weights as they are.
        weights_fp8: Bytes of them in fp8, where they are larger now; else the same.
        precision: What they are in now: "bf16", "fp8", ..., or how they were quantized: "gptq", ...
        heads: Query heads; None where unknown, and then only the KV heads are divided.
        window: The longest sequence that it was made for, in tokens; None where unknown.
        parameters: How many; None where unknown.
        embeddings: Bytes of the input embeddings, of all weights; 0 where unknown.
        head: Bytes of the output head, of all weights; 0 where unknown, or where the embeddings serve for it.
    """

    layers: int
    kv_heads: int
    head_dim: int
    weights: int
    weights_fp8: int
    precision: str
    heads: int | None = None
    window: int | None = None
    parameters: int | None = None
    embeddings: int = 0
    head: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        check_ranges(self)
        ends, most = (self.embeddings, self.head), min(self.weights, self.weights_fp8)
        if min(ends) < 0 or sum(ends) > most:
            raise ConfigurationError(f"embeddings and head {ends}: give parts of the {most:,} bytes of weights.")

    @classmethod
    def of(cls, parameters: float, *, layers: int, kv_heads: int, head_dim: int, heads: int | None = None) -> Model:
        """Estimate a model, in bf16, from its number of parameters.

        Args:
            parameters: How many, e.g. 123e9.
            layers: How many transformer layers.
            kv_heads: Key-value heads in each.
            head_dim: Numbers in each head.
            heads: Query heads.
        """
        count = int(parameters) if parameters < MOST["weights"] else MOST["weights"]  # infinity has no int
        return cls(
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            weights=2 * count,
            weights_fp8=count,
            precision="bf16",
            heads=heads,
            parameters=count,
        )

    def kv_bytes(self, kv: Precision) -> int:
        """Return the bytes of KV cache for each token: a key and a value in each KV head of each layer."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES[kv]

    def check(self, window: int, *, fp8: bool = False) -> None:
        """Refuse what the model isn't made for.

        Args:
            window: That it shall have, in tokens.
            fp8: Whether its weights shall be made fp8.

        Raises:
            ConfigurationError: The window is longer than the model's, or the weights are quantized otherwise.
        """
        if self.window is not None and window > self.window:
            raise ConfigurationError(
                f"A window of {window:,} tokens: the model was made for {self.window:,}. Ask for no more."
            )
        if fp8 and self.precision not in PLAIN | {"fp8", "unknown"}:
            raise ConfigurationError(
                f"--precision fp8: the weights are quantized already ({self.precision}), and vLLM makes fp8 only of "
                "those that are not. Leave it away to serve them as they are."
            )

    def divides(self, tensor: int) -> bool:
        """Tell whether so many GPUs can share each layer: vLLM gives each as many heads, or repeats KV heads."""
        if self.heads is None:
            return self.kv_heads % tensor == 0
        return self.heads % tensor == 0 and (self.kv_heads % tensor == 0 or tensor % self.kv_heads == 0)
