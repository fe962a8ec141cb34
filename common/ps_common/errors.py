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
        └── LayoutMismatch           76  names, shapes or dtypes differ from the agreed layout

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
    pass


class LayoutMismatch(PeerError):
    exit_code = 76
