"""A whole cluster in one thread, in virtual time: the machines of production, the rest of it modelled.

    world.py       time and chance               clock.py      what a machine's clock shows
    frames.py      messages as bytes             network.py    on their way
    host.py        what its processes share      links.py      what messages queue for
    hardware.py    what all this costs           cores.py      what is computed on
    disk.py        where checkpoints go
    node.py        a process and its loop        computing.py  the computing side of a worker
    master_node.py, worker_node.py, server_node.py             the three kinds of processes
    case.py        a job and its replicas        cluster.py    starts and kills processes, and runs

    small.py       a large model with few bytes  idle.py       replicas that compute nothing
    modelled.py    what is simulated of a job    prediction.py how long its rounds take
    bottleneck.py  what they wait for            report.py     all that for a person

It is no part of a run. `ps-simulate` predicts with it how a job runs on a cluster, and the tests put faults
into it. It knows both sides, because it is the place where both run.
"""
