"""Docstrings: what is said of the function, and what of its parameters, in each of the three manners."""

from inspect import cleandoc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_client._tools.docstrings import read_docstring

GOOGLE = """
    Get the weather: now or later.

    Works for any city. Note: it is slow.

    Args:
        city (str): Name of the city,
            in English: Paris.
        days (int, optional): How many days. Defaults to 3.

            At most ten.
        **filters: Anything else.

    Returns:
        str: A sentence.

    Raises:
        ToolError: There is no such city.

    Example:
        >>> get_weather("Paris")

    Note:
        Only in Europe.
    """
NUMPY = """
    Get the weather.

    Works for any city.

    Parameters
    ----------
    city : str
        Name of the city.
    x, y : float
        Where it is.

        On the map.
    unit : {"c", "f"}, optional

    Returns
    -------
    str
        A sentence.

    Raises
    ------
    ToolError
        There is no such city.

    Notes
    -----
    Only in Europe.
    """
REST = """
    Get the weather.

    Works for any city.

    :param city: Name of the city,
        in English.
    :type city: str
    :param int days: How many days.
    :raises ToolError: There is no such city.
    :returns: A sentence.
    """


def test_googles_manner() -> None:
    text, parameters = read_docstring(cleandoc(GOOGLE))
    assert text == cleandoc("""
        Get the weather: now or later.

        Works for any city. Note: it is slow.

        Returns:
            str: A sentence.

        Example:
            >>> get_weather("Paris")

        Note:
            Only in Europe.
        """)
    assert parameters == {
        "city": "Name of the city,\nin English: Paris.",
        "days": "How many days. Defaults to 3.\nAt most ten.",
        "filters": "Anything else.",
    }


def test_numpys_manner() -> None:
    text, parameters = read_docstring(cleandoc(NUMPY))
    assert text == cleandoc("""
        Get the weather.

        Works for any city.

        Returns
        -------
        str
            A sentence.

        Notes
        -----
        Only in Europe.
        """)
    where = "Where it is.\n\nOn the map."
    assert parameters == {"city": "Name of the city.", "x": where, "y": where}


def test_rests_manner() -> None:
    text, parameters = read_docstring(cleandoc(REST))
    assert text == "Get the weather.\n\nWorks for any city.\n\n:returns: A sentence."
    assert parameters == {"city": "Name of the city,\nin English.", "days": "How many days."}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Get the weather.",
        "Get the weather:\n\n- now\n- later: in days",
        "Say it.\n\n    code: block\n\nArgs are words, Raises is one too.",
        "Mail a person.\n\nWrite to :param or @type, as you like.",
        "Draw.\n\n-----\nA line.",
        "Odd.\n\n:param",
    ],
)
def test_a_docstring_that_tells_of_no_parameters_stays_whole(text: str) -> None:
    assert read_docstring(text) == (text, {})


def test_a_docstring_of_parameters_only_says_nothing_of_the_function() -> None:
    assert read_docstring("Args:\n    city: Its name.") == ("", {"city": "Its name."})


def test_sections_that_are_not_for_the_model_end_where_the_next_one_begins() -> None:
    text = "Do.\n\nArgs:\n    a: One.\n\n    b: Two.\nThe end.\n\nRaises:\n    ToolError: Never.\n"
    assert read_docstring(text) == ("Do.\n\nThe end.", {"a": "One.", "b": "Two."})


LINES = (
    *("Do.", "", "Args:", "    a: One.", "    a", "    : x", "    (int): x", "Returns:", "Raises:", "Example", ">>> x"),
    *("Parameters", "----------", "a : int", "    One.", ":param a: One.", ":param a", "@param a: One.", ":raises x"),
)


@given(st.lists(st.sampled_from(LINES), max_size=8))
def test_whatever_is_written_is_read_and_nothing_is_added(lines: list[str]) -> None:
    docstring = cleandoc("\n".join(lines))
    text, parameters = read_docstring(docstring)
    assert set(text.splitlines()) <= set(docstring.splitlines())
    assert all(line in docstring for each in parameters.values() for line in each.splitlines())
