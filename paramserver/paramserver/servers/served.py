"""Averaging by several servers, as the master sees it: what `Chunks` is where the master averages itself.

Every server has one stretch of the vector. The master tells them of rounds and contributions, and hears
what has been delivered; the bytes go between workers and servers. A version is settled when every server has
closed it, and never before: so all stretches are of one version, and the one before it is still here when a
server is lost in the middle of a round. The master has the settled version itself: in memory that servers on
this machine write into, or copied from those elsewhere while the round goes on. From there a server that
has lost everything is filled again.

Every message names the generation. A new one begins whenever a server is lost, and with it the round in
progress begins anew, in all servers; what is still on its way from the generation before says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

from paramserver.averaging import digests
from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Comer, take_part
from paramserver.averaging.rounds import Lent
from paramserver.effects import Outbox, Restart
from paramserver.servers.state import Heard, ServedRound, Server
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common import rules
from ps_common.arrays import HostArray
from ps_common.errors import NotFinite, Outlier, PeerError
from ps_common.gather import Gather
from ps_common.layout import Layout
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED
from ps_common.vocabulary import to_plain
from ps_common.wire import checksum


class Served:
    """The canonical weights at `version`, and the round that makes the next one, held by `addresses`.

    start: a number that differs from start to start of a master, and leaves room to count on. rule: how
    servers average.
    """

    def __init__(
        self, addresses: Sequence[str], canonical: Canonical, outbox: Outbox, settings: Settings,
        memory: Memory, run: str, start: int, now: float, rule: rules.Rule = rules.MEAN,
    ) -> None:  # fmt: skip
        self.canonical = canonical
        self.servers = tuple(addresses)
        self.version = -1
        self.round: ServedRound | None = None
        self.bytes_sent = self.bytes_received = 0  # by all servers, in all their lives
        self._outbox = outbox
        self._settings = settings
        self._memory = memory
        self._run = run
        self._rule = rule
        self._generation = start
        self._number = 0  # of the last message to a server
        self._held_bytes = settings.held_bytes // len(addresses)  # beside a stretch's own size, in each
        self._all = [Server(address) for address in addresses]
        self._wrong: dict[int, PeerError] = {}  # shard -> what a server has found wrong with its contribution

    @property
    def is_ready(self) -> bool:
        """Whether units may be leased: every server holds the weights, if there are any."""
        return self.canonical.layout is None or all(one.is_ready for one in self._all)

    @property
    def is_shared(self) -> bool:
        """Whether every server sees the memory of this machine."""
        return all(one.is_shared for one in self._all)

    # -- rounds ---------------------------------------------------------------------------------------

    def begin(self, layout: Layout, version: int, vector: HostArray | None) -> None:
        self.canonical.agree(layout, vector)
        self.version, self.round = version, None
        self._serve(layout)

    def propose(self, layout: Layout) -> None:
        out = self.canonical.propose(layout)
        self.round = ServedRound(self.version + 1, (0,), (1,), out)
        self._serve(layout)

    def open(self, shards: Sequence[int], samples: Sequence[int]) -> None:
        out = self.canonical.take_vector()
        self.round = ServedRound(self.version + 1, tuple(shards), tuple(samples), out)
        if self._memory.descriptor(out) == NOT_SHARED and any(one.is_shared for one in self._all):
            self.begin_anew()  # memory has run out
        for index, server in enumerate(self._all):
            if server.is_ready:
                self._begin_round(index, self.round)

    def drop(self) -> None:
        self.round = None
        self.canonical.forget_proposal()

    def leave_out(self, shards: Iterable[int]) -> None:
        """The round is closed without these, of which nothing has come; servers are told until it is so."""
        round_ = self.round
        if round_ is not None:
            round_.left_out += tuple(shards)
            self._advance_turn(round_)
            for index, server in enumerate(self._all):
                if server.is_ready:
                    self._tell_open(index, round_)

    def finish(self, mirrors: Sequence[Lent] = ()) -> None:
        if self.round is not None:
            self.round.mirrors, self.round.is_finishing = tuple(mirrors), True
            for index in range(len(self._all)):
                self._tell_finish(index, self.round)

    @property
    def is_finished(self) -> bool:
        """Whether every server has closed the round, and all of it is here."""
        return self.is_ready and all(
            one.is_closed and (one.copy is None or one.copy.is_complete) for one in self._all
        )

    def outliers(self) -> tuple[int, ...]:
        """Shards whose contributions have moved the weights unusually far in some stretch."""
        return tuple(sorted({shard for one in self._all for shard in one.outliers}))

    def digests(self) -> tuple[str, ...]:
        if not self._settings.keeps_ledger:
            return ()
        by_shard = zip(*(one.digests for one in self._all), strict=True)
        return tuple(digests.of_stretches(stretches) for stretches in by_shard)

    def adopt(self) -> None:
        if self.round is not None:
            self.canonical.replace(self.round.out)
            self.version, self.round = self.version + 1, None

    def stop(self, reason: str) -> None:
        """The run is over: servers need hold nothing any more."""
        for index in range(len(self._all)):
            self._outbox.tell(index, m.Stop(0, reason))

    def begin_anew(self) -> None:
        """A server was lost: all begin anew from the settled version, with the round that is open, if any."""
        round_, layout = self.round, self.canonical.layout
        if round_ is not None:
            kept = [i for i, shard in enumerate(round_.shards) if shard not in round_.left_out]
            shards, samples = (tuple(every[i] for i in kept) for every in (round_.shards, round_.samples))
            self.round = ServedRound(round_.version, shards, samples, round_.out)
        if layout is not None:
            self._serve(layout)

    # -- contributions --------------------------------------------------------------------------------

    def announce(self, shard: int, comer: Comer, granted: Iterable[int] = ()) -> None:
        round_ = self.round
        if round_ is None:
            return
        round_.coming[shard], round_.weighed[shard] = comer, comer.samples
        round_.lent_at[shard] = self._number
        self._count_ahead(round_, shard)
        self.repeat(shard, comer.is_last)

    def lend(self, shard: int, lent: Lent, samples: int = 0) -> None:
        round_ = self.round
        if round_ is None:
            return
        round_.weighed[shard] = samples
        round_.lent[shard], round_.lent_at[shard] = lent, self._number
        round_.coming.pop(shard, None)
        round_.asked_back.discard(shard)
        for server in self._all:
            server.released.discard(shard)
        self.repeat(shard, False)

    def repeat(self, shard: int, is_last: bool) -> None:
        """Tell those who have not got a contribution how to get it."""
        round_ = self.round
        if round_ is None:
            return
        for index, server in enumerate(self._all):
            if shard in server.delivered or not server.is_ready:
                continue
            head, samples = self._head(round_), round_.weighed.get(shard, 0)
            if shard in round_.lent:
                lent = round_.lent[shard]
                self._outbox.tell(index, m.Lend(*head, shard, lent.pid, lent.descriptor, samples))
            elif shard in round_.coming:
                comer = round_.coming[shard]
                announce = m.Announce(*head, shard, comer.lease, comer.sender, is_last, samples)
                self._outbox.tell(index, announce)

    def take_back(self, shard: int) -> bool:
        """A contribution is wrong: nobody is to sum what is left of it; something may have been summed."""
        round_ = self.round
        if round_ is None or shard not in round_.place:
            return False
        round_.mirrors = None
        round_.lent_at[shard] = self._number
        round_.coming.pop(shard, None)
        round_.lent.pop(shard, None)
        round_.ahead.discard(round_.place[shard])
        round_.turn = min(round_.turn, round_.place[shard])
        for index, server in enumerate(self._all):
            server.delivered.discard(shard)
            if server.is_ready:
                self._outbox.tell(index, m.Withdraw(*self._head(round_), shard, is_wrong=True))
        is_summed_last = self._settings.rejects_outliers and not self._rule.faulty
        return round_.is_finishing or not is_summed_last

    def take_wrong(self) -> Mapping[int, PeerError]:
        wrong, self._wrong = self._wrong, {}
        return wrong

    def withdraw(self, shard: int) -> bool:
        round_ = self.round
        if round_ is None:
            return False
        if shard in round_.lent:  # nobody has looked at it yet, and whoever brings the rest is blamed for it
            return self.take_back(shard)
        round_.coming.pop(shard, None)
        for index, server in enumerate(self._all):
            if server.is_ready and shard not in server.delivered:
                self._outbox.tell(index, m.Withdraw(*self._head(round_), shard))
        return True  # what servers have, they have

    @staticmethod
    def _count_ahead(round_: ServedRound, shard: int) -> None:
        if round_.place[shard] > round_.turn:
            round_.ahead.add(round_.place[shard])

    def send_grants(self, is_last: bool | None = None) -> None:
        """Servers grant by themselves."""

    def pull(self, sender: bytes, version: int, chunks: Sequence[int]) -> bool:
        return False  # it is late on its way from a time when the master averaged itself

    def take(self, shard: int, message: m.Chunk, payload: memoryview) -> None:
        raise PeerError("contributions go to the averaging servers that the welcome named")

    def send_weights(self, to: bytes, chunks: Iterable[int]) -> None:
        """Workers ask the servers."""

    def is_delivered(self, shard: int) -> bool:
        return self.round is None or all(shard in server.delivered for server in self._all)

    @property
    def free_bytes(self) -> int | None:
        """Whole contributions, and at its least: as if all that comes before its turn waited in whole."""
        if self.round is None:
            return None
        return max(0, self._room(self.round)) * self.canonical.nbytes

    def is_blocked(self, shard: int) -> bool:
        """Whether it may be: no server says so, but not all that is to come before its turn can be held."""
        round_ = self.round
        if round_ is None or shard not in round_.coming or self.is_delivered(shard):
            return False
        return round_.place[shard] > round_.turn and self._room(round_) < 0

    def _room(self, round_: ServedRound) -> int:
        """How many more contributions every server can hold before their turn; below 0: so many too many."""
        if self._rule.faulty or self._settings.rejects_outliers:  # they hold all of a round
            return len(round_.shards)
        return min((one.capacity for one in self._all if one.spans), default=1) - len(round_.ahead)

    def absorb(self, shard: int) -> bool:
        return self.round is None or all(shard in server.released for server in self._all)

    def may_keep(self, shard: int) -> bool:
        """Ask for the memory of a contribution back; `absorb` says when it is.

        Of one after the other: each is copied, and whoever gets its own back first ends the waiting.
        """
        round_ = self.round
        if round_ is not None and all(map(self.absorb, round_.asked_back)):
            round_.asked_back.add(shard)
            self._count_ahead(round_, shard)  # what is not summed yet is copied
            for index in range(len(self._all)):
                self._tell_release(index, round_, shard)
        return round_ is None

    def keep(self, shard: int) -> None:
        raise AssertionError(f"the memory of shard {shard} is wanted before all servers have let go of it")

    # -- what servers say -----------------------------------------------------------------------------

    def hear(self, index: int, message: m.Message, payloads: Sequence[memoryview], now: float) -> "Heard":
        """Take a message of a server. Raises `PeerError` for one that makes no sense."""
        server = self._all[index]
        server.silent_since = None
        match message:
            case m.Pulse():
                return self._on_pulse(server, message)
            case m.Refused():
                is_news = server.away_since is None
                server.away_since = now if is_news else server.away_since
                return Heard(trouble=message.reason if is_news else "")
            case m.Pull():
                self._fill(index, message)
            case m.Weights():
                self._copy(index, message, payloads)
            case m.Serving(generation=self._generation):
                return self._on_serving(index, message)
            case m.Delivered() | m.Released() | m.Closed() | m.Unseen() | m.Faulty():
                round_ = self.round
                if round_ is not None and (message.generation, message.version) == (
                    self._generation, round_.version
                ):  # fmt: skip
                    return self._on_progress(server, round_, message)
            case m.Serving():
                pass  # of a generation gone by
            case _:
                raise PeerError(f"{type(message).__name__} is not an averaging server's to send")
        return Heard()

    def _on_pulse(self, server: Server, message: m.Pulse) -> "Heard":
        is_new = message.bytes_sent < server.sent or message.bytes_received < server.received
        self.bytes_sent += message.bytes_sent - (0 if is_new else server.sent)
        self.bytes_received += message.bytes_received - (0 if is_new else server.received)
        server.sent, server.received = message.bytes_sent, message.bytes_received
        if self.canonical.layout is None:  # there is nothing to serve yet
            server.away_since = None
        is_late = not server.is_ready or message.number <= server.ready_at
        return Heard(is_lost=not is_late and message.generation != self._generation)

    def _on_serving(self, index: int, message: m.Serving) -> "Heard":
        server = self._all[index]
        if server.is_ready:
            return Heard(is_blind=server.is_shared and not message.is_shared)
        server.is_ready, server.is_shared, server.away_since = True, message.is_shared, None
        server.ready_at = self._number
        if self.round is not None:
            self._begin_round(index, self.round)
        return Heard(are_all_ready=self.is_ready)

    def _on_progress(
        self, server: Server, round_: ServedRound,
        message: m.Delivered | m.Released | m.Closed | m.Unseen | m.Faulty,
    ) -> "Heard":  # fmt: skip
        match message:
            case m.Closed(unwritten=unwritten, digests=stretches, outliers=outliers):
                averaged = len(round_.shards) - len(round_.left_out)
                wanted = averaged if self._settings.keeps_ledger else 0
                if len(stretches) != wanted or not all(map(digests.is_digest, stretches)):
                    raise PeerError(
                        f"a round of {wanted} digests was closed with {len(stretches)} or wrong ones"
                    )
                server.is_closed, server.digests, server.outliers = True, stretches, outliers
                return Heard(unwritten=unwritten)
            case m.Released(shard=shard, number=number):
                if number > round_.lent_at.get(shard, 0):
                    server.released.add(shard)
            case m.Delivered(shard=shard, number=number):
                if number > round_.lent_at.get(shard, 0):  # as opposed to one that was taken back since
                    server.delivered.add(shard)
                if self.is_delivered(shard):
                    self._advance_turn(round_)
                    return Heard(delivered=shard)
            case m.Faulty(shard=shard, number=number, reason=reason):
                if shard in round_.place and number > round_.lent_at.get(shard, 0):
                    self._wrong[shard] = (
                        Outlier(reason) if message.kind == Outlier.kind else NotFinite(reason)
                    )
            case m.Unseen(shard=shard, number=number, reason=reason):
                if number > round_.lent_at.get(shard, 0) and round_.lent.pop(shard, None) is not None:
                    return Heard(unseen=shard, trouble=reason)
        return Heard()

    def _advance_turn(self, round_: ServedRound) -> None:
        def is_past(shard: int) -> bool:
            return shard in round_.left_out or self.is_delivered(shard)

        while round_.turn < len(round_.shards) and is_past(round_.shards[round_.turn]):
            round_.turn += 1
            round_.ahead.discard(round_.turn)

    def _fill(self, index: int, message: m.Pull) -> None:
        """A server lacks the settled version, and asks for it."""
        server = self._all[index]
        if message.version != self.version or self.canonical.vector is None:
            return
        for number in message.chunks:
            if number >= len(server.spans):
                raise PeerError(f"there is no chunk {number}; the stretch has {len(server.spans)}")
            span = server.spans[number]
            part = self.canonical.vector[span.start : span.stop]
            self._outbox.tell(index, m.Weights(self.version, number, checksum(part.data)), part)

    def _copy(self, index: int, message: m.Weights, payloads: Sequence[memoryview]) -> None:
        """A chunk of the next version has come from a server elsewhere."""
        server, round_ = self._all[index], self.round
        if round_ is None or server.copy is None or message.version != round_.version:
            return
        if take_part(message, payloads[0], server.spans, round_.out, server.copy):
            self._ask_for_copy(index, round_, server.copy.ask())

    # -- what servers are told ------------------------------------------------------------------------

    def tick(self, now: float) -> list[int]:
        """Ask again what has had no answer; the servers that are lost."""
        lost = []
        for index, server in enumerate(self._all):
            if now - server.checked_at >= self._settings.heartbeat_interval_s:
                server.checked_at = now
                server.silent_since = now if server.silent_since is None else server.silent_since
                self._outbox.tell(index, m.Check(self._next_number()))
            if now - server.asked_at >= self._settings.retry_s:
                server.asked_at = now
                self._ask_again(index)
            silent_s = 0.0 if server.silent_since is None else now - server.silent_since
            if silent_s < self._settings.server_timeout_s:
                continue
            if server.away_since is None:
                lost.append(index)
            else:  # whoever took its place has not come up
                server.silent_since = None
                self._outbox.put(Restart(index))
        return lost

    def lose(self, index: int, now: float) -> bool:
        """A server is lost, and counts as away until it serves again; whether it was ready."""
        server = self._all[index]
        was_ready, server.is_ready = server.is_ready, False
        server.away_since = now if server.away_since is None else server.away_since
        server.silent_since = None
        return was_ready

    def away_for(self, now: float) -> tuple[float, str]:
        """For how long a server has been away, and its address: the longest."""
        away = [(now - one.away_since, one.address) for one in self._all if one.away_since is not None]
        return max(away, default=(0.0, ""))

    def _ask_again(self, index: int) -> None:
        server, round_, layout = self._all[index], self.round, self.canonical.layout
        if not server.is_ready:
            if layout is not None:
                self._tell_serve(index, layout)
            return
        if round_ is None:
            return
        self._tell_open(index, round_)
        for shard in round_.asked_back - server.released:
            self._tell_release(index, round_, shard)
        if server.copy is not None:
            self._ask_for_copy(index, round_, server.copy.ask_again())
        if round_.mirrors is not None and not server.is_closed:
            self._tell_finish(index, round_)

    @property
    def _place(self) -> str:
        """Where servers must be to write into the master's vectors; empty: nowhere."""
        vectors = [self.canonical.vector, self.round.out if self.round is not None else None]
        is_shared = all(v is None or self._memory.descriptor(v) != NOT_SHARED for v in vectors)
        return self._memory.place if is_shared else ""

    @property
    def _any_descriptor(self) -> int:
        """Of the settled version, or of the vector that the first one is to lie in."""
        if self.canonical.vector is None and self.round is not None:
            return self._memory.descriptor(self.round.out)
        return self.canonical.descriptor

    def _serve(self, layout: Layout) -> None:
        """Begin a generation: every server is told what to hold."""
        self._generation += 1
        cuts = layout.cuts(len(self._all))
        for index, server in enumerate(self._all):
            server.spans = layout.chunks(self._settings.chunk_bytes, *cuts[index])
            nbytes = layout.part(*cuts[index]).nbytes
            server.capacity = max(1, self._held_bytes // max(1, nbytes))
            server.is_ready = False
            self._clear(server)
            self._tell_serve(index, layout)

    @staticmethod
    def _clear(server: Server) -> None:
        server.delivered, server.released, server.is_closed, server.copy = set(), set(), False, None

    def _begin_round(self, index: int, round_: ServedRound) -> None:
        server = self._all[index]
        self._clear(server)
        self._tell_open(index, round_)
        if not server.is_shared:
            server.copy = Gather(len(server.spans), self._settings.pull_window)
            self._ask_for_copy(index, round_, server.copy.ask())

    def _tell_serve(self, index: int, layout: Layout) -> None:
        settings = self._settings
        serve = m.Serve(
            protocol=m.PROTOCOL,
            generation=self._generation,
            run=self._run,
            server=index,
            servers=len(self._all),
            layout=layout.to_plain(),
            chunk_bytes=settings.chunk_bytes,
            window=settings.window,
            held_bytes=self._held_bytes,
            version=self.version,
            place=self._place,
            pid=self._memory.pid,
            descriptor=self._any_descriptor,
            keeps_digests=settings.keeps_ledger,
            outlier_factor=float(settings.outlier_factor),
            rejects_outliers=settings.rejects_outliers,
            secret=settings.secret,
            rule=to_plain(self._rule) if self._rule.faulty else None,
        )
        self._outbox.tell(index, serve)

    def _tell_open(self, index: int, round_: ServedRound) -> None:
        server = self._all[index]
        descriptor = self._memory.descriptor(round_.out) if server.is_shared else NOT_SHARED
        numbers = (round_.shards, round_.samples)
        self._outbox.tell(index, m.Open(*self._head(round_), *numbers, descriptor, round_.left_out))

    def _tell_finish(self, index: int, round_: ServedRound) -> None:
        mirrors = round_.mirrors or ()
        pids, descriptors = tuple(one.pid for one in mirrors), tuple(one.descriptor for one in mirrors)
        self._outbox.tell(index, m.Finish(*self._head(round_), pids, descriptors, round_.left_out))

    def _tell_release(self, index: int, round_: ServedRound, shard: int) -> None:
        self._outbox.tell(index, m.Release(*self._head(round_), shard))

    def _head(self, round_: ServedRound) -> tuple[int, int, int]:
        """What every message about a round begins with: generation, number and version."""
        return self._generation, self._next_number(), round_.version

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _ask_for_copy(self, index: int, round_: ServedRound, chunks: Sequence[int]) -> None:
        if chunks:
            self._outbox.tell(index, m.Pull(round_.version, tuple(chunks)))
