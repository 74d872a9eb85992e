"""Requests that are answered later, and events that are computed once; nothing here is imported before the first.

service.py      Jobs: what the routes call; opens everything else when it is first needed
opening.py      the database and what needs it, opened together
waiting.py      Waiting: some of the threads may wait for a job to change
work.py         Work: an event is computed once, however often it is delivered
lease.py        Leases: which process computes a job, renewed as long as it lives
delivery.py     where request events go: to a broker (K_SINK), or by a broker's rules to this process or a worker
queue.py        DeliveryQueue: what to deliver without a broker, and when
job.py          Job, and the statuses that it goes through
store.py        JobStore: jobs in SQL, every change of status one statement
statements.py   the store's statements in SQL; those that every event needs are built once
database.py     Database: SQLite or PostgreSQL, and its errors as one sentence
connections.py  Connections: how many may be in use, and what to do when the server has no more
schema.py       the table of jobs, its creation and upgrade
"""

from typing import TYPE_CHECKING

from service.late import files_of

if TYPE_CHECKING:
    from service.jobs import (
        connections,
        database,
        delivery,
        job,
        lease,
        opening,
        queue,
        schema,
        service,
        statements,
        store,
        waiting,
        work,
    )

__all__ = [
    "connections",
    "database",
    "delivery",
    "job",
    "lease",
    "opening",
    "queue",
    "schema",
    "service",
    "statements",
    "store",
    "waiting",
    "work",
]
__getattr__ = files_of(__name__)
