import socket

from clipfarm_tasks.stack.ports import LOOPBACK, free_ports


def test_ports_differ_and_can_be_bound():
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as server:
            server.bind((LOOPBACK, port))


def test_ports_stay_below_the_range_of_outgoing_connections():
    assert all(15_000 <= port < 32_000 for port in free_ports(50))


def test_a_port_whose_derived_port_is_taken_is_not_offered(monkeypatch):
    taken = free_ports(1)[0]
    monkeypatch.setattr("clipfarm_tasks.stack.ports._LOWEST", taken - 10)
    monkeypatch.setattr("clipfarm_tasks.stack.ports._HIGHEST", taken - 7)
    with socket.socket() as server:
        server.bind((LOOPBACK, taken))
        assert taken - 9 not in free_ports(1, also=9)
