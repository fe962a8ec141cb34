"""The worker, as a state machine: messages, time, signals and outcomes in, effects out.

It decides what to say to the master, what to ask for again, and when to compute, wait, rejoin or give
up. It must not know sockets, threads, clocks or how a unit is computed; the same object runs behind a
DEALER socket and in a simulated network.
"""

import enum
import math
from collections.abc import Callable, Sequence

from ps_common import messages as m
from ps_common.errors import (
    LayoutMismatch,
    MasterUnreachable,
    NotAuthorised,
    PeerError,
    ProtocolMismatch,
    TimedOut,
)
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Heap, Memory
from ps_common.wire import checksum
from ps_worker.effects import (
    Cancel,
    Compute,
    Connect,
    Contribution,
    Effect,
    Exit,
    Failure,
    Last,
    Note,
    Outcome,
    Prepare,
    Prepared,
    Probe,
    Send,
)
from ps_worker.stock import Request, Stock, shard_of

JOIN_RETRY_S = 0.25  # while it is not welcome; then the master says
DOUBLINGS_MAX = 4  # of that time: who must wait for long asks seldom, and yet finds out what was lost
LAST_S = 10.0  # how long the weights that a run has come to may take to come
REJECTED_MAX = 5  # refusals that are said one by one; then the 8th, 16th, ...
PATIENCE_S = 3.0  # silence of the master after which the worker says that it waits
PROBE_S = 10.0  # between two looks why nobody has ever answered


class State(enum.Enum):
    JOINING = "joining"  # has said Join, is not welcome yet
    PREPARING = "preparing"  # builds the replica
    IDLE = "idle"  # has said Ready
    GATHERING = "gathering"  # has a lease, and what it needs is coming
    COMPUTING = "computing"
    SETTLING = "settling"  # has pushed, or reported a failure, and waits for the verdict
    ABANDONING = "abandoning"  # the unit being computed is wanted no more
    TAKING = "taking"  # the run is over, and the weights that it has come to are coming
    LEFT = "left"


