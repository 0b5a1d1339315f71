"""`--root-path`: the path under which a proxy shows the server."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """Tells the app where it is shown, so that its own links are right; requests may come with the path or without."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """Takes the path."""
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""
        await self._app({**scope, "root_path": self._root_path}, receive, send)
