"""The service. app.py joins the objects, inference.py and events.py have the routes, call.py the way of every request:

    HTTP:  inference.infer -> call.answer: protocol.decode_infer -> Batcher.submit -> Engine.run -> protocol.encode_infer
    event: events.receive  -> call.answer: the same              -> the reply event
    job:   Prefer, stored  -> delivered to events.receive, by a broker or by jobs/delivery.py

__main__.py       `python -m service`: the checks that deserve one clear sentence, then gunicorn
server.py         Server: gunicorn's process model, one worker with many threads
app.py            create_app(settings): the only place where objects are joined; the one error handler
settings.py       Settings: typed, frozen, from_env(); the only reader of the environment
inference.py      routes: Open Inference Protocol v2, V1, image upload, health, metadata
events.py         routes: a CloudEvent in, the reply event out; what a broker gave up
cloud/            the service as a function, where somebody else serves HTTP: AWS Lambda, Google Cloud Functions
jobs/             requests that are answered later: their routes, store and delivery, and the form of events
call.py           Call, whoever brought it, and its Result: decode, run, encode
body.py           the body of a request, within its limits
runtime/          the model, from loading to closing
protocol/         pure: bytes <-> tensors
telemetry.py      the cold-start ledger, the phases of a request, counters
metrics.py        what every request leaves behind, and GET /metrics
errors.py         the error tree; each class knows its HTTP status
"""

__version__ = "0.1.0"
