#!/usr/bin/env bash
# One attribute, three SDKs of CloudEvents, three ways to write it on the wire, and JavaScript's depends on the body. Only
# one of them decodes what it reads.
#
# Version:   npm cloudevents 10.0.0, Go github.com/cloudevents/sdk-go/v2 v2.16.2, PyPI cloudevents 2.2.0
# Expected:  an attribute outside printable ASCII "MUST be percent-encoded" as UTF-8 in a header, and decoded once by
#            its receiver (cloudevents/spec v1.0.2, bindings/http-protocol-binding.md, 3.1.3.2)
# In fact:   Go sends raw UTF-8; JavaScript sends raw Latin-1 when the data is bytes, and raw UTF-8 when it is text:
#            node:http writes the head in the encoding of the first part of the body; neither of the two decodes
# Seen:      javascript, bytes  sends subject e9, reads %C3%A9
#            javascript, text   sends subject c3a9, reads %C3%A9
#            go                 sends subject c3a9, reads %C3%A9
#            python             sends subject 254333254139, reads é
# Needs python3, npm with Node.js 20 or newer, and Go 1.23 or newer.
set -euo pipefail
for tool in python3 npm node go; do
    command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 2; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/main"
cd "$folder/main"
# Writable, so that it can be removed.
export GOMODCACHE=$folder/modules GOFLAGS=-modcacherw

# One event comes in binary mode, and one goes back whose subject is a percent-encoded é.
cat >listen.py <<'PYTHON'
import re
import socket

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: 2\r\nce-source: /finding\r\nce-type: t\r\nce-subject: %C3%A9\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
)
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    server.settimeout(120)
    connection, _ = server.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        connection.sendall(RESPONSE)
        print(re.search(rb"(?im)^ce-subject: (.*)\r$", request)[1].hex(), flush=True)
PYTHON

cat >send.mjs <<'JAVASCRIPT'
import { CloudEvent, HTTP } from "cloudevents";
import http from "node:http";

const data = process.argv[2] === "bytes" ? Buffer.from("{}") : {};
const event = new CloudEvent({ id: "1", source: "/finding", type: "t", subject: "é", data });
const { headers, body } = HTTP.binary(event);
const request = http.request(process.argv[3], { method: "POST", headers }, (response) => {
  let text = "";
  response.on("data", (chunk) => (text += chunk));
  response.on("end", () => console.log(HTTP.toEvent({ headers: response.headers, body: text }).subject));
});
request.end(body);
JAVASCRIPT

cat >send.py <<'PYTHON'
import sys
import urllib.request

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

sent = http.to_binary_event(CloudEvent({"id": "1", "source": "/finding", "type": "t", "subject": "é"}, {}))
request = urllib.request.Request(sys.argv[1], sent.body, sent.headers)
with urllib.request.urlopen(request) as answer:
    print(http.from_http_event(http.HTTPMessage(dict(answer.headers), answer.read())).get_subject())
PYTHON

cat >send.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func main() {
	client, err := cloudevents.NewClientHTTP()
	if err != nil {
		panic(err)
	}
	event := cloudevents.NewEvent()
	event.SetID("1")
	event.SetSource("/finding")
	event.SetType("t")
	event.SetSubject("é")
	read, result := client.Request(cloudevents.ContextWithTarget(context.Background(), os.Args[1]), event)
	if read == nil {
		panic(result)
	}
	fmt.Println(read.Subject())
}
GO

npm install --silent --no-audit --no-fund cloudevents@10.0.0 >/dev/null
printf 'module finding\n\ngo 1.23\n\nrequire github.com/cloudevents/sdk-go/v2 v2.16.2\n' >go.mod
go mod tidy 2>log && go build -o send send.go 2>>log || { cat log >&2; exit 2; }
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0 python-dateutil==2.9.0.post0

# What was sent, in hexadecimal, and what was read.
try() {
    python3 listen.py >heard &
    until [ -s heard ]; do sleep 0.1; done
    read -r port <heard
    read=$("${@:2}" "http://127.0.0.1:$port/")
    wait $!
    printf '%-18s sends subject %s, reads %s\n' "$1" "$(sed -n 2p heard)" "$read"
    rm heard
}
seen=$(
    try "javascript, bytes" node send.mjs bytes
    try "javascript, text" node send.mjs text
    try go ./send
    try python venv/bin/python send.py
)
echo "$seen"
expected="javascript, bytes  sends subject e9, reads %C3%A9
javascript, text   sends subject c3a9, reads %C3%A9
go                 sends subject c3a9, reads %C3%A9
python             sends subject 254333254139, reads é"
[ "$seen" = "$expected" ] || { echo "This has changed."; exit 1; }
