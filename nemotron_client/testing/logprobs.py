"""Log probabilities in vLLM's forms, of a model that is certain of what it says: 0 for that, -9999 for the rest."""

from collections.abc import Sequence

from nemotron_client.testing.tokenizing import VOCABULARY, spelled

_CERTAIN, _NEVER = 0.0, -9999.0  # the second is what vLLM makes of minus infinity
_LETTERS = range(1097, 1123)  # tokens that might have come: a to z


def of_chat(ids: Sequence[int], most: int, wanted: Sequence[int], *, as_ids: bool) -> dict[str, object]:
    """Return a chat's `logprobs`.

    Args:
        ids: The tokens of the answer, or of a chunk.
        most: How many alternatives to tell of each.
        wanted: Which to tell instead, if there are such.
        as_ids: Whether tokens are told by their ids.
    """
    return {
        "content": [
            {
                **_entry(token, _CERTAIN, as_ids=as_ids),
                "top_logprobs": [_entry(*each, as_ids=as_ids) for each in _told(token, most, wanted)],
            }
            for token in ids
        ]
    }


def of_text(
    ids: Sequence[int], most: int, wanted: Sequence[int], *, offset: int, begins: bool, as_ids: bool
) -> dict[str, object]:
    """Return a text completion's `logprobs`.

    Args:
        ids: The tokens of the answer, or of a chunk.
        most: How many alternatives to tell of each; the token itself is always told.
        wanted: Which to tell instead, if there are such.
        offset: How many characters stand before them.
        begins: Whether the first of them is the first of the prompt, of which there is no probability.
        as_ids: Whether tokens are told by their ids.
    """
    offsets: list[int] = []
    for token in ids:
        offsets.append(offset)
        offset += len(spelled([token]))
    told = [
        {_name(each, as_ids=as_ids): chance for each, chance in _told(token, max(most, 1), wanted)} for token in ids
    ]
    return {
        "text_offset": offsets,
        "token_logprobs": [None if begins and not number else _CERTAIN for number, _ in enumerate(ids)],
        "tokens": [_name(token, as_ids=as_ids) for token in ids],
        "top_logprobs": [None if begins and not number else each for number, each in enumerate(told)],
    }


def of_prompt(ids: Sequence[int], most: int) -> list[dict[str, object] | None]:
    """Return the `prompt_logprobs`: none of the first token."""
    rows: list[dict[str, object] | None] = [
        {
            str(each): {"logprob": chance, "rank": rank, "decoded_token": spelled([each])}
            for rank, (each, chance) in enumerate(_likeliest(token, max(most, 1)), 1)
        }
        for token in ids
    ]
    return [None, *rows[1:]]


def _told(token: int, most: int, wanted: Sequence[int]) -> list[tuple[int, float]]:
    if not wanted:
        return _likeliest(token, most)
    others = dict.fromkeys(each for each in wanted if each != token and 0 <= each < VOCABULARY)
    return [(token, _CERTAIN), *((each, _NEVER) for each in others)]


def _likeliest(token: int, most: int) -> list[tuple[int, float]]:
    others = [each for each in _LETTERS if each != token]
    return [(token, _CERTAIN), *((each, _NEVER) for each in others)][:most]


def _entry(token: int, chance: float, *, as_ids: bool) -> dict[str, object]:
    spelling = spelled([token])
    return {"token": _name(token, as_ids=as_ids), "logprob": chance, "bytes": [*spelling.encode()]}


def _name(token: int, *, as_ids: bool) -> str:
    return f"token_id:{token}" if as_ids else spelled([token])
