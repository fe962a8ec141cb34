"""The table of attacks in SECURITY.md: each is shown by a test that there is, and red by another one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ROW = re.compile(r"^\| (.+?) \| `([\w/]+\.py): (\w+)` \| `([\w/]+\.py): (\w+)` \|$", re.M)


def attacks(text: str) -> list[tuple[str, ...]]:
    """Attack, file and name of what shows it, file and name of what is red."""
    return ROW.findall(text)


def defined(path: Path) -> set[str]:
    """Functions and classes of a file."""
    if not path.is_file():
        return set()
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def complaints(text: str) -> list[str]:
    told = []
    for attack, shown_in, shown, red_in, red in attacks(text):
        if shown not in defined(TESTS / shown_in):
            told.append(f"{attack}: there is no {shown} in {shown_in}")
        if red not in defined(TESTS / red_in):
            told.append(f"{attack}: there is no {red} in {red_in}")
        if (shown_in, shown) == (red_in, red):
            told.append(f"{attack}: what shows it cannot show itself red")
    rows = [line for line in text.splitlines() if line.startswith("| ") and ".py: " in line]
    told += [f"no row of the table: {row}" for row in rows if not ROW.match(row)]
    return told


SECURITY = (ROOT / "SECURITY.md").read_text()


def test_every_attack_has_a_test_and_a_red_twin() -> None:
    assert complaints(SECURITY) == []
    assert len(attacks(SECURITY)) > 15


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("test_nothing_is_kept_of_what_was_refused", "test_that_there_is_not"),
        ("test_what_is_kept_of_refused_inputs_is_seen", "test_that_there_is_not"),
        ("security/test_bombs.py", "security/test_gone.py"),
        ("test_not_falling_back_is_seen` |", "test_not_falling_back_is_seen |"),
    ],
)
def test_a_row_that_is_wrong_is_seen(before: str, after: str) -> None:
    assert before in SECURITY
    assert complaints(SECURITY.replace(before, after))
