"""What XGrammar, which vLLM asks before llguidance, takes though llguidance refuses it. Pure.

XGrammar itself weighs too much to ask it here: it needs torch and transformers.
"""

import re

from pydantic_core import SchemaError, SchemaValidator, core_schema

_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)  # of a pattern: an escape, a class, a character
# What has a meaning after a backslash.
_ESCAPES_IN_CLASS = r"dDsSwWnrtfvxupP\\^$.*+?()[]{}|/-"
_ESCAPES = f"{_ESCAPES_IN_CLASS}AabBz123456789"
# llguidance's words for the parts of a schema that XGrammar passes over.
_PASSED_OVER = re.compile(
    r"Unimplemented keys|oneOf constraints are not|Unsatisfiable schema: oneOf is empty|Resource '|"
    r"lookarounds not supported yet; (Start|End) |"
    r"Expected (positive integer|string|array for 'required'|object for 'patternProperties')"
)


def takes_schema(refusal: str) -> bool:
    """Tell a schema that XGrammar takes, by what llguidance has against it."""
    return _PASSED_OVER.match(refusal) is not None


def takes_pattern(pattern: str) -> bool:
    """Tell a pattern that XGrammar takes: it passes over edges, and over escapes that it doesn't know."""
    atoms = _ATOM.findall(pattern)
    if "(?" in pattern.replace("(?:", "") or not {r"\b", r"\B"}.isdisjoint(atoms):
        return False
    try:  # the rest as Rust's regex has it, which pydantic reads patterns with
        known = "".join(map(_without_unknown_escapes, atoms))
        SchemaValidator(core_schema.str_schema(pattern=known, regex_engine="rust-regex"))
    except SchemaError as wrong:
        return "regex parse error" not in str(wrong)  # other errors: what it would weigh once compiled
    return True


def _without_unknown_escapes(atom: str) -> str:
    known, instead = (_ESCAPES, "") if atom[0] == "\\" else (_ESCAPES_IN_CLASS, "x")
    return re.sub(r"\\(.?)", lambda found: found[0] if found[1] and found[1] in known else instead, atom)
