"""Frames to messages and back: what is said arrives, and what is wrong is refused by name."""

import dataclasses
import typing
from typing import Annotated, Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.wire import TEXT_MAX, checksum, decode, encode

VERSIONED = (m.Join, m.Look, m.Order)  # of another version no more is read than that
BOUNDED = settings(deadline=None, max_examples=60)
NUMBERS = {cls: number for number, cls in m.KINDS.items()}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text() | st.binary(), inner, max_size=5),
    max_leaves=20,
)


def hints(cls: type[m.Message]) -> dict[str, tuple[Any, m.Bound]]:
    """Type and bounds of each field of a message."""
    return {
        name: typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint, m.Bound(0, 0))
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if name not in ("payloads", "header_bytes")
    }


def values_of(kind: Any, bound: m.Bound) -> st.SearchStrategy[Any]:
    least, most = int(bound.least), int(bound.most)
    return {
        int: st.integers(least, min(most, 2**64 - 1)),
        float: st.floats(bound.least, bound.most),
        bool: st.booleans(),
        str: st.text(st.characters(codec="utf-8"), min_size=least, max_size=min(most, 20)),
        bytes: st.binary(min_size=least, max_size=min(most, 20)),
        tuple[int, ...]: st.lists(
            st.integers(0, 2**31 - 1), min_size=least, max_size=8, unique=bound.are_distinct
        ).map(tuple),
        tuple[str, ...]: st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=4).map(tuple),
        Any: st.none() | st.lists(st.integers(0, 9), max_size=3),
    }[kind]


def message_of(cls: type[m.Message]) -> st.SearchStrategy[m.Message]:
    values = {name: values_of(*hint) for name, hint in hints(cls).items()}
    return st.builds(cls, **values | ({"protocol": st.just(m.PROTOCOL)} if cls in VERSIONED else {}))


def smallest(cls: type[m.Message]) -> list[Any]:
    """The plain values of a message that is right."""
    least = {bool: False, Any: None, tuple[str, ...]: ["x"]}
    values = []
    for kind, bound in hints(cls).values():
        if kind is int:
            values.append(max(0, int(bound.least)))
        elif kind is float:
            values.append(float(bound.least))
        elif kind is str:
            values.append("x" * int(bound.least))
        elif kind is bytes:
            values.append(b"x" * int(bound.least))
        else:
            values.append(least.get(kind, [1]))
    return [m.PROTOCOL, *values[1:]] if cls in VERSIONED else values


def frames_of(cls: type[m.Message], values: list[Any]) -> list[bytes]:
    return [msgpack.packb([NUMBERS[cls], *values]), *([b""] * cls.payloads[0])]


@pytest.mark.parametrize("rest", [[], ["name"], [{"more": 1}] * 12])
def test_of_a_join_of_another_version_the_version_can_be_read(rest):
    joined = decode([msgpack.packb([NUMBERS[m.Join], m.PROTOCOL + 1, *rest])])
    assert joined == m.Join(m.PROTOCOL + 1, "", "", 0, "", "", "")


@pytest.mark.parametrize("rest", [[], [1, 2, 3, 4, 5]])
@pytest.mark.parametrize("cls", [m.Look, m.Order])
def test_of_a_question_of_another_version_the_version_can_be_read(cls, rest):
    asked = decode([msgpack.packb([NUMBERS[cls], m.PROTOCOL + 1, *rest])])
    assert (type(asked), asked.protocol) == (cls, m.PROTOCOL + 1)


@pytest.mark.parametrize("cls", m.KINDS.values())
@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_every_message_arrives_as_it_was_said(cls, data):
    message = data.draw(message_of(cls))
    payloads = [b"bytes"] * data.draw(st.integers(*cls.payloads))
    assert decode([encode(message), *payloads]) == message
    assert decode([memoryview(encode(message)), *payloads]) == message


FIELDS = [(cls, name) for cls in m.KINDS.values() for name in hints(cls) if hints(cls)[name][0] is not Any]


