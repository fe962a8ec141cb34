"""The worker: the replica, its models, the machine and the client."""
