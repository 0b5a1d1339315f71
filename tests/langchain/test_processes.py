"""Forks and spawned workers: the child loads an engine of its own, and never hangs."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")

HEAD = """
import multiprocessing, os, pickle, signal, sys, threading, warnings
warnings.filterwarnings("ignore", category=DeprecationWarning)  # Python 3.12 on forks among threads
from langchain_vllm_local import ChatVLLMLocal
small = {"kv_cache_memory_bytes": 2**25, "use_tqdm_on_load": False}
llm = ChatVLLMLocal(temperature=0, max_tokens=12, engine_args=small)

def in_child(function):
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        try:
            function()
            os._exit(0)
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\\n")
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def answer(model=None):
    text = (model or llm).invoke("Hello!").text
    assert text, "no answer"
    return text
"""


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(code)], capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not any(word in result.stderr for word in ("Traceback", "Exception ignored", "Fatal")), result.stderr


def test_a_fork_before_first_use():
    run("""
        assert in_child(answer) == 0
        answer()
    """)


def test_forks_after_first_use():
    run("""
        from vllm_local.errors import EngineClosedError
        expected = answer()

        def child():
            assert answer() == expected
            assert "".join(chunk.text for chunk in llm.stream("Hello!")) == expected

        assert in_child(child) == 0

        # Another one while the engine computes, and holds a stream that belongs to its parent.
        stream = llm.stream("Hello!", ignore_eos=True, max_tokens=3000)
        next(stream)

        def child_with_stream():
            assert answer() == expected
            try:
                next(stream)
            except EngineClosedError as error:
                assert "fork" in str(error)
            else:
                raise AssertionError("the child read its parent's stream")

        assert in_child(child_with_stream) == 0
        next(stream)
        assert answer() == expected
    """)


def test_workers_of_multiprocessing():
    run("""
        expected = answer()
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(answer, [None, pickle.loads(pickle.dumps(llm))]).get(60) == [expected] * 2
        assert answer() == expected
    """)


@pytest.mark.slow
def test_spawned_workers(tmp_path):
    script = tmp_path / "main.py"
    script.write_text("""
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from langchain_vllm_local import ChatVLLMLocal

llm = ChatVLLMLocal(temperature=0, max_tokens=12, engine_args={"kv_cache_memory_bytes": 2**25})

def answer(model, text):
    return model.invoke(text).text

if __name__ == "__main__":
    expected = answer(llm, "Hello!")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(answer, [llm] * 4, ["Hello!"] * 4))
    assert expected and answers == [expected] * 4, answers
""")
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=110, check=False)
    assert result.returncode == 0, result.stderr


def test_exit_while_the_model_loads():
    run("""
        threading.Thread(target=llm.warm_up, daemon=True).start()
    """)


def test_ctrl_c_and_exit_with_a_running_request():
    run("""
        llm.warm_up()
        threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
        try:
            llm.invoke("Hello!", ignore_eos=True, max_tokens=3500)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("not interrupted")
        stream = llm.stream("Hello!", ignore_eos=True, max_tokens=2000, timeout=1000)
        next(stream)  # and leave the process
    """)
