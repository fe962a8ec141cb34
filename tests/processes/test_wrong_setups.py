"""Everything that people set up wrong has a message of its own, which says what to do; and then it goes on.

What a peer of another version, another job file, a wrong key or more workers than there may be is told, is in
test_bad_peers.py and test_keys.py; a port that is in use, in test_bad_input.py; too few workers, in
test_output.py.
"""

import contextlib
import http.server
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from paramserver import LocalCluster
from processes import jobs
from processes.world import Command, World
from support_proxy import Proxy

Undisturbed = Callable[[str], str]
WAITS = re.compile(r"nothing heard of the master for \d+ s \(joining\); trying on")


@contextlib.contextmanager
def reserved() -> Iterator[int]:
    """A port on which nobody listens, and which only who asks for it is given."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port of somebody who never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def web() -> Iterator[int]:
    """A port of a web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.BaseHTTPRequestHandler):
    timeout = 1

    def log_message(self, *given: object) -> None:
        pass


@contextlib.contextmanager
def filtered() -> Iterator[int]:
    """A port where what comes is dropped, as by a firewall: here, because a queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def start_worker(world: World, host: str, port: int, *flags: object) -> Command:
    return world.start("ps-worker", "--master", f"tcp://{host}:{port}", *flags)


def test_a_worker_that_reaches_no_master_says_what_is_there_instead_and_what_to_do(world: World) -> None:
    with contextlib.ExitStack() as stack:
        server = world.start("ps-average", "--bind", "tcp://127.0.0.1:0")
        its_port = int(server.wait_for("averaging at").rpartition(":")[2])
        places = [
            ("127.0.0.1", stack.enter_context(reserved()), "nobody listens at port {}"),
            ("127.0.0.1", stack.enter_context(silent()), "port {} of 127.0.0.1 is open, but what listens"),
            ("127.0.0.1", stack.enter_context(web()), "port {} of 127.0.0.1 is a web server's (HTTP)"),
            ("127.0.0.1", stack.enter_context(filtered()), "does not answer for 3 s: a firewall"),
            ("127.0.0.1", its_port, "speaks ZeroMQ, but not as a master"),
            ("no-such-host.invalid", 5555, "the name no-such-host.invalid means no address here"),
        ]
        workers = [start_worker(world, host, port) for host, port, _ in places]
        gives_up = start_worker(world, *places[0][:2], "--master-timeout", 6)
        for worker, (_, port, told) in zip(workers, places, strict=True):
            worker.wait_for(told.format(port))
            assert WAITS.search(worker.said)
            worker.send(signal.SIGTERM)
        assert [worker.wait(30) for worker in workers] == [0] * len(workers)
        assert gives_up.wait(30) == 69
        assert "ps-worker: nobody answers at the master's address for 6 s; nobody listens at" in gives_up.said
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0


def test_a_worker_that_is_there_before_the_master_waits_says_so_and_trains(
    world: World, undisturbed: Undisturbed
) -> None:
    with reserved() as port:
        worker = start_worker(world, "127.0.0.1", port)
        worker.wait_for(f"nobody listens at port {port} of 127.0.0.1: is the master started")
        where = f"tcp://127.0.0.1:{port}"
        code, said = world.run("ps-server", world.job(), "--bind", where, "--json", "record.json")
    assert (code, worker.wait(30)) == (0, 0), said + worker.said
    assert worker.said.count("nobody listens") == 1
    assert world.json()["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_a_second_master_of_one_run_is_2_and_a_master_whom_nobody_joins_gives_up_with_75(
    world: World,
) -> None:
    words = ("ps-server", world.job(), "--bind", "tcp://127.0.0.1:0")
    first = world.start(*words, "--checkpoint", "kept")
    first.wait_for("waiting for workers: 0 of 1 workers here")
    alone = world.start(*words, "--wait-timeout", 1)
    code, said = world.run(*words, "--checkpoint", "kept")
    assert code == 2
    assert f"--checkpoint kept is in use by a running master (pid {first.process.pid}); wait for it" in said
    assert alone.wait() == 75
    assert "0 of 1 workers were here after 1 s; start more and try again" in alone.said
    first.send(signal.SIGTERM)
    assert first.wait(30) == 0


def test_over_ipv6_a_run_has_the_same_bits(world: World, undisturbed: Undisturbed) -> None:
    """With averaging servers, to which the workers go by the same."""
    flags = ["--insecure", "--transport", "tcp", "--servers", "2", "--advertise", "tcp://[::1]:0"]
    with LocalCluster(world.job(), 2, server_flags=flags, bind="tcp://[::]:0") as cluster:
        assert cluster.address.startswith("tcp://[::1]:")
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_behind_a_forwarded_port_a_run_has_the_same_bits(world: World, undisturbed: Undisturbed) -> None:
    """The master is told which port leads to it, and tells it to the workers."""
    with reserved() as port, Proxy(inside := f"tcp://127.0.0.1:{port}") as proxy:
        words = ("--bind", inside, "--advertise", proxy.address, "--servers", 2, "--json", "record.json")
        server = world.start("ps-server", world.job(), *words)
        server.wait_for(f"listening: start workers with --master {proxy.address}")
        worker = world.start("ps-worker", "--master", proxy.address)
        assert (server.wait(), worker.wait(30)) == (0, 0), server.said + worker.said
    assert world.json()["weights_sha256"] == undisturbed(jobs.PLAIN)
