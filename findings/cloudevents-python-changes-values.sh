#!/usr/bin/env bash
# The CloudEvents SDK for Python changes values when it reads an event in the JSON format and sends it on in binary mode.
#
# Version:   cloudevents 2.2.0 (PyPI)
# Expected:  the same event: the canonical form of a Boolean is true or false, and a Timestamp is RFC 3339 with any number
#            of digits (cloudevents/spec v1.0.2, spec.md, "Type System")
# In fact:   true is sent as True, and nanoseconds are cut off to microseconds
# Seen:      ce-flag: True
#            ce-time: 2026-11-23T10:00:00.123456Z
set -euo pipefail
command -v python3 >/dev/null || { echo "python3 is missing" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check cloudevents==2.2.0 python-dateutil==2.9.0.post0

"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

from cloudevents.core.bindings import http

given = {
    "specversion": "1.0", "id": "1", "source": "/finding", "type": "t", "flag": True,
    "time": "2026-11-23T10:00:00.123456789Z",
}
structured = http.HTTPMessage({"content-type": "application/cloudevents+json"}, json.dumps(given).encode())
sent = http.to_binary_event(http.from_http_event(structured)).headers
print("ce-flag:", sent["ce-flag"])
print("ce-time:", sent["ce-time"])

if (sent["ce-flag"], sent["ce-time"]) != ("True", "2026-11-23T10:00:00.123456Z"):
    sys.exit("This has changed.")
PYTHON
