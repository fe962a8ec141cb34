"""Messages as frames, and back: as outside, or, where nobody looks at the bytes, without decoding them.

A prediction sends millions of messages. Their headers are made, for they have a length; what they say, the
receiver takes from the object that was sent, which nobody changes.
"""

from collections.abc import Sequence

from ps_common.arrays import HostArray
from ps_common.messages import Message
from ps_common.wire import decode, encode

Frames = Sequence[bytes | memoryview]


class Known(bytes):
    """A header that knows what it says."""

    message: Message


def frames_of(message: Message, payloads: Sequence[HostArray] = (), is_known: bool = False) -> Frames:
    """is_known: whether the header is to know the message."""
    header = encode(message)
    if is_known:
        header = Known(header)
        header.message = message
    return [header, *(bytes(part.data) for part in payloads)]


def payloads_of(frames: Frames) -> list[memoryview]:
    return [memoryview(frame) for frame in frames[1:]]


def message_of(frames: Frames) -> Message:
    """Raises `PeerError`."""
    header = frames[0] if frames else b""
    return header.message if isinstance(header, Known) else decode(frames)
