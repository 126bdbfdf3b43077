"""The middleware: what `FileResponse` does, for the stock responses of any view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async

from zc_response.integrations.django.responses import adopt


class ZeroCopyMiddleware:
    """An entry of MIDDLEWARE, sync and async; the last one, to be the first that sees

    a response. Further out it takes what others have left unchanged.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Answer a request; a coroutine if it is used as an async middleware."""
        if self._is_async:
            return self._in_loop(request)
        response = self.get_response(request)
        if response.streaming and adopt(response):
            response.answer(request)
        return response

    async def _in_loop(self, request: Any) -> Any:
        response = await self.get_response(request)
        if response.streaming and await sync_to_async(adopt)(response):
            response.answer(request)
        return response
