"""Which folder a model's name stands for. The hub is a fake here; the cache is real."""

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]

from vllm_local.config import EngineConfig
from vllm_local.errors import ModelLoadError, ModelNotFoundError, UnsupportedModelError
from vllm_local.models import hub
from vllm_local.models.hub import resolve_model_path

SHA = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": 700,
    "model-1.safetensors": 3_000_000_000,
    "model-2.safetensors": 1_000_000_000,
    "tokenizer.json": 5_000_000,
    "chat_template.jinja": 4000,
    "pytorch_model.bin": 4_000_000_000,
    "modeling_evil.py": 100,
    "README.md": 100,
    "original/model.safetensors": 4_000_000_000,
    "consolidated.safetensors": 4_000_000_000,
}


def make_engine(model: str = "someone/model", **arguments: Any) -> EngineConfig:
    return EngineConfig(model=model, **arguments)


class FakeHub:
    """Answers with a listing or an error, and records what was downloaded."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.error: Exception | None = None
        self.downloads: list[dict[str, Any]] = []
        self.bars_disabled: list[bool] = []

    def model_info(self, model: str, *, revision: str | None, timeout: float, files_metadata: bool) -> Any:
        assert files_metadata
        if self.error is not None:
            raise self.error
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in self.files.items()]
        return SimpleNamespace(siblings=siblings, sha=SHA)

    def snapshot_download(self, model: str, **options: Any) -> str:
        self.downloads.append({"model": model, **options})
        self.bars_disabled.append(are_progress_bars_disabled())
        if isinstance(self.error, OSError):
            raise self.error
        return "/snapshot"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(hub, "_is_offline", lambda engine: engine.local_files_only)
    monkeypatch.setattr(hub, "_hub_api", lambda engine: fake)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    return fake


def http_error(kind: Callable[..., Exception], status: int) -> Exception:
    return kind("no", response=httpx.Response(status, request=httpx.Request("GET", "https://hub")))


def fill_cache(cache: Path, model: str = "someone/model") -> Path:
    """A cache as the hub's library lays it out."""
    repo = cache / f"models--{model.replace('/', '--')}"
    snapshot = repo / "snapshots" / SHA
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(SHA, encoding="utf-8")
    for name in ("config.json", "model-1.safetensors"):
        (snapshot / name).write_text("{}", encoding="utf-8")
    return snapshot


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert resolve_model_path(make_engine(str(tmp_path))) == tmp_path
    monkeypatch.chdir(tmp_path.parent)
    assert resolve_model_path(make_engine(tmp_path.name)).resolve() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert resolve_model_path(make_engine(f"~/{tmp_path.name}")) == tmp_path


def test_a_folder_without_a_config(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match=r"has no config\.json"):
        resolve_model_path(make_engine(str(tmp_path)))


def test_a_file(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match="is a file"):
        resolve_model_path(make_engine(str(tmp_path / "model.gguf")))


@pytest.mark.parametrize("model", ["/no/such/folder", "./gone", "~/gone", "a/b/c", "C:\\models\\gone"])
def test_a_folder_that_does_not_exist(model: str):
    with pytest.raises(ModelNotFoundError, match=r"does not exist"):
        resolve_model_path(make_engine(model))


@pytest.mark.parametrize("model", ["two words", "a--b", "-x", "name.git"])
def test_neither_a_folder_nor_an_id(model: str):
    with pytest.raises(ModelNotFoundError, match="neither a folder nor a valid Hugging Face id"):
        resolve_model_path(make_engine(model))


def test_offline_and_not_in_the_cache(tmp_path: Path):
    # For real: tests/conftest.py sets HF_HUB_OFFLINE=1.
    with pytest.raises(ModelNotFoundError, match=r"neither a folder.*HF_HUB_OFFLINE or local_files_only"):
        resolve_model_path(make_engine(download_dir=str(tmp_path)))


def test_offline_and_in_the_cache(tmp_path: Path):
    snapshot = fill_cache(tmp_path)
    assert resolve_model_path(make_engine(download_dir=str(tmp_path))) == snapshot
    assert resolve_model_path(make_engine(download_dir=str(tmp_path), revision=SHA)) == snapshot
    with pytest.raises(ModelNotFoundError):
        resolve_model_path(make_engine(download_dir=str(tmp_path), revision="v2"))


