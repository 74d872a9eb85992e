"""The database and what needs it, opened together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.jobs.delivery import Embedded, Nobody, Sink
from service.jobs.lease import Leases
from service.jobs.store import JobStore
from service.jobs.work import Work
from service.settings import Settings, authority

# Embedded deliveries at the same time for each runner: one is decoded while the other is run.
PER_RUNNER = 2


@dataclass(frozen=True)
class Opened:
    store: JobStore
    leases: Leases
    work: Work
    delivery: Sink | Embedded | Nobody

    def close(self) -> None:
        """End what goes on in the background, then close the database."""
        self.delivery.stop()
        self.leases.stop()
        if isinstance(self.delivery, Embedded):
            self.delivery.join()
        self.store.close()


def open_jobs(settings: Settings, runners: int, ended: Callable[[str], None], credentials: Mapping[str, str]) -> Opened:
    """The store that DATABASE_URL names, and the delivery from it.

    Args:
        runners: how many runs of the model there can be at the same time.
        ended: called with the id of a job that was run.
        credentials: headers of requests from this process to itself.

    Raises:
        StoreError: the database cannot be used.
        OSError: there can be no lock beside the database's file.
    """
    assert settings.database_url is not None
    store = JobStore(settings.database_url, settings.job_ttl_s, settings.database_pool_size)
    leases = Leases(store)
    work = Work(store, leases, settings.max_result_bytes, ended)
    return Opened(store, leases, work, _delivery(settings, store, runners, credentials))


def _delivery(
    settings: Settings, store: JobStore, runners: int, credentials: Mapping[str, str]
) -> Sink | Embedded | Nobody:
    timeout_s = settings.request_timeout_ms / 1e3
    if settings.k_sink:
        return Sink(settings.k_sink, settings.k_ce_overrides, timeout_s)
    if not settings.embedded_delivery:
        return Nobody()
    if settings.delivery_url:
        return Embedded(store, settings.delivery_url, PER_RUNNER * runners, timeout_s)
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"http://{authority(host, settings.port)}/events"
    return Embedded(store, url, PER_RUNNER * runners, timeout_s, credentials)
