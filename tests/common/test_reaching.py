"""What was seen on the way to a master, in words that say what to do."""

import dataclasses

import pytest

from ps_common.errors import MasterUnreachable
from ps_common.probing import GREETING
from ps_common.reaching import FILTERED, OK, OPEN, REFUSED, WRONG, Found, findings, why_unreachable

THERE = Found(
    "master", 5555, 3.0, addresses=("10.0.0.2",), own="10.0.0.3", card="eth0", port_is=OPEN, said=GREETING
)


def but(**changes):
    return dataclasses.replace(THERE, **changes)


def test_where_nothing_is_wrong_each_step_is_a_line():
    told = list(findings(THERE))
    assert [finding.check for finding in told] == ["name", "route", "port", "greeting"]
    assert {finding.verdict for finding in told} == {OK}
    assert [finding.text for finding in told] == [
        "master means 10.0.0.2",
        "called from 10.0.0.3 (eth0)",
        "port 5555 of master (10.0.0.2) is open",
        "port 5555 of master (10.0.0.2) speaks ZeroMQ, with keys",
    ]


@pytest.mark.parametrize(
    ("found", "check", "told"),
    [
        (but(addresses=(), no_name="no such name"), "name", "the name master means no address here (no such"),
        (but(no_route="Network is unreachable"), "route", "no way from this machine to 10.0.0.2 (Network is"),
        (but(port_is=REFUSED), "port", "nobody listens at port 5555 of master (10.0.0.2): is the master st"),
        (but(port_is=FILTERED), "port", "does not answer for 3 s: a firewall drops what is sent there"),
        (but(port_is="No route to host"), "port", "cannot be reached: No route to host; a firewall may"),
        (but(said=b"HTTP/1.0 400 Bad"), "greeting", "is a web server's (HTTP) and no master's"),
        (but(said=b"SSH-2.0-OpenSSH\r\n"), "greeting", "what listens there says 'SSH-2.0-OpenSSH'"),
        (but(said=b"", is_closed=True), "greeting", "connections are ended at once: by a proxy or a"),
        (but(said=GREETING[:12], is_closed=True), "greeting", "connections are ended at once"),
        (but(said=b""), "greeting", "says nothing for 3 s: it is no master"),
    ],
)  # fmt: skip
def test_the_first_that_is_wrong_is_the_last_line_and_says_what_to_do(found, check, told):
    *right, wrong = findings(found)
    assert {finding.verdict for finding in right} <= {OK}
    assert (wrong.check, wrong.verdict, wrong.exit_code) == (check, WRONG, MasterUnreachable.exit_code)
    assert told in wrong.text
    assert why_unreachable(found) == wrong.text


def test_of_several_addresses_the_first_counts_and_an_address_is_no_name():
    name, *_ = findings(but(addresses=("10.0.0.2", "10.0.0.4")))
    assert name.text == "master means 10.0.0.2; 10.0.0.4 not, for the first one counts"
    name, *_ = findings(but(host="10.0.0.2"))
    assert name.text == "10.0.0.2 is an address"


def test_who_speaks_zeromq_and_never_answers_is_no_master():
    assert "speaks ZeroMQ, but not as a master" in why_unreachable(THERE)


@pytest.mark.parametrize(
    ("said", "mechanism"),
    [(GREETING, "CURVE"), (GREETING.replace(b"CURVE", b"NULL\0"), "NULL"), (GREETING[:63], ""),
     (GREETING[:10] + b"\1" + GREETING[11:], ""), (b"HTTP" * 16, ""), (b"", "")],
)  # fmt: skip
def test_a_greeting_says_its_mechanism(said, mechanism):
    assert but(said=said).mechanism == mechanism
