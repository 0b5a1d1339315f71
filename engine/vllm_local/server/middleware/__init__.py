"""What happens to every request; plain ASGI, so that streams pass through untouched."""

from __future__ import annotations
