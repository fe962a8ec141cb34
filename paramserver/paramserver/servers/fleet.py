"""The averaging servers of a run: what comes of what they say, and what is done when one is lost.

The part of the master's machine between `stragglers.py`, on which it builds, and `machine.py`. Where the
master averages itself, nothing of it is used.
"""

from paramserver.effects import Effect, Restart
from paramserver.servers.served import Served
from paramserver.servers.state import Heard
from paramserver.stragglers import Stragglers
from paramserver.work import Payloads
from ps_common import messages as m
from ps_common.errors import PeerError, TimedOut, UsageError


class Fleet(Stragglers):
    """Work that averaging servers may take part in."""

    _lost_at = (-1, 0)  # the version at which averaging servers were lost last, and how often

    def hear(self, server: int, message: m.Message, payloads: Payloads, now: float) -> list[Effect]:
        """Take one message of an averaging server."""
        if isinstance(self.exchange, Served) and not self.is_over:
            try:
                heard = self.exchange.hear(server, message, payloads, now)
                if isinstance(message, m.Refused) and message.exit_code != TimedOut.exit_code:
                    self._end(now, message.exit_code, message.reason)
                elif isinstance(message, m.Refused) and heard.trouble:
                    text = f"waiting for averaging server {server}: {heard.trouble}"
                    self._outbox.note("waiting", text, server=server)
                self._on_heard(server, heard, now)
            except PeerError as error:
                text = f"refused a message of averaging server {server}: {error}"
                self._outbox.note("rejection", text, server=server, reason=str(error), urgent=True)
            self._assign(now)
        return self._outbox.take()

    def lose(self, server: int, why: str, now: float) -> list[Effect]:
        """The process of an averaging server has ended."""
        if not self.is_over:
            self._on_server_lost(server, why, now)
        return self._outbox.take()

    def _look_after_servers(self, now: float) -> None:
        """Let time pass: find the silent, and give up who stays away."""
        if not isinstance(self.exchange, Served):
            return
        for server in self.exchange.tick(now):
            why = f"not heard of for {self.settings.server_timeout_s:g} s; where it was started by itself, "
            self._on_server_lost(server, f"{why}start ps-average there again, or correct --servers", now)
        away_s, address = self.exchange.away_for(now)
        if away_s >= self.settings.wait_timeout_s:
            text = f"no averaging server at {address} for {away_s:.0f} s; start it again and try again"
            self._end(now, TimedOut.exit_code, text)

    def _on_heard(self, index: int, heard: Heard, now: float) -> None:
        """An averaging server has brought something about."""
        stage = self.leasing.stage
        for one in self.members if heard.unwritten else ():
            if one.join.pid in heard.unwritten:
                one.here = None
        if heard.is_lost:
            self._on_server_lost(index, "it has forgotten what it served", now)
        elif heard.is_blind:
            self._begin_anew()
        elif stage is None:
            return
        elif heard.are_all_ready:
            if self.settings.transport == "shm" and not self.exchange.is_shared:
                reason = "the averaging servers share no memory with the master; use --transport auto"
                self._end(now, UsageError.exit_code, reason)
            for lease in stage.leases:
                member = self.members.get(lease.sender)
                if lease.is_announced and member is not None:
                    self._take_in(member, lease)
        elif heard.delivered is not None or heard.unseen is not None:
            shard = heard.delivered if heard.delivered is not None else heard.unseen
            leased = stage.lease_of_shard(shard) if shard is not None else None
            member = self.members.get(leased.sender) if leased is not None else None
            if leased is not None and member is not None and heard.delivered is not None:
                self._advance(member, leased, now)
            elif leased is not None and member is not None:  # it may still be there to send it
                self._note_transport(member, heard.trouble)
                member.transport = "tcp"
                self._let_come(leased)
        else:
            self._settle_stage(stage, now)

    def _on_server_lost(self, index: int, why: str, now: float) -> None:
        """What a server held of the round is lost: the round begins anew, with whoever takes its place."""
        text = f"averaging server {index} ({self.exchange.servers[index]}) is lost: {why}"
        self._outbox.note("loss", text, server=index, urgent=True)
        version, times = self._lost_at
        self._lost_at = (self.progress.version, times + 1 if version == self.progress.version else 1)
        if self._lost_at[1] > self.settings.server_losses_max:
            reason = f"averaging servers were lost {self._lost_at[1]} times in one round"
            self._end(now, TimedOut.exit_code, f"{reason}; their messages say why")
            return
        self._outbox.put(Restart(index))
        if isinstance(self.exchange, Served) and self.exchange.lose(index, now):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """All servers begin anew, from the settled version."""
        stage = self.leasing.stage
        if stage is not None and stage.kind != "evaluate":
            self.leasing.reopen_done(stage)
            self._is_closing = False
        for member in self.members:  # nobody gets a unit before all servers have let go of what was lent
            member.lent.clear()
            member.here = None
        self._left_lent.clear()
        if isinstance(self.exchange, Served):
            self.exchange.begin_anew()
