"""Keys: whose they are, what they may be used for, and the files they are read from.

A key is a pair of CURVE25519 (RFC 7748), as ZeroMQ's CURVE takes it (CurveZMQ, RFC 26). Files are TOML with
a few texts. Secrets that others can read are refused, as ssh does: they may be secrets no more. It must not
know which keys there are: `key_folder.py` does.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from ps_common.errors import NotAuthorised, UsageError

ROLES = ("worker", "admin", "status")  # that a key may be made for
SERVER = "server"  # the role of the run's own servers
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # also a file's name, on every system
KEY_BYTES = 32
FINGERPRINT_BYTES = 8
FILE_BYTES_MAX = 4096  # ten times what a bundle has


@dataclasses.dataclass(frozen=True)
class Key:
    """Who a public key belongs to, and what it may do."""

    name: str
    role: str
    public: bytes

    @property
    def fingerprint(self) -> bytes:
        """What stands for the key in ROUTER identities and in what people read."""
        return hashlib.blake2b(self.public, digest_size=FINGERPRINT_BYTES).digest()

    @property
    def user_id(self) -> str:
        """How ZeroMQ names the key's owner with every message; see RFC 27."""
        return f"{self.role}:{self.name}:{self.fingerprint.hex()}"


@dataclasses.dataclass(frozen=True)
class Bundle(Key):
    """A key with its secret, and the public key of the run's servers, which must prove that it is theirs.

    path: of the file it was read from.
    """

    secret: bytes = dataclasses.field(repr=False)
    server: bytes
    path: Path = dataclasses.field(default=Path(), compare=False)


def read_bundle(path: Path) -> Bundle:
    """Raises `UsageError` where the file is not there, is no bundle, or others can read it."""
    with _named(path):
        fields = _read(path, is_secret=True)
        return Bundle(
            _name(fields), _role(fields), _bytes(fields, "public"), _bytes(fields, "secret"),
            _bytes(fields, "server"), path,
        )  # fmt: skip


def read_key(path: Path, is_revoked: bool = False) -> Key:
    """What a `.pub` says; its name is the file's, unless it is revoked. Raises `UsageError`."""
    with _named(path):
        fields = _read(path, is_secret=False)
        key = Key(_name(fields), _role(fields), _bytes(fields, "public"))
        if key.role == SERVER or (not is_revoked and key.name != path.stem):
            raise UsageError(f"it says that it is {key.role} {key.name}, which this file cannot say")
        return key


def draw_identity(letter: bytes, key: Bundle | None) -> bytes:
    """What a process is known as to ROUTERs: nobody can guess it, and with a key, nobody else may have it."""
    return letter + (key.fingerprint if key is not None else b"") + secrets.token_bytes(15)


def worker_key(path: str | Path | None) -> Bundle | None:
    """The bundle that a worker was given, if any. Raises `UsageError`; `NotAuthorised` for another role."""
    if path is None:
        return None
    bundle = read_bundle(Path(path))
    if bundle.role != "worker":
        raise NotAuthorised(
            f"the key {bundle.name} ({path}) is of role {bundle.role}, which may not train: have one made "
            "with ps-keys new NAME"
        )
    return bundle


# -- files --------------------------------------------------------------------------------------------


def _read(path: Path, is_secret: bool) -> dict[str, object]:
    with open(path, "rb", opener=_without_waiting) as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UsageError("it is no regular file")
        mode = stat.S_IMODE(found.st_mode)
        if is_secret and mode & 0o077:
            raise UsageError(
                f"others can read this secret (mode {mode:04o}): chmod 600 {path}, and if others use this "
                "machine, have a new key made"
            )
        if mode & 0o022:
            raise UsageError(
                f"others may write to it (mode {mode:04o}), and so let in whom they like: chmod 644 {path}"
            )
        if not is_trusted(found.st_uid):
            raise UsageError(
                f"it belongs to another user (number {found.st_uid}), who may let in whom they like: use a "
                "file of your own"
            )
        return tomllib.loads(stream.read(FILE_BYTES_MAX).decode())


def is_trusted(owner: int) -> bool:
    """Whether what a user of this machine owns may say who comes in: our own, the administrator's, and
    all where we are the administrator.
    """
    return os.geteuid() in (0, owner) or owner == 0


def _without_waiting(path: str, flags: int) -> int:
    """A pipe would be waited for, and whoever looks at the folder has others to answer."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever is wrong with a key file is a `UsageError` that names it."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"the key file {path}: {error}") from None
    except (ValueError, RecursionError) as error:  # of TOML, UTF-8 or hexadecimal digits
        raise UsageError(f"{path} is no key file that ps-keys has made: {error}") from error


def _name(fields: dict[str, object]) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("it has no name")
    return name


def _role(fields: dict[str, object]) -> str:
    role = fields.get("role")
    if not isinstance(role, str) or role not in (*ROLES, SERVER):
        raise ValueError(f"its role is none of {', '.join(ROLES)}")
    return role


def _bytes(fields: dict[str, object], field: str) -> bytes:
    text = fields.get(field)
    value = bytes.fromhex(text) if isinstance(text, str) else b""
    if len(value) != KEY_BYTES:
        raise ValueError(f"{field} is not {KEY_BYTES} bytes")
    return value
