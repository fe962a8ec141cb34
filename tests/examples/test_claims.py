"""examples/claims.py: when a claim is met, and how its bar is told."""

import pytest
from claims import Claim

RISING = Claim("digits", "accuracy", at_least=0.9, beats=("guessing",))
FALLING = Claim("sales", "error", at_most=2.0, beats=("as last week", "the mean"))


@pytest.mark.parametrize(
    ("claim", "got", "baselines", "met"),
    [
        (RISING, 0.9, {"guessing": 0.1}, True),
        (RISING, 0.89, {"guessing": 0.1}, False),
        (RISING, 0.95, {"guessing": 0.95}, False),
        (FALLING, 2.0, {"as last week": 2.1, "the mean": 3.0}, True),
        (FALLING, 2.01, {"as last week": 2.1, "the mean": 3.0}, False),
        (FALLING, 1.9, {"as last week": 2.1, "the mean": 1.9}, False),
        (Claim("x", "error", at_most=1.0), 0.5, {"told, not to be beaten": 0.1}, True),
        (RISING, float("nan"), {"guessing": 0.1}, False),
        (FALLING, float("nan"), {"as last week": 2.1, "the mean": 3.0}, False),
    ],
)
def test_a_claim_is_met_at_its_bar_and_beyond_its_baselines(
    claim: Claim, got: float, baselines: dict[str, float], met: bool
) -> None:
    assert claim.is_met(got, baselines) is met


def test_the_bar_is_told_in_words() -> None:
    assert RISING.target() == "≥ 0.9, better than guessing"
    assert FALLING.target() == "≤ 2, better than as last week, better than the mean"
