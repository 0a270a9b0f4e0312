"""Read the user's folder of weights, as far as planning and the command need it; the files' insides: ``weights.py``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from nemotron_client.errors import ConfigurationError

from .sizes import PLAIN, Model
from .weights import Weights, inspect, inspect_tokenizer, read_whole, told

# What vLLM assumes where neither params.json nor a config.json beside it names a window; it serves no longer one.
_UNTOLD_WINDOW = 128_000
_LONGEST_DESCRIPTION = 10_000_000
_LARGEST = 10**12  # what `sizes.py` refuses all the same; here it must only be short enough to be shown
_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True, slots=True)
class Format:
    """How one format names its files and fields.

    Attributes:
        name: As vLLM calls it.
        config: The file that describes the model.
        weights: How the names of the weight files begin.
        tokenizer: The tokenizer's file.
        layers: A field of the description; so are those that follow.
    """

    name: Literal["mistral", "hf"]
    config: str
    weights: str
    tokenizer: str
    layers: str
    heads: str
    kv_heads: str
    hidden: str
    quantization: str

    def owns(self, name: str) -> bool:
        """Tell whether a file holds weights, or their index, in this format."""
        return name.startswith(self.weights) and name.endswith((".safetensors", ".safetensors.index.json"))


MISTRAL = Format(
    name="mistral",
    config="params.json",
    weights="consolidated",
    tokenizer="tekken.json",
    layers="n_layers",
    heads="n_heads",
    kv_heads="n_kv_heads",
    hidden="dim",
    quantization="quantization",
)
HF = Format(
    name="hf",
    config="config.json",
    weights="model",
    tokenizer="tokenizer.json",
    layers="num_hidden_layers",
    heads="num_attention_heads",
    kv_heads="num_key_value_heads",
    hidden="hidden_size",
    quantization="quantization_config",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a model; None what is not.

    Attributes:
        layers: How many transformer layers.
        kv_heads: Key-value heads in each.
        head_dim: Numbers in each head.
        heads: Query heads.
        window: The longest sequence that it was made for, in tokens.
        parameters: How many.
        weights: Bytes of the weights as they are.
        weights_fp8: Bytes of them in fp8.
        precision: What they are in.
        embeddings: Bytes of the input embeddings; 0 where unknown.
        head: Bytes of the output head; 0 where unknown, or where the embeddings serve for it.
    """

    layers: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    heads: int | None = None
    window: int | None = None
    parameters: int | None = None
    weights: int | None = None
    weights_fp8: int | None = None
    precision: str | None = None
    embeddings: int = 0
    head: int = 0

    def overridden(self, told: Facts) -> Facts:
        """Return the same with what the user told in its place.

        Raises:
            ConfigurationError: A number of parameters says nothing of the size of weights that are quantized.
        """
        given = {each.name: value for each in fields(told) if (value := getattr(told, each.name))}
        if told.parameters:  # what the files hold is not what is asked about; how they are quantized stays so
            given |= {"embeddings": 0, "head": 0, **self._estimated(told.parameters)}
        return replace(self, **given)

    def _estimated(self, parameters: int) -> dict[str, int | str]:
        if self.precision == "fp8":
            return {"weights": parameters, "weights_fp8": parameters}
        if self.precision is not None and self.precision not in PLAIN:
            raise ConfigurationError(
                f"--params: the weights are quantized ({self.precision}), so their size does not follow from a number "
                "of parameters. Leave --params away, or plan without --weights."
            )
        return {"weights": 2 * parameters, "weights_fp8": parameters, "precision": "bf16"}

    def model(self, problems: Sequence[str] = ()) -> Model:
        """Return the model.

        Args:
            problems: Why its weights could not be measured.

        Raises:
            ConfigurationError: Something is not known; it is named with the option that tells it.
        """
        layers, kv_heads, head_dim, weights = self.layers, self.kv_heads, self.head_dim, self.weights
        if layers is None or kv_heads is None or head_dim is None or weights is None:
            needed = {"--params": weights, "--layers": layers, "--kv-heads": kv_heads, "--head-dim": head_dim}
            why = "".join(f"\n  {problem}" for problem in problems)
            raise ConfigurationError(
                f"Not known of the model: {', '.join(name for name, value in needed.items() if value is None)}."
                + (f" The weights could not be measured:{why}\n" if why else " ")
                + "Give --weights DIR with its params.json or config.json and the weight files (or their index), or "
                "describe it: --params 123B --layers 88 --kv-heads 8 --head-dim 128 --heads 96. The size of "
                "mistral-nemotron is not published: whoever gave you weights knows it."
            )
        return Model(
            layers=layers,
            kv_heads=kv_heads,
            head_dim=head_dim,
            weights=weights,
            weights_fp8=weights if self.weights_fp8 is None else self.weights_fp8,
            precision=self.precision or "unknown",
            heads=self.heads,
            window=self.window,
            parameters=self.parameters,
            embeddings=self.embeddings,
            head=self.head,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder of weights.

    Attributes:
        folder: Its absolute path.
        format: Of its files.
        tokenizer: The name of the tokenizer's file that vLLM is told to use; None if there is none.
        facts: What its files tell of the model.
        problems: Why vLLM could not load it.
    """

    folder: Path
    format: Format
    tokenizer: str | None
    facts: Facts
    problems: tuple[str, ...]


def locate(given: str) -> Path:
    """Return the absolute path of a folder that need not be there.

    Raises:
        ConfigurationError: Its name holds characters that can't be shown, and so not be checked by a reader.
    """
    if not given:
        raise ConfigurationError("An empty path was given for a folder: is a variable of your script not set?")
    path = Path(given).absolute() if "\0" not in given else Path(given)
    if not str(path).isprintable():  # line breaks, escape sequences, bytes that are no text
        raise ConfigurationError(f"{given!r}: the path holds characters that can't be printed. Rename the folder.")
    return path


def read(folder: Path) -> Checkpoint:
    """Read what a folder of weights tells.

    Args:
        folder: The path, as ``locate`` gives it.

    Raises:
        ConfigurationError: It is no folder of weights, or can't be read.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ConfigurationError(
            f"--weights {folder}: {error.strerror}. Give the folder that holds the weight files."
        ) from None
    described = [each for each in (MISTRAL, HF) if each.config in names]
    if not described:
        raise ConfigurationError(
            f"--weights {folder}: neither params.json (Mistral's format) nor config.json (Hugging Face's) is in it. "
            "Give the folder that holds the weight files."
        )
    # Often both are described, and the weight files of one only were downloaded.
    found = next((each for each in described if any(map(each.owns, names))), described[0])
    facts, weights = _described(folder, found, names), inspect(folder, found.weights)
    tokenizer = _tokenizer(found, names)
    problem = inspect_tokenizer(folder / tokenizer) if tokenizer else f"there is no tokenizer ({found.tokenizer})"
    problems = (*weights.problems, *([problem] if problem else []))
    return Checkpoint(folder, found, tokenizer, _with_sizes(facts, weights), problems)


