"""The folder of a run's keys: who may come in, and who might once.

    keys/                          0700; made by ps-keys
        server.key                 0600; the pair of the run's servers: master and averaging servers
        worker-1.key               0600; a bundle, to be moved to where worker-1 runs
        authorised/worker-1.pub    who may come in, and as what; gone, and it may no more
        revoked/worker-1-....pub   who might once

Servers read it again and again while people change it.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import zmq
from zmq.utils import z85

from ps_common.errors import UsageError
from ps_common.keys import FINGERPRINT_BYTES, NAME, SERVER, Bundle, Key, is_trusted, read_bundle, read_key

# What the machine lacks for a moment, which says nothing about the file.
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.EINTR)


class KeyFolder:
    """A folder of keys."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authorised_path = path / "authorised"
        self._revoked_path = path / "revoked"

    # -- what servers read ----------------------------------------------------------------------------

    def server(self) -> Bundle:
        """The pair of the run's servers. Raises `UsageError` for a folder that is none, or open to others."""
        for folder in (self.path, self.authorised_path):
            if not folder.is_dir():
                raise UsageError(f"--keys {self.path}: there is no {folder}; ps-keys new NAME makes it")
            found = folder.stat()
            mode = stat.S_IMODE(found.st_mode)
            if mode & 0o022:
                raise UsageError(
                    f"--keys {self.path}: others may write to {folder} (mode {mode:04o}), and so let in whom "
                    f"they like: chmod 700 {folder}"
                )
            if not is_trusted(found.st_uid):
                raise UsageError(
                    f"--keys {self.path}: {folder} belongs to another user (number {found.st_uid}), who may "
                    "let in whom they like: use a folder of your own"
                )
        return read_bundle(self.path / "server.key")

    def authorised(self) -> tuple[list[Key], list[str]]:
        """Those who may come in, and what is wrong with the files that say nothing.

        Raises `OSError` where that cannot be told now: a machine that has no descriptor left for a moment
        has revoked nobody.
        """
        keys, complaints = [], []
        for name in sorted(filter(_is_public, os.listdir(self.authorised_path))):
            path = self.authorised_path / name
            try:
                keys.append(read_key(path))
            except UsageError as error:
                if isinstance(error.__cause__, OSError) and error.__cause__.errno in PASSING:
                    raise error.__cause__ from None
                if os.path.lexists(path):  # or else it was revoked just now
                    complaints.append(str(error))
        return keys, complaints

    def state(self) -> object:
        """Something that is another when who may come in is. Raises `OSError` where that cannot be told."""
        found = set()
        with os.scandir(self.authorised_path) as entries:
            for entry in filter(lambda entry: _is_public(entry.name), entries):
                about: tuple[int, ...] = ()  # of a link to nothing, or of what was revoked just now
                with contextlib.suppress(OSError):
                    told = entry.stat()
                    about = (told.st_ino, told.st_ctime_ns, told.st_size)
                found.add((entry.name, about))
        return found

    # -- what people change ---------------------------------------------------------------------------

    def make(self) -> None:
        """Make the folder, and the servers' pair, unless they are there. Raises `UsageError`."""
        with _changing(self.path):
            for folder in (self.path, self.authorised_path, self._revoked_path):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                public, secret = _pair()
                _write_new(self.path / "server.key", _text(SERVER, "master", public, secret, public), 0o600)

    def new(self, name: str, role: str, out: Path | None = None) -> Path:
        """Make a key and let it in; where its bundle is. Raises `UsageError` for a name that is taken."""
        if not NAME.fullmatch(name) or name == SERVER:
            raise UsageError(
                f"a key's name is 1 to 64 letters, digits, dots, dashes and underscores, and not "
                f"{SERVER!r}; {name!r:.80} is not one"
            )
        self.make()
        server = self.server().public
        public, secret = _pair()
        path = out or self.path / f"{name}.key"
        with _changing(self.path):
            try:
                _write_new(self.authorised_path / f"{name}.pub", _text(role, name, public), 0o644)
            except FileExistsError:
                raise UsageError(
                    f"there is a key {name} in {self.path}; take another name, or ps-keys revoke {name} first"
                ) from None
        try:
            _write_new(path, _text(role, name, public, secret, server), 0o600)
        except OSError as error:
            (self.authorised_path / f"{name}.pub").unlink()
            raise UsageError(f"{path} cannot be written: {error.strerror}; no key was made") from error
        return path

    def revoke(self, name: str) -> Key | None:
        """Let a key in no more, and remove its bundle where it lies here. Raises `UsageError`.

        None: its file said nothing, so that nobody could come in by it.
        """
        path = self.authorised_path / f"{name}.pub"
        if not NAME.fullmatch(name) or not os.path.lexists(path):
            raise UsageError(
                f"there is no key {name!r:.80} in {self.path}; ps-keys list shows those there are"
            )
        key: Key | None = None
        with contextlib.suppress(UsageError):
            key = read_key(path)
        which = secrets.token_hex(FINGERPRINT_BYTES) if key is None else key.fingerprint.hex()
        with _changing(self.path):
            self._revoked_path.mkdir(mode=0o700, exist_ok=True)
            path.rename(self._revoked_path / f"{name}-{which}.pub")
            (self.path / f"{name}.key").unlink(missing_ok=True)
        return key

    def revoked(self) -> list[Key]:
        """Those who might come in once; what is no key file any more is left out."""
        found = []
        for path in sorted(self._revoked_path.glob("*.pub")):
            with contextlib.suppress(UsageError):
                found.append(read_key(path, is_revoked=True))
        return found

    def bundle_for(self, name: str) -> Path:
        """The bundle of a worker here, made where there is none."""
        self.make()
        path = self.path / f"{name}.key"
        return path if path.is_file() else self.new(name, "worker")


# -- files -------------------------------------------------------------------------------------------


def _pair() -> tuple[bytes, bytes]:
    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def _text(role: str, name: str, public: bytes, secret: bytes = b"", server: bytes = b"") -> str:
    lines = ["# Whoever has this file is taken for its owner: keep it where nobody else can read it."]
    lines = lines if secret else []
    lines += [f'role = "{role}"', f'name = "{name}"', f'public = "{public.hex()}"']
    lines += [f'secret = "{secret.hex()}"', f'server = "{server.hex()}"'] if secret else []
    return "\n".join([*lines, ""])


def _write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that nobody ever sees part of. Raises `FileExistsError` where it is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
            stream.write(text)
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """A folder that cannot be changed is a `UsageError`."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"the keys in {folder} cannot be changed: {error.strerror}") from error


def _is_public(name: str) -> bool:
    return name.endswith(".pub")
