import pytest

from vllm_local.cli.http_client import client_arguments, error_message
from vllm_local.errors import InvalidConfigError


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://box.localhost:8000", True),
        ("http://10.0.0.1", False),
        ("https://example.org/v1", False),
    ],
)
def test_no_proxy_stands_before_this_machine(url, is_local):
    assert client_arguments(url)["trust_env"] is not is_local


def test_the_key_may_stand_in_the_environment(monkeypatch):
    assert client_arguments("http://a")["headers"] == {}
    monkeypatch.setenv("VLLM_API_KEY", "one")
    monkeypatch.setenv("OPENAI_API_KEY", "a key for somebody else")
    assert client_arguments("http://a")["headers"] == {"Authorization": "Bearer one"}
    assert client_arguments("http://a", "two")["headers"] == {"Authorization": "Bearer two"}


def test_what_is_no_url_is_named():
    with pytest.raises(InvalidConfigError, match="'http://a:b/v1' is no URL"):
        client_arguments("http://a:b/v1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "m"}}', "m"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"detail": "Not Found"}', '{"detail": "Not Found"}'),
        (b"<html>", "<html>"),
        (b"", "nothing"),
    ],
)
def test_errors_of_any_shape_have_a_message(body, message):
    assert error_message(body) == message
