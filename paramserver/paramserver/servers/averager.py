"""One of several averaging servers, as a state machine: messages and time in, effects out.

It holds one stretch of the vector and averages what workers contribute to it. It knows neither jobs nor
units nor members: the master tells it which contributions are wanted, and it tells the master what has come.
What it holds is lost with it; the master fills whoever takes its place.
"""

from collections.abc import Callable, Sequence

import numpy as np

from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Chunks, Comer, take_part
from paramserver.averaging.rounds import Lent
from paramserver.effects import Effect, Outbox
from paramserver.quarantine import is_noted
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import NotFinite, Outlier, PeerError, ProtocolMismatch, TimedOut, UsageError
from ps_common.gather import Gather
from ps_common.layout import Layout
from ps_common.memory import Heap, Memory, Unshared
from ps_common.messages import NOT_SHARED
from ps_common.rules import MEAN, Rule
from ps_common.vocabulary import from_plain

BUSY_S = 10.0  # a master not heard of for so long may be followed by another one's run
KEPT_ROUNDS = 4  # vectors of others that were not used for so long are let go of
RETRY_S = 1.0  # until what it has asked the master for is asked for again

Command = m.Open | m.Announce | m.Lend | m.Withdraw | m.Release | m.Finish  # about rounds


class Averager:
    """One averaging server. memory: where its vectors lie, and whose others it sees."""

    def __init__(self, now: float, memory: Memory | None = None) -> None:
        self.bytes_sent = self.bytes_received = 0  # kept up to date by the loop
        self._memory: Memory = memory or Heap()
        self._outbox = Outbox()
        self._master = b""
        self._gone = b""  # a master whose run is over
        self._heard_at = now  # of the master
        self._serve: m.Serve | None = None
        self._is_shared = False  # its vectors are the master's
        self._may_share = True  # until that has failed
        self._cut = (0, 0)  # its stretch, in bytes
        self._whole_bytes = 0  # of all stretches together
        self._chunks: Chunks | None = None
        self._filling: Gather | None = None  # the version it is to begin with, coming from the master
        self._asked_at = now
        self._seen: dict[tuple[int, int], Lent] = {}  # vectors of others, by pid and descriptor
        self._used: dict[tuple[int, int], int] = {}  # the version that each was last used for
        self._number = 0  # of the last message about rounds
        self._came_by: dict[int, int] = {}  # shard -> the number of the Announce or Lend of its contribution
        self._wrong: dict[int, tuple[int, PeerError]] = {}  # shard -> the same, and what is wrong with it
        self._closed: m.Closed | None = None  # what was answered when the round was finished
        self._refused = 0  # messages

    # -- inputs ---------------------------------------------------------------------------------------

    def handle(
        self, sender: bytes, message: m.Message, payloads: Sequence[memoryview], now: float
    ) -> list[Effect]:
        """Take one message, of the master or a worker. A mistake is noted, and changes nothing."""
        try:
            if isinstance(message, m.Serve):
                self._on_serve(sender, message, now)
            elif isinstance(message, m.Check):
                self._on_check(sender, message, now)
            elif self._chunks is not None:
                self._take(self._chunks, sender, message, payloads, now)
        except PeerError as error:
            self._refuse(sender, error)
        return self._outbox.take()

    def refuse(self, sender: bytes, error: PeerError) -> list[Effect]:
        """Something came from a peer that is no message."""
        self._refuse(sender, error)
        return self._outbox.take()

    def tick(self, now: float) -> list[Effect]:
        """Ask the master again for what has not come."""
        if self._filling is not None and self._serve is not None:
            self._asked_at = now
            self._pull(self._serve, self._filling.ask_again())
        return self._outbox.take()

    def next_deadline(self) -> float:
        return self._asked_at + RETRY_S if self._filling is not None else float("inf")

    # -- who is served, and with what it begins -------------------------------------------------------

    def _on_serve(self, sender: bytes, message: m.Serve, now: float) -> None:
        serving = self._serve
        if sender == self._gone:
            return  # late on its way: its run is over, and what the message names may have changed
        if message.protocol != m.PROTOCOL:
            text = f"this averaging server speaks protocol {m.PROTOCOL}, the master {message.protocol}"
            self._outbox.send(sender, m.Refused(ProtocolMismatch.exit_code, text))
            return
        is_other = serving is not None and (serving.run, self._master) != (message.run, sender)
        if serving is not None and is_other and now < self._heard_at + BUSY_S and serving.run != message.run:
            text = f"this averaging server serves run {serving.run}; start another one, or wait"
            self._outbox.send(sender, m.Refused(TimedOut.exit_code, text))
            return
        if serving is not None and sender == self._master and message.generation < serving.generation:
            return  # late on its way
        self._master, self._heard_at = sender, now
        if serving is not None and not is_other and serving.generation == message.generation:  # once more
            if self._filling is None:
                self._outbox.send(sender, m.Serving(message.generation, self._is_shared))
            return
        try:
            self._begin(message, now)
        except MemoryError as error:
            self._forget()
            raise PeerError(f"there is no room for stretch {message.server}: {error}") from error

    def _begin(self, serve: m.Serve, now: float) -> None:
        layout = Layout.from_plain(serve.layout)
        layout.check_chunks(serve.chunk_bytes)
        if serve.server >= serve.servers:
            raise PeerError(f"there is no stretch {serve.server} of {serve.servers}")
        try:
            settings = Settings(
                chunk_bytes=serve.chunk_bytes,
                window=serve.window,
                held_bytes=max(1, serve.held_bytes),
                keeps_ledger=serve.keeps_digests,
                outlier_factor=serve.outlier_factor,
                rejects_outliers=serve.rejects_outliers,
                secret=max(1, serve.secret),
            )
        except UsageError as error:
            raise PeerError(str(error)) from error
        rule = _rule_of(serve)
        kept = self._kept(serve)
        self._serve, self._cut, self._whole_bytes = (
            serve,
            layout.cuts(serve.servers)[serve.server],
            layout.nbytes,
        )
        self._number, self._filling, self._closed = 0, None, None
        self._came_by.clear()
        self._wrong.clear()
        self._seen.clear()
        self._used.clear()
        self._chunks = None
        part, vector = layout.part(*self._cut), None
        self._is_shared = False
        if self._may_share and serve.place == self._memory.place != "":
            vector = self._master_vector(serve.descriptor)
            self._is_shared = vector is not None
        if serve.version < 0:
            vector = None  # there is nothing in it yet
        elif vector is None and kept is not None:
            vector = kept
        elif vector is None:
            vector = np.zeros(part.nbytes, np.uint8)
            self._filling = Gather(len(part.chunks(serve.chunk_bytes)), serve.window)
        canonical = Canonical(settings, self._memory, keeps=not self._is_shared, rule=rule)
        self._chunks = Chunks(canonical, self._outbox)
        self._chunks.begin(part, serve.version, vector)
        self._asked_at = now
        self._fill(serve)

    def _fill(self, serve: m.Serve) -> None:
        """Ask for more of the version to begin with, or serve it."""
        if self._filling is not None and not self._filling.is_complete:
            self._pull(serve, self._filling.ask())
        else:
            self._filling = None
            self._outbox.send(self._master, m.Serving(serve.generation, self._is_shared))

    def _kept(self, serve: m.Serve) -> HostArray | None:
        """What is here already of the version to begin with."""
        chunks, before = self._chunks, self._serve
        if chunks is None or before is None or self._is_shared or self._filling is not None:
            return None
        same = (before.run, before.server, before.servers, before.layout)
        if same != (serve.run, serve.server, serve.servers, serve.layout):
            return None
        if chunks.round is not None and self._closed is not None and self._closed.version == serve.version:
            return chunks.round.out
        return chunks.canonical.vector if chunks.version == serve.version else None

    def _pull(self, serve: m.Serve, chunks: Sequence[int]) -> None:
        if chunks:
            self._outbox.send(self._master, m.Pull(serve.version, tuple(chunks)))

    def _on_check(self, sender: bytes, message: m.Check, now: float) -> None:
        if sender == self._master:
            self._heard_at = now
        serves = self._serve if sender == self._master else None
        generation = serves.generation if serves is not None else 0
        self._outbox.send(sender, m.Pulse(generation, message.number, self.bytes_sent, self.bytes_received))

    # -- rounds ---------------------------------------------------------------------------------------

    def _take(
        self, chunks: Chunks, sender: bytes, message: m.Message, payloads: Sequence[memoryview], now: float
    ) -> None:
        if isinstance(message, m.Pull) and self._filling is None:
            chunks.pull(sender, message.version, message.chunks)
        elif isinstance(message, m.Chunk):
            self._on_chunk(chunks, sender, message, payloads[0])
        elif isinstance(message, m.Pull):
            pass  # it comes again, when there is something to send
        elif not isinstance(message, Command | m.Weights | m.Stop):
            raise PeerError(f"{type(message).__name__} is not for an averaging server")
        elif sender == self._master:  # as opposed to one that is gone
            self._heard_at = now
            if isinstance(message, m.Stop):
                self._gone = sender
                self._forget()
            elif isinstance(message, m.Weights):
                self._on_weights(chunks, message, payloads[0])
            else:
                self._take_command(chunks, message)

    def _take_command(self, chunks: Chunks, message: Command) -> None:
        if self._serve is None or message.generation != self._serve.generation:
            return  # of a generation gone by
        if message.number <= self._number:
            return  # others have overtaken it; it is said again if it matters
        self._number = message.number
        _HANDLERS[type(message)](self, chunks, message)
        self._tell_wrong(chunks)
        chunks.send_grants()  # what it has made room for

    def _on_open(self, chunks: Chunks, message: m.Open) -> None:
        if message.version == chunks.version + 2 and self._closed is not None:
            chunks.adopt()
        if message.version == chunks.version + 1 and chunks.round is not None:  # once more
            self._leave_out(chunks, message.left_out)
        if message.version != chunks.version + 1 or chunks.round is not None:
            return
        if len(message.shards) != len(message.samples) or not message.shards or 0 in message.samples:
            raise PeerError("a round has shards, and samples of each")
        chunks.canonical.check_round(len(message.shards))
        self._let_go_of_old(message.version)
        out: HostArray | None = None
        if self._is_shared:
            out = self._master_vector(message.descriptor)
            if out is None:  # so it must begin anew, sharing nothing
                self._outbox.send(self._master, m.Serving(message.generation, False))
                return
        self._closed = None
        self._came_by.clear()
        self._wrong.clear()
        try:
            chunks.open(message.shards, message.samples, out)
        except MemoryError as error:
            raise PeerError(f"there is no room for version {message.version}: {error}") from error
        self._leave_out(chunks, message.left_out)

    def _leave_out(self, chunks: Chunks, shards: Sequence[int]) -> None:
        """The round is closed without these. Raises `PeerError` where something of one has come."""
        round_ = chunks.round
        for shard in shards:
            if round_ is not None and round_.has(shard) and round_.has_begun(shard):
                raise PeerError(f"something of shard {shard} has come, so the round cannot do without it")
        chunks.leave_out(shards)

    def _on_announce(self, chunks: Chunks, message: m.Announce) -> None:
        if not self._is_open(chunks, message.version, message.shard):
            return
        self._came_by[message.shard] = message.number
        comer = Comer(message.lease, message.worker, message.is_last, message.samples)
        if chunks.is_delivered(message.shard):
            self._tell_delivered(chunks, message.shard)
        elif chunks.shard_of(message.worker, message.lease) == message.shard:
            chunks.repeat(message.shard, message.is_last)
        else:
            self._wrong.pop(message.shard, None)
            chunks.announce(message.shard, comer)

    def _on_lend(self, chunks: Chunks, message: m.Lend) -> None:
        if not self._is_open(chunks, message.version, message.shard):
            return
        self._came_by[message.shard] = message.number
        if not chunks.is_delivered(message.shard):
            try:
                lent = self._see(message.pid, message.descriptor)
            except (Unshared, PeerError) as error:
                head = (message.generation, message.number, message.version, message.shard)
                self._outbox.send(self._master, m.Unseen(*head, str(error)[:1000]))
                return
            self._wrong.pop(message.shard, None)
            chunks.lend(message.shard, lent, message.samples)
        self._tell_delivered(chunks, message.shard)

    def _on_withdraw(self, chunks: Chunks, message: m.Withdraw) -> None:
        if not self._is_open(chunks, message.version, message.shard):
            return
        if message.is_wrong:
            chunks.take_back(message.shard)
        else:
            chunks.withdraw(message.shard)

    def _on_release(self, chunks: Chunks, message: m.Release) -> None:
        if not self._is_open(chunks, message.version, message.shard):
            return
        if not chunks.absorb(message.shard):
            chunks.keep(message.shard)
        head = (message.generation, message.number, message.version, message.shard)
        self._outbox.send(self._master, m.Released(*head))

    def _on_finish(self, chunks: Chunks, message: m.Finish) -> None:
        round_ = chunks.round
        if round_ is None or message.version != chunks.version + 1:
            return
        if self._closed is None:
            self._leave_out(chunks, message.left_out)
        if not round_.is_closed:
            for shard in self._wrong:
                self._tell_faulty(chunks, shard)
            return
        if self._closed is None:  # only once: then the mirrors belong to their processes again
            self._closed = self._finish(chunks, message)
        if self._closed is not None:
            self._outbox.send(self._master, self._closed)

    def _finish(self, chunks: Chunks, message: m.Finish) -> m.Closed | None:
        """Average what is left; None where something of it is wrong."""
        mirrors, unwritten = [], []
        for pid, descriptor in zip(message.pids, message.descriptors, strict=False):
            try:
                mirrors.append(self._see(pid, descriptor))
            except (Unshared, PeerError):
                unwritten.append(pid)
        chunks.finish(mirrors)
        self._tell_wrong(chunks)
        if not chunks.is_finished:
            return None
        return m.Closed(
            message.generation, message.version, tuple(unwritten), chunks.digests(), chunks.outliers()
        )

    def _on_chunk(self, chunks: Chunks, sender: bytes, message: m.Chunk, payload: memoryview) -> None:
        shard = chunks.shard_of(sender, message.lease)
        if shard is None or chunks.round is None:
            return  # of a lease that has ended
        if not chunks.may_come(shard, message.index):
            return  # once more, or granted in a generation gone by
        try:
            chunks.take(shard, message, payload)
        except (NotFinite, Outlier) as error:
            chunks.take_back(shard)
            self._note_wrong(chunks, shard, error)
            return
        self._tell_wrong(chunks)
        chunks.send_grants()
        if chunks.is_delivered(shard):
            self._tell_delivered(chunks, shard)

    def _tell_wrong(self, chunks: Chunks) -> None:
        """Contributions may have been found to be wrong when they were summed: the master sees to others."""
        for shard, error in chunks.take_wrong().items():
            self._note_wrong(chunks, shard, error)

    def _note_wrong(self, chunks: Chunks, shard: int, error: PeerError) -> None:
        self._wrong[shard] = (self._came_by.get(shard, 0), error)
        self._tell_faulty(chunks, shard)

    def _tell_faulty(self, chunks: Chunks, shard: int) -> None:
        if self._serve is not None:
            number, error = self._wrong[shard]
            head = (self._serve.generation, number, chunks.version + 1, shard)
            self._outbox.send(self._master, m.Faulty(*head, error.kind, str(error)[:1000]))

    def _on_weights(self, chunks: Chunks, message: m.Weights, payload: memoryview) -> None:
        """A chunk of the version to begin with."""
        serve, filling, vector = self._serve, self._filling, chunks.canonical.vector
        if serve is None or filling is None or vector is None or message.version != serve.version:
            return
        if take_part(message, payload, chunks.canonical.spans, vector, filling):
            self._fill(serve)

    # -- small things ---------------------------------------------------------------------------------

    def _is_open(self, chunks: Chunks, version: int, shard: int) -> bool:
        """Whether this is the round that is open, and the shard is of it."""
        return chunks.round is not None and version == chunks.version + 1 and chunks.round.has(shard)

    def _tell_delivered(self, chunks: Chunks, shard: int) -> None:
        if self._serve is not None:
            head = (self._serve.generation, self._came_by.get(shard, 0), chunks.version + 1, shard)
            self._outbox.send(self._master, m.Delivered(*head))

    def _master_vector(self, descriptor: int) -> HostArray | None:
        """This server's stretch of a vector of the master; None where it cannot be seen from here."""
        if self._serve is not None and descriptor != NOT_SHARED:
            try:
                return self._see(self._serve.pid, descriptor).vector
            except (Unshared, PeerError) as error:
                self._outbox.note("transport", f"the master's memory cannot be seen: {error}", urgent=True)
        self._may_share = False
        return None

    def _see(self, pid: int, descriptor: int) -> Lent:
        """This server's stretch of a vector of another process. Raises `Unshared` and `PeerError`."""
        key = (pid, descriptor)
        known = self._seen.get(key)
        if known is None:
            whole = self._memory.attach(pid, descriptor, self._whole_bytes)
            known = Lent(pid, descriptor, whole[self._cut[0] : self._cut[1]])
        self._seen[key] = known
        self._used[key] = self._chunks.version if self._chunks is not None else -1
        return known

    def _let_go_of_old(self, version: int) -> None:
        """Vectors come again after a round or two; those that do not are of processes that are gone."""
        for key in [key for key, used in self._used.items() if used < version - KEPT_ROUNDS]:
            del self._seen[key], self._used[key]

    def _forget(self) -> None:
        """It serves nobody any more, and holds no memory."""
        self._serve, self._chunks, self._filling = None, None, None
        self._seen.clear()
        self._used.clear()

    def _refuse(self, sender: bytes, error: PeerError) -> None:
        self._refused += 1
        if is_noted(self._refused):
            self._outbox.note("rejection", f"refused a message of {sender.hex()[:16]}: {error}", urgent=True)


def _rule_of(serve: m.Serve) -> Rule:
    """How to average, as the master says. Raises `PeerError` for what is no rule, or one of whole vectors."""
    rule = MEAN if serve.rule is None else from_plain(serve.rule)
    if not isinstance(rule, Rule):
        raise PeerError(f"the rule of averaging must be one of paramserver.rules, not {type(rule).__name__}")
    if rule.is_whole and serve.servers > 1:
        raise PeerError(
            f"the rule {rule.name} takes whole vectors, and {serve.servers} servers have stretches"
        )
    return rule


_HANDLERS: dict[type[m.Message], Callable[..., None]] = {
    m.Open: Averager._on_open,
    m.Announce: Averager._on_announce,
    m.Lend: Averager._on_lend,
    m.Withdraw: Averager._on_withdraw,
    m.Release: Averager._on_release,
    m.Finish: Averager._on_finish,
}
