"""The service, in rooms. A request goes straight down and back up; no room knows the rooms above it.

    HTTP:  web/inference.infer -> call.answer: protocol/v2.decode_infer -> Batcher.submit -> Engine.run -> v2.encode_infer
    event: web/events.receive  -> call.answer: the same                 -> the reply event
    job:   Prefer, stored      -> delivered to web/events.receive, by a broker or by jobs/delivery.py

__main__.py   `python -m service`: the checks that deserve one clear sentence, then gunicorn
cloud/        the ways to start it where the platform serves HTTP: AWS Lambda, Google Cloud Functions
serving/      gunicorn's process model: who accepts a connection, reads its request, and ends
web/          HTTP in and out: the application and its routes
page/         what a browser shows at `GET /`: HTML, CSS, JavaScript and sample pictures, as they are served
jobs/         requests that are answered later: their store, leases and delivery
events/       CloudEvents: their formats, claim checks, posting an event
call.py       Call, from HTTP, an event or a job, and its Result: decode, run, encode
runtime/      the model, from loading to closing: batcher, engines
protocol/     pure: bytes <-> tensors, and pictures
settings.py   Settings: typed, frozen, from_env(); the only reader of the environment
reading.py    what the text of a variable means
keys.py       API keys: names, hashes and rates; `python -m service.keys NAME` makes one
late.py       late imports: a file of a room is imported when it is first named
telemetry.py  the cold-start ledger, the phases of a request, counters
errors.py     the error tree; each class knows its HTTP status
"""

__version__ = "0.1.0"
