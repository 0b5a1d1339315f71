"""Servers that a chat model starts: shared, replaced when they die, and never left behind."""

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.exceptions import ModelAPIError, ModelConnectionError, ModelError, ModelInvalidRequestError
from rich.console import Console

from langchain_vllm_local import ChatVLLMLocal, _server_process
from langchain_vllm_local._server_guard import GRACE_SECONDS
from langchain_vllm_local._server_process import LIFELINES, _KeptPort
from tests.langchain.server_rig import install_fake_vllm, is_listening, is_running, wait_until
from vllm_local.errors import EngineClosedError, EngineDeadError, EngineError, InvalidConfigError

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(sys.platform == "win32", reason="the fake server and the signals are POSIX's"),
]


@pytest.fixture(autouse=True)
def vllm(tmp_path, monkeypatch):
    """The fake `vllm` on the PATH."""
    install_fake_vllm(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # logs of servers that die stay
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    ChatVLLMLocal.shutdown_all()


def make(model="a/b", **arguments):
    return ChatVLLMLocal(model=model, backend="vllm", **arguments)


def tell(llm):
    """What the server that answers knows of itself and of the request."""
    return json.loads(llm.invoke("tell").text)


# ── One server for all ──


def test_instances_calls_and_threads_share_a_server():
    answers = set()
    threads = [threading.Thread(target=lambda: answers.add(make().invoke("Hello!").text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # whoever started it has ended
    llm = make(temperature=1)
    answers |= {llm.invoke("Hello!").text, "".join(chunk.text for chunk in llm.stream("Hello!"))}
    answers |= {answer.text for answer in llm.batch(["one", "two", "three"])}
    answers |= {asyncio.run(llm.ainvoke("Hello!")).text, asyncio.run(llm.ainvoke("again, on another loop")).text}
    assert len(answers) == 1
    assert make(engine_args={"max_model_len": 5}).invoke("Hello!").text not in answers
    assert llm.invoke("Hello!", model="c/d").text not in answers


def test_first_use_inside_a_batch():
    answers = make().batch(["one", "two", "three", "four"])
    assert len({answer.text for answer in answers}) == 1


def test_what_a_server_is_told():
    llm = make(
        model="a/b",
        engine_args={
            "tensor_parallel_size": 2,
            "enable_prefix_caching": False,
            "trust_remote_code": True,
            "hf_overrides": {"rope": 1},
            "middleware": ["one", "two"],
            "seed": -1,
            "tokenizer": None,
            "hf_token": "topsecret",
        },
    )
    told = tell(llm)
    flags = told["argv"][3:]
    assert told["argv"][1:3] == ["serve", "a/b"]
    assert flags[:-4] == [
        "--disable-uvicorn-access-log",
        "--enable-prompt-tokens-details",
        "--tensor-parallel-size=2",
        "--no-enable-prefix-caching",
        "--trust-remote-code",
        '--hf-overrides={"rope": 1}',
        "--middleware",
        "one",
        "two",
        "--seed=-1",
    ]
    assert flags[-4:-1] == ["--host", "127.0.0.1", "--port"]
    assert told["token"] == "topsecret"
    assert "topsecret" not in str(told["argv"])
    assert llm.server.api_key not in str(told["argv"])
    assert llm.server.api_key not in repr(llm.server)
    assert llm.server.base_url == f"http://127.0.0.1:{flags[-1]}/v1"
    assert llm.server.log_path.read_text() == "about to listen\n"
    assert llm.server.log_path.stat().st_mode & 0o077 == 0


def test_shutdown_ends_the_server_and_what_it_has_started():
    llm = make()
    told, server = tell(llm), llm.server
    llm.shutdown()
    assert not is_running(told["pid"])
    wait_until(lambda: not is_running(told["companion"]))
    assert not is_listening(int(told["argv"][-1]))
    assert not server.log_path.exists()
    assert tell(llm)["pid"] != told["pid"]


# ── Failures ──


def test_a_server_that_dies_under_a_call_is_told_at_once_and_replaced():
    llm = make()
    first = tell(llm)["pid"]
    begin = time.monotonic()
    with pytest.raises(EngineDeadError, match=r"vllm serve has ended \(model a/b, exit status 3\)") as caught:
        llm.invoke("die")
    assert "about to listen" in str(caught.value)
    assert time.monotonic() - begin < 2
    assert isinstance(caught.value, ModelAPIError)
    assert caught.value.is_retryable
    assert tell(llm)["pid"] != first


def test_a_server_that_dies_in_mid_stream():
    llm = make()
    stream = llm.stream("die")
    assert next(stream).text.startswith("pid")
    with pytest.raises(EngineDeadError, match="exit status 3"):
        next(stream)
    assert llm.invoke("Hello!").text.startswith("pid")


def test_an_engine_that_dies_before_its_server_does():
    stream = make().stream("die slowly")
    assert next(stream).text.startswith("pid")
    with pytest.raises(EngineDeadError, match=r"vllm serve has ended .*exit status 0"):
        next(stream)


async def test_a_server_that_dies_under_an_async_call():
    llm = make()
    with pytest.raises(EngineDeadError, match="exit status 3"):
        await llm.ainvoke("die")
    assert (await llm.ainvoke("Hello!")).text.startswith("pid")


def test_a_server_that_was_killed_between_two_calls():
    llm = make()
    first = tell(llm)
    guard = guards()[-1]
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: guard.poll() is not None)
    assert not is_running(first["companion"])
    assert tell(llm)["pid"] != first["pid"]


def test_a_stream_that_breaks_off_is_no_answer():
    stream = make().stream("break")
    assert next(stream).text.startswith("pid")
    with pytest.raises(ModelConnectionError, match="ended before the answer did") as caught:
        next(stream)
    assert isinstance(caught.value, openai.APIConnectionError)


def test_a_server_that_does_not_start_shows_the_end_of_its_log():
    llm = make("broken")
    with pytest.raises(ModelError, match=r"(?s)exit status 1.*no such model, and this is the end") as caught:
        llm.invoke("Hello!")
    assert isinstance(caught.value, EngineError)
    assert not caught.value.is_retryable
    assert "The first error in its log: ValueError: Available memory is too little.\n" in str(caught.value)
    log = Path(str(caught.value).split("log (")[1].split(")")[0])
    assert "no such model" in log.read_text()
    log.unlink()


@pytest.mark.parametrize("options", [["SO_REUSEADDR"], ["SO_REUSEADDR", "SO_REUSEPORT"], ["SO_REUSEPORT"]])
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port is kept")
def test_a_kept_port_is_the_servers_alone(options):
    kept = _KeptPort()
    with socket.socket() as server:
        for option in options:
            server.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        server.bind(("127.0.0.1", kept.number))
        server.listen()
        assert is_listening(kept.number)
        kept.release()
        assert is_listening(kept.number)


def test_a_kept_port_is_given_to_nobody_else():
    kept = [_KeptPort() for _ in range(300)]
    assert len({port.number for port in kept}) == 300
    for port in kept:
        port.release()


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (lambda llm: llm.shutdown(), EngineClosedError),
        (lambda llm: ChatVLLMLocal.shutdown_all(), EngineClosedError),
        (lambda llm: guards()[-1].terminate(), EngineError),
    ],
    ids=["shutdown", "shutdown_all", "SIGTERM"],
)
def test_ending_a_server_that_is_still_starting(end, error):
    llm, errors, before = make("slow"), [], len(guards())

    def call():
        try:
            llm.invoke("Hello!")
        except EngineError as caught:
            errors.append(caught)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: len(guards()) > before)
    end(llm)
    caller.join(GRACE_SECONDS + 5)
    assert not caller.is_alive()
    assert isinstance(errors[0], error)
    assert isinstance(errors[0], ModelError)


