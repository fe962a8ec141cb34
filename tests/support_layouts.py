"""Layouts by chance, for tests of whatever takes one."""

from hypothesis import strategies as st

from ps_common.layout import DTYPES, ROLES, Entry, Layout

SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)  # 0-d and without elements, too


def entries(dtypes: tuple[str, ...] = DTYPES, most: int = 8) -> st.SearchStrategy[list[Entry]]:
    names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(
        lambda n: n != "__metadata__"
    )
    entry = st.builds(Entry, names, SHAPES, st.sampled_from(dtypes), st.sampled_from(ROLES))
    return st.lists(entry, min_size=1, max_size=most, unique_by=lambda e: e.name)


def layouts(dtypes: tuple[str, ...] = DTYPES, most: int = 8) -> st.SearchStrategy[Layout]:
    return entries(dtypes, most).map(Layout)
