#!/usr/bin/env bash
# gunicorn's settings for HTTP/2 do not reach the client: it sends them, and then the defaults.
#
# Version:   gunicorn 27.0.1, h2 4.4.1 (PyPI)
# Expected:  with --http2-initial-window-size 1048576 the client may send 1 MiB of a body at once, and with
#            --http2-max-concurrent-streams 7 it may have 7 requests open
# In fact:   a second SETTINGS frame follows with h2's defaults, and the last value counts (RFC 9113, section 6.5.3):
#            H2Connection.initiate_connection sends the values before update_settings, which wait for an acknowledgement
# Seen:      SETTINGS: window 1048576, streams 7
#            SETTINGS: window 65535, streams 100
#            the client's view: window 65535, streams 100
set -euo pipefail
command -v python3 >/dev/null || { echo "python3 is missing" >&2; exit 2; }
folder=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gunicorn==27.0.1 h2==4.4.1
cat >"$folder/app.py" <<'PYTHON'
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]
PYTHON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/gunicorn" --chdir "$folder" --bind "127.0.0.1:$port" --worker-class gthread --threads 2 --log-level warning \
    --http-protocols h2,h1 --http2-cleartext prior-knowledge \
    --http2-initial-window-size 1048576 --http2-max-concurrent-streams 7 app:app &
server=$!

"$folder/venv/bin/python" - "$port" <<'PYTHON'
import socket
import sys
import time

import h2.connection
from hyperframe.frame import Frame, SettingsFrame

for _ in range(100):
    try:
        connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
        break
    except OSError:
        time.sleep(0.1)
client = h2.connection.H2Connection()
client.initiate_connection()
connection.sendall(client.data_to_send())
time.sleep(1)
data = connection.recv(65536)
client.receive_data(data)

found = []
while data:
    frame, length = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9 : 9 + length]))
    data = data[9 + length :]
    if isinstance(frame, SettingsFrame) and frame.settings:
        found.append((frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE), frame.settings.get(SettingsFrame.MAX_CONCURRENT_STREAMS)))
        print("SETTINGS: window %s, streams %s" % found[-1])
seen = client.remote_settings.initial_window_size, client.remote_settings.max_concurrent_streams
print("the client's view: window %s, streams %s" % seen)
if found[:1] != [(1048576, 7)] or seen != (65535, 100):
    sys.exit("This has changed.")
PYTHON
