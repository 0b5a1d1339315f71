"""What requests look like, one file a route group. Answers are plain dicts, made where they are sent."""

from __future__ import annotations
