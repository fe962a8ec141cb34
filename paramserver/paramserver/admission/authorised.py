"""Whose keys may come in: those in a folder, which is looked at all the time.

So a key that is revoked is missed within a second. It must not know sockets, clocks or threads.
"""

import collections
from collections.abc import Callable, Iterable
from pathlib import Path

from ps_common.key_folder import KeyFolder
from ps_common.keys import Key

LOOK_S = 0.25  # between two looks at the folder
TELL_EVERY_S = 1.0  # of who was refused: knocking must not fill a log
NEWS_MAX = 100  # kept to be told


class Authorised:
    """The keys of a folder. One thread looks and asks; others may read `users` and take the news.

    server: the pair of the run's servers. users: the ids of those who may come in now. on_change: called by
    who looks, when `users` has changed or there is news.

    Raises `UsageError` for a folder that is none, or that others can change.
    """

    def __init__(self, folder: Path, on_change: Callable[[], None]) -> None:
        self._folder = KeyFolder(folder)
        self.server = self._folder.server()
        self.users: frozenset[str] = frozenset()
        self._ids: dict[bytes, bytes] = {}  # public key -> user id
        self._state: object = None
        self._trouble = ""  # with the folder, as it was told last
        self._news: collections.deque[str] = collections.deque(maxlen=NEWS_MAX)
        self._refused, self._told_at = 0, -TELL_EVERY_S
        self._on_change = on_change
        self._look_at = -LOOK_S
        self._look()

    def take_news(self) -> list[str]:
        """What a person wants to know."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def user_of(self, key: bytes, address: str, now: float) -> bytes:
        """The user id of a public key; empty where it may not come in, which is told."""
        user = self._ids.get(key, b"")
        if not user:
            self._note_refused(Key("", "", key), address, now)
        return user

    def look(self, now: float) -> None:
        """Let time pass: see who may come in."""
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            if self._look():
                self._on_change()

    def _note_refused(self, key: Key, address: str, now: float) -> None:
        self._refused += 1
        if now < self._told_at + TELL_EVERY_S:
            return
        more = f" ({self._refused - 1} more were refused before)" if self._refused > 1 else ""
        self._news.append(f"refused a key that may not come in, {key.fingerprint.hex()} of {address}{more}")
        self._refused, self._told_at = 0, now
        self._on_change()

    def _look(self) -> bool:
        """See who may come in; whether that, or what is wrong with the folder, is new."""
        try:
            state = self._folder.state()
            if state == self._state:
                return False
            keys, complaints = self._folder.authorised()
        except OSError as error:  # a disk that is away for a moment must not end a run
            text = f"the folder of keys cannot be read, and who may come in stays as it is: {error}"
            is_new, self._trouble, self._state = text != self._trouble, text, None
            if is_new:
                self._news.append(text)
            return is_new
        self._trouble = ""
        self._state = state
        self._news.extend(f"{complaint}; nobody comes in by it" for complaint in complaints)
        self._allow(keys)
        return True

    def _allow(self, keys: Iterable[Key]) -> None:
        allowed = [*keys, self.server]
        self._ids = {key.public: key.user_id.encode() for key in allowed}
        self.users = frozenset(user.decode() for user in self._ids.values())
