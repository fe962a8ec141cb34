"""The commands of the master's side: the only readers of flags and environment."""