def _tokenizer(format_: Format, names: Collection[str]) -> str | None:
    """Return the name of the tokenizer's file that vLLM is told to use: Mistral's own comes first."""
    if MISTRAL.tokenizer in names:
        return MISTRAL.tokenizer
    newest = max((name for name in names if name.startswith("tokenizer.model.v")), default=None)
    return newest or (format_.tokenizer if format_.tokenizer in names else None)


def _with_sizes(facts: Facts, weights: Weights) -> Facts:
    # What the description says of quantization comes first, but of fp8, which has many names.
    precision = "fp8" if weights.precision == "fp8" else facts.precision or weights.precision
    return replace(
        facts,
        parameters=weights.parameters,
        weights=weights.size,
        weights_fp8=weights.fp8 if facts.precision is None else weights.size,
        precision=precision,
        embeddings=weights.embeddings,
        head=weights.head,
    )


def _described(folder: Path, format_: Format, names: Collection[str]) -> Facts:
    path = folder / format_.config
    config = _config(path)
    if any(config.get(name) for name in ("kv_lora_rank", "qk_nope_head_dim")):
        raise ConfigurationError(
            f"{path}: a model with latent attention (MLA), whose cache this can't work out. Run `vllm serve` itself."
        )
    heads = _number(config, format_.heads, path)
    hidden = _number(config, format_.hidden, path)
    head_dim = _number(config, "head_dim", path)
    if head_dim is None and heads and hidden:
        head_dim = hidden // heads
    window = _number(config, "max_position_embeddings", path)
    if window is None and format_ is MISTRAL:
        window = _window_of_hf(folder, names) or _UNTOLD_WINDOW
    return Facts(
        layers=_number(config, format_.layers, path),
        kv_heads=_number(config, format_.kv_heads, path) or heads,
        head_dim=head_dim,
        heads=heads,
        window=window,
        precision=_quantized(config.get(format_.quantization)),
    )


def _window_of_hf(folder: Path, names: Collection[str]) -> int | None:
    """Return the window that config.json tells of, where vLLM looks next; one that can't be read is no obstacle."""
    if HF.config not in names:
        return None
    try:
        return _number(_config(folder / HF.config), "max_position_embeddings", folder / HF.config)
    except ConfigurationError:
        return None


def _config(path: Path) -> dict[str, JsonValue]:
    """Read a description; of a model that sees pictures too, its text part."""
    try:
        read = _OBJECT.validate_json(read_whole(path, _LONGEST_DESCRIPTION))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {told(error)}. It should describe the model.") from None
    text = read.get("text_config")
    return {**read, **text} if isinstance(text, dict) else read


def _quantized(about: JsonValue) -> str | None:
    """Name how weights were quantized; None if they were not."""
    if not isinstance(about, dict) or not about:
        return None
    method = about.get("quant_method") or about.get("qformat_weight")
    if method == "fp8_e4m3":
        return "fp8"
    return method[:40] if isinstance(method, str) and method.isprintable() else "quantized"


def _number(config: Mapping[str, JsonValue], name: str, path: Path) -> int | None:
    value = config.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST:
        kind = "a number too large" if isinstance(value, int) and value > _LARGEST else repr(value)[:100]
        raise ConfigurationError(f"{path}: {name} is {kind}, and must be a whole number from 1.")
    return value
