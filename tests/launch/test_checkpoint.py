"""Reading a folder of weights: what it tells of the model, and what is wrong with it."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client.errors import ConfigurationError
from nemotron_client.launch import GPUS, Machines, Wish, command, plan, show
from nemotron_client.launch.checkpoint import HF, MISTRAL, Checkpoint, Facts, locate, read
from nemotron_client.launch.command import Server
from nemotron_client.launch.sizes import Model
from tests.launch.folders import CONFIG, PARAMS, hugging_face, mistral, safetensors

SHARD = "consolidated.safetensors"

Damage = Callable[[Path], None]
Tensors = Mapping[str, tuple[str, list[int]]]


def problems(folder: Path) -> tuple[str, ...]:
    return read(folder).problems


def test_a_folder_in_mistrals_format_tells_all_that_planning_needs(tmp_path: Path) -> None:
    found = read(mistral(tmp_path))
    assert found == Checkpoint(
        tmp_path,
        MISTRAL,
        tokenizer="tekken.json",
        facts=Facts(
            layers=2,
            kv_heads=2,
            head_dim=32,
            heads=4,
            window=131_072,
            parameters=52,
            weights=104,
            weights_fp8=64 + 16 + 8,  # embeddings and norms stay in 16 bits
            precision="bf16",
            embeddings=64,
        ),
        problems=(),
    )
    assert found.facts.model().kv_bytes("bf16") == 2 * 2 * 2 * 32 * 2


def test_a_folder_in_hugging_faces_format_does_as_well(tmp_path: Path) -> None:
    found = read(hugging_face(tmp_path))
    assert (found.format, found.tokenizer, found.problems) == (HF, "tokenizer.json", ())
    assert (found.facts.head_dim, found.facts.window, found.facts.weights) == (32, 4096, 64)


def test_where_both_are_there_mistrals_is_taken_unless_its_weights_are_not(tmp_path: Path) -> None:
    hugging_face(tmp_path)
    assert read(mistral(tmp_path)).format is MISTRAL
    (tmp_path / SHARD).unlink()
    assert (read(tmp_path).format, problems(tmp_path)) == (HF, ())
    for part in tmp_path.glob("model*"):
        part.unlink()
    assert read(tmp_path).format is MISTRAL


def test_a_model_that_sees_describes_its_text_part_apart(tmp_path: Path) -> None:
    hugging_face(tmp_path, {"text_config": dict(CONFIG)})
    assert read(tmp_path).facts.layers == 2


def test_without_a_window_in_mistrals_format_vllm_looks_into_config_json_and_then_takes_128000(tmp_path: Path) -> None:
    told = {name: value for name, value in PARAMS.items() if name != "max_position_embeddings"}
    assert read(mistral(tmp_path, told)).facts.window == 128_000
    for text, window in ((json.dumps(CONFIG), 4096), ("{}", 128_000), ("no JSON", 128_000)):
        (tmp_path / "config.json").write_text(text)
        assert read(tmp_path).facts.window == window
    told = {name: value for name, value in CONFIG.items() if name != "max_position_embeddings"}
    assert read(hugging_face(tmp_path / "hf", told)).facts.window is None


def test_a_model_without_kv_heads_of_its_own_has_one_for_each_head(tmp_path: Path) -> None:
    assert read(mistral(tmp_path, {"dim": 64, "n_layers": 1, "n_heads": 4})).facts.kv_heads == 4


FP8 = {"w": ("F8_E4M3", [64, 64]), "tok_embeddings.weight": ("BF16", [8, 4])}
PACKED = {"w": ("I32", [64, 8]), "norm.weight": ("BF16", [4])}


def quantized(folder: Path, told: Mapping[str, object] | None, tensors: Tensors | None) -> Facts:
    """Read a folder whose description tells this of quantization; the field has its name in either format."""
    if told and "qformat_weight" in told:
        mistral(folder, {**PARAMS, "quantization": told})
        (folder / SHARD).unlink()
    else:
        hugging_face(folder, {**CONFIG, "quantization_config": told})
        for part in folder.glob("model*"):
            part.unlink()
        if tensors:
            (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return read(folder).facts


@pytest.mark.parametrize(
    ("told", "tensors", "precision"),
    [
        ({"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}, None, "fp8"),  # the files are elsewhere
        ({"quant_method": "compressed-tensors"}, FP8, "fp8"),
        ({"quant_method": "fbgemm_fp8"}, FP8, "fp8"),
        ({}, FP8, "fp8"),
        ({"quant_method": "compressed-tensors"}, PACKED, "compressed-tensors"),
        ({"quant_method": "gptq", "bits": 4}, PACKED, "gptq"),
        ({"bits": 4}, PACKED, "quantized"),
        ({"quant_method": "a\nb"}, PACKED, "quantized"),
        (None, PACKED, "packed"),
        (None, None, None),
    ],
)
def test_how_weights_are_quantized_is_read_off_their_description_and_themselves(
    tmp_path: Path,
    told: Mapping[str, object] | None,
    tensors: Tensors | None,
    precision: str | None,
) -> None:
    facts = quantized(tmp_path, told, tensors)
    assert (facts.precision, facts.weights_fp8) == (precision, facts.weights)


def test_of_packed_weights_only_the_bytes_are_known(tmp_path: Path) -> None:
    mistral(tmp_path)
    (tmp_path / SHARD).write_bytes(safetensors(PACKED))
    facts = read(tmp_path).facts
    assert (facts.weights, facts.parameters) == (2048 + 8, None)


@pytest.mark.parametrize(
    ("embeddings", "head"),
    [
        ("tok_embeddings.weight", "output.weight"),
        ("model.embed_tokens.weight", "lm_head.weight"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    ],
)
def test_what_stands_in_the_first_and_in_the_last_stage_alone_is_measured(
    tmp_path: Path, embeddings: str, head: str
) -> None:
    mistral(tmp_path)
    tensors = {embeddings: ("BF16", [8, 4]), "layers.0.w": ("BF16", [4, 4]), head: ("BF16", [9, 4])}
    (tmp_path / SHARD).write_bytes(safetensors(tensors))
    model = read(tmp_path).facts.model()
    assert (model.embeddings, model.head, model.weights_fp8) == (64, 72, 64 + 16 + 72)
    told = read(tmp_path).facts.overridden(Facts(parameters=10)).model()  # the files are not what is asked about
    assert (told.embeddings, told.head) == (0, 0)


def break_off(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:-10])


def lie_about_the_header(folder: Path) -> None:
    (folder / SHARD).write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10665945\n"
TOLD_OF_IT = r"is a pointer of Git LFS in place of the file \(`git lfs pull` fetches it\)"


def write(name: str, text: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / name).write_text(text)

    return do


class JsonText(str):
    """JSON as it stands, for what `json.dumps` could not write."""

    __slots__ = ()


def headed(header: object) -> Damage:
    def do(folder: Path) -> None:
        text = (header if isinstance(header, JsonText) else json.dumps(header)).encode()
        (folder / SHARD).write_bytes(len(text).to_bytes(8, "little") + text)

    return do


def tensor(begin: int, end: int, shape: Sequence[int] = (1,)) -> dict[str, object]:
    return {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}


def deep(levels: int) -> JsonText:
    return JsonText("[" * levels + "]" * levels)


def replaced(name: str, *, by: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(by)

    return do


def without(name: str) -> Damage:
    def do(folder: Path) -> None:
        (folder / name).unlink()

    return do


def make_the_index_a_folder(folder: Path) -> None:
    (folder / f"{SHARD}.index.json").mkdir()


def split(*, of: int, there: int) -> Damage:
    def do(folder: Path) -> None:
        (folder / SHARD).unlink()
        for number in range(1, there + 1):
            name = f"consolidated-{number:05}-of-{of:05}.safetensors"
            (folder / name).write_bytes(safetensors({f"layers.{number}.w": ("BF16", [4])}))

    return do


def index(*names: str, **more: object) -> Damage:
    told = {"weight_map": {f"w{number}": name for number, name in enumerate(names)}, **more}
    return write(f"{SHARD}.index.json", json.dumps(told))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (break_off, r"consolidated.safetensors: has \d+ of \d+ bytes"),
        (lie_about_the_header, "is no safetensors file, or cut short: it has 10 bytes"),
        (write(SHARD, ""), "is no safetensors file, or cut short: it has 0 bytes"),
        (headed([]), "can't be understood: Input should be an object"),
        (headed({}), "consolidated.safetensors: holds no weights"),
        (headed(deep(100_000)), "can't be understood: Invalid JSON: recursion limit exceeded"),
        (headed({"w": tensor(0, 2, shape=[-1])}), "can't be understood: 'w.shape.0': Input"),
        (headed({"w": tensor(0, 10**400)}), "can't be understood: 'w.data_offsets.1': Input should be less than"),
        (headed({"v": tensor(0, 20), "w": tensor(20, 10)}), "is damaged: its tensors don't follow one another"),
        (
            headed({"v": tensor(0, 8), "w": tensor(4, 12)}),
            "consolidated.safetensors: is damaged: its tensors don't follow one another",
        ),
        (without(SHARD), r"there is no consolidated\*.safetensors"),
        (replaced(SHARD, by="nowhere"), "consolidated.safetensors: is not there, or is a link to what is not there"),
        (replaced(SHARD, by=SHARD), "consolidated.safetensors: Too many levels of symbolic links"),
        (write(SHARD, POINTER), f"consolidated.safetensors: {TOLD_OF_IT}"),
        (write(f"{SHARD}.index.json", POINTER), f"index.json: {TOLD_OF_IT}"),
        (without("tekken.json"), r"there is no tokenizer \(tekken.json\)"),
        (write("tekken.json", POINTER), f"tekken.json: {TOLD_OF_IT}"),
        (write("tekken.json", ""), "tekken.json: is empty"),
        (write("tekken.json", '{"config": {}, "vocab": ['), "tekken.json: can't be understood: Invalid JSON: EOF"),
        (write("tekken.json", "Access is restricted"), "tekken.json: can't be understood: Invalid JSON: expected"),
        (write("tekken.json", '{"error": "Not found"}'), "tekken.json: can't be understood: 'config': Field required"),
        (replaced("tekken.json", by="nowhere"), "tekken.json: is not there, or is a link to what is not there"),
        (replaced("tekken.json", by="."), "tekken.json: is no file"),
        (split(of=3, there=2), "1 of the 3 files consolidated-...-of-00003.safetensors are missing"),
        (index(SHARD, "consolidated-2.safetensors"), "consolidated-2.safetensors: is not there"),
        (index(SHARD), "the index names tensors that no file holds: 'w0', 1 in all"),
        (index(), "the index names no files"),
        (index("../../etc/passwd"), r"names a file '../../etc/passwd', which is no plain name"),
        (index("a\nb.safetensors"), r"names a file 'a\\nb.safetensors', which is no plain name"),
        (index(SHARD, weight_map=[]), "index.json: can't be understood: 'weight_map': Input should be"),
        (replaced(f"{SHARD}.index.json", by="nowhere"), "index.json: is not there, or is a link"),
        (make_the_index_a_folder, "index.json: is no file"),
    ],
)
def test_what_vllm_could_not_load_is_told(tmp_path: Path, damage: Damage, problem: str) -> None:
    damage(mistral(tmp_path))
    (told,) = problems(tmp_path)
    assert re.search(problem, told), told


def test_the_tokenizer_that_is_looked_into_is_the_one_that_vllm_is_told_to_use(tmp_path: Path) -> None:
    write("tokenizer.json", "")(hugging_face(tmp_path))
    assert problems(tmp_path) == ("tokenizer.json: is empty",)
    write("tokenizer.json", "{}")(tmp_path)
    assert problems(tmp_path) == ("tokenizer.json: can't be understood: 'model': Field required",)
    write("tokenizer.model.v3", "")(tmp_path)
    assert problems(tmp_path) == ("tokenizer.model.v3: is empty",)
    write("tokenizer.model.v7", "no JSON")(tmp_path)  # of several the newest, as mistral_common does
    assert problems(tmp_path) == ()
    write("tekken.json", "")(tmp_path)
    assert (problems(tmp_path), read(tmp_path).tokenizer) == (("tekken.json: is empty",), "tekken.json")


def test_a_folder_without_a_tokenizer_is_told_which_file_its_format_has(tmp_path: Path) -> None:
    without("tokenizer.json")(hugging_face(tmp_path))
    assert (problems(tmp_path), read(tmp_path).tokenizer) == (
        ("there is no tokenizer (tokenizer.json)",),
        None,
    )
    write("tokenizer.json", '{"model": {}}')(mistral(tmp_path / "m"))
    without("tekken.json")(tmp_path / "m")
    assert problems(tmp_path / "m") == ("there is no tokenizer (tekken.json)",)


def test_an_index_tells_the_size_though_the_files_are_not_there(tmp_path: Path) -> None:
    index("consolidated-1.safetensors", metadata={"total_size": 10**12})(mistral(tmp_path))
    model = read(tmp_path).facts.model()
    assert (model.weights, model.precision) == (10**12, "unknown")
    model.check(4096, fp8=True)  # they may well be plain


def test_all_parts_there_is_no_problem(tmp_path: Path) -> None:
    split(of=2, there=2)(mistral(tmp_path))
    assert problems(tmp_path) == ()


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    mistral(tmp_path)
    (tmp_path / SHARD).unlink()
    os.mkfifo(tmp_path / SHARD)
    assert problems(tmp_path) == ("consolidated.safetensors: is no file",)
    (tmp_path / "params.json").unlink()
    os.mkfifo(tmp_path / "params.json")
    with pytest.raises(ConfigurationError, match=r"params.json: is no file. It should describe the model."):
        read(tmp_path)


def test_a_file_that_may_not_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mistral(tmp_path)

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nemotron_client.launch.weights._header", refuse)
    assert problems(tmp_path) == ("consolidated.safetensors: Permission denied",)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigurationError, match=r"params.json: Permission denied"):
        read(tmp_path)


def test_a_description_that_git_lfs_has_not_fetched_is_told_of(tmp_path: Path) -> None:
    write("params.json", POINTER)(mistral(tmp_path))
    with pytest.raises(ConfigurationError, match=rf"params.json: {TOLD_OF_IT}. It should describe the model."):
        read(tmp_path)


def test_a_description_of_unlikely_size_is_not_read(tmp_path: Path) -> None:
    with (mistral(tmp_path) / "params.json").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(
        ConfigurationError, match=r"params.json: has more than 10,000,000 bytes. It should describe the model."
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({**PARAMS, "n_layers": "many"}, "n_layers is 'many', and must be a whole number from 1"),
        ({**PARAMS, "n_heads": 0}, "n_heads is 0, and"),
        ({**PARAMS, "n_kv_heads": True}, "n_kv_heads is True, and"),
        ({**PARAMS, "head_dim": 10**400}, "head_dim is a number too large, and"),
        ({**PARAMS, "head_dim": 0.5}, "head_dim is 0.5, and"),
        ({**PARAMS, "head_dim": ["x" * 1000]}, "head_dim is .{100}, and"),
        ({**PARAMS, "kv_lora_rank": 512}, "a model with latent attention"),
        ([1], "params.json: can't be understood: Input should be an object"),
    ],
)
def test_a_description_that_can_not_be_used_is_refused(tmp_path: Path, params: object, message: str) -> None:
    mistral(tmp_path)
    (tmp_path / "params.json").write_text(json.dumps(params))
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path)


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(st.text(max_size=5), SCALAR, max_size=3)
SIZES = st.integers(-1, 200) | st.sampled_from([10**9, 10**13, 10**400])


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(PARAMS, SIZES) | {"quantization": JSON}),
    st.dictionaries(st.sampled_from([*PARAMS, "sliding_window", "moe", "yarn", "text_config"]), JSON, max_size=1),
    st.fixed_dictionaries(
        {"dtype": st.text(max_size=5), "shape": JSON, "data_offsets": st.tuples(SIZES, SIZES) | JSON}
    ),
)
def test_whatever_the_files_say_it_ends_in_a_plan_or_in_an_error_that_names_it(
    params: dict[str, object], other: dict[str, object], header: dict[str, object]
) -> None:
    with TemporaryDirectory() as name:
        folder = mistral(Path(name), {**params, **other})
        headed({"w": header})(folder)
        try:
            text = show.of_plan(plan(read(folder).facts.model(), Machines(GPUS["H100"], 8, 2), Wish(window=1)))
        except ConfigurationError as error:
            text = str(error)
        assert 0 < len(text) < 4000


def test_a_folder_that_is_not_there_or_holds_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere: No such file or directory\."):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"neither params\.json .* nor config\.json"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["two words", "it's; rm -rf $(HOME) `x` \"&|", "-rf", "größe"])
def test_any_name_that_can_be_shown_is_taken_as_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mistral(tmp_path / name)
    assert locate(name) == tmp_path / name
    assert problems(locate(name)) == ()


def test_an_empty_path_is_not_taken_for_the_current_folder() -> None:
    with pytest.raises(ConfigurationError, match=r"An empty path .* is a variable of your script not set"):
        locate("")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\0b", "a\udcffb"])
def test_a_name_that_can_not_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="holds characters that can't be printed"):
        locate(name)


def test_what_the_user_tells_comes_before_what_was_read() -> None:
    read_off = Facts(layers=2, kv_heads=2, head_dim=32, weights=104, weights_fp8=88, precision="bf16", parameters=52)
    model = read_off.overridden(Facts(layers=4)).model()
    assert (model.layers, model.weights) == (4, 104)
    model = read_off.overridden(Facts(parameters=1000)).model()
    assert (model.weights, model.weights_fp8) == (2000, 1000)


def test_a_number_of_parameters_leaves_weights_of_fp8_as_they_are_so_that_vllm_is_not_asked_to_make_them_so(
    tmp_path: Path,
) -> None:
    facts = quantized(tmp_path, {"quant_method": "fbgemm_fp8"}, FP8).overridden(Facts(parameters=10**10))
    model = facts.model()
    assert (model.weights, model.weights_fp8, model.precision) == (10**10, 10**10, "fp8")
    (made,) = command.on_gpus(Server(folder=tmp_path), plan(model, Machines(GPUS["H100"], 1), Wish(fp8=True, window=1)))
    assert "--quantization" not in made.argv


@pytest.mark.parametrize("told", [{"quant_method": "gptq", "bits": 4}, None])
def test_of_weights_packed_otherwise_a_number_of_parameters_tells_no_size(
    tmp_path: Path, told: Mapping[str, object] | None
) -> None:
    facts = quantized(tmp_path, told, PACKED)
    with pytest.raises(ConfigurationError, match=rf"--params: the weights are quantized \({facts.precision}\), so"):
        facts.overridden(Facts(parameters=10**10))


def test_what_is_told_alone_is_an_estimate() -> None:
    told = Facts(parameters=1000, layers=2, kv_heads=2, head_dim=32)
    assert Facts().overridden(told).model() == Model.of(1000, layers=2, kv_heads=2, head_dim=32)


def test_weights_of_unknown_precision_are_taken_as_they_are() -> None:
    model = Facts(layers=2, kv_heads=2, head_dim=32, weights=10**9).model()
    assert (model.precision, model.weights_fp8) == ("unknown", 10**9)


def test_what_is_not_known_is_named_with_the_option_that_tells_it() -> None:
    with pytest.raises(ConfigurationError, match="Not known of the model: --params, --head-dim"):
        Facts(layers=2, kv_heads=2).model()
