import functools

import httpx
import pytest

from vllm_local.cli.transfer import local_input, local_output
from vllm_local.errors import InvalidConfigError, VLLMLocalError


class Store:
    """Holds files; gives them by GET, takes them by PUT, after failing a few times."""

    def __init__(self, failures=0):
        self.files = {"/in": b"one\ntwo\n"}
        self.failures = failures

    def __call__(self, request):
        if self.failures:
            self.failures -= 1
            return httpx.Response(503)
        if request.method == "PUT":
            self.files[request.url.path] = request.content
            return httpx.Response(200)
        content = self.files.get(request.url.path)
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)


@pytest.fixture
def use(monkeypatch):
    def use(store):
        client = functools.partial(httpx.Client, transport=httpx.MockTransport(store))
        monkeypatch.setattr("httpx._api.Client", client)
        monkeypatch.setattr("vllm_local.cli.transfer._PAUSE_SECONDS", 0)
        return store

    return use


def test_files_are_used_where_they_are(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("x", encoding="utf-8")
    with local_input(str(path)) as found, local_output(str(tmp_path / "out.jsonl")) as target:
        assert (found, target) == (path, tmp_path / "out.jsonl")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InvalidConfigError, match="no input file"), local_input(str(tmp_path / "absent")):
        pass
    with pytest.raises(InvalidConfigError, match="no folder"), local_output(str(tmp_path / "absent" / "out")):
        pass


def test_urls_are_fetched_and_sent(use):
    store = use(Store())
    with local_input("http://store/in") as found:
        assert found.read_bytes() == b"one\ntwo\n"
    with local_output("http://store/out") as target:
        target.write_bytes(b"result")
    assert not found.exists()
    assert not target.exists()
    assert store.files["/out"] == b"result"


def test_sending_is_tried_again(use):
    store = use(Store(failures=4))
    with local_output("http://store/out") as target:
        target.write_bytes(b"result")
    assert store.files["/out"] == b"result"


def test_what_cannot_be_had_is_an_error(use):
    use(Store(failures=5))
    with pytest.raises(VLLMLocalError, match="cannot be sent"), local_output("http://store/out") as target:
        target.write_bytes(b"result")
    with pytest.raises(VLLMLocalError, match="cannot be fetched"), local_input("http://store/absent"):
        pass


def test_nothing_is_sent_after_a_failure(use):
    store = use(Store())
    with pytest.raises(RuntimeError), local_output("http://store/out"):
        raise RuntimeError
    assert "/out" not in store.files
