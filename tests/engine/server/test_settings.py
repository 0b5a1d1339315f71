from typing import Any

import pytest

from vllm_local.errors import InvalidConfigError
from vllm_local.server.settings import ServerSettings


def test_defaults_are_safe():
    settings = ServerSettings()
    assert settings.host == "127.0.0.1"
    assert settings.allowed_origins == ()
    assert not settings.trust_request_chat_template
    assert settings.scheme == "http"


def test_one_text_is_a_list_of_one():
    given: dict[str, Any] = {"api_key": "a", "served_model_name": ["x", "y"]}
    settings = ServerSettings(**given)
    assert settings.api_key == ("a",)
    assert settings.served_model_name == ("x", "y")


def test_keys_are_not_shown():
    assert "secret" not in repr(ServerSettings(api_key=("secret",)))


def test_https(tmp_path):
    path = tmp_path / "cert.pem"
    path.touch()
    assert ServerSettings(ssl_certfile=str(path)).scheme == "https"


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"port": 65536}, "port must be in"),
        ({"port": "8000"}, "port must be of type int"),
        ({"port": True}, "port must be of type int"),
        ({"api_key": ("",)}, "api_key must be texts"),
        ({"api_key": 5}, "api_key must be texts"),
        ({"ssl_keyfile": "key.pem"}, "needs ssl_certfile"),
        ({"ssl_ca_certs": "ca.pem"}, "needs ssl_certfile"),
        ({"ssl_certfile": "absent.pem"}, "is not a file"),
        ({"ssl_cert_reqs": 2}, "needs ssl_ca_certs"),
        ({"ssl_cert_reqs": 3}, "ssl_cert_reqs must be in"),
        ({"root_path": "proxy"}, "begin with '/'"),
        ({"root_path": "/proxy/"}, "not end with it"),
        ({"uds": ""}, "uds must be"),
        ({"chat_template_content_format": "html"}, "must be one of auto, string, openai"),
        ({"uvicorn_log_level": "loud"}, "must be one of critical"),
        ({"max_num_queued_reqs": -1}, "max_num_queued_reqs must be in"),
        ({"shutdown_timeout": float("inf")}, "shutdown_timeout must be in"),
        ({"shutdown_timeout": float("nan")}, "shutdown_timeout must be in"),
        ({"stream_interval": 0}, "stream_interval must be in"),
        ({"max_logprobs": 21}, "max_logprobs must be in"),
        ({"max_body_bytes": None}, "max_body_bytes must be of type int"),
        ({"default_chat_template_kwargs": [1]}, "must be of type Mapping"),
    ],
)
def test_what_is_wrong_is_said(settings, match):
    with pytest.raises(InvalidConfigError, match=match):
        ServerSettings(**settings)
