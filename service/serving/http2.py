"""Http2: the frames of one HTTP/2 connection (RFC 9113), by prior knowledge and without TLS. Knows no socket and no thread."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import h2.config
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from gunicorn.http2.h2conn import server_connection_class
from hyperframe.frame import GoAwayFrame

from service.errors import RequestError
from service.serving.http2_stream import Stream
from service.serving.incoming import Limits
from service.web.body import MAX_DISCARDED_BYTES, too_large

logger = logging.getLogger("kindling")

# Requests of one connection that may be open together. Go's clients then open another connection.
MAX_STREAMS = 128
# What a client may send ahead of our reading, in one request and in all of a connection.
WINDOW_BYTES = 2**20
# Of frames that wait for the socket; the rest of the answers waits in the streams.
MAX_OUT_BYTES = 2**18
# Frames in ten seconds that cost work and carry nothing (RST_STREAM, PING, SETTINGS, empty DATA): real clients send few.
MAX_IDLE_FRAMES, IDLE_FRAMES_S = 1000, 10.0
LAST_STREAM = 2**31 - 1


class TooManyFrames(h2.exceptions.ProtocolError):
    """More idle frames than any client has a reason for."""

    error_code = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


class Http2:
    """Feed it what comes, hand over the requests that it returns, and send `out`. Used by one thread.

    Args:
        limits: of each request's header and body.
        patience_s: how long a client may take to read a piece of its answer.
        wake: called by other threads when there is something to `pull`.
        refusal: why the body of a request is not kept, by its path and its headers, their names in upper case; None if it is.
    """

    def __init__(
        self,
        limits: Limits,
        patience_s: float,
        wake: Callable[[], None],
        refusal: Callable[[str, Iterable[tuple[str, str]]], RequestError | None],
    ) -> None:
        self._limits = limits
        self._patience_s = patience_s
        self._wake = wake
        self._refusal = refusal
        self._streams: dict[int, Stream] = {}
        self._idle_frames: deque[float] = deque(maxlen=MAX_IDLE_FRAMES)
        self._is_draining = False
        self.is_over = False
        """Whether nothing is read any more; what is in `out` may still be sent."""
        self._frames = server_connection_class()(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self._frames.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            },
        )
        self._frames.decoder.max_header_list_size = limits.header_bytes
        self._frames.initiate_connection()
        self._frames.increment_flow_control_window(WINDOW_BYTES)
        self.out = bytearray(self._frames.data_to_send())

    @property
    def is_idle(self) -> bool:
        """Whether there is no request, and nothing to send."""
        return not self._streams and not self.out

    @property
    def held(self) -> int:
        """Bytes of the requests' bodies."""
        return sum(each.held for each in self._streams.values())

    @property
    def receiving(self) -> int:
        """Requests that are arriving."""
        return sum(not each.is_handled for each in self._streams.values())

    def feed(self, data: bytes) -> list[Stream]:
        """The requests that are complete with these bytes; they count as handled."""
        complete: list[Stream] = []
        try:
            for event in [] if self.is_over else self._frames.receive_data(data):
                complete += self._take(event)
        except h2.exceptions.ProtocolError as fault:
            # h2 has said already what was wrong, unless it is what we find too much.
            self._end(fault.error_code)
            return []
        self.pull()
        return complete

    def overdue(self, receiving_s: float) -> list[Stream]:
        """Requests that have been arriving for longer than that; they count as handled. Answers that nobody takes are dropped."""
        now, late = time.monotonic(), []
        for stream in [*self._streams.values()]:
            if not stream.is_handled and now - stream.began_s > receiving_s:
                stream.is_handled = True
                late.append(stream)
            elif stream.ended_s is not None and now - stream.ended_s > self._patience_s:
                self.give_up(stream)
        return late

    def newest(self) -> Stream | None:
        """The request that began last, of those that hold memory and may still be refused."""
        return next((each for each in reversed(self._streams.values()) if not each.is_handled and each.held), None)

    def pull(self) -> None:
        """Turn what there is of answers into frames, as far as the client's windows and `out` have room."""
        for stream in [*self._streams.values()]:
            if len(self.out) >= MAX_OUT_BYTES:
                return
            if not self.is_over:
                self._pull(stream)
        self.out += self._frames.data_to_send()

    def drain(self) -> None:
        """Ask the client to open no more requests here. Those that it has sent already are still answered."""
        if not self._is_draining:
            self._is_draining = True
            # h2 itself would end the connection with this frame.
            self.out += GoAwayFrame(0, last_stream_id=LAST_STREAM).serialize()

    def abandon(self) -> None:
        """The connection is gone."""
        self.is_over = True
        self.out.clear()
        for stream in [*self._streams.values()]:
            self.forget(stream)

    def reset(self, stream: Stream, code: h2.errors.ErrorCodes) -> None:
        """End a request without an answer, or without the rest of it."""
        self.forget(stream)
        try:
            self._frames.reset_stream(stream.stream_id, code)
        except h2.exceptions.ProtocolError:
            return  # it has ended already
        self.out += self._frames.data_to_send()

    def give_up(self, stream: Stream) -> None:
        """The client does not read its answer."""
        if stream.is_open:
            logger.warning("a client did not read its answer within %d s (BODY_TIMEOUT_S)", self._patience_s)
            self.reset(stream, h2.errors.ErrorCodes.CANCEL)

    def forget(self, stream: Stream) -> None:
        """Of this request there is nothing left to read or to send."""
        if self._streams.pop(stream.stream_id, None):
            stream.close()

    def _take(self, event: h2.events.Event) -> Iterator[Stream]:
        """The request that is complete with this event, if one is."""
        if isinstance(event, h2.events.RequestReceived):
            begun = self._begin(event)
            if begun.is_unknown_call:
                begun.is_handled = True
                yield begun
        elif isinstance(event, h2.events.DataReceived):
            self._receive(event)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self._streams.get(event.stream_id)
            if stream and not stream.is_handled:
                stream.is_handled = True
                yield stream
        elif isinstance(event, h2.events.StreamReset):
            self._count_idle_frame()
            if stream := self._streams.get(event.stream_id):
                self.forget(stream)
        elif isinstance(event, h2.events.PingReceived | h2.events.RemoteSettingsChanged):
            self._count_idle_frame()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.is_over = not self._streams

    def _begin(self, event: h2.events.RequestReceived) -> Stream:
        stream = Stream(event.stream_id, event.headers, self._patience_s, self._wake)
        self._streams[event.stream_id] = stream
        path, headers = stream.get_pseudo_headers().get(":path", ""), stream.get_regular_headers()
        if fault := self._refusal(path, ((name.upper(), value) for name, value in headers)):
            stream.refuse(fault)
        length = next((value for name, value in event.headers if name == b"content-length"), b"0")
        # h2 has checked that it is a number, and checks that the body is as long.
        if int(length) > self._limits.body_bytes:
            stream.refuse(too_large(self._limits.body_bytes))
        return stream

    def _receive(self, event: h2.events.DataReceived) -> None:
        if not event.data and not event.stream_ended:
            self._count_idle_frame()
        # The window is open again at once: what is not wanted is thrown away, and the rest is limited by its size.
        self._frames.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream and not stream.is_handled:
            stream.receive(event.data, self._limits.body_bytes)
            if stream.discarded > MAX_DISCARDED_BYTES:
                self.reset(stream, h2.errors.ErrorCodes.CANCEL)

    def _count_idle_frame(self) -> None:
        now = time.monotonic()
        if len(self._idle_frames) == MAX_IDLE_FRAMES and now - self._idle_frames[0] < IDLE_FRAMES_S:
            raise TooManyFrames
        self._idle_frames.append(now)

    def _pull(self, stream: Stream) -> None:
        """As much of this answer as there is room for."""
        number = stream.stream_id
        try:
            while (piece := stream.next_piece) is not None and len(self.out) < MAX_OUT_BYTES:
                is_end = stream.is_last
                if isinstance(piece, list):
                    self._frames.send_headers(number, piece, end_stream=is_end)
                    stream.took()
                else:
                    # A window may be negative, after the client has made it smaller (section 6.9.2).
                    room = min(self._frames.local_flow_control_window(number), self._frames.max_outbound_frame_size)
                    if room <= 0 < len(piece):
                        return
                    is_end = is_end and len(piece) <= room
                    self._frames.send_data(number, piece[:room], end_stream=is_end)
                    stream.took(min(room, len(piece)))
                self.out += self._frames.data_to_send()
                if is_end:
                    break
            else:
                is_end = stream.ended_s is not None and stream.next_piece is None
                if is_end:
                    self._frames.end_stream(number)
        except h2.exceptions.ProtocolError:  # reset in the meantime
            self.forget(stream)
            return
        if is_end:
            # If the client has not ended its request yet, it need not.
            self.reset(stream, h2.errors.ErrorCodes.NO_ERROR)

    def _end(self, code: h2.errors.ErrorCodes) -> None:
        """End the connection, and say why."""
        if not self.is_over:
            with suppress(h2.exceptions.ProtocolError):
                self._frames.close_connection(code)
            said = self._frames.data_to_send()
            self.abandon()
            self.out += said
