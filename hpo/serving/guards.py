"""Refuse requests before anything reads them: without the token, or with too large a body.

Both are ASGI middleware. Neither knows what the routes do.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class TokenGuard:
    """Lets requests pass that carry ``Authorization: Bearer TOKEN``."""

    def __init__(self, app: ASGIApp, token: str, open_paths: Collection[str]) -> None:
        """Guard all paths but ``open_paths``."""
        self._app, self._token, self._open = app, token.encode(), frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in self._open or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        answer = refusal(
            401,
            "requests must carry the service's token; send 'Authorization: Bearer TOKEN' as header",
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        await answer(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # Compared in constant time, so that the time of an answer tells nothing of the token.
        same = hmac.compare_digest(given.encode(), self._token)
        return kind.lower() == "bearer" and same


class BodyLimit:
    """Refuses bodies above a size, whether they tell it or not."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        """Let bodies of up to ``most_bytes`` pass."""
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body and pass it on, or answer 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = Headers(scope=scope).get("content-length", "0")
        body = None if told.isdecimal() and int(told) > self._most else await self._read(receive)
        if body is None:
            text = f"a body must have at most {self._most} bytes; send fewer rows at once"
            await refusal(413, text)(scope, receive, send)
            return
        messages = iter([body])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> Message | None:
        """Return the whole body as one message; None: it is too large."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return message
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._most:
                return None
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}


def refusal(status: int, text: str) -> JSONResponse:
    """Return the answer to a mistake: a status and one sentence as JSON."""
    return JSONResponse({"error": text}, status_code=status)
