"""What a model weighs and what a card holds, in bytes. Pure arithmetic (docs/explanation/protocol.md, "Sizing")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nemotron_client.errors import ConfigurationError

Precision = Literal["bf16", "fp8"]

MIB, GIB = 2**20, 2**30
BYTES: dict[Precision, int] = {"bf16": 2, "fp8": 1}
WINDOW = 131_072

# Of what nvidia-smi shows, for the driver and the CUDA context: PyTorch sees half a GiB less to begin with.
_CONTEXT = 3 * GIB // 2


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
        precision: What they are in now, for people: "bf16", "fp8", ...
        heads: Query heads; None where unknown, and then only the KV heads are divided.
        window: The longest sequence that it was made for, in tokens; None where unknown.
        parameters: How many; None where unknown.
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
        count = int(parameters)
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

    def check(self, window: int) -> None:
        """Refuse a window that is longer than the model's.

        Raises:
            ConfigurationError: It is longer.
        """
        if self.window is not None and window > self.window:
            raise ConfigurationError(
                f"A window of {window:,} tokens: the model was made for {self.window:,}. Ask for no more."
            )

    def divides(self, tensor: int) -> bool:
        """Tell whether so many GPUs can share each layer: vLLM gives each as many heads, or repeats KV heads."""
        if self.heads is None:
            return self.kv_heads % tensor == 0
        return self.heads % tensor == 0 and (self.kv_heads % tensor == 0 or tensor % self.kv_heads == 0)
