"""Every error this project raises on purpose.

    ParamserverError                 exit code
    ├── UsageError                   2   a flag, an environment variable or a job's setting is wrong
    ├── JobCodeError                 1   the user's own code raised
    ├── DataError                    65  a data set or file is not what it should be
    │   ├── ShapeMismatch            65  data and model do not fit
    │   └── CheckpointError          65  a checkpoint or model file is damaged or of another job
    ├── MasterUnreachable            69  nobody answers at the master's address
    ├── TimedOut                     75  lost the master, or waited too long: try again
    ├── ProtocolMismatch             76  the peer speaks another protocol version
    ├── JobMismatch                  76  the peer runs another job
    ├── NotAuthorised                77  the peer is not allowed in
    └── PeerError                    -   a frame from a peer is wrong; the peer is told, the run goes on
        ├── Malformed                -   it is no message: frames, header, kind, fields
        ├── LayoutMismatch           76  names, shapes or dtypes differ from the agreed layout
        ├── WrongSamples             -   a contribution says another number of samples than its unit has
        ├── WrongSums                -   its metric sums are none, or not of these samples
        ├── WrongChunk               -   a chunk that there is not, was not asked for, or has another size
        ├── WrongChecksum            -   a payload was damaged on its way
        ├── NotFinite                -   weights that are NaN or infinite, or too large to be weights
        ├── Outlier                  -   an update far larger than those before
        ├── Flood                    -   a peer says or asks for more than any has to
        ├── Impersonation            -   a message under an identity that another key has
        └── BeyondRole               -   a message that the key's role may not send

Each message says whose fault it is, what was expected, what came and what to do. Any other
exception is a bug of ours and ends the process with code 70.
"""


class ParamserverError(Exception):
    """Base of all; `exit_code` is what a command that meets it exits with (sysexits.h where one fits)."""

    exit_code = 70


class UsageError(ParamserverError):
    exit_code = 2


class JobCodeError(ParamserverError):
    exit_code = 1


class DataError(ParamserverError):
    exit_code = 65


class ShapeMismatch(DataError):
    pass


class CheckpointError(DataError):
    pass


class MasterUnreachable(ParamserverError):
    exit_code = 69


class TimedOut(ParamserverError):
    exit_code = 75


class ProtocolMismatch(ParamserverError):
    exit_code = 76


class JobMismatch(ParamserverError):
    exit_code = 76


class NotAuthorised(ParamserverError):
    exit_code = 77


class PeerError(ParamserverError):
    """kind: what the record counts it as. is_strike: whether no honest peer ever makes this mistake."""

    kind = "message"
    is_strike = True


class Malformed(PeerError):
    kind = "malformed"


class LayoutMismatch(PeerError):
    exit_code = 76
    kind = "layout"


class WrongSamples(PeerError):
    kind = "samples"


class WrongSums(PeerError):
    kind = "sums"


class WrongChunk(PeerError):
    kind = "chunk"


class WrongChecksum(PeerError):
    kind = "checksum"
    is_strike = False  # a link may have done it


class NotFinite(PeerError):
    kind = "not-finite"


class Outlier(PeerError):
    kind = "outlier"


class Flood(PeerError):
    kind = "flood"


class Impersonation(PeerError):
    """key: the name of the key that it came with, whose fault it is."""

    kind = "identity"

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class BeyondRole(PeerError):
    """key: likewise."""

    kind = "role"

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key
