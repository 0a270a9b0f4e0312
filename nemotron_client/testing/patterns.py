"""What vLLM's two compilers have against a pattern or a grammar that an answer shall follow, in their words. Pure.

XGrammar is asked first, and llguidance where that refuses.
"""

import json
import re

from pydantic_core import SchemaError, SchemaValidator, core_schema

_EDGES = {
    r"\b": "WordUnicode",
    r"\B": "WordUnicodeNegate",
    "^": "Start",
    r"\A": "Start",
    "$": "End",
    r"\z": "End",
}
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)  # of a pattern: an escape, a class, a character
# What has a meaning after a backslash.
_ESCAPES_IN_CLASS = r"dDsSwWnrtfvxupP\\^$.*+?()[]{}|/-"
_ESCAPES = f"{_ESCAPES_IN_CLASS}AabBz123456789"
_WRITTEN = str.maketrans({"\n": r"\n", "\r": r"\r", "\t": r"\t"})


def refused_pattern(pattern: str) -> str | None:
    """Say what vLLM has against a pattern that an answer shall follow; None if that is nothing."""
    told = None if _is_simple(pattern) else wrong_pattern(pattern)
    if told is None:
        return None
    written = _between_slashes(pattern)
    quoted, where = json.dumps(written, ensure_ascii=False), f"   1 | start: /{written}/\n{' ' * 14}^"
    return f"Grammar error: at 1(8): invalid regex {quoted} (in regex): {told}\n{where}"


def fits_nothing(pattern: str) -> bool:
    """Tell a pattern that XGrammar takes and llguidance would refuse: no answer follows it, so it is empty."""
    return _is_simple(pattern) and wrong_pattern(pattern) is not None


def _is_simple(pattern: str) -> bool:
    """Tell a pattern that vLLM's first compiler, XGrammar, takes: it passes over edges, and escapes it doesn't know."""
    atoms = _ATOM.findall(pattern)
    if "(?" in pattern.replace("(?:", "") or not {r"\b", r"\B"}.isdisjoint(atoms):
        return False
    return _refusal("".join(map(_without_unknown_escapes, atoms))) is None


def _without_unknown_escapes(atom: str) -> str:
    known, instead = (_ESCAPES, "") if atom[0] == "\\" else (_ESCAPES_IN_CLASS, "x")
    return re.sub(r"\\(.?)", lambda found: found[0] if found[1] and found[1] in known else instead, atom)


def wrong_pattern(pattern: str) -> str | None:
    """Say what llguidance has against a pattern."""
    written = _between_slashes(pattern)
    told = _refusal(written)
    if told is not None:
        return told
    edges = [edge for found in _ATOM.finditer(written) if (edge := _misplaced(written, found)) is not None]
    return f"lookarounds not supported yet; {edges[-1]} in regex /{written}/" if edges else None


def _refusal(written: str) -> str | None:
    """Say what is wrong with a pattern; pydantic reads it with the library that llguidance uses, Rust's regex."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=written, regex_engine="rust-regex"))
    except SchemaError as wrong:
        told = str(wrong).partition("SchemaError: ")[2]
        return told if told.startswith("regex parse error") else None  # other errors: what it would weigh once compiled
    return None


def _misplaced(written: str, found: re.Match[str]) -> str | None:
    """Return the name of an edge that stands elsewhere than at the beginning or the end; None if it doesn't."""
    edge = _EDGES.get(found[0])
    before, after = written[: found.start()], written[found.end() :]
    if edge in {"Start", "End"} and found[0] in {"^", "$"} and re.search(r"\(\?[a-zA-Z]*m", before):
        return f"{edge}LF"
    if (edge == "Start" and re.fullmatch(r"(?:.*\|)?(?:\((?:\?[\w<>]*[:)>])?)*", before, re.DOTALL)) or (
        edge == "End" and re.fullmatch(r"\)*(?:\|.*)?", after, re.DOTALL)
    ):
        return None
    return edge


def _between_slashes(pattern: str) -> str:
    """Write a pattern as it stands in a grammar."""
    written = re.sub(r"\\.|/", lambda found: "\\/" if found[0] == "/" else found[0], pattern, flags=re.DOTALL)
    return written.translate(_WRITTEN)


def wrong_rules(grammar: str) -> str | None:
    """Say what is wrong with how a grammar in GBNF begins; no more of it is read, and nothing of one in Lark."""
    if re.search(r"^\s*(?:%llguidance\b|start\s*:)", grammar, re.MULTILINE):
        return None
    code = re.sub("#.*", lambda comment: " " * len(comment[0]), grammar)
    begins = code[len(code) - len(code.lstrip()) :]
    rest = begins.lstrip("-_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    missing = "name" if rest == begins else "::="
    rest = rest if rest == begins else rest.lstrip(" \t")
    if missing == "::=" and rest.startswith("::="):
        return None if re.search(r"^\s*root\s*::=", code, re.MULTILINE) else "No 'root' rule found"
    place = len(grammar) - len(rest)
    around = f"{grammar[max(0, place - 20) : place]!r} ^ {grammar[place : place + 20]!r}"
    return f"Expected {missing} at line {grammar.count(chr(10), 0, place) + 1}, {around}"