def refused_for(kind: Any, bound: m.Bound) -> list[Any]:
    """Values that a field of this type and bounds must not take."""
    if kind is int:
        wrong = [None, True, 1.0, "1", int(bound.least) - 1, b"1", [1], msgpack.ExtType(5, b"x" * 99_999)]
        return wrong if bound.most == 2**64 else [*wrong, int(bound.most) + 1]
    if kind is float:
        return [None, 1, True, "1", bound.least - 1.0, bound.most * 2, float("nan"), float("inf")]
    if kind is bool:
        return [None, 0, 1, "", 1.0]
    too_long = int(bound.most) + 1
    if kind is str:
        return [None, 1, b"x", ["x"], "x" * too_long]
    if kind is bytes:
        return [None, 1, "x", ["x"], b"x" * too_long, *([b""] if bound.least else [])]
    if kind == tuple[str, ...]:
        return [None, 1, "12", [1], [b"x"], [None], [["x"]], ["x" * (TEXT_MAX + 1)], ["x"] * too_long]
    too_few = [[]] if bound.least else []
    return [None, 1, "12", *too_few, [1.0], [-1], [2**31], [True], [[1]], [0] * too_long]


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_a_field_of_another_type_or_out_of_bounds_is_refused_by_name(cls, name):
    right = smallest(cls)
    decode(frames_of(cls, right))
    at = list(hints(cls)).index(name)
    for value in refused_for(*hints(cls)[name]):
        values = right.copy()
        values[at] = value
        with pytest.raises(PeerError, match=f"^{cls.__name__}: {name} must be ") as caught:
            decode(frames_of(cls, values))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("cls", m.KINDS.values())
def test_a_message_with_a_field_too_many_or_too_few_is_refused(cls):
    for values in ([*smallest(cls), 0], smallest(cls)[:-1] if smallest(cls) else [0, 0]):
        with pytest.raises(PeerError, match=f"{cls.__name__} has {len(smallest(cls))} fields, not"):
            decode(frames_of(cls, values))


@pytest.mark.parametrize("cls", m.KINDS.values())
def test_a_message_with_payloads_too_many_or_too_few_is_refused(cls):
    header = frames_of(cls, smallest(cls))[0]
    least, most = cls.payloads
    for count in {least - 1, most + 1} - {-1}:
        with pytest.raises(PeerError, match=f"{cls.__name__} carries {least} to {most} payload frames"):
            decode([header, *[b""] * count])


@pytest.mark.parametrize("count", [0, m.FRAMES_MAX + 1, 1000])
def test_no_frames_or_far_too_many_are_refused(count):
    with pytest.raises(PeerError, match=f"not {count}"):
        decode([encode(m.Rejoin())] * count)


def test_a_header_over_the_limit_is_refused_before_it_is_unpacked():
    with pytest.raises(PeerError, match=f"at most {m.HEADER_BYTES} bytes, not {m.HEADER_BYTES + 1}"):
        decode([b"\x91\x22" + b"\0" * (m.HEADER_BYTES - 1)])


@pytest.mark.parametrize("kind", [0, 15, 31, 60, -1, 2**63])
def test_an_unknown_kind_is_refused(kind):
    with pytest.raises(PeerError, match=f"no message of kind {kind}$"):
        decode([msgpack.packb([kind])])


@pytest.mark.parametrize("header", [[], {}, None, 34, "34", [34.0], [True], ["Join"], [[34]], {"a": 34}])
def test_a_header_that_is_no_list_beginning_with_a_kind_is_refused(header):
    with pytest.raises(PeerError, match="a header is a list that begins with the message's kind"):
        decode([msgpack.packb(header)])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",  # a byte that msgpack never uses
        b"\x91\x22\x22",  # more after the message
        b"\x91",  # cut
        b"\x91" * 100_000,  # nested too deep
        b"\xdd\xff\xff\xff\xff" * 1000,  # lists that claim to be long
        b"\x92\x02\xd7\xff" + b"\xff" * 8,  # a time with too many nanoseconds
        b"\x92\x02\xd4\xff\x00",  # a time of one byte
        b"\x92\x02\xa1\xff",  # not UTF-8
        b"\x92\x02\x81\x01\x01",  # a dict whose keys are numbers
        b"\x92\x02\x81\x90\x01",  # a dict whose keys cannot be keys
    ],
)
def test_a_header_that_is_not_msgpack_is_refused_with_a_reason(header):
    with pytest.raises(PeerError, match=r"not msgpack: ."):
        decode([header])


def decoded(frames: list[bytes]) -> m.Message | None:
    """The message of the frames; None where they are refused, with a reason of a line."""
    try:
        return decode(frames)
    except PeerError as error:
        reason = str(error)
    assert 0 < len(reason) < 400
    return None


