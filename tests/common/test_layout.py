"""The layout: where everything lies in the flat vector, and how it is cut."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import layout as layout_module
from ps_common.errors import LayoutMismatch, PeerError
from ps_common.layout import ALIGNMENT, CHUNKS_MAX, ROLES, TENSORS_MAX, Entry, Layout
from support_layouts import entries, layouts

BOUNDED = settings(deadline=None, max_examples=60)
MIXED = Layout(
    [
        Entry("slot", (5,), "float32", "slot"),
        Entry("w", (2, 3)),
        Entry("wide", (3,), "float64"),
        Entry("mean", (3,), role="buffer"),
        Entry("scale", ()),
        Entry("none", (0, 4)),
        Entry("half", (3,), "float16", "slot"),
    ]
)


def test_entries_are_grouped_by_role_and_dtype_in_the_order_given():
    names = [entry.name for entry in MIXED.entries]
    assert names == ["w", "scale", "none", "wide", "mean", "slot", "half"]
    assert [(run.role, run.dtype, run.start, run.size) for run in MIXED.runs] == [
        ("weight", "float32", 0, 7),
        ("weight", "float64", 64, 3),
        ("buffer", "float32", 128, 3),
        ("slot", "float32", 192, 5),
        ("slot", "float16", 256, 3),
    ]
    assert MIXED.nbytes == 262
    assert MIXED.parameters == 10


@BOUNDED
@given(layouts())
def test_no_two_entries_share_a_byte_and_every_run_is_aligned(layout):
    owner = np.zeros(layout.nbytes, int)
    for entry, at in zip(layout.entries, layout.offsets, strict=True):
        assert at % np.dtype(entry.dtype).itemsize == 0
        owner[at : at + entry.size * np.dtype(entry.dtype).itemsize] += 1
    assert owner.max(initial=0) <= 1
    assert all(run.start % ALIGNMENT == 0 for run in layout.runs)
    assert len({(run.role, run.dtype) for run in layout.runs}) == len(layout.runs)
    assert [ROLES.index(run.role) for run in layout.runs] == sorted(ROLES.index(r.role) for r in layout.runs)
    in_runs = sum(run.stop - run.start for run in layout.runs)
    assert owner.sum() == in_runs


@BOUNDED
@given(layouts())
def test_views_are_views_of_shape_and_dtype_and_runs_are_their_concatenation(layout):
    vector = layout.empty()
    for number, (entry, view) in enumerate(zip(layout.entries, layout.views(vector).values(), strict=True)):
        assert (view.shape, view.dtype) == (entry.shape, np.dtype(entry.dtype))
        assert entry.size == 0 or np.shares_memory(view, vector)
        view[...] = number + 1
    for role in ROLES:
        views = layout.views(vector, role)
        assert list(views) == [e.name for e in layout.entries if e.role == role]
        runs = layout.run_views(vector, role)
        assert sum(run.size for run in runs) == sum(view.size for view in views.values())
        together = itertools.chain.from_iterable(run.tolist() for run in runs)
        assert list(together) == [x for view in views.values() for x in view.reshape(-1).tolist()]


@BOUNDED
@given(layouts(), st.integers(1, 5))
def test_chunks_cover_every_run_exactly_once(layout, lines):
    covered = np.zeros(layout.nbytes, int)
    spans = layout.chunks(64 * lines)
    for index, span in enumerate(spans):
        assert span.index == index
        assert 0 < span.stop - span.start <= 64 * lines
        assert span.start % ALIGNMENT == 0
        covered[span.start : span.stop] += 1
        (run,) = [r for r in layout.runs if r.start <= span.start and span.stop <= r.stop]
        assert run.dtype == span.dtype
        part = span.of(layout.empty())
        assert (part.dtype, part.nbytes) == (np.dtype(span.dtype), span.stop - span.start)
    expected = np.zeros(layout.nbytes, int)
    for run in layout.runs:
        expected[run.start : run.stop] += 1
    assert covered.tolist() == expected.tolist()


@BOUNDED
@given(layouts())
def test_a_layout_comes_back_from_its_plain_form_the_same(layout):
    again = Layout.from_plain(layout.to_plain())
    assert again == layout
    assert hash(again) == hash(layout)
    assert again.digest == layout.digest
    assert (again.offsets, again.runs, again.nbytes) == (layout.offsets, layout.runs, layout.nbytes)


@pytest.mark.parametrize(
    "change", [{"name": "v"}, {"shape": (3, 2)}, {"shape": (6,)}, {"dtype": "float64"}, {"role": "buffer"}]
)
def test_the_digest_changes_with_every_field_of_an_entry(change):
    entry = Entry("w", (2, 3))
    changed = dataclasses.replace(entry, **change)
    assert Layout([entry]).digest != Layout([changed]).digest
    assert Layout([entry]) != Layout([changed])


def test_the_digest_changes_with_the_order_and_the_number_of_entries():
    a, b = Entry("a", (2,)), Entry("b", (2,))
    assert len({Layout(given).digest for given in ([a, b], [b, a], [a], [b])}) == 4


def test_weights_sha256_is_of_the_weights_alone():
    weights = [Entry("w", (3, 5)), Entry("b", (3,))]
    alone = Layout(weights)
    more = Layout([Entry("m", (18,), role="slot"), Entry("mean", (2,), role="buffer"), *weights])
    vectors = []
    for layout in (alone, more):
        vector = layout.empty()
        for at, view in enumerate(layout.views(vector).values()):
            view[...] = np.arange(view.size).reshape(view.shape) + at
        vectors.append(vector)
    digest = alone.weights_sha256(vectors[0])
    assert more.weights_sha256(vectors[1]) == digest
    more.views(vectors[1])["m"][...] = np.nan
    assert more.weights_sha256(vectors[1]) == digest
    more.views(vectors[1])["b"][2] += 1e-6
    assert more.weights_sha256(vectors[1]) != digest
    mixed = MIXED.empty()
    digest = MIXED.weights_sha256(mixed)
    MIXED.views(mixed)["wide"][2] = 1e-300  # of the second run of weights
    assert MIXED.weights_sha256(mixed) != digest


GOOD = ["w", [2, 3], "float32", "weight"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "w",
        [],
        GOOD[:3],
        [*GOOD, 1],
        [1, [2], "float32", "weight"],
        ["", [2], "float32", "weight"],
        ["w" * 513, [2], "float32", "weight"],
        ["__metadata__", [2], "float32", "weight"],
        ["w", 2, "float32", "weight"],
        ["w", [2.0], "float32", "weight"],
        ["w", [True], "float32", "weight"],
        ["w", [-1], "float32", "weight"],
        ["w", [1] * 33, "float32", "weight"],
        ["w", [2**40, 2**40, 0], "float32", "weight"],
        ["w", [2], "int64", "weight"],
        ["w", [2], "object", "weight"],
        ["w", [2], "float32", "gradient"],
        {"name": "w"},
    ],
)
def test_an_entry_that_is_none_is_refused(bad):
    with pytest.raises(PeerError, match="a layout's entry is") as caught:
        Layout.from_plain([GOOD, bad])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("plain", [None, [], {}, "w", 3, [GOOD, GOOD]])
def test_what_is_no_layout_is_refused(plain):
    with pytest.raises(PeerError, match="a layout"):
        Layout.from_plain(plain)


def test_too_many_entries_are_refused_before_they_are_looked_at():
    with pytest.raises(PeerError, match=f"1 to {TENSORS_MAX} entries"):
        Layout.from_plain([None] * (TENSORS_MAX + 1))


@pytest.mark.parametrize("shape", [[2**40], [2**20, 2**20], [2**38 + 1]])
def test_a_model_over_the_limit_is_refused_before_a_byte_is_allocated(shape, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("allocated")

    monkeypatch.setattr(layout_module.np, "zeros", never)
    with pytest.raises(PeerError, match="is over the limit"):
        Layout.from_plain([["w", shape, "float32", "weight"]])


@BOUNDED
@given(entries(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=6), st.data())
def test_a_plain_form_with_anything_in_it_raises_nothing_but_a_peer_error(given_entries, anything, data):
    plain = Layout(given_entries).to_plain()
    entry = data.draw(st.sampled_from(plain))
    entry[data.draw(st.integers(0, 3))] = anything
    try:
        layout = Layout.from_plain(plain)
    except PeerError:
        return
    if layout.nbytes < 2**20:
        layout.views(layout.empty())


def test_a_mismatch_names_the_first_entry_that_differs_with_both_shapes():
    masters = Layout([Entry(f"{i}.weight", (2, i)) for i in range(20)])
    mine = Layout([Entry(f"{i}.weight", (2, i) if i < 5 else (i, 2)) for i in range(20)])
    with pytest.raises(LayoutMismatch, match="worker w3") as caught:
        masters.require(mine, "worker w3")
    text = str(caught.value)
    assert text.startswith("5.weight (2, 5) float32 weight on the master")
    assert "worker w3 has 5.weight (5, 2) float32 weight;" in text
    assert "from the same job" in text


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ([Entry("a", (2,), role="buffer"), Entry("b", (2,))], "a (2,) float32 buffer"),
        ([Entry("a", (2,), "float64"), Entry("b", (2,))], "a (2,) float64 weight"),
        ([Entry("a", (2,))], "has no such entry"),
        ([Entry("a", (2,)), Entry("b", (2,)), Entry("c", ())], "c: absent on the master"),
        ([Entry("b", (2,)), Entry("a", (2,))], "in another order"),
    ],
)
def test_every_kind_of_mismatch_is_told(other, told):
    with pytest.raises(LayoutMismatch) as caught:
        Layout([Entry("a", (2,)), Entry("b", (2,))]).require(Layout(other), "w3")
    assert told in str(caught.value)


def test_equal_layouts_do_not_mismatch():
    MIXED.require(Layout.from_plain(MIXED.to_plain()), "w3")


# -- stretches of several averaging servers ---------------------------------------------------------------


@BOUNDED
@given(layouts(), st.integers(1, 7))
def test_cuts_cover_the_vector_in_equal_stretches(layout, servers):
    cuts = layout.cuts(servers)
    assert len(cuts) == servers
    assert (cuts[0][0], cuts[-1][1]) == (0, layout.nbytes)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(cuts))
    assert all(start % ALIGNMENT == 0 or start == layout.nbytes for start, _ in cuts)
    assert all(abs(stop - start - layout.nbytes / servers) < ALIGNMENT for start, stop in cuts)


def test_a_large_tensor_is_cut_and_nothing_has_empty_stretches():
    assert Layout([Entry("w", (1000, 100))]).cuts(3) == ((0, 133376), (133376, 266688), (266688, 400000))
    assert Layout([Entry("w", (0, 3))]).cuts(2) == ((0, 0), (0, 0))
    assert Layout([Entry("w", (5,))]).cuts(2) == ((0, 20), (20, 20))


@BOUNDED
@given(layouts(), st.integers(1, 7), st.integers(1, 3))
def test_the_chunks_of_all_stretches_cover_every_run_exactly_once(layout, servers, lines):
    covered = np.zeros(layout.nbytes, int)
    for start, stop in layout.cuts(servers):
        spans = layout.chunks(64 * lines, start, stop)
        assert [span.index for span in spans] == list(range(len(spans)))
        for span in spans:
            assert start <= span.start < span.stop <= stop
            assert span.nbytes <= 64 * lines
            covered[span.start : span.stop] += 1
    assert covered.sum() == sum(run.stop - run.start for run in layout.runs)
    assert covered.max(initial=0) <= 1


@BOUNDED
@given(layouts(), st.integers(1, 7), st.integers(1, 3))
def test_a_stretch_alone_has_the_same_chunks_from_its_first_byte_on(layout, servers, lines):
    for start, stop in layout.cuts(servers):
        part = layout.part(start, stop)
        assert part.nbytes <= stop - start
        shifted = [
            dataclasses.replace(span, start=span.start - start, stop=span.stop - start)
            for span in layout.chunks(64 * lines, start, stop)
        ]
        assert list(part.chunks(64 * lines)) == shifted
        in_runs = [run for run in layout.runs if run.stop > start and run.start < stop]
        roles = [run.role for run in in_runs if min(run.stop, stop) > max(run.start, start)]
        assert [entry.role for entry in part.entries] == roles


def test_a_layout_of_more_chunks_than_anybody_keeps_account_of_is_refused():
    layout = Layout([Entry("w", (CHUNKS_MAX * 16,))])
    layout.check_chunks(64)
    with pytest.raises(LayoutMismatch, match="has more than 1048576 chunks of 64 bytes"):
        Layout([Entry("w", (CHUNKS_MAX * 16 + 1,))]).check_chunks(64)
