"""Whoever averages for the master: the master itself (`Chunks`), or several servers (`Served`)."""

from paramserver.averaging.chunks import Chunks
from paramserver.servers.served import Served

Exchange = Chunks | Served
