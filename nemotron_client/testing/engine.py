"""What vLLM's engine has against a request: it looks at it last, when a stream has begun already. Pure."""

from collections.abc import Iterable, Iterator, Sequence

from nemotron_client._json import is_object
from nemotron_client.testing.forms import ChatBody, StructuralTag, StructuredOutputs, TextBody
from nemotron_client.testing.limits import everything_in, is_too_large, number, once, wrong_temperature
from nemotron_client.testing.refusals import refused
from nemotron_client.testing.replies import Reply, error
from nemotron_client.testing.schemas import has_half_character, is_compiled, read
from nemotron_client.testing.tokenizing import VOCABULARY, prompts, text_ids

_MOST_LOGPROBS = 20
_MOST_TOKENS_TOLD = _MOST_BAD_WORDS = 128


def refused_by_engine(body: ChatBody | TextBody) -> Iterator[Reply]:
    """Yield what vLLM refuses when a stream has begun already, since its engine is the first to look at it."""
    if body.use_beam_search:
        yield from wrong_temperature(body.temperature)
    else:
        yield from _wrong_values(body)
    if isinstance(body, TextBody) and _has_empty_prompt(body):
        yield error(400, "The decoder prompt cannot be empty")
    if not body.use_beam_search:
        yield from _wrong_bad_words(once(body.bad_words))
    if any(map(_is_unsendable, everything_in(*_handed_over(body)))):
        yield error(500, "")


def _has_empty_prompt(body: TextBody) -> bool:
    """Tell a prompt without a token: an empty text has the start's, unless that is left out."""
    return any(not each and (not isinstance(each, str) or not body.add_special_tokens) for each in prompts(body.prompt))


def _wrong_values(body: ChatBody | TextBody) -> Iterator[Reply]:
    yield from _out_of_vocabulary(body)
    if body.thinking_token_budget not in {None, -1}:
        told = "thinking_token_budget is set but reasoning_config is not configured. Please set --reasoning-parser"
        yield error(400, f"{told} and/or --reasoning-config to use thinking_token_budget.")
    tag = None if body.structured_outputs is None else body.structured_outputs.structural_tag
    if isinstance(body.response_format, StructuralTag) or (tag is not None and _has_format(read(tag))):
        yield error(400, "Invalid grammar specification: 'triggers'")  # llguidance's, which knows the older form alone
    if body.structured_outputs is not None:
        yield from _unusable_outputs(body.structured_outputs)
    if is_compiled(body):
        from nemotron_client.testing.grammar import grammar_error  # whose compiler only these need

        wrong = grammar_error(body)
        if wrong is not None:
            yield error(400, wrong)


def _wrong_bad_words(words: Sequence[str]) -> Iterator[Reply]:
    """Yield what is told of words that have no token, or too many with those they have after a blank."""
    count = 0
    for word in words:
        alone, after_blank = text_ids(word.lstrip()), text_ids(f" {word.lstrip()}")
        if not alone:
            yield refused("bad_words entries must tokenize to at least one token.", "bad_words", words)
        count += 2 if alone[:1] != after_blank[:1] and len(alone) == len(after_blank) else 1
        if count > _MOST_BAD_WORDS:
            told = f"Too many bad words after tokenization: {_MOST_BAD_WORDS + 1}."
            yield refused(f"{told} The max number is {_MOST_BAD_WORDS}.", "bad_words", words)


def _handed_over(body: ChatBody | TextBody) -> Iterator[object]:
    """Yield what goes to the engine, in a form that has no half characters and no numbers of more than 64 bits."""
    yield from (body.request_id, body.session_id)
    if body.use_beam_search:
        return
    yield from (body.stops, body.bad_words, body.stream_interval)
    yield from (body.kv_transfer_params, body.ec_transfer_params, body.vllm_xargs)
    if body.structured_outputs is not None:
        yield body.structured_outputs.whitespace_pattern
    if body.repetition_detection is not None:
        yield vars(body.repetition_detection)
    if body.temperature != 0:  # or else it is not looked at
        yield body.top_k


def _is_unsendable(value: object) -> bool:
    return is_too_large(value) or (isinstance(value, str) and has_half_character(value))


def _unusable_outputs(outputs: StructuredOutputs) -> Iterator[Reply]:
    if outputs.choice == []:
        yield error(400, "Choice '[]' cannot be an empty list")
    if outputs.grammar is not None and not outputs.grammar.strip():
        yield error(400, "structured_outputs.grammar cannot be an empty string")
    if "\x00" in (outputs.regex or ""):
        yield error(400, "structured_outputs.regex must not contain a NUL character ('\\x00')")


def _has_format(tag: object) -> bool:
    return is_object(tag) and "format" in tag


def _out_of_vocabulary(body: ChatBody | TextBody) -> Iterator[Reply]:
    yield from _too_many_logprobs("sample", "logprobs", None if body.logprob_token_ids else body.most_logprobs)
    if len(body.logprob_token_ids or ()) > _MOST_TOKENS_TOLD:
        told = f"Requested logprob_token_ids of length {len(body.logprob_token_ids or ())}, which is greater than max"
        yield refused(f"{told} allowed: {_MOST_TOKENS_TOLD}", "logprob_token_ids", len(body.logprob_token_ids or ()))
    yield from _strangers("logprob_token_ids", body.logprob_token_ids or ())
    yield from _too_many_logprobs("prompt", "prompt_logprobs", body.prompt_logprobs)
    for name, tokens in (
        ("logit_bias", map(number, body.logit_bias or ())),
        ("stop_token_ids", body.stop_token_ids or ()),
    ):
        yield from _strangers(name, (token for token in tokens if token is not None))
    if body.allowed_token_ids == []:
        yield refused("allowed_token_ids is not None and empty!", "allowed_token_ids", [])
    if strange := _strange(body.allowed_token_ids or ()):
        yield refused("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids", strange)


def _too_many_logprobs(kind: str, name: str, most: int | None) -> Iterator[Reply]:
    wanted = VOCABULARY if most == -1 else most
    if wanted is not None and wanted > _MOST_LOGPROBS:
        told = f"Requested {kind} logprobs of {wanted}, which is greater than max allowed: {_MOST_LOGPROBS}"
        yield refused(told, name, wanted)


def _strangers(name: str, tokens: Iterable[int]) -> Iterator[Reply]:
    if strange := _strange(tokens):
        told = f"token_id(s) {strange} in {name} contain out-of-vocab token ids. Vocabulary size: {VOCABULARY}"
        yield refused(told, name, strange)


def _strange(tokens: Iterable[int]) -> list[int]:
    return [token for token in tokens if not 0 <= token < VOCABULARY]