def guards():
    """The guards of all servers of this process."""
    return [guard for guard in LIFELINES._guards.values() if guard is not None]


def test_vllm_is_not_installed(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InvalidConfigError, match=r"needs the program `vllm`.*pip install vllm.*scale-out") as caught:
        make().invoke("Hello!")
    assert isinstance(caught.value, ModelInvalidRequestError)


def test_arguments_that_are_set_already():
    with pytest.raises(InvalidConfigError, match="must not have api_key, port"):
        make(engine_args={"port": 8000, "api-key": "x"}).invoke("Hello!")


def test_a_server_without_tokenize():
    with pytest.raises(ModelInvalidRequestError, match=r"has no .*/tokenize, so it cannot count.*custom_get_token_ids"):
        make().get_num_tokens("Hello!")


def test_a_timeout_and_a_request_that_is_given_up():
    llm = make()
    with pytest.raises(TimeoutError, match=r"longer than its timeout of 0\.2 seconds") as caught:
        llm.invoke("hang", timeout=0.2)
    assert isinstance(caught.value, openai.APITimeoutError)
    assert llm.invoke("Hello!").text

    async def give_up():
        await asyncio.wait_for(llm.ainvoke("hang"), 0.2)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(give_up())


def test_ctrl_c_ends_a_batch_of_hanging_requests():
    llm = make()
    llm.warm_up()
    begin = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        llm.batch(["hang"] * 3)
    assert time.monotonic() - begin < 5
    assert llm.invoke("Hello!").text


