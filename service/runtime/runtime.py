"""Runtime: one artifact, its engine and the batcher in front of it, from loading to closing."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from model.artifact import Artifact
from service.errors import NotReady, QueueFull, Unprocessable
from service.protocol import image
from service.protocol.tensor import Item
from service.runtime import cpu
from service.runtime.batcher import Batcher
from service.runtime.engine import loading, self_test
from service.runtime.engine.interface import Engine, Plan
from service.runtime.preparation import plan
from service.settings import Settings
from service.telemetry import Duration, Timing, ledger

logger = logging.getLogger("kindling")


class Decoders:
    """Decoding keeps one core busy for each picture, so more pictures than cores at once would only cost memory.

    Args:
        most: pictures decoded at the same time.
        max_waiting: pictures that may wait; more are refused.
    """

    def __init__(self, most: int, max_waiting: int) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._room = threading.BoundedSemaphore(most + max_waiting)

    @contextmanager
    def one(self) -> Iterator[None]:
        """A place to decode one picture in.

        Raises:
            QueueFull: too many wait to be decoded.
        """
        if not self._room.acquire(blocking=False):
            raise QueueFull("too many pictures wait to be decoded", retry_after_s=1)
        try:
            with self._free:
                yield
        finally:
            self._room.release()


class Runtime:
    """Loads in a thread of its own; requests that come in the meantime wait in the queue.

    Args:
        on_failure: called in that thread, after the reason is logged, when the artifact cannot be served.
    """

    def __init__(self, artifact: Artifact, settings: Settings, on_failure: Callable[[], None]) -> None:
        self.artifact = artifact
        self._settings = settings
        self._plan = plan(artifact, settings)
        self._batcher: Batcher[Item, Item] = Batcher(
            self._plan.runners, settings.max_queue_size, settings.max_queue_delay_ms / 1e3
        )
        self._decoders = Decoders(cpu.quota(), settings.max_queue_size)
        self._engine: Engine | None = None
        self._fault = ""
        self._loading = threading.Thread(target=self._load, args=(on_failure,), name="loader", daemon=True)
        self._loading.start()

    @property
    def is_ready(self) -> bool:
        """Whether the model has answered its self-test."""
        return self._engine is not None

    def wait_until_ready(self, timeout_s: float | None) -> None:
        """Return once the model has answered its self-test.

        Raises:
            NotReady: it has not, or cannot.
        """
        self._loading.join(timeout_s)
        if not self.is_ready:
            raise NotReady(self._fault or "the model is still loading")

    @property
    def fault(self) -> str:
        """Why the model cannot be served; empty while it loads and once it is ready."""
        return self._fault

    @property
    def plan(self) -> Plan:
        """How the artifact runs here."""
        return self._plan

    @property
    def batch_sizes(self) -> Sequence[int]:
        """How many items a run can take, ascending; known once the model is ready."""
        return self._batcher.batch_sizes

    @property
    def runners(self) -> int:
        """How many runs there can be at the same time."""
        return self._plan.runners

    @property
    def queue_depth(self) -> int:
        """Items waiting for a run."""
        return self._batcher.queue_depth

    @property
    def runs(self) -> Mapping[int, int]:
        """How many runs there were of each batch size."""
        return self._batcher.runs.copy()

    @property
    def durations(self) -> Mapping[int, Duration]:
        """How many runs of each batch size succeeded, and how long these took."""
        return self._batcher.durations.copy()

    def infer(self, items: Sequence[Item], timing: Timing) -> list[Item]:
        """Each item's outputs, within the request timeout. Called by any number of threads."""
        if self._fault:
            raise NotReady(self._fault)
        left_s = (min(self._settings.request_timeout_ms, timing.limit_ms) - timing.total_ms) / 1e3
        return self._batcher.submit(items, time.monotonic() + left_s, timing)

    def decode_image(self, encoded: bytes) -> bytes:
        """An encoded picture as one item of the model's first input."""
        if self.artifact.image is None:
            raise Unprocessable("this model takes no pictures, only tensors: POST /v2/models/NAME/infer")
        with self._decoders.one():
            settings = self._settings
            return image.decode(encoded, self.artifact.image, settings.max_image_pixels, settings.image_formats)

    def close(self) -> None:
        """Answer the waiting requests, then release the model; may be called twice."""
        self._loading.join()
        self._batcher.close()
        if self._engine is not None:
            self._engine.close()

    def _warm_up(self, loaded: Engine) -> None:
        """Every runner does this: in libtorch, a thread's first run allocates its memory and chooses its kernels."""
        if not loaded.is_proven:
            self_test.check(self.artifact, loaded)

    def _load(self, on_failure: Callable[[], None]) -> None:
        try:
            loaded = loading.load(self.artifact, self._plan)
            ledger.mark("model")
            self._batcher.start(loaded.run, loaded.batch_sizes, warm_up=lambda: self._warm_up(loaded))
        except Exception as fault:
            self._fault = f"the model cannot be served: {fault}"
            logger.error(self._fault)  # noqa: TRY400 - one sentence; a traceback tells nothing more
            on_failure()
            return
        self._engine = loaded
        ledger.mark("ready")
        logger.info(
            "%s (%s %s) is ready: %d x %d threads, batches up to %d; %s",
            self.artifact.name,
            self.artifact.engine,
            self.artifact.precision,
            self._plan.runners,
            self._plan.threads,
            loaded.batch_sizes[-1],
            ledger,
        )
