"""Objects as plain data, from a closed vocabulary."""

import dataclasses
import fractions
import functools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import vocabulary
from ps_common.errors import PeerError, UsageError
from ps_common.fields import Field
from ps_common.plan import Plan
from ps_common.vocabulary import from_plain, has_own_code, is_word, to_plain, word
from ps_worker import nn

MODEL = nn.Sequential(nn.Flatten(), nn.Dense(6, 4, init="xavier", bias=False), nn.Dropout(0.5), nn.ReLU())
WORDS = [MODEL, Plan(shards=(2, 3)), Field("x", "float32", (2, 3)), nn.Adam(), nn.L2(0.5), nn.Accuracy()]


@dataclasses.dataclass(frozen=True)
class Own:
    width: int
    inner: object = None


class Bare:
    pass


@pytest.mark.parametrize("obj", WORDS, ids=lambda obj: type(obj).__name__)
def test_a_word_comes_back_from_its_plain_form_equal(obj):
    assert from_plain(to_plain(obj)) == obj
    assert is_word(obj)
    assert not has_own_code(to_plain(obj))


@pytest.mark.parametrize(
    ("obj", "plain"),
    [
        (None, None),
        (True, True),
        ((1, [2.5, "x"]), [1, [2.5, "x"]]),
        ({1: (2,)}, {"1": [2]}),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (nn.SGD(0.5), {"kind": "SGD", "learning_rate": 0.5}),
        (Own(3, nn.ReLU()), {"kind": "own:Own", "width": 3, "inner": {"kind": "ReLU"}}),
        (Bare(), {"kind": "own:Bare"}),
    ],
)
def test_the_plain_form_is_numbers_strings_lists_and_dicts(obj, plain):
    assert to_plain(obj) == plain
    assert type(to_plain(obj)) is type(plain)


@pytest.mark.parametrize(
    "obj",
    [
        len,
        lambda x: x,
        Bare,
        nn.Dense,
        np.zeros(3),
        sys.stdout,
        sys,
        iter([]),
        {1, 2},
        b"x",
        1j,
        2**64,
        -(2**63) - 1,
        np.datetime64("2020"),
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_what_cannot_travel_is_refused_with_advice(obj):
    with pytest.raises(UsageError, match="cannot travel as plain data; use numbers"):
        to_plain([obj])


@pytest.mark.parametrize(
    ("obj", "own"),
    [
        (MODEL, False),
        (Own(1), True),
        (nn.Sequential(nn.ReLU()), False),
        ([{"deep": [Bare()]}], True),
        ({"kind": "own"}, False),
        (Own(1, Own(2)), True),
        (functools.partial(len), True),
        (fractions.Fraction(1), True),
    ],
)
def test_own_code_is_seen_at_any_depth(obj, own):
    assert has_own_code(to_plain(obj)) is own


@pytest.mark.parametrize(
    ("plain", "told"),
    [
        ({"kind": "own:Own", "width": 1}, "'own:Own', which is not in the vocabulary"),
        ({"kind": "os.system"}, "not in the vocabulary"),
        ({"kind": None}, "names None"),
        ({"kind": ["Dense"]}, "not in the vocabulary"),
        ({"kind": "Dense", "inputs": 1, "outputs": 2, "width": 3}, "Dense has no field 'width'"),
        ({"kind": "Dense", b"inputs": 1, "zz": 2}, "Dense has no field b'inputs'"),
        ({"kind": "Dense", "inputs": 1}, "Dense cannot be built from ['inputs']"),
        ({"kind": "Dense", "inputs": "1", "outputs": 2}, "inputs must be a whole number"),
        ({"kind": "Sequential", "layers": [{"kind": "SGD", "learning_rate": 1}]}, "must be a layer"),
        ({"kind": "Sequential", "layers": 3}, "cannot be built"),
        ({"kind": "Plan", "shards": []}, "the plan's shards must be 1 or more"),
        ({"kind": "Plan", "epochs": 2**99}, "the plan's epochs must be"),
    ],
)
def test_a_plain_form_outside_the_vocabulary_is_refused(plain, told):
    with pytest.raises(PeerError) as caught:
        from_plain([{"deep": plain}])
    assert told in str(caught.value)


@pytest.mark.parametrize("depth", [vocabulary.DEPTH_MAX + 1, sys.getrecursionlimit()])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"kind": "Sequential", "layers": inner}]
)
def test_a_plain_form_nested_too_deep_is_refused(depth, wrap):
    plain = None
    for _ in range(depth):
        plain = wrap(plain)
    with pytest.raises(PeerError, match="nested too deep"):
        from_plain(plain)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(vocabulary._words)), st.data())
def test_any_word_with_anything_in_its_fields_raises_nothing_but_a_peer_error(kind, data):
    names = [f.name for f in dataclasses.fields(vocabulary._words[kind])]
    given_fields = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), ANYTHING))
    try:
        from_plain({"kind": kind, **given_fields})
    except PeerError:
        return


def test_a_word_is_a_dataclass_and_a_name_is_taken_once():
    with pytest.raises(TypeError, match="Bare is no dataclass"):
        word(Bare)

    @dataclasses.dataclass(frozen=True)
    class Dense:
        pass

    with pytest.raises(TypeError, match="Dense is in the vocabulary already"):
        word(Dense)
    assert not is_word(Dense())
    assert to_plain(Dense()) == {"kind": "own:Dense"}
    assert word(nn.Dense) is nn.Dense
