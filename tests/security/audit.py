"""Hears what the interpreter is about to do: compile, import, execute, start, connect, call into memory."""

import sys
from typing import Any, ClassVar

# See https://docs.python.org/3/library/audit_events.html; of compile and exec, those of the reader of `.pyc`
# files are of imports, which are told by themselves.
EVENTS = (
    "compile", "exec", "import", "marshal.loads", "pickle.find_class", "code.__new__", "function.__new__",
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "subprocess.Popen", "socket.connect",
    "ctypes.dlopen", "ctypes.dlsym", "shutil.rmtree", "os.remove", "os.rename",
)  # fmt: skip


class Audit:
    """Within it, `ran` collects the names of such events, with what they were about."""

    _listening: ClassVar[list["Audit"]] = []
    _is_hooked: ClassVar[bool] = False

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __enter__(self) -> "Audit":
        if not Audit._is_hooked:  # a hook stays for good, and is silent while nobody listens
            sys.addaudithook(_hear)
            Audit._is_hooked = True
        Audit._listening.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        Audit._listening.remove(self)


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if Audit._listening and event in EVENTS:
        for one in Audit._listening:
            one.ran.append(f"{event} {given!r:.100}")
