"""Specifiers put a name into a path and lead nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssh2container.errors import Refusal
from ssh2container.policy.specifiers import MEANING, expand, unknown

VALUES = {"u": "alice", "U": "1000", "g": "staff", "h": "/home/alice", "i": "a1b2"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("/srv/homes/%u", "/srv/homes/alice"),
        ("%h/x", "/home/alice/x"),
        ("%u%U%g%i", "alice1000staffa1b2"),
        ("100%%", "100%"),
        ("%%u", "%u"),
        ("%%%u", "%alice"),
    ],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, VALUES) == expanded


@pytest.mark.parametrize("text", ["%", "%x", "a%", "%%%", "% u", "%é"])
def test_unknown_specifiers_are_refused(text: str) -> None:
    assert unknown(text)
    with pytest.raises(Refusal, match="unknown specifier"):
        expand(text, VALUES)


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/", "../etc", "a..b", "a\0b"])
def test_a_value_that_leads_elsewhere_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match="another place"):
        expand("/srv/%u", {"u": value})


@pytest.mark.parametrize("value", ["", "home/x", "/home/../etc", "/a\0"])
def test_a_home_that_leads_elsewhere_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match="another place"):
        expand("%h", {"h": value})


def test_a_value_that_is_not_known_is_refused() -> None:
    with pytest.raises(Refusal, match="not known here"):
        expand("%i", {"u": "alice"})


@given(st.text("%uUghi/x.", max_size=20))
def test_what_is_not_unknown_expands(text: str) -> None:
    if unknown(text):
        with pytest.raises(Refusal):
            expand(text, VALUES)
    else:
        assert "%" not in expand(text.replace("%%", ""), VALUES)


@given(st.text(max_size=20))
def test_expanded_values_are_not_expanded_again(value: str) -> None:
    try:
        assert expand("<%u>", {"u": value}) == f"<{value}>"
    except Refusal:
        assert "/" in value or ".." in value or value in ("", ".") or "\0" in value


def test_every_letter_is_explained() -> None:
    assert set(MEANING) == {*VALUES, "%"}
