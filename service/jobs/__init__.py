"""Requests that are answered later, and events that are computed once; nothing here is imported before the first.

service.py      Jobs: what the routes call; opens the rest when it is first needed
opening.py      the database and what needs it, opened together
waiting.py      Waiting: for a job to change, by some of the threads
work.py         Work: computed once, however often it is delivered
lease.py        Leases: who computes a job, as long as it lives
delivery.py     where request events go: to a broker (K_SINK), or by a broker's rules to this process or a worker
queue.py        DeliveryQueue: what is to be delivered without a broker, and when
job.py          Job, and the statuses that it goes through
store.py        JobStore: jobs in SQL, every change of status one statement
statements.py   its statements in SQL; those of every event are built once
database.py     Database: SQLite or PostgreSQL, and what to say when it does not answer
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