def test_the_profile_comes_from_the_server():
    llm = make()
    assert not llm.profile
    llm.warm_up()
    assert llm.profile["max_input_tokens"] == 77


def test_progress_is_shown_in_a_terminal(monkeypatch, tmp_path):
    shown = io.StringIO()
    monkeypatch.setattr(_server_process, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=100))
    make("e/f").warm_up()
    assert "Starting vllm serve for e/f" in shown.getvalue()
    shown.truncate(0)
    make("e/f", engine_args={"use_tqdm_on_load": False}).warm_up()
    assert not shown.getvalue().strip("\0")


# ── The end of the process ──

HEAD = """
import json, os, signal, sys, threading, time
from langchain_vllm_local import ChatVLLMLocal
llm = ChatVLLMLocal(model="a/b", backend="vllm")
told = json.loads(llm.invoke("tell").text)
from langchain_vllm_local._server_process import LIFELINES
guard = next(iter(LIFELINES._guards.values())).pid
print(json.dumps({"log": str(llm.server.log_path), "server": told["pid"],
                  "companion": told["companion"], "port": int(told["argv"][-1]),
                  "guard": guard}), flush=True)
"""


def start(code):
    """Starts a process that uses a server and then runs the code; returns it, and who is who."""
    process: Any = subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(code)], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    return process, json.loads(process.stdout.readline())


def check_nothing_left(who):
    wait_until(lambda: not any(is_running(who[name]) for name in ("server", "companion", "guard")), GRACE_SECONDS + 10)
    assert not is_listening(who["port"])
    assert not Path(who["log"]).exists()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("raise RuntimeError", 1),
        ("os._exit(4)", 4),
        ("threading.Thread(target=time.sleep, args=(0.1,)).start()", 0),
    ],
    ids=["end", "exit", "exception", "_exit", "thread"],
)
def test_a_process_that_ends_leaves_nothing(code, status):
    process, who = start(code)
    with process:
        assert process.wait(20) == status
    check_nothing_left(who)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_process_that_is_killed_leaves_nothing(number):
    process, who = start("time.sleep(100)")
    assert all(is_running(who[name]) for name in ("server", "companion", "guard"))
    with process:
        os.killpg(process.pid, number)  # as a terminal sends Ctrl-C
        process.wait(20)
    check_nothing_left(who)


