"""What is written as YAML is read back as it was, by a reader that is not ours."""

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paramserver.kubernetes.yaml_text import dump, dump_all

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_LINES = st.lists(st.text("ab #:-'\"\\|>\t é\u2028", max_size=6), max_size=5).map("\n".join)
_SCALARS = st.one_of(st.booleans(), st.integers(), _TEXTS, _LINES)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(_TEXTS, _VALUES, max_size=4)


@settings(deadline=None)
@given(_DOCUMENTS)
@example({"job.py": "def f():\n    return 1\n\n\nx = f()\n"})
@example({"a": "\n", "b": " a\nb", "c": "a\n\n", "d": "a\n \nb\n  ", "e": "a\nb"})
@example(
    {"on": ["yes", "No", "null", "~", "1e3", "0x10", "1:30", "2024-01-01", "<<", "=", "", "-", "🦀\n\n"]}
)
def test_any_reader_reads_what_was_written(document):
    assert yaml.safe_load(dump(document)) == document


def test_documents_are_apart():
    documents = [{"a": 1}, {"b": ["---", {"c": []}]}]
    assert list(yaml.safe_load_all(dump_all(documents))) == documents


def test_a_file_is_written_as_its_lines():
    assert dump({"job.py": "a = 1\n\nb = 'é🦀'\n"}) == "job.py: |\n  a = 1\n\n  b = 'é🦀'\n"


@pytest.mark.parametrize("value", [None, 1.5, b"x"])
def test_what_has_no_place_is_refused(value):
    with pytest.raises(TypeError, match="no place in YAML"):
        dump({"a": value})
