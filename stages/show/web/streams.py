"""What goes on for as long as somebody watches: the live pictures, and what the gate pushes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from functools import partial

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from stages.show.web.data import Data
from stages.show.web.guard import identified, refusal, same_origin
from stages.show.web.limits import Limits
from stages.show.web.live import Live
from stages.show.web.news import News
from stages.show.web.users import Users

RECHECK_S = 5.0  # how often it is looked whether who watches may still
LOOK_S = 0.5  # how often, where no picture comes, it is looked whether the other end is still there
NOT_UNDERSTOOD, TRY_LATER = 1003, 1013  # RFC 6455's registry of close codes
PART = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n"
SEND_S, PIECE = 60.0, 64 << 10  # how long a clip may take, and bytes at once
AHEAD = 2  # pictures on the way to a browser: one is drawn while the next one travels


class Streams:
    """For each who watches, on the server's loop."""

    def __init__(self, users: Users, data: Data, live: Live, limits: Limits) -> None:
        self._users, self._data, self._live, self._limits = users, data, live, limits
        self.news = News(data)

    def motion_jpeg(self, request: Request, camera: str) -> Response:
        """The newest picture again and again, as the parts of a multipart/x-mixed-replace."""
        return MotionJpeg(self._parts(request, camera), self._limits.stream(request, request.state.who))

    def clip(self, request: Request, seq: int) -> Response:
        """The clip of a decision."""
        return Film(partial(self._data.clip, seq), self._limits.clip(request, request.state.who))

    async def _parts(self, request: Request, camera: str) -> AsyncIterator[bytes]:
        seen = -1
        yield PART
        with self._live.watched(camera) as fresh:
            async for _ in self._while_allowed(request, partial(_within, fresh)):
                fresh.clear()
                seq, picture = self._live.picture(camera)
                if picture and seq != seen:
                    seen = seq
                    # The next head at once: a browser shows a picture when it has read the head behind it.
                    yield picture + b"\r\n" + PART

    async def pictures(self, socket: WebSocket) -> None:
        """The newest picture again and again, a JPEG a message. The other end answers each when it has shown it.

        At most `AHEAD` are on the way: who is slow sees fewer pictures, and no older ones.
        """
        await self._serve(socket, self._pictures)

    async def _pictures(self, socket: WebSocket) -> None:
        camera = socket.path_params["camera"]
        if camera not in self._live.cameras():
            await socket.close(4404)
            return
        with self._live.watched(camera) as fresh:
            ahead = Ahead(fresh)
            answers = asyncio.create_task(ahead.follow(socket))
            try:
                await self._send(socket, camera, ahead, answers)
            finally:
                answers.cancel()

    async def _send(self, socket: WebSocket, camera: str, ahead: Ahead, answers: asyncio.Task[None]) -> None:
        seen = -1
        with suppress(WebSocketDisconnect, RuntimeError):  # the other side is gone
            async for _ in self._while_allowed(socket, partial(_within, ahead.fresh)):
                if answers.done():
                    await socket.close(NOT_UNDERSTOOD)
                    return
                ahead.fresh.clear()
                seq, picture = self._live.picture(camera)
                if picture and seq != seen and ahead.count < AHEAD:
                    seen = seq
                    ahead.count += 1
                    await socket.send_bytes(picture)
            await socket.close(4401)

    async def push(self, socket: WebSocket) -> None:
        """Doors, health and new events, as they come: those behind the number `after`, or else from now on."""
        await self._serve(socket, self._push)

    async def _push(self, socket: WebSocket) -> None:
        after = socket.query_params.get("after", "")
        newest = await run_in_threadpool(self._data.events, None, 1)
        seen = int(after) if after.isdecimal() and len(after) < 20 else newest[0].seq if newest else 0
        await self.news.next()
        heard = asyncio.create_task(socket.receive())
        try:
            await self._tell(socket, seen, heard)
        finally:
            heard.cancel()

    async def _tell(self, socket: WebSocket, seen: int, heard: asyncio.Task[Message]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the other side is gone
            async for _ in self._while_allowed(socket, self.news.next):
                if heard.done():  # nothing is to be said here, and what nobody takes in stays in memory
                    await socket.close(NOT_UNDERSTOOD)
                    return
                events = self.news.events(seen)
                seen = events[-1].seq if events else seen
                news = {"now_ns": time.time_ns(), **msgspec.structs.asdict(self.news.state), "events": events}
                news |= {"faces": self._live.faces(), "cameras": self._live.cameras(), "gallery": self.news.gallery}
                await socket.send_bytes(msgspec.json.encode(news))
            await socket.close(4401)

    async def _serve(self, socket: WebSocket, stream: Callable[[WebSocket], Awaitable[None]]) -> None:
        """Stream to who is logged in, asks not too often, has not too many open, and comes from our own page."""
        who = await run_in_threadpool(identified, self._users, socket)
        try:
            self._limits.check(socket, who, costly=False)
        except HTTPException as error:
            await socket.send_denial_response(refusal(error))
            return
        if who is None or not who.may("viewer") or not same_origin(socket):
            await socket.close(4401)
            return
        await socket.accept()
        try:
            with self._limits.stream(socket, who):
                await stream(socket)
        except HTTPException as error:  # a browser tells its page only how a socket was closed that was open before
            await socket.close(TRY_LATER, error.detail)

    async def _while_allowed(
        self, connection: HTTPConnection, pause: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Goes on until a session is over or its other end is gone; to watch keeps no session alive."""
        checked = time.monotonic()
        while not (isinstance(connection, Request) and await connection.is_disconnected()):
            if time.monotonic() - checked >= RECHECK_S:
                checked = time.monotonic()
                if await run_in_threadpool(partial(identified, self._users, connection, keep=False)) is None:
                    return
            yield
            await pause()


class MotionJpeg(StreamingResponse):
    """Counts as a stream from its first byte on to its end."""

    def __init__(self, parts: AsyncIterator[bytes], counted: AbstractContextManager[None]) -> None:
        super().__init__(parts, media_type="multipart/x-mixed-replace; boundary=frame")
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._counted:
            await super().__call__(scope, receive, send)


class Film(Response):
    """A clip, read when it may be sent, and sent in pieces: who does not take them in is not waited for."""

    media_type = "video/mp4"

    def __init__(self, read: Callable[[], bytes | None], counted: AbstractContextManager[None]) -> None:
        super().__init__()
        self._read, self._counted = read, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._counted:
            found = await run_in_threadpool(self._read)
            if found is None:
                raise HTTPException(404, "there is no clip of this event, not yet, or none any more")
            headers = {"Content-Length": str(len(found))}
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await StreamingResponse(_pieces(found), 200, headers, self.media_type)(scope, receive, send)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


class Ahead:
    """How many pictures are on the way to a browser; an answer makes room for the newest, if there is one."""

    def __init__(self, fresh: asyncio.Event) -> None:
        self.fresh, self.count = fresh, 0

    async def follow(self, socket: WebSocket) -> None:
        """Take in answers until the other side is gone, or says what is none."""
        with suppress(WebSocketDisconnect, RuntimeError):
            while (await socket.receive()).get("text") is not None:
                self.count = max(0, self.count - 1)
                self.fresh.set()


async def _within(fresh: asyncio.Event) -> None:
    """Wait for a picture, but not for ever."""
    with suppress(TimeoutError):
        await asyncio.wait_for(fresh.wait(), LOOK_S)
