#!/usr/bin/env bash
# Knative Serving ends a stream at timeoutSeconds as if it were complete, with "request timeout" added to its body.
#
# Version:   knative.dev/serving v0.50.0 (Knative 1.23), the handler with which queue-proxy and activator enforce the timeout
# Expected:  a response that has begun "is allowed to continue" (the comment above its timeoutWriter), or is broken off, so
#            that the reader of a chunked body sees an error
# In fact:   the text is written into the body, the last chunk is sent, and the reader sees the end of a 200
# Seen:      status 200, error <nil>, body "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\nrequest timeout"
# Needs Go 1.24 or newer, which fetches a newer one of its own where the modules ask for it.
set -euo pipefail
command -v go >/dev/null || { echo "go is missing: install it, https://go.dev/doc/install" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/main"
cd "$folder/main"
# Writable, so that it can be removed.
export GOMODCACHE=$folder/modules GOFLAGS=-modcacherw

cat >main.go <<'END'
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"knative.dev/serving/pkg/http/handler"
)

// Server-sent events without end.
func stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; r.Context().Err() == nil; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		w.(http.Flusher).Flush()
		time.Sleep(300 * time.Millisecond)
	}
}

// One second in all; no limit for the first byte or between two, which is Knative's default.
func limits(*http.Request) (time.Duration, time.Duration, time.Duration) { return time.Second, 0, 0 }

func main() {
	// As in pkg/queue/sharedmain/handlers.go.
	limited := handler.NewTimeoutHandler(http.HandlerFunc(stream), "request timeout", limits, zap.NewNop().Sugar())
	server := httptest.NewServer(limited)
	answer, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(answer.Body)
	fmt.Printf("status %d, error %v, body %q\n", answer.StatusCode, err, body)
	if answer.StatusCode != 200 || err != nil || !strings.HasSuffix(string(body), "\n\nrequest timeout") {
		fmt.Println("This has changed.")
		os.Exit(1)
	}
}
END
printf 'module finding\n\ngo 1.24\n\nrequire knative.dev/serving v0.50.0\n' >go.mod
go mod tidy 2>"$folder/log" || { cat "$folder/log" >&2; exit 2; }
go run .
