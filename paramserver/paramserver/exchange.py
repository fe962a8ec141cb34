"""Whoever averages for the master: the master itself (`Chunks`), or several servers (`Served`)."""

from paramserver.chunks import Chunks
from paramserver.served import Served

Exchange = Chunks | Served
