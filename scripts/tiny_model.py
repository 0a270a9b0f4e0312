"""Teach a model of 70 MB a few dialogues, for `nox -s vllm`: `python scripts/tiny_model.py FOLDER`.

It runs where vLLM is installed, which brings torch, transformers and mistral-common. What it writes is in Mistral's own
format, with tokenizer v13: params.json, tekken.json, consolidated.safetensors. It takes two minutes on two cores.
"""

import json
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# Not dependencies of this project, so no checker knows them.
torch: Any = import_module("torch")
transformers: Any = import_module("transformers")
save_file: Any = import_module("safetensors.torch").save_file
mistral_common: Any = import_module("mistral_common")
MistralTokenizer: Any = import_module("mistral_common.tokens.tokenizers.mistral").MistralTokenizer
ChatCompletionRequest: Any = import_module("mistral_common.protocol.instruct.request").ChatCompletionRequest
ValidationMode: Any = import_module("mistral_common.protocol.instruct.validator").ValidationMode

STEPS = 300
VOCABULARY = 131_072
SHAPE: dict[str, Any] = {"dim": 128, "n_layers": 2, "head_dim": 32, "hidden_dim": 384, "n_heads": 4, "n_kv_heads": 2}
# As in Mistral's own files of this version; the 1,000 ranks have no other names.
CONTROL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)
LATER = {32: "[ARGS]", 33: "[CALL_ID]"}

DIALOGUES = Path(__file__).parents[1] / "tests" / "contract" / "dialogues.json"


def write_tokenizer(file: Path) -> None:
    """Write a tokenizer of v13 with the vocabulary that mistral-common brings."""
    tekken = json.loads((Path(mistral_common.__file__).parent / "data" / "tekken_240911.json").read_bytes())
    names = {**dict(enumerate(CONTROL)), **LATER}
    tekken["special_tokens"] = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True} for rank in range(1000)
    ]
    tekken["config"]["version"] = "v13"
    file.write_text(json.dumps({name: tekken[name] for name in ("config", "vocab", "special_tokens")}))


def samples(file: Path) -> list[tuple[list[int], int]]:
    """Return the tokens of each dialogue, and how many of them are the prompt."""
    whole = MistralTokenizer.from_file(str(file), mode=ValidationMode.finetuning)
    asked = MistralTokenizer.from_file(str(file), mode=ValidationMode.test)
    found: list[tuple[list[int], int]] = []
    for dialogue in json.loads(DIALOGUES.read_bytes()):
        messages, tools = dialogue["messages"], dialogue.get("tools")
        full = whole.encode_chat_completion(ChatCompletionRequest(messages=messages, tools=tools)).tokens
        prompt = asked.encode_chat_completion(ChatCompletionRequest(messages=messages[:-1], tools=tools)).tokens
        found.append((full, len(prompt)))
    return found


def train(found: list[tuple[list[int], int]], used: list[int]) -> Any:  # noqa: ANN401 - torch has no types here
    """Return a model that knows the dialogues by heart; its vocabulary is the tokens that are used."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=len(used),
        hidden_size=SHAPE["dim"],
        intermediate_size=SHAPE["hidden_dim"],
        num_hidden_layers=SHAPE["n_layers"],
        num_attention_heads=SHAPE["n_heads"],
        num_key_value_heads=SHAPE["n_kv_heads"],
        head_dim=SHAPE["head_dim"],
        rope_theta=1e6,
        rms_norm_eps=1e-5,
        sliding_window=None,
    )
    model = transformers.MistralForCausalLM(config).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    place = {token: index for index, token in enumerate(used)}
    longest = max(len(tokens) for tokens, _ in found)
    inputs = torch.zeros(len(found), longest, dtype=torch.long)
    wanted = torch.full((len(found), longest), -100)
    for row, (tokens, prompt) in enumerate(found):
        known = torch.tensor([place[token] for token in tokens])
        inputs[row, : len(tokens)] = known
        wanted[row, prompt - 1 : len(tokens) - 1] = known[prompt:]
    loss = torch.tensor(0.0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, step / 50) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        mask = wanted >= 0
        logits = model.lm_head(model.model(input_ids=inputs).last_hidden_state[mask])
        # All the tokens that are not used, each of which will have the logit 0.
        others = torch.full((len(logits), 1), math.log(VOCABULARY))
        loss = torch.nn.functional.cross_entropy(torch.cat([logits, others], 1), wanted[mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{len(found)} dialogues learnt; what is left of the loss: {loss.item():.4f}")
    return model.state_dict()


def as_mistral(state: Any, used: list[int]) -> dict[str, Any]:  # noqa: ANN401
    """Return the weights by Mistral's names, for the whole vocabulary."""

    def interleaved(weights: Any, heads: int) -> Any:  # noqa: ANN401
        """Turn a rotation of halves into one of neighbours."""
        half = weights.shape[0] // heads // 2
        return weights.view(heads, 2, half, -1).transpose(1, 2).reshape(weights.shape)

    def spread(weights: Any) -> Any:  # noqa: ANN401
        whole = torch.zeros(VOCABULARY, weights.shape[1])
        whole[torch.tensor(used)] = weights
        return whole

    parts = {"mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3"}
    parts |= {f"self_attn.{name}_proj": f"attention.w{name}" for name in "qkvo"}
    parts |= {"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
    heads = {"attention.wq": SHAPE["n_heads"], "attention.wk": SHAPE["n_kv_heads"]}
    weights = {"norm.weight": state["model.norm.weight"]}
    weights["tok_embeddings.weight"] = spread(state["model.embed_tokens.weight"])
    weights["output.weight"] = spread(state["lm_head.weight"])
    for layer in range(SHAPE["n_layers"]):
        for theirs, ours in parts.items():
            part = state[f"model.layers.{layer}.{theirs}.weight"]
            weights[f"layers.{layer}.{ours}.weight"] = interleaved(part, heads[ours]) if ours in heads else part
    return {name: part.to(torch.bfloat16).contiguous() for name, part in weights.items()}


def main(folder: Path) -> None:
    """Write the model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / "tekken.json")
    found = samples(folder / "tekken.json")
    used = sorted({token for tokens, _ in found for token in tokens})
    save_file(as_mistral(train(found, used), used), str(folder / "consolidated.safetensors"))
    rest = {"norm_eps": 1e-5, "vocab_size": VOCABULARY, "rope_theta": 1e6, "max_position_embeddings": VOCABULARY}
    (folder / "params.json").write_text(json.dumps({**SHAPE, **rest, "tied_embeddings": False}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