class Worker:
    """One worker process's side of the protocol.

    join: who it is. master_timeout_s: silence of the master after which it gives up.
    shutdown_timeout_s: how long the unit in hand may take after `stop`. log: where what it says is kept.
    memory: where the weights of a master on this machine can be seen. takes_last: whether to leave with the
    weights that the run has come to. stopped_code: what to exit with when asked to stop before that.
    """

    def __init__(
        self,
        join: m.Join,
        now: float,
        master_timeout_s: float,
        shutdown_timeout_s: float = 30.0,
        log: str = "",
        memory: Memory | None = None,
        takes_last: bool = False,
        stopped_code: int = 0,
    ) -> None:
        self.join = join
        self.state = State.JOINING
        self.name = join.name
        self.step = 0  # of the computing side; the loop keeps it up to date
        self._master_timeout_s = master_timeout_s
        self._shutdown_timeout_s = shutdown_timeout_s
        self._log = log
        self._takes_last = takes_last
        self._stopped_code = stopped_code
        self._layout: Layout | None = None  # the master's, if the welcome said it
        self._is_agreed = False  # it is this worker's
        self._effects: list[Effect] = []
        self._welcome: m.Welcome | None = None
        self._job: Description | None = None
        self._stock = Stock(memory or Heap())
        self._is_busy = False  # the computing side has something in hand
        self._lease: m.Lease | None = None
        self._last_lease = 0  # since the last welcome
        self._outcome: Contribution | None = None
        self._sent = 0  # chunks of it
        self._said: m.Message | None = None  # what is said again until it is answered
        self._heard_at = now  # of the master
        self._has_complained = False
        self._probed_at = -math.inf
        self._why_silent = ""  # as was seen when last looked
        self._asked_at = -math.inf
        self._repeats = 0  # of the last request, since anything came forward
        self._beat_at = -math.inf
        self._beat_every_s = math.inf  # as the master has told last
        self._leave_by = math.inf  # asked to stop: at the latest then
        self._end, self._last_version = "", -1  # how the run ended, and what it has come to
        self._rejected = 0  # messages that the master has found something wrong with
        self._spent = {"wait": 0.0, "transfer": 0.0}  # seconds since the last push
        self._since = now  # when the state began

    # -- inputs ---------------------------------------------------------------------------------------

    def handle(self, message: m.Message, payloads: Sequence[memoryview], now: float) -> list[Effect]:
        """Take one message of the master. Raises nothing: what does not fit is noted and dropped."""
        self._heard_at, self._has_complained = now, False
        handler = _HANDLERS.get(type(message))
        try:
            if handler is None:
                raise PeerError(f"{type(message).__name__} is not a master's to send")
            if self.state is not State.LEFT:
                handler(self, message, payloads, now)
        except PeerError as error:
            self._effects.append(Note(f"dropped a message of the master: {error}"))
        return self._take_effects()

    def hear(
        self, server: int, message: m.Message, payloads: Sequence[memoryview], now: float
    ) -> list[Effect]:
        """Take one message of an averaging server, likewise."""
        try:
            if isinstance(message, m.Weights):
                self._on_weights(message, payloads, now, server)
            elif isinstance(message, m.Grant):
                self._on_grant(message, payloads, now, server)
            else:
                raise PeerError(f"{type(message).__name__} is not an averaging server's to send")
        except PeerError as error:
            self._effects.append(Note(f"dropped a message of averaging server {server}: {error}"))
        return self._take_effects()

    def done(self, outcome: Outcome, now: float) -> list[Effect]:
        """The computing side has finished what it was given."""
        self._is_busy = False
        if isinstance(outcome, Contribution) and outcome.spare is not None:
            self._stock.give_back(outcome.spare)
        if isinstance(outcome, Prepared) and self._job and self._job.digest == outcome.job_digest:
            self._stock.adopt(outcome.layout)
            self._is_agreed = self._layout is not None
        if self.state is State.PREPARING:
            if isinstance(outcome, Failure):
                if outcome.exit_code in (1, 70):  # the user's code, or ours; anything else says it in a line
                    self._effects.append(Note(outcome.traceback))
                self._leave(now, outcome.exit_code, outcome.error)
            else:
                self._enter(State.IDLE, now)
        elif self.state is State.ABANDONING:
            self._enter(State.IDLE, now)
        elif self.state is State.COMPUTING and self._lease is not None:
            self._on_outcome(outcome, self._lease, now)
        return self._take_effects()

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: beat, ask again, give up."""
        if self.state is State.LEFT:
            return self._take_effects()
        overslept = now - self.next_deadline()
        if PATIENCE_S <= overslept < math.inf:  # it was stopped itself: that was no silence of the master
            self._heard_at += overslept
            if self.state is State.TAKING:
                self._leave_by += overslept
        # Compared as next_deadline() adds them: now - asked_at may round to less than was waited.
        if now >= self._leave_by and self.state is State.TAKING:
            self._leave(now, 0, f"{self._end}; its last weights did not come")
        elif now >= self._leave_by:
            self._leave(now, self._stopped_code, "asked to stop; the unit in hand took too long")
        elif now >= self._heard_at + self._master_timeout_s:
            self._give_up(now)
        else:
            self._complain(now)
            self._beat(now)
            if now >= self._asked_at + self._retry_s():
                self._ask_again(now)
        return self._take_effects()

    def next_deadline(self) -> float:
        """When `tick` wants to be called, unless something comes first."""
        if self.state is State.LEFT:
            return math.inf
        beat = self._beat_at + self._beat_every_s
        return min(
            self._asked_at + self._retry_s(), beat, self._heard_at + self._master_timeout_s, self._leave_by
        )

    def stop(self, now: float, gives_up: bool = False) -> list[Effect]:
        """Asked to leave: finish the unit in hand, then go. gives_up: unless nobody computes it any more."""
        if self.state not in (State.COMPUTING, State.SETTLING, State.LEFT):
            self._leave(now, self._stopped_code, "asked to stop")
        elif self.state is State.COMPUTING and gives_up:
            self._leave(now, self._stopped_code, "asked to stop; the unit in hand is given up")
        elif self.state is not State.LEFT:
            self._leave_by = now + self._shutdown_timeout_s
        return self._take_effects()

    def probed(self, why_silent: str) -> list[Effect]:
        """What was seen at the master's address; said when it is another than before."""
        if self._has_complained and self._welcome is None and why_silent != self._why_silent:
            self._why_silent = why_silent
            self._effects.append(Note(why_silent))
        return self._take_effects()

    def shut_out(self, why: str) -> list[Effect]:
        """A server will never let this worker in."""
        self._exit(NotAuthorised.exit_code, why)
        return self._take_effects()

    @property
    def is_busy(self) -> bool:
        """Whether the computing side has something in hand."""
        return self._is_busy

    # -- messages, in the order of the protocol -------------------------------------------------------

    def _on_welcome(self, message: m.Welcome, payloads: Sequence[memoryview], now: float) -> None:
        if self.state is not State.JOINING:
            return
        try:
            job = Description.from_plain(message.job)
            self._layout = None if message.layout is None else Layout.from_plain(message.layout)
        except PeerError as error:  # the same would come again
            self._leave(now, ProtocolMismatch.exit_code, f"the master's job cannot be read: {error}")
            return
        self._beat_every_s = message.heartbeat_interval_s
        self._last_lease = message.lease  # what was in hand is given up
        self._welcome, self._job, self.name = message, job, message.worker
        self._stock.begin(message, job, self._layout)
        self._effects.append(Connect(message.servers))
        self._effects.append(Note(f"joined run {message.run} as {message.worker}"))
        if self._is_busy:
            self._effects.append(Cancel())
            self._enter(State.ABANDONING, now)
        else:
            self._enter(State.IDLE, now)

    def _on_refused(self, message: m.Refused, payloads: Sequence[memoryview], now: float) -> None:
        self._exit(message.exit_code, f"the master refused this worker: {message.reason}")

    def _on_rejoin(self, message: m.Rejoin, payloads: Sequence[memoryview], now: float) -> None:
        if self.state is State.JOINING:
            return
        if self._leave_by < math.inf:
            self._leave(now, self._stopped_code, "asked to stop")
            return
        self._effects.append(Note("the master does not know this worker any more; joining again"))
        self._enter(State.JOINING, now)

    def _on_lease(self, lease: m.Lease, payloads: Sequence[memoryview], now: float) -> None:
        if self._welcome is None or lease.start != self._welcome.start:
            return  # of a master that is gone
        if lease.lease <= self._last_lease or self.state not in (State.IDLE, State.SETTLING) or self._is_busy:
            return  # once more, or of a term gone by
        self._check_lease(lease)
        layout = self._stock.layout
        fits = lease.kind == "initialise" or (layout is not None and lease.layout_digest == layout.digest)
        if not fits and self._job is not None and self._job.own_loop is not None:
            self._enter(State.JOINING, now)  # the welcome says what the master's layout is
            return
        if self._leave_by < math.inf:
            self._leave(now, self._stopped_code, "asked to stop")
            return
        self._outcome, self._sent = None, 0
        self._lease, self._last_lease = lease, lease.lease
        if not fits:
            self._enter(State.COMPUTING, now)
            text = (
                "the master's layout is not this job's here; start every worker from the same job and version"
            )
            self._on_outcome(Failure(f"LayoutMismatch: {text}", "", LayoutMismatch.exit_code), lease, now)
            return
        self._is_agreed = lease.kind != "initialise"
        try:
            why_not = self._stock.want(lease)
        except (MemoryError, ValueError) as error:  # NumPy's, of an array larger than an address can be
            self._enter(State.COMPUTING, now)
            text = f"what the unit needs is more than this machine has: {error}"
            self._on_outcome(Failure(f"{type(error).__name__}: {text}", "", 1), lease, now)
            return
        if why_not:
            self._effects.append(Note(f"weights come over the network, not through memory: {why_not}"))
        self._enter(State.GATHERING, now)
        self._advance(now)

    def _on_weights(
        self, message: m.Weights, payloads: Sequence[memoryview], now: float, server: int | None = None
    ) -> None:
        if self.state in (State.JOINING, State.LEFT):
            return
        if not self._stock.take_weights(message, payloads, server):
            return
        self._wait_anew(now)
        if self.state is State.GATHERING:
            self._advance(now)
        elif self.state is State.TAKING:
            self._take_last(now, self._stock.ask())
        else:
            self._ask(self._stock.ask_ahead())

    def _on_rows(self, message: m.Rows, payloads: Sequence[memoryview], now: float) -> None:
        if self.state is State.GATHERING and self._stock.take_rows(message, payloads):
            self._advance(now)

    def _on_grant(
        self, message: m.Grant, payloads: Sequence[memoryview], now: float, server: int | None = None
    ) -> None:
        if self._welcome is not None and len(message.chunks) > self._welcome.window:
            many, window = len(message.chunks), self._welcome.window
            raise PeerError(f"{many} chunks are granted, over the window of {window}")
        if self.state is State.SETTLING and self._lease is not None and message.lease == self._lease.lease:
            self._wait_anew(now)
            self._send_chunks(message.chunks, server)
            if message.is_last:
                self._ask(self._stock.ask_ahead(self._lease.version + 1))

    def _on_accepted(self, message: m.Accepted, payloads: Sequence[memoryview], now: float) -> None:
        if self._lease is None or message.lease != self._lease.lease:
            return
        if self.state is State.COMPUTING:
            self._effects.append(Cancel())
            self._enter(State.ABANDONING, now)
        elif self.state in (State.SETTLING, State.GATHERING):
            self._enter(State.IDLE, now, is_known=message.counted)

    def _on_alive(self, message: m.Alive, payloads: Sequence[memoryview], now: float) -> None:
        if self._welcome is None:
            return  # it has no heart that could beat
        self._beat_every_s = message.heartbeat_interval_s
        if message.term > self._welcome.term:
            self._on_rejoin(m.Rejoin(), (), now)  # the welcome was of a term gone by

    def _on_rejected(self, message: m.Rejected, payloads: Sequence[memoryview], now: float) -> None:
        self._rejected += 1
        if self._rejected <= REJECTED_MAX or self._rejected & (self._rejected - 1) == 0:
            strikes = f"{message.strikes} of {message.strikes_max} strikes"
            self._effects.append(Note(f"the master refused ({message.kind}; {strikes}): {message.reason}"))

    def _on_stop(self, message: m.Stop, payloads: Sequence[memoryview], now: float) -> None:
        if self.state is State.TAKING:
            return
        if self._takes_last and self._is_agreed and message.exit_code == 0 and message.version >= 0:
            if self.state is State.COMPUTING:
                self._effects.append(Cancel())
            self._end, self._last_version, self._leave_by = message.reason, message.version, now + LAST_S
            self._enter(State.TAKING, now)
            self._wait_anew(now)
            self._take_last(now, self._stock.want_last(message.version))
            return
        self._effects.append(Send(m.Leave("the run failed" if message.exit_code else message.reason[:1000])))
        self._exit(message.exit_code, message.reason)

    def _take_last(self, now: float, requests: Sequence[Request]) -> None:
        """More of the weights that the run has come to is here: ask for the rest, or leave with them."""
        weights = self._stock.last
        if weights is None:
            self._ask(requests)
        else:
            self._effects.append(Last(self._last_version, weights))
            self._leave(now, 0, self._end)

    # -- the unit in hand -----------------------------------------------------------------------------

    def _check_lease(self, lease: m.Lease) -> None:
        """Raise `PeerError` for a unit that the job does not have."""
        if lease.kind not in ("initialise", "train", "evaluate") or self._job is None:
            raise PeerError(f"there are no units of kind {lease.kind!r}")
        key = shard_of(lease)
        if key is not None and lease.shard >= self._job.split(key[0])[1].count:
            raise PeerError(f"there is no {key[0]} shard {lease.shard}")
        if lease.kind == "train" and lease.round >= self._job.schedule.rounds:
            raise PeerError(f"there is no round {lease.round}")

    def _advance(self, now: float) -> None:
        """Ask for what is still missing, or begin to compute."""
        if self._stock.is_complete:
            self._compute(self._stock.task())
            self._enter(State.COMPUTING, now)
        else:
            self._wait_anew(now)
            self._ask(self._stock.ask())

    def _on_outcome(self, outcome: Outcome, lease: m.Lease, now: float) -> None:
        self._enter(State.SETTLING, now)
        if isinstance(outcome, Failure):
            self._say(
                m.Failed(
                    lease.lease,
                    outcome.error[:4000],
                    outcome.traceback[-32_000:],
                    self._log,
                    outcome.exit_code,
                ),
                now,
            )
        elif isinstance(outcome, Contribution):
            self._outcome = outcome
            spent, self._spent = self._spent, dict.fromkeys(self._spent, 0.0)
            push = m.Push(
                lease=lease.lease,
                samples=outcome.samples,
                sums=outcome.sums,
                layout=outcome.layout,
                is_last=self._leave_by < math.inf,
                descriptor=outcome.descriptor,
                compute_s=outcome.compute_s,
                wait_s=spent["wait"],
                transfer_s=spent["transfer"],
            )
            self._say(push, now)
            self._ask(self._stock.ask_with_push(lease))
            self._send_chunks(range(min(lease.grant, len(self._stock.spans[0]))), None)

    def _send_chunks(self, chunks: Sequence[int], server: int | None) -> None:
        outcome = self._outcome
        vector = outcome.vector if outcome else None
        if outcome is None or vector is None or self._lease is None:
            return
        for index in chunks:
            span = self._stock.span(server, index)
            outcome.arrival.wait(span.stop)
            part = vector[span.start : span.stop]
            chunk = m.Chunk(self._lease.lease, index, checksum(part.data))
            self._effects.append(Send(chunk, (part,), server))
            self._sent += 1
            self._stock.goes_in_chunks = True

    # -- time -----------------------------------------------------------------------------------------

    def _beat(self, now: float) -> None:
        if self._welcome is None or now < self._beat_at + self._beat_every_s:
            return
        self._beat_at = now
        if self.state is not State.JOINING:
            in_hand = (
                self.state in (State.GATHERING, State.COMPUTING, State.SETTLING) and self._lease is not None
            )
            lease = self._lease.lease if in_hand and self._lease else 0
            steps = 0 if self.state is State.GATHERING else self.step
            self._effects.append(Send(m.Heartbeat(lease, self._stock.pieces + steps + self._sent)))

    def _ask_again(self, now: float) -> None:
        """The last request has had no answer for a while: make it again, and wait twice as long for that."""
        self._asked_at, self._repeats = now, min(self._repeats + 1, DOUBLINGS_MAX)
        if self.state is State.JOINING:
            self._send(self.join, now)
        elif self.state is State.IDLE:
            self._send(m.Ready(self._stock.version, self._last_lease), now)
        elif self.state in (State.GATHERING, State.TAKING):
            self._ask(self._stock.ask_again())
        elif self.state is State.SETTLING and self._said is not None:
            self._send(self._said, now)

    def _complain(self, now: float) -> None:
        silence = now - self._heard_at
        expected_s = 0.0 if self._welcome is None else self._beat_every_s
        if silence < max(PATIENCE_S, 2 * expected_s):
            return
        if not self._has_complained:
            self._has_complained = True
            left = self._master_timeout_s - silence
            heard = f"nothing heard of the master for {silence:.0f} s ({self.state.value})"
            self._effects.append(Note(f"{heard}; trying on for {left:.0f} s"))
        if self._welcome is None and now >= self._probed_at + PROBE_S:
            self._probed_at = now
            self._effects.append(Probe())

    def _give_up(self, now: float) -> None:
        waited = f"{self._master_timeout_s:g} s"
        if self._welcome is None:
            question = self._why_silent or "is it started, and is this its address?"
            self._exit(
                MasterUnreachable.exit_code,
                f"nobody answers at the master's address for {waited}; {question}",
            )
        else:
            heard = f"not heard of for {waited} ({self.state.value})"
            self._exit(TimedOut.exit_code, f"lost the master: {heard}; start it again and try again")

    def _retry_s(self) -> float:
        if self._welcome is None or self.state is State.JOINING:
            return JOIN_RETRY_S
        return self._welcome.retry_s * (1 << self._repeats)

    def _wait_anew(self, now: float) -> None:
        """Something has come forward: what is still to come has its time from now on."""
        self._asked_at, self._repeats = now, 0

    # -- small things ---------------------------------------------------------------------------------

    def _enter(self, state: State, now: float, is_known: bool = False) -> None:
        """Change state, count the time spent in the one that ends, and ask what the new one asks.

        is_known: the master knows it already; it is told only if that turns out to be wrong.
        """
        kind = _TIME_OF.get(self.state)
        if kind is not None:
            self._spent[kind] += now - self._since
        self.state, self._since, self._repeats = state, now, 0
        if state is not State.SETTLING:
            self._said = None
        if state is State.IDLE:
            self._lease, self._outcome = None, None
            if self._leave_by < math.inf:
                self._leave(now, self._stopped_code, "asked to stop")
            elif self._stock.layout is None and self._job is not None:
                self._compute(Prepare(self._job, self._layout))
                self._enter(State.PREPARING, now)
            elif is_known:
                self._asked_at = now
            else:
                self._send(m.Ready(self._stock.version, self._last_lease), now)
        elif state is State.JOINING:
            self._send(self.join, now)

    def _compute(self, effect: Prepare | Compute) -> None:
        self._is_busy = True
        self._effects.append(effect)

    def _say(self, message: m.Message, now: float) -> None:
        self._said = message
        self._send(message, now)

    def _send(self, message: m.Message, now: float) -> None:
        self._asked_at = now
        self._effects.append(Send(message))

    def _ask(self, requests: Sequence[Request]) -> None:
        self._effects.extend(Send(request.message, server=request.server) for request in requests)

    def _leave(self, now: float, exit_code: int, reason: str) -> None:
        self._effects.append(Send(m.Leave(reason[:1000])))
        self._exit(exit_code, reason)

    def _exit(self, exit_code: int, reason: str) -> None:
        self.state = State.LEFT
        self._effects.append(Exit(exit_code, reason))

    def _take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


_HANDLERS: dict[type[m.Message], Callable[..., None]] = {
    m.Welcome: Worker._on_welcome,
    m.Refused: Worker._on_refused,
    m.Rejoin: Worker._on_rejoin,
    m.Lease: Worker._on_lease,
    m.Weights: Worker._on_weights,
    m.Rows: Worker._on_rows,
    m.Grant: Worker._on_grant,
    m.Accepted: Worker._on_accepted,
    m.Alive: Worker._on_alive,
    m.Stop: Worker._on_stop,
    m.Rejected: Worker._on_rejected,
}

_TIME_OF = {  # what a state's time counts as; computing is timed where it is done
    State.IDLE: "wait",
    State.GATHERING: "transfer",
    State.SETTLING: "transfer",
}