@pytest.mark.parametrize("number", [None, signal.SIGKILL])
def test_a_process_that_ends_while_its_server_starts_leaves_nothing(number):
    code = """
        import threading, time
        from langchain_vllm_local import ChatVLLMLocal
        from langchain_vllm_local._server_process import LIFELINES
        llm = ChatVLLMLocal(model="slow", backend="vllm")
        threading.Thread(target=llm.warm_up, daemon=True).start()
        while not any(LIFELINES._guards.values()):
            time.sleep(0.01)
        print(next(iter(LIFELINES._guards.values())).pid, flush=True)
        time.sleep(1)
    """
    process: Any = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with process:
        guard = int(process.stdout.readline())
        if number is not None:
            process.send_signal(number)
        process.wait(20)
    wait_until(lambda: not is_running(guard), GRACE_SECONDS + 5)


def test_forks_and_threads_do_not_take_the_server_along():
    process, who = start("""
        def in_child(work):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                work()
                sys.exit(0)  # with everything that is registered for the end
            assert os.waitpid(child, 0)[1] == 0

        def use():
            own = json.loads(llm.invoke("tell").text)  # of a server of its own
            assert own["pid"] != told["pid"] and own["argv"][-1] != told["argv"][-1]
            assert llm.batch(["one", "two"])[1].text == f"pid {own['pid']}"

        in_child(llm.shutdown)
        in_child(lambda: None)
        in_child(use)
        threading.Thread(target=llm.invoke, args=("Hello!",)).start()
        assert json.loads(llm.invoke("tell").text)["pid"] == told["pid"]
    """)
    with process:
        assert process.wait(20) == 0
    check_nothing_left(who)


def test_a_living_fork_does_not_keep_its_parents_server():
    process, who = start("""
        if os.fork() == 0:
            os.close(1)
            time.sleep(8)
            os._exit(0)
        time.sleep(100)
    """)
    with process:
        time.sleep(0.2)
        process.kill()
        process.wait(20)
    check_nothing_left(who)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_a_guard_that_is_killed_takes_the_server_along():
    told = tell(make())
    guards()[-1].kill()
    wait_until(lambda: not is_running(told["pid"]))
    os.kill(told["companion"], signal.SIGKILL)
    assert tell(make())["pid"] != told["pid"]


def test_no_server_is_registered_before_its_first_use():
    before = guards()
    make().bind(temperature=0)
    assert guards() == before


def test_the_real_server_ends_with_its_parent():
    code = """
        import os, time
        from langchain_vllm_local import ChatVLLMLocal
        from langchain_vllm_local._server_process import LIFELINES
        small = {"kv_cache_memory_bytes": 2**25, "num_threads": 1, "use_tqdm_on_load": False}
        llm = ChatVLLMLocal(backend="server", temperature=0, max_tokens=12, engine_args=small)
        assert llm.invoke("Hello!").text
        stream = llm.stream("Hello!", ignore_eos=True, max_tokens=3000)
        next(stream)  # killed in the middle of an answer
        print(next(iter(LIFELINES._guards.values())).pid, llm.server.base_url, flush=True)
        time.sleep(100)
    """
    process: Any = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    with process:
        guard, address = process.stdout.readline().split()
        port = int(address.removesuffix("/v1").rpartition(":")[2])
        assert is_listening(port)
        process.kill()
        process.wait(20)
    wait_until(lambda: not is_running(int(guard)) and not is_listening(port), GRACE_SECONDS + 5)


def test_the_real_server_says_what_is_wrong_as_the_engine_does(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"], "model_type": "no_such"}')
    for model in (str(folder), str(tmp_path / "nothing")):
        with pytest.raises(ModelError) as expected:
            ChatVLLMLocal(model=model).invoke("Hello!")
        with pytest.raises(ModelError, match="vllm-local serve ended while it was starting") as caught:
            ChatVLLMLocal(backend="server", model=model).invoke("Hello!")
        assert type(caught.value) is type(expected.value)
        assert str(expected.value.__cause__) in str(caught.value)
