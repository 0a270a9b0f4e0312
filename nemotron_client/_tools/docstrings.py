"""Docstrings in Google's, NumPy's and reST's manner: what they say of a function, and of each parameter."""

from __future__ import annotations

import re

# The parser tells what each parameter is. What is left of the text without them is cut out here, since the parser
# would write it anew, and without the sections that it doesn't know.
_NOT_FOR_THE_MODEL = re.compile(
    r"""
      ^(?:Args|Arguments|Parameters|Params|Raises|Exceptions):[ ]*\n (?:[ ]+\S.*\n|[ ]*\n)*      # Google
    | ^(?:(?:Other[ ])?Parameters|Raises)\n-{3,}\n (?:(?!\S.*\n-{3,}\n).*\n)*                    # NumPy
    | ^[:@](?:param|parameter|arg|argument|key|keyword|type|raise|raises|except|exception)\b     # reST, Epydoc
      [^:\n]*:.*\n (?:[ ]+\S.*\n)*
    """,
    re.MULTILINE | re.VERBOSE,
)


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Read a docstring.

    Args:
        text: Without indentation, as ``inspect.getdoc`` gives it.

    Returns:
        What it says of the function, which is all but the parameters and the exceptions; and of each parameter.
    """
    if "\n" not in text:
        return text, {}
    from docstring_parser import parse

    parameters = {
        name.strip().lstrip("*"): each.description
        for each in parse(f"\n{text}").params  # it would take the first line for one with no indentation of its own
        if each.description
        for name in each.arg_name.split(",")
    }
    return _NOT_FOR_THE_MODEL.sub("", f"{text}\n").strip("\n"), parameters