def test_offline_by_argument_or_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert hub._is_offline(make_engine())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not hub._is_offline(make_engine())
    assert hub._is_offline(make_engine(local_files_only=True))


def test_only_what_is_needed_is_downloaded_and_its_size_is_said_before(
    fake: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    engine = make_engine(download_dir=str(tmp_path), revision="v2", hf_token="secret")
    with caplog.at_level(logging.INFO, logger="vllm_local"):
        assert resolve_model_path(engine) == Path("/snapshot")
    assert "Downloading someone/model from the Hugging Face hub: 5 files, 4.01 GB." in caplog.text
    (download,) = fake.downloads
    assert download["revision"] == "v2"
    assert download["token"] == "secret"
    assert download["cache_dir"] == str(tmp_path)
    kept = [
        name
        for name in FILES
        if hub._matches(name, download["allow_patterns"]) and not hub._matches(name, download["ignore_patterns"])
    ]
    assert kept == [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
    ]


def test_a_cached_model_is_not_announced(fake: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    fill_cache(tmp_path)
    fake.files = {"config.json": 2, "model-1.safetensors": 2}
    with caplog.at_level(logging.INFO, logger="vllm_local"):
        resolve_model_path(make_engine(download_dir=str(tmp_path)))
    assert "Downloading" not in caplog.text


def test_progress_bars_can_be_switched_off(fake: FakeHub):
    resolve_model_path(make_engine())
    resolve_model_path(make_engine(use_tqdm_on_load=False))
    assert fake.bars_disabled == [False, True]
    assert not are_progress_bars_disabled()


def test_pickle_files_are_downloaded_only_when_asked_for(fake: FakeHub):
    fake.files = {"config.json": 2, "pytorch_model.bin": 9}
    with pytest.raises(UnsupportedModelError, match='load_format="pt"'):
        resolve_model_path(make_engine())
    assert not fake.downloads
    resolve_model_path(make_engine(load_format="pt"))
    assert "pytorch_model*.bin" in fake.downloads[0]["allow_patterns"]


def test_code_is_downloaded_only_when_trusted(fake: FakeHub):
    resolve_model_path(make_engine())
    resolve_model_path(make_engine(trust_remote_code=True))
    assert ["*.py" in download["allow_patterns"] for download in fake.downloads] == [False, True]


def test_a_repository_without_a_model(fake: FakeHub):
    fake.files = {"README.md": 2}
    with pytest.raises(ModelNotFoundError, match=r"has no config\.json"):
        resolve_model_path(make_engine())


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        (RepositoryNotFoundError, 404, r"neither a folder here nor a public model.*hf_token="),
        (GatedRepoError, 403, r"gated, log in"),
        (RevisionNotFoundError, 404, r"no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have(fake: FakeHub, kind: Any, status: int, message: str):
    fake.error = http_error(kind, status)
    with pytest.raises(ModelNotFoundError, match=message):
        resolve_model_path(make_engine(revision="v9"))


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("no route"), ConnectionError("no route"), TimeoutError("no route")]
)
def test_an_unreachable_hub(error: Exception, fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub._snapshot_download as real

    fake.error = error
    monkeypatch.setattr("huggingface_hub.snapshot_download", real.snapshot_download)
    engine = make_engine(download_dir=str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"could not be asked.*no route"):
        resolve_model_path(engine)
    snapshot = fill_cache(tmp_path)
    assert resolve_model_path(engine) == snapshot


def test_a_download_that_breaks_off(fake: FakeHub, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> str:
        raise httpx.ReadTimeout("slow")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelLoadError, match=r"Downloading 'someone/model' failed \(ReadTimeout: slow\).*are kept"):
        resolve_model_path(make_engine())


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (2_500_000, "2.5 MB"), (14_960_000_000, "15 GB")]
)
def test_sizes_in_words(size: int, text: str):
    assert hub._text(size) == text


@pytest.mark.enable_socket
def test_a_hub_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = fill_cache(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hub, "_hub_api", lambda engine: HfApi(endpoint=endpoint))
        monkeypatch.setattr(hub, "_download", lambda engine, info: pytest.fail("it answered"))
        assert resolve_model_path(make_engine(download_dir=str(tmp_path))) == snapshot
