"""Who may come in to a server, and what each may cost it: sockets, keys, connections, floods."""
