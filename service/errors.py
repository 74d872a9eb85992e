"""What can go wrong, as one tree; the status decides whether a sender tries again.

KindlingError
├── RequestError            the sender's fault: the same request fails again
│   ├── BadRequest          400  the body cannot be decoded
│   ├── Unauthorized        401  no key, or a wrong one
│   ├── Forbidden           403  never done, whoever asks
│   ├── NotFound            404  no such model
│   ├── ContentTooLarge     413  the body is over its limit
│   ├── NoGrpc              415  no gRPC call, although its path is that of one
│   └── Unprocessable       422  decoded, but wrong: shape, datatype, not an image
├── RequestTimeout          408  the request did not arrive in time: the sender is too slow
├── Conflict                409  the same request is being computed elsewhere: ask again
│   └── Cancelled           409  the job was cancelled: nobody wants its result any more
├── QueueFull               429  more requests wait than can be answered in time
│   └── OverRate            429  the caller has sent more than the rate of its key
├── EngineError             500  the model failed on an input that passed every check
├── Unimplemented           501  no such method of gRPC
├── NotReady                503  the model is not loaded, or the process is stopping
└── DeadlineExceeded        504  the answer would have come too late
"""


class KindlingError(Exception):
    """The root; `status` is the HTTP status that the error handler answers with."""

    status = 500

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer, besides its type."""
        return {}


class RequestError(KindlingError):
    """The sender's fault: the same request fails again."""

    status = 400


class BadRequest(RequestError):
    """The body cannot be decoded."""


class Unauthorized(RequestError):
    """No key, or a wrong one: nobody learns which, so there is only one message."""

    status = 401

    def __init__(self) -> None:
        super().__init__("a valid key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY")

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class NotFound(RequestError):
    """No such model."""

    status = 404


class Forbidden(RequestError):
    """This service never does that, whoever asks."""

    status = 403


class ContentTooLarge(RequestError):
    """The body is over its limit."""

    status = 413


class NoGrpc(RequestError):
    """No gRPC call, although its path is that of one."""

    status = 415


class Unprocessable(RequestError):
    """Decoded, but wrong: shape, datatype, not an image."""

    status = 422


class RequestTimeout(KindlingError):
    """The request did not arrive in time: the sender is too slow."""

    status = 408


class Conflict(KindlingError):
    """The same request is being computed elsewhere: ask again."""

    status = 409


class Cancelled(Conflict):
    """The job was cancelled: nobody wants its result any more."""


class QueueFull(KindlingError):
    """More requests wait than can be answered in time.

    `retry_after_s` is the time after which the queue should have drained.
    """

    status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class OverRate(QueueFull):
    """The caller has sent more than the rate of its key."""


class EngineError(KindlingError):
    """The model failed on an input that passed every check."""


class Unimplemented(KindlingError):
    """No such method of gRPC."""

    status = 501


class NotReady(KindlingError):
    """The model is not loaded, or the process is stopping."""

    status = 503


class DeadlineExceeded(KindlingError):
    """The answer would have come too late."""

    status = 504
