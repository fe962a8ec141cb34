"""Contributions in, canonical weights out: the rules, the round in the making, and its chunks."""
