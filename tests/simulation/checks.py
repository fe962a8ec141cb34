"""What must hold after every turn of every machine, whatever the weather."""

import xxhash

from paramserver.accounting import Account
from paramserver.averaging.chunks import Chunks
from paramserver.averaging.cleared import ClearedRound
from paramserver.averaging.gathered import GatheredRound
from paramserver.averaging.rounds import Round
from paramserver.effects import Averaged
from paramserver.simulation.master_node import MasterNode
from paramserver.simulation.network import Network
from paramserver.simulation.server_node import ServerNode
from ps_common.arrays import HostArray
from ps_common.job import Description
from ps_worker.effects import Compute


class Checks:
    """Watches the masters of one run, one after the other, and what the workers compute on.

    is_thorough: look at every member and chunk after every turn, too.
    """

    def __init__(self, job: Description, is_thorough: bool = True) -> None:
        self._job = job
        self._is_timed = job.plan.quorum < 1  # what a version holds depends on who was late
        self._is_thorough = is_thorough
        self.are_all_honest = True  # as far as a test does not say otherwise
        self._samples = 0  # of all rounds that were closed
        self._digests: dict[int, int] = {}  # of the canonical vector at each version, of all masters
        self._vectors: dict[int, HostArray] = {}  # the same vectors
        self.last: HostArray | None = None  # the canonical vector at the last version
        self._version = -1  # of the master that runs now
        self._evaluated = 0  # epochs that were evaluated, likewise
        self._counted = 0  # units of all stages that this master has closed
        self._notes: dict[object, int] = {}  # looked at, of the master and each server
        self._rounds: list[Averaged] = []  # the ledger, as far as the weights of this master stand on it
        self._accounted = 0  # rounds that this master has accounted for
        self.contributions: dict[tuple[int, int, int], str] = {}  # (servers, round, shard) -> digest

    def new_master(self, node: MasterNode) -> None:
        self._version = node.machine.progress.version
        self._samples = sum(sum(self._samples_of(round_)) for round_ in range(self._version))
        self._evaluated, self._counted = _evaluated(node), 0
        self._accounted = 0
        del self._rounds[max(0, self._version) :]
        self._note_version(node)

    def after_master(self, node: MasterNode, network: Network) -> None:
        """After a turn of the master."""
        self._check_progress(node)
        if node.machine.settings.keeps_ledger:
            self._check_ledger(node)
        if self._is_thorough:
            self._check_units(node)
            self._check_memory(node)
        self._check_rejections(node, network)

    def after_server(self, node: ServerNode, network: Network) -> None:
        """After a turn of an averaging server."""
        machine, chunks = node.machine, node.machine._chunks
        if self._is_thorough and chunks is not None:
            self._check_stretch(node, chunks)
            _check_awaited(node, chunks)
            if chunks.round is not None:
                _check_held(chunks.round, _budget_bytes(chunks))
        assert chunks is not None or not machine._seen, f"{node} holds memory of others"
        self._check_rejections(node, network)

    def before_compute(self, task: Compute) -> None:
        """A pull returns one version, never a mix."""
        if task.base is not None:
            actual, version = xxhash.xxh3_64_intdigest(task.base.data), task.lease.version
            assert actual == self._digests[version], f"the base of {task.lease} is not version {version}"

    def _check_progress(self, node: MasterNode) -> None:
        """Versions grow, and a version has the same bits in whichever life of the master it is made."""
        version, schedule, progress = node.machine.progress.version, self._job.schedule, node.machine.progress
        assert version >= self._version, f"version {self._version} went back to {version}"
        for before in range(self._version, version):
            samples = self._samples_of(before) if before >= 0 else []
            self._counted += len(samples) if before >= 0 else 1  # initialise
            self._samples += sum(samples)
        if version != self._version:
            self._version = version
            self._note_version(node)
        if self._is_timed:
            return
        assert progress.samples == self._samples or self._job.has_open_samples, (
            f"{progress.samples} samples are counted, not {self._samples}"
        )
        epochs = max(0, version) // schedule.rounds_per_epoch
        assert len(progress.history) == epochs, f"{len(progress.history)} epochs are in the history"

    def _check_ledger(self, node: MasterNode) -> None:
        """Every version is accounted for, and a contribution has one digest in all lives of the master."""
        for averaged in node.averaged[self._accounted :]:
            self._rounds.append(averaged)
            for unit in averaged.units:
                key = (max(1, len(node.servers)), unit.round, unit.shard)
                known = self.contributions.setdefault(key, unit.digest) if unit.digest else ""
                assert known == unit.digest or self._is_timed, (
                    f"round {unit.round} shard {unit.shard} has another digest than before"
                )
        self._accounted = len(node.averaged)
        versions = [averaged.version for averaged in self._rounds]
        assert versions[-1:] == ([self._version] if self._version > 0 else []), (
            f"version {self._version} is not in the ledger"
        )

    def check_accounts(self, node: MasterNode) -> None:
        """The ledger adds up to what the last master says of itself."""
        account, progress = Account(self._job.schedule, self._job.has_open_samples), node.machine.progress
        for averaged in self._rounds:
            account.take(averaged)
        account.close(progress.version, progress.samples, len(progress.history))

    def _samples_of(self, round_: int) -> list[int]:
        schedule = self._job.schedule
        return [schedule.samples(round_, shard) for shard in schedule.units(round_)]

    def _note_version(self, node: MasterNode) -> None:
        vector = node.machine.canonical.vector
        if vector is None or self._version < 0:
            return
        self.last = vector.copy()
        digest = xxhash.xxh3_64_intdigest(vector.data)
        if self._is_timed:
            self._digests[self._version], self._vectors[self._version] = digest, self.last
        known = self._digests.setdefault(self._version, digest)
        self._vectors.setdefault(self._version, self.last)
        assert known == digest, f"version {self._version} has other bits than before"

    def _check_units(self, node: MasterNode) -> None:
        """Every unit of every stage is credited exactly once, and who has a lease is here."""
        stage, members = node.machine.leasing.stage, node.machine.members
        evaluated = _evaluated(node)
        if evaluated > self._evaluated and self._job.test_shards is not None:
            self._counted += (evaluated - self._evaluated) * self._job.test_shards.count
            self._evaluated = evaluated
        done = len(stage.sums) if stage else 0
        credited = sum(member.units for member in [*members.gone, *members])
        expected = self._counted + done + node.machine.leasing.units_lost
        assert credited == expected or self._is_timed, f"{credited} units are credited, {expected} done"
        for lease in stage.leases if stage else ():
            member = members.get(lease.sender)
            assert member is not None, f"{lease.unit} is leased to nobody who is here"
            assert member.lease == lease.number

    def _check_memory(self, node: MasterNode) -> None:
        """What is held stays within the budget, and within twice that where chunks may come unasked."""
        exchange = node.machine.exchange
        if isinstance(exchange, Chunks):
            _check_awaited(node, exchange)
            if exchange.round is not None:
                _check_held(exchange.round, _budget_bytes(exchange))

    def _check_stretch(self, node: ServerNode, chunks: Chunks) -> None:
        """What a server serves is its stretch of one version, and never a mix."""
        vector = chunks.canonical.vector
        if vector is None or node.machine._filling is not None:
            return
        whole, (start, _) = self._vectors.get(chunks.version), node.machine._cut
        for span in chunks.canonical.spans if whole is not None else ():
            is_same = bytes(vector[span.start : span.stop]) == bytes(whole[start:][span.start : span.stop])
            assert is_same, f"{node} serves something else as chunk {span.index} of version {chunks.version}"

    def _check_rejections(self, node: MasterNode | ServerNode, network: Network) -> None:
        """Nobody who is honest is refused: weather may damage payloads, and nothing else."""
        for note in node.notes[self._notes.get(node, 0) :]:
            if not self.are_all_honest:
                continue
            if note.event == "rejection":
                assert network.damaged, note.text
                assert "wrong checksum" in note.text, note.text
            assert note.event not in ("failure", "report"), note.text
        self._notes[node] = len(node.notes)


