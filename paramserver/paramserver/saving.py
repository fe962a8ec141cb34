"""The thread that writes checkpoints, and the ledger before them, so that rounds go on meanwhile."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

from paramserver.checkpoint import prune_ledger, write
from paramserver.effects import Averaged, Snapshot
from paramserver.ledger import Ledger
from ps_common import weights_file

UNITS_AT_ONCE = 10_000  # of the ledger, about 5 MB, that wait in memory for the next checkpoint


class Writer:
    """Writes snapshots in a thread of its own, so that rounds go on; of several waiting, the last counts.

    Rounds for the ledger wait for the next snapshot, and none is left out; they are written before it where
    they have become many.
    """

    def __init__(
        self,
        folder: Path,
        on_written: Callable[[Path | None, Exception | None], None],
        lines: Ledger | None = None,
    ) -> None:
        self._folder = folder
        for pattern in weights_file.LEFTOVERS:
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)
        self._on_written = on_written
        self._ledger = lines
        self._is_pruned = False
        self._news = threading.Condition()
        self._snapshot: Snapshot | None = None  # that waits
        self._rounds: list[Averaged] = []  # that wait
        self._units = 0  # in them, since they were last written
        self._is_writing = False  # a snapshot
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether all that was put is written, or has failed."""
        with self._news:
            return self._snapshot is None and not self._is_writing

    def put(self, snapshot: Snapshot) -> None:
        with self._news:
            self._snapshot = snapshot  # the newer one counts; the older would only hold memory
            self._news.notify()

    def add(self, averaged: Averaged) -> None:
        """A round for the ledger."""
        with self._news:
            self._rounds.append(averaged)
            self._units += len(averaged.units)
            if self._are_many:
                self._news.notify()

    @property
    def _are_many(self) -> bool:
        return self._units >= UNITS_AT_ONCE

    def close(self, timeout_s: float) -> bool:
        """Finish what is waiting; False if that does not end in time."""
        with self._news:
            self._is_closing = True
            self._news.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._snapshot is not None or self._are_many or self._is_closing)
                snapshot, self._snapshot = self._snapshot, None
                rounds, self._rounds = self._rounds, []
                self._units, self._is_writing = 0, snapshot is not None
                is_last = self._is_closing and snapshot is None
            if is_last:
                return
            if snapshot is None:
                left, path, error = self._append(rounds), None, None
            else:
                left, path, error = self._write(snapshot, rounds)
            with self._news:
                self._rounds, self._is_writing = [*left, *self._rounds], False
            if path is not None or error is not None:
                self._on_written(path, error)
            snapshot = None  # let go of its vector while waiting

    def _append(self, rounds: list[Averaged]) -> list[Averaged]:
        """Write rounds ahead of the next snapshot; those that are still to be written."""
        try:
            if self._ledger is not None:
                self._ledger.append(rounds)
        except OSError:  # the next snapshot will tell, if it is so still
            return rounds
        return []

    def _write(
        self, snapshot: Snapshot, rounds: list[Averaged]
    ) -> tuple[list[Averaged], Path | None, OSError | None]:
        """Write a snapshot, after the rounds up to it; what is still to be written, and what came of it."""
        left = rounds
        try:
            if self._ledger is not None:
                weights = weights_file.vector_digest(snapshot.layout, snapshot.vector)
                before = [one for one in rounds if one.version <= snapshot.version]
                position = self._ledger.commit(before, snapshot.version, weights)
                left = rounds[len(before) :]
                snapshot = dataclasses.replace(snapshot, ledger=position)
            path = write(self._folder, snapshot)
            if self._ledger is not None and not self._is_pruned:
                prune_ledger(self._folder, snapshot.run)
                self._is_pruned = True
        except OSError as error:
            return left, None, error
        return left, path, None
