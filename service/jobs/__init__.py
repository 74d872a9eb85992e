"""Requests that are answered later, or arrive as events; nothing here is imported before the first of them.

service.py    Jobs: what the routes call; opens the store when it is first needed
waiting.py    Waiting: for a job to change, by some of the threads
event.py      pure: CloudEvents in HTTP's three modes <-> what they ask for, and the reply
strict.py     pure: CloudEvents by the letter of the specification; event.schema.json describes ours
dataref.py    the data of an event from where its `dataref` says
s3.py         the same from S3, or a store with its protocol
work.py       Work: computed once, however often it is delivered
lease.py      Leases: who computes a job, as long as it lives
delivery.py   to a broker (K_SINK), or by the rules of a broker to this process itself or a worker
queue.py      DeliveryQueue: what the latter has to send, and when
post.py       one event by HTTP, and what was said to that
job.py        Job, and the statuses that it goes through
store.py      JobStore: jobs in SQL, every change of status one statement
statements.py what it says in SQL; those of every event are built once
database.py   Database: SQLite or PostgreSQL, and what to say when it does not answer
schema.py     the table of jobs, its creation and upgrade
"""
