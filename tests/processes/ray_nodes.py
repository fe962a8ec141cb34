"""A Ray cluster of several nodes on this machine, for tests: a program that is told what to do on its input.

It says HOST:PORT, then answers each line: `add` starts a node and says the process of its raylet, and
`remove PID` takes the node of that raylet away without a word to it. When the input ends, the cluster ends.
"""

import sys

from ray.cluster_utils import Cluster

CPUS = 3  # of each node but the head, which has none
LIMITS = {"object_store_memory": 80 << 20, "include_dashboard": False}
CHECKS = {  # how soon a node is missed
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 4,
}


def main() -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # what Ray prints is no answer
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": CHECKS, **LIMITS}
    )
    nodes = {}
    print(cluster.address, file=answers, flush=True)
    try:
        for line in sys.stdin:
            verb, *words = line.split()
            if verb == "add":
                node = cluster.add_node(num_cpus=CPUS, **LIMITS)
                raylet = node.all_processes["raylet"][0].process.pid
                nodes[raylet] = node
                print(raylet, file=answers, flush=True)
            else:
                cluster.remove_node(nodes.pop(int(words[0])), allow_graceful=False)
                print("removed", file=answers, flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
