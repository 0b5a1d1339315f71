"""`--allowed-hosts`: by which names the server may be called."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from vllm_local.loopback import is_loopback
from vllm_local.server.errors import answer_http_error
from vllm_local.server.settings import ServerSettings

_PRIVATE_SUFFIX = ".internal"
"""Set apart for private use by ICANN; containers call their host so (host.docker.internal)."""
_ANY = "*"


class HostCheck:
    """Answers 403 to requests that call the server by a name which is not its own.

    A web page may give its own name this machine's address ("DNS rebinding"), and the browser then takes the server
    for the page's own, and lets it read everything. The name stays in the Host header. Where anybody may come anyway,
    from another machine or with a key that no page has, there is nothing to check.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        """Takes the names: those of the settings, beside which addresses and loopback's names are always good."""
        self._app = app
        self._names = {_name_of(host) for host in (settings.host, *settings.allowed_hosts)}
        self._only_on_loopback = not settings.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers 403."""
        if scope["type"] != "http" or not self._is_checked(scope):
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if self._is_allowed(host):
            await self._app(scope, receive, send)
            return
        # Without headers, since a Host that is none would be no part of a URL either.
        response = await answer_http_error(Request({**scope, "headers": []}), _not_mine(host))
        await response(scope, receive, send)

    def _is_checked(self, scope: Scope) -> bool:
        if not self._only_on_loopback:
            return True
        address = scope.get("server")  # of this end of the connection, whatever name the server was bound to
        return address is not None and is_loopback(address[0])

    def _is_allowed(self, host: str) -> bool:
        name = _name_of(host)
        if not name or name in self._names or name.endswith(_PRIVATE_SUFFIX):
            return True
        return _is_address(name) or is_loopback(name)


def checks_hosts(settings: ServerSettings) -> bool:
    """Whether there is something to check: names were given, or the server may be on loopback, open to everybody."""
    if settings.uds is not None or _ANY in settings.allowed_hosts:
        return False
    return bool(settings.allowed_hosts) or not (settings.api_key or _is_unspecified(settings.host))


def _not_mine(host: str) -> HTTPException:
    name = _name_of(host)
    detail = (
        f"This server does not go by the name {name[:255]!r}. If you meant to give it that name, add it to "
        "--allowed-hosts; localhost and addresses always work."
    )
    return HTTPException(403, detail)


def _name_of(host: str) -> str:
    """Returns a Host header's name, or address, without port, brackets and final dot."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return host
    return (name or "").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