def _budget_bytes(chunks: Chunks) -> int:
    """How much may be held: by a robust rule all of a round, and no byte twice."""
    if isinstance(chunks.round, GatheredRound):
        return chunks.round._count * chunks.canonical.nbytes // 2
    return chunks.canonical.budget_bytes


def _check_held(round_: Round, budget: int) -> None:
    held = sum(
        part.nbytes
        for index, parts in enumerate(round_._held)
        for place, part in parts.items()
        if (index, place) not in round_._lent
    )
    assert held == round_.held_bytes
    granted = sum(round_._spans[i].nbytes for chunks in round_._granted.values() for i in chunks)
    assert granted == round_.granted_bytes
    budget = round_._budget_bytes if isinstance(round_, ClearedRound) else budget
    assert held <= 2 * budget, f"{held} bytes are held, the budget is {budget}"


def _check_awaited(node: MasterNode | ServerNode, chunks: Chunks) -> None:
    """Who is told to wait waits for a chunk that is open."""
    for index in chunks._awaited:
        is_open = chunks.round is not None and not chunks.round.is_chunk_closed(index)
        assert is_open, f"{node} keeps somebody waiting for chunk {index}"


def _evaluated(node: MasterNode) -> int:
    return sum(bool(entry.get("evaluated")) for entry in node.machine.progress.history)
