"""Text sources: windows of ids and what follows them; a character that has no id is named with its place."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from ps_common import data
from ps_common.data import text_file
from ps_common.errors import DataError, PeerError, UsageError
from ps_common.fields import Field

TEXT = "to be, or not to be — that is 𝄞\n" * 4


def naive(ids, length, stride):
    """What windows are, one at a time."""
    starts = range(0, len(ids) - length, stride)
    return [ids[i : i + length] for i in starts], [ids[i + 1 : i + length + 1] for i in starts]


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    content=st.text(min_size=2, max_size=40),
    length=st.integers(1, 8),
    stride=st.integers(1, 9),
    block=st.integers(1, 9),
)
def test_each_window_is_followed_by_the_one_a_character_further(content, length, stride, block):
    hypothesis.assume(len(content) > length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "BLOCK", block)
        source = data.characters(content, length=length, stride=stride)
    vocabulary = sorted(set(content))
    expected = naive([vocabulary.index(c) for c in content], length, stride)
    x, y = source.read(slice(None))
    assert source.vocabulary == "".join(vocabulary)
    assert [x.tolist(), y.tolist()] == list(expected)
    assert source.samples == len(x)
    assert source.decode(source.encode(content)) == content


def test_by_default_every_character_but_the_first_is_predicted_once(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("abcdefgh", newline="")
    source = data.text(path, length=3)
    x, y = source.read(np.array([1, 0]))
    assert source.fields == (Field("x", "int64", (3,)), Field("y", "int64", (3,)))
    np.testing.assert_array_equal(x, np.array([[3, 4, 5], [0, 1, 2]]), strict=True)
    np.testing.assert_array_equal(y, np.array([[4, 5, 6], [1, 2, 3]]), strict=True)
    x[...] = 9  # the caller's own
    assert source.read(slice(0, 1))[0].tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
def test_files_are_read_end_to_end_whatever_block_a_character_is_cut_by(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text_file, "BLOCK", block)
    paths = [tmp_path / "b.txt", tmp_path / "a.txt"]
    paths[0].write_bytes(b"\xef\xbb\xbf" + "né\r\n".encode())  # a byte order mark is no character
    paths[1].write_bytes("𝄞é".encode())
    source = data.text(paths, length=2, stride=1)
    assert source.vocabulary == "\n\rné𝄞"
    assert source.decode(source.read(slice(None))[0][:, 0]) == "né\r\n"
    assert source.samples == 4
    content = "né\r\n𝄞é"
    assert source.fingerprint() == data.characters(content, length=2, stride=1).fingerprint()


def test_bytes_are_their_own_ids(tmp_path):
    path = tmp_path / "t.bin"
    path.write_bytes(b"\xff\x00\xc3\xa9")
    source = data.text(path, length=3, tokens="bytes", dtype="uint8")
    np.testing.assert_array_equal(source.read(slice(None))[0], np.uint8([[255, 0, 0xC3]]), strict=True)
    assert len(source.vocabulary) == 256
    assert source.encode("é").tolist() == [0xC3, 0xA9]
    assert source.decode([0xC3, 0xA9, 0xFF]) == "é\ufffd"


def test_parts_share_ids_and_no_character():
    train = data.characters(TEXT, length=5, part=(0, 0.75), stride=1)
    test = data.characters(TEXT, length=5, part=(0.75, 1), stride=1)
    assert train.vocabulary == test.vocabulary == "".join(sorted(set(TEXT)))
    assert train.samples + test.samples == len(TEXT) - 2 * 5
    assert train.decode(train.read(slice(0, 1))[0][0]) == TEXT[:5]
    assert test.decode(test.read(slice(test.samples - 1, None))[1][0]) == TEXT[-5:]
    assert test.decode(test.read(slice(0, 1))[0][0]) == TEXT[len(TEXT) * 3 // 4 :][:5]


def test_a_vocabulary_of_ones_own_gives_the_ids():
    source = data.characters("abba", length=3, vocabulary="ba.")
    assert source.read(slice(None))[0].tolist() == [[1, 0, 0]]
    with pytest.raises(
        DataError, match=r"character 'x' \(U\+0078\) at position 2 is not in the vocabulary of 3"
    ):
        source.encode("abx")


@pytest.mark.parametrize("block", [3, 1 << 20])
def test_a_vocabulary_too_small_is_refused_with_the_first_character_it_lacks(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text_file, "BLOCK", block)
    path = tmp_path / "t.txt"
    path.write_text("abcabé")
    with pytest.raises(
        DataError, match=r"t\.txt: character 'é' \(U\+00E9\) at position 5 .* of 3 char.*add it"
    ):
        data.text(path, length=2, vocabulary="abc")


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
def test_what_is_no_utf8_is_refused_with_the_byte(tmp_path, block, monkeypatch):
    monkeypatch.setattr(text_file, "BLOCK", block)
    path = tmp_path / "t.txt"
    for content, at in ((b"abc\xffde", 3), (b"abcdefg\xc3", 7)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"t\.txt is no UTF-8 text: .* at byte {at}; .*tokens='bytes'"):
            data.text(path, length=2)


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"length": 0}, UsageError, "length must be"),
        ({"length": 2.0}, UsageError, "length must be"),
        ({"length": 2, "stride": 0}, UsageError, "stride must be"),
        ({"length": 128}, DataError, "has 128 characters, its part from 0 to 1 128: .* = 129"),
        ({"length": 20, "part": (0, 0.1)}, DataError, "from 0 to 0.1 12: .* = 21"),
        ({"length": 2, "part": (0.5, 0.5)}, UsageError, "two fractions"),
        ({"length": 2, "part": (0, 2)}, UsageError, "two fractions"),
        ({"length": 2, "part": 0.9}, UsageError, "two fractions"),
        ({"length": 2, "vocabulary": "aba"}, UsageError, "distinct characters"),
        ({"length": 2, "vocabulary": ""}, UsageError, "distinct characters"),
        ({"length": 2, "dtype": "float32"}, UsageError, "dtype must be an integer type that holds 15 ids"),
        ({"length": 2, "vocabulary": "".join(map(chr, range(300))), "dtype": "uint8"}, UsageError, "300 ids"),
    ],
)
def test_wrong_settings_are_refused(settings, error, told):
    with pytest.raises(error, match=told):
        data.characters(TEXT, **settings)


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("abc")
    for settings in ({"tokens": "words"}, {"tokens": "bytes", "vocabulary": "abc"}):
        with pytest.raises(UsageError, match=r"tokens must be|of their own"):
            data.text(path, length=2, **settings)
    with pytest.raises(UsageError, match="at least one file"):
        data.text([], length=2)
    with pytest.raises(UsageError, match="a bytes; give a str"):
        data.characters(b"abc", length=2)
    with pytest.raises(DataError, match=r"cannot open .*gone"):
        data.text([path, tmp_path / "gone"], length=2)


@pytest.mark.parametrize(
    "settings", [{}, {"stride": 2, "part": (0, 0.5)}, {"tokens": "bytes", "dtype": "uint8"}]
)
def test_opened_again_it_holds_the_same_samples(tmp_path, settings):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text(TEXT)
    source = data.text(paths, length=7, **settings)
    again = data.open_source(source.plain())
    assert (again.fingerprint(), again.fields) == (source.fingerprint(), source.fields)
    assert again.vocabulary == source.vocabulary
    with pytest.raises(PeerError, match="cannot be opened from"):
        data.open_source({"kind": "text", "path": 5, "length": 2})


def test_a_text_in_memory_cannot_be_opened_elsewhere():
    plain = data.characters(TEXT, length=3).plain()
    with pytest.raises(UsageError, match="a text in the memory"):
        data.open_source(plain)
