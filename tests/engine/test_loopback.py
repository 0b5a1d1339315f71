import pytest

from vllm_local.loopback import is_loopback, is_loopback_url


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "localhost.", "box.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
)
def test_hosts_that_are_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "localhost.example.org", "notlocalhost", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "127.0.0.1.nip.io"],
)
def test_hosts_that_are_not(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.2/v1", True),
        ("http://[::1]:8000/v1", True),
        ("https://user:word@localhost/v1", True),
        ("http://localhost.example.org/v1", False),
        ("http://localhost@example.org/v1", False),
        ("http://10.0.0.1/v1", False),
        ("unix:/tmp/s", False),
    ],
)
def test_urls(url, expected):
    assert is_loopback_url(url) is expected
