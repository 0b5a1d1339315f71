import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time

import httpx
import pytest

from tests.engine.server.rig import parse_events
from tests.engine.server.serving import BODY, CHAT, until
from vllm_local.errors import EngineDeadError, InvalidConfigError
from vllm_local.server.run import address_of, bind
from vllm_local.server.settings import ServerSettings


class TestBinding:
    @pytest.mark.enable_socket
    def test_a_free_port_is_found(self):
        settings = ServerSettings(port=0, root_path="/proxy")
        with bind(settings) as listener:
            port = listener.getsockname()[1]
            assert port > 0
            assert address_of(listener, settings) == f"http://127.0.0.1:{port}/proxy"

    @pytest.mark.enable_socket
    def test_a_port_in_use_is_named(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(InvalidConfigError, match=rf"cannot listen at host=127.0.0.1, port={port}: .* port=0"):
                bind(ServerSettings(port=port))

    @pytest.mark.enable_socket
    def test_no_such_host(self):
        with pytest.raises(InvalidConfigError, match=r"cannot listen at host=203.0.113.1, port=0"):
            bind(ServerSettings(host="203.0.113.1", port=0))

    def test_a_socket_that_a_server_left_behind_is_replaced(self, tmp_path):
        settings = ServerSettings(uds=str(tmp_path / "s"))
        bind(settings).close()
        with bind(settings) as listener:
            assert address_of(listener, settings) == f"unix:{tmp_path / 's'}"

    def test_a_socket_in_use_is_left_alone(self, tmp_path):
        settings = ServerSettings(uds=str(tmp_path / "s"))
        with bind(settings) as listener:
            listener.listen()
            with pytest.raises(InvalidConfigError, match=r"cannot listen at uds="):
                bind(settings)

    def test_a_file_is_left_alone(self, tmp_path):
        (tmp_path / "s").write_text("precious")
        with pytest.raises(InvalidConfigError, match=r"cannot listen at uds="):
            bind(ServerSettings(uds=str(tmp_path / "s")))
        assert (tmp_path / "s").read_text() == "precious"


class TestServing:
    def test_requests_are_answered(self, run):
        running = run()
        with running.client() as client:
            assert client.get("http://server/health").status_code == 200
            answer = client.post(CHAT, json={**BODY, "max_tokens": 3})
            assert answer.json()["usage"]["completion_tokens"] == 3
            with client.stream("POST", CHAT, json={**BODY, "max_tokens": 3, "stream": True}) as response:
                *_, done = parse_events("".join(response.iter_text()))
            assert done == "[DONE]"

    def test_a_connection_that_is_closed_in_mid_stream_frees_its_slot(self, run):
        running = run()
        with running.client() as client, client.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
            next(response.iter_bytes())
        until(lambda: running.engine.stats().num_running == 0)
        assert running.engine.stats().num_requests_aborted == 1

    def test_a_client_that_hangs_up_in_mid_request_hurts_nobody(self, run):
        running = run()
        for piece in (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Le", b"\xff\xfe\r\n\r\n", b""):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(running.settings.uds)
                connection.sendall(piece)
        with running.client() as client:
            assert client.get("http://server/health").status_code == 200

    def test_a_client_that_sends_too_much_still_gets_its_answer(self, run):
        running = run()
        with running.client() as client:
            for _ in range(2):  # the connection can be used again
                answer = client.post(CHAT, content=b" " * 50_000_000, headers={"Content-Type": "application/json"})
                assert answer.status_code == 413
                assert client.get("http://server/health").status_code == 200

    def test_a_body_that_stops_coming_is_given_up(self, run):
        running = run(body_timeout=0.1)
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(running.settings.uds)
            connection.sendall(head + b"\r\n{")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"within 0.1 seconds" in answer


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
class TestHttps:
    @pytest.fixture
    def certificate(self, tmp_path):
        """Makes a certificate that signs itself, and its key."""
        paths = {name: str(tmp_path / f"{name}.pem") for name in ("key", "cert")}
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", paths["key"], "-out", paths["cert"]]
        subprocess.run(command, check=True, capture_output=True)
        return paths

    def get(self, running, context):
        transport = httpx.HTTPTransport(uds=running.settings.uds, verify=context)
        with httpx.Client(transport=transport) as client:
            return client.get("https://localhost/health")

    def test_clients_that_know_the_certificate_are_answered(self, run, certificate):
        running = run(ssl_keyfile=certificate["key"], ssl_certfile=certificate["cert"])
        assert self.get(running, ssl.create_default_context(cafile=certificate["cert"])).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            self.get(running, ssl.create_default_context())

    def test_clients_may_need_a_certificate_of_their_own(self, run, certificate):
        key, cert = certificate["key"], certificate["cert"]
        running = run(ssl_keyfile=key, ssl_certfile=cert, ssl_ca_certs=cert, ssl_cert_reqs=ssl.CERT_REQUIRED)
        context = ssl.create_default_context(cafile=cert)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
            self.get(running, context)
        context.load_cert_chain(cert, key)
        assert self.get(running, context).status_code == 200


class TestTheEnd:
    def test_what_runs_may_finish(self, run):
        running = run(shutdown_timeout=20)
        thread = running.ask_in_thread(max_tokens=20)
        running.stop()
        thread.join()
        (answer,) = running.answers
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        assert running.engine.is_closed

    def test_what_does_not_finish_in_time_ends_in_an_error(self, run):
        running = run()
        threads = [running.ask_in_thread(), running.ask_in_thread(stream=True)]
        started = time.monotonic()
        running.stop()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 5
        whole, stream = sorted(running.answers, key=lambda answer: -answer.status_code)
        assert whole.status_code == 503
        assert whole.json()["error"]["type"] == "ServiceUnavailableError"
        *_, error, done = parse_events(stream.text)
        assert error["error"]["code"] == 503
        assert done == "[DONE]"

    def test_an_engine_that_dies_ends_the_server(self, run):
        running = run()
        threads = [running.ask_in_thread(stream=index % 2 == 1) for index in range(6)]
        until(lambda: running.engine.stats().num_running == 6)
        running.runner.failure = RuntimeError("out of order")
        for thread in threads:
            thread.join(10)
        for answer in running.answers:
            body = answer.json() if answer.status_code == 500 else parse_events(answer.text)[-2]
            assert body["error"]["type"] == "InternalServerError"
            assert "out of order" in body["error"]["message"]
        assert len(running.answers) == 6
        running.thread.join(10)
        assert not running.thread.is_alive()
        assert isinstance(running.server.engine_error, EngineDeadError)


SCRIPT = """
    import sys
    from tests.engine.engine_fakes import FakeModelRunner, make_engine
    from vllm_local.config import EngineConfig
    from vllm_local.server import run
    from vllm_local.server.settings import ServerSettings

    run.AsyncLLM = lambda config: make_engine(FakeModelRunner(step_seconds=0.02))
    run.run_server(EngineConfig(), ServerSettings(uds=sys.argv[1], shutdown_timeout=float(sys.argv[2])))
"""


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("shutdown_timeout", [0, 20])
def test_a_signal_under_load_ends_the_process_well(tmp_path, signal_number, shutdown_timeout):
    uds = tmp_path / "s"
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(uds), str(shutdown_timeout)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process, httpx.Client(transport=httpx.HTTPTransport(uds=str(uds)), timeout=30) as client:
        log = ""
        while "Listening on" not in log:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line, log
            log += line
        with contextlib.ExitStack() as stack:
            body = {**BODY, "max_tokens": 80, "stream": True}
            streams = [stack.enter_context(client.stream("POST", CHAT, json=body)) for _ in range(8)]
            all_lines = [stream.iter_lines() for stream in streams]
            for lines in all_lines:
                next(lines)
            process.send_signal(signal_number)
            ends = [[line for line in lines if line][-2:] for lines in all_lines]
        log += process.communicate(timeout=20)[1]
    assert process.returncode == 0, log
    for last, done in ends:
        assert done == "data: [DONE]"
        assert ("error" in json.loads(last[6:])) == (shutdown_timeout == 0)
    assert "Traceback" not in log
    assert f"Listening on unix:{uds}" in log
    assert "serves vllm-local-starter (Fake, float32 on cpu)" in log
    assert not uds.exists()