@BOUNDED
@given(st.lists(st.binary(max_size=200), max_size=m.FRAMES_MAX + 2))
def test_arbitrary_frames_raise_nothing_but_a_peer_error(frames):
    decoded(frames)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([*m.KINDS]), st.lists(PLAIN, max_size=9), st.integers(0, 3))
def test_arbitrary_msgpack_raises_nothing_but_a_peer_error(kind, values, payloads):
    message = decoded([msgpack.packb([kind, *values]), *[b""] * payloads])
    if message is not None:
        again = decode([encode(message), *[b""] * payloads])
        assert encode(again) == encode(message)


@BOUNDED
@given(st.data())
def test_a_header_cut_or_changed_anywhere_raises_nothing_but_a_peer_error(data):
    header = bytearray(encode(data.draw(st.sampled_from([*m.KINDS.values()]).flatmap(message_of))))
    at = data.draw(st.integers(0, len(header) - 1))
    header[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(header), bytes(header[:at])):
        decoded([damaged, b""])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
@BOUNDED
def test_the_checksum_is_over_the_bytes_of_all_payloads_in_order(payloads):
    assert checksum(*payloads) == checksum(b"".join(payloads))
    assert checksum(*payloads, b"more") != checksum(*payloads)


def test_every_message_has_one_number_that_fits_a_byte_of_msgpack():
    classes = {cls for cls in vars(m).values() if isinstance(cls, type) and issubclass(cls, m.Message)}
    assert classes - {m.Message} == set(m.KINDS.values())
    assert len(NUMBERS) == len(m.KINDS)
    assert all(0 <= number < 128 for number in m.KINDS)
    assert all(dataclasses.is_dataclass(cls) for cls in m.KINDS.values())


LARGE = [cls for cls in m.KINDS.values() if cls.header_bytes == m.HEADER_BYTES]


def test_only_what_may_hold_a_layout_or_a_long_list_may_be_large():
    assert {m.Push, m.Welcome, m.Serve, m.Open, m.Finish, m.Closed} == set(LARGE)


@pytest.mark.parametrize("cls", m.KINDS.values())
@pytest.mark.parametrize("is_long", [False, True])
def test_a_header_larger_than_its_kind_ever_is_is_refused_unread(cls, is_long):
    values = [NUMBERS[cls], "x" * m.SMALL_HEADER_BYTES, *([None] * 20 if is_long else [])]
    told = "fields|must be" if cls in LARGE else f"a header of {cls.__name__} has at most"
    with pytest.raises(PeerError, match=told):
        decode([msgpack.packb(values), *[b""] * cls.payloads[0]])


@pytest.mark.parametrize("begin", [b"\xdd", b"\xdf", b"\xdb", b"\xce", b"", b"\xdc\x00", b"\x92\xcd\x00\x05"])
def test_a_large_header_that_does_not_say_its_kind_first_is_refused_unread(begin):
    with pytest.raises(PeerError, match="of this kind has at most"):
        decode([begin + b"\xff" * (m.SMALL_HEADER_BYTES + 1)])


@pytest.mark.parametrize("opening", [b"\x90", b"\x80", b"\x91", b"\xd4", b"\xd6", b"\xc7", b"\xdd", b"\xdc"])
def test_a_header_of_millions_of_lists_is_refused_before_one_is_built(opening):
    header = bytes([0x92, NUMBERS[m.Push]]) + opening * (m.LISTS_MAX + 1)
    with pytest.raises(PeerError, match="lists and dicts, this one may have 1048578"):
        decode([header])


def test_the_largest_layout_that_is_meant_to_travel_does():
    layout = [[f"{i:060}.weight", [1000, 1000], "float32", "weight"] for i in range(100_000)]
    push = m.Push(1, 1, {}, layout, 0.0, 0.0, 0.0)
    assert decode([encode(push)]) == push


@pytest.mark.parametrize("message", [m.Pull(0, (1, 2, 1)), m.Fetch("train", 0, (3, 3)), m.Grant(1, (0, 0))])
def test_a_list_of_chunks_or_blocks_names_each_once(message):
    with pytest.raises(PeerError, match="must name each number once"):
        decode([encode(message)])
    assert decode([encode(m.Open(1, 1, 1, (0, 1), (5, 5), -1))])
