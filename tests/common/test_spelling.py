"""The nearest right name."""

import pytest

from ps_common.spelling import nearest

NAMES = ["mnist-5k", "mnist", "digits", "breast-cancer"]


@pytest.mark.parametrize(
    ("name", "right"),
    [("mnist5k", "mnist-5k"), ("mnits", "mnist"), ("digit", "digits"), ("cancer", "breast-cancer")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(name, right):
    assert nearest(name, NAMES) == f"; did you mean {right!r}?"


def test_a_name_like_none_is_answered_with_all():
    assert nearest("zzz", NAMES) == "; known are breast-cancer, digits, mnist, mnist-5k"
