"""A response whose bytes come from a pipe, under WSGI and ASGI.

Its body is a `StreamBody`, handed to the server as it is: iterated, it is its own
iterator, and whoever stands outermost knows it by that. Whoever sets
`streaming_content` puts another iterator in its place, which reads from it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing
from typing import Any, ClassVar

import django.http

from zc_response.asgi import AsyncioWaiting, elsewhere, read_stream as read_in_loop
from zc_response.integrations.django.responses import Told
from zc_response.planning import has_no_body
from zc_response.policy import Policy, default_policy
from zc_response.sources import PROCESSES, Stream, Streamable
from zc_response.wsgi import StreamBody, read_stream


class PipeResponse(Told, django.http.StreamingHttpResponse):
    """Django's StreamingHttpResponse, from a pipe that the kernel empties by itself.

        return PipeResponse(["tar", "-c", "photos"], content_type="application/x-tar")

    `content` is a command (a list of strings), which is started when the response is
    sent, and not at all for HEAD; or a `subprocess.Popen` with `stdout=PIPE`; a binary
    file object, a socket or a descriptor; or a function that returns one of these. It
    is the response's from then on, which closes it, ends the process if the client
    leaves (SIGTERM, after two seconds SIGKILL), and waits for it.

    A header field Content-Length is a promise: a producer that writes more or less than
    that, or ends with another status than 0, ends the connection visibly (RST, and no
    last chunk). Without it the body is chunked.

    When it is sent, before the response has begun, NotStreamError is raised for what is
    neither a pipe nor a connected socket, and ProducerError for a command that cannot
    be started, or fails before its first byte and within `first_byte_wait`. `policy`, a
    class attribute, replaces the settings from the environment.
    """

    policy: ClassVar[Policy | None] = None

    def __init__(self, content: Streamable, *args: Any, **kwargs: Any) -> None:
        """The other arguments are those of HttpResponse."""
        super().__init__((), *args, **kwargs)
        settings, status, headers = self._settings, self.status_code, self.headers

        def read(
            stream: Stream, check: Callable[[], None]
        ) -> Generator[bytes, None, None]:
            return read_stream(stream, settings, status, promised(headers), check)

        self._body = StreamBody(content, read)
        self.streaming_content = self._body

    def answer(self, request: Any) -> None:
        """Have no body where none may follow: a command is not even started then."""
        if has_no_body(request.method, self.status_code):
            self._body.close()
            self.streaming_content = ()

    def __iter__(self) -> Iterator[bytes]:
        """The body itself, if nobody has put another in its place."""
        if self._iterator is self._body:
            return iter(self._body)
        chunks: Iterator[bytes] = super().__iter__()
        return chunks

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The body piece by piece, waited for on the loop if it is still the pipe's."""
        if self._iterator is not self._body:
            try:
                async with aclosing(super().__aiter__()) as parts:
                    async for part in parts:
                        yield part
            finally:  # a thread may wait in it for more
                self._body.close()
            return
        stream = await open_in_thread(self._body)
        status, waiting = self.status_code, AsyncioWaiting()
        pieces = read_in_loop(
            stream, self._settings, status, promised(self.headers), waiting
        )
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    @property
    def _settings(self) -> Policy:
        return self.policy or default_policy()

    def __del__(self) -> None:
        """End the process of a response that a middleware has replaced by its own."""
        if "_body" in self.__dict__:
            self._body.close()


async def open_in_thread(body: StreamBody) -> Stream:
    """The stream of a body; a process is started in a thread."""
    return await elsewhere(PROCESSES, body.open, discard=Stream.close)


def promised(headers: Any) -> int | None:
    """The length that header fields promise of a body, in bytes, if they do."""
    length = headers.get("Content-Length")
    return None if length is None else int(length)
