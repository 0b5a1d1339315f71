"""Clients that are slow on purpose, at the level of bytes."""

import contextlib
import socket
import time

import pytest

from tests.engine.server.serving import until

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@contextlib.contextmanager
def connect(running):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(running.settings.uds)
        yield connection


def read_all(connection):
    """Reads until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


def trickle(connection, piece=b"X: y\r\n"):
    """Sends a piece at a time until the server has closed the connection; returns what it said."""
    connection.settimeout(0.02)
    end = time.monotonic() + 10
    received = b""
    while time.monotonic() < end:
        try:
            connection.sendall(piece)
            data = connection.recv(4096)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not data:
            return received
        received += data
    raise AssertionError("the server waits without end")


def test_a_head_that_trickles_in_is_given_up(run):
    with connect(run(header_timeout=0.2)) as connection:
        connection.sendall(HEAD)
        assert trickle(connection) == b""


def test_so_is_the_second_one_of_a_connection(run):
    with connect(run(header_timeout=0.2)) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        assert trickle(connection) == b""


def test_so_is_the_rest_of_a_body_that_nobody_reads(run):
    with connect(run(header_timeout=0.2)) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert trickle(connection, b" ").startswith(b"HTTP/1.1 404")


def test_a_connection_on_which_nothing_comes_is_closed(run):
    with connect(run(header_timeout=0.1)) as connection:
        assert read_all(connection) == b""


def test_a_body_that_trickles_in_is_given_up(run):
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
    )
    with connect(run(body_timeout=0.2)) as connection:
        connection.sendall(head + b"\r\n")
        # A reset, since the rest of the body comes too late, may overtake the answer.
        assert trickle(connection, b" ")[:12] in {b"HTTP/1.1 408", b""}


def test_a_request_may_take_longer_than_its_head(run):
    running = run(header_timeout=0.2)
    with running.client() as client:
        answer = client.post("http://server/v1/completions", json={"prompt": "Hi", "max_tokens": 30})
    assert answer.elapsed.total_seconds() > 0.4
    assert answer.json()["usage"]["completion_tokens"] == 30


@pytest.mark.parametrize("leaves", [False, True])
def test_a_client_that_does_not_read_counts_as_gone(run, leaves):
    running = run(send_timeout=0.2)
    body = b'{"prompt":"Hi","max_tokens":100,"stream":true,"n":8,"logprobs":20,"temperature":1}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with connect(running) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head % len(body) + body)
        until(lambda: running.context.admission.num_choices == 8)
        if leaves:
            connection.close()
        until(lambda: running.context.admission.num_choices == 0)
    until(lambda: running.engine.stats().num_running == 0)
    assert not running.server.server_state.connections


def test_websockets_are_not_spoken(run):
    with connect(run()) as connection:
        connection.sendall(
            HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_client_that_closes_its_half_is_taken_to_have_left(run):
    running = run()
    body = b'{"prompt":"Hi","max_tokens":100}'
    with connect(running) as connection:
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        connection.sendall(head % len(body) + body)
        until(lambda: running.engine.stats().num_running == 1)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""
    until(lambda: running.engine.stats().num_running == 0)
    assert running.engine.stats().num_requests_aborted == 1
    running.engine.check_integrity()
