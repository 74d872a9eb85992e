#!/usr/bin/env bash
# A caller that pauses in its upload gets no answer from Knative Serving before it sends again: not even the timeout's own 504.
#
# Version:   knative.dev/serving v0.50.0 (Knative 1.23), the handler with which queue-proxy and activator enforce the timeout,
#            around Go's reverse proxy, as both have it
# Expected:  with a timeout of 1 s, a 504 after 1 s
# In fact:   Go's server reads up to 256 KiB of what is left of the body before it writes the first byte of an answer. The
#            answer comes after the pause; if that has no end, never. The same holds for an early answer of the service
#            itself, such as 408.
#            `features.knative.dev/http-full-duplex: Enabled` on a revision switches that off.
# Seen:      as by default   504 after 3 s
#            full duplex     504 after 1 s
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
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"go.uber.org/zap"
	"knative.dev/serving/pkg/http/handler"
)

const limit, pause, length = time.Second, 3 * time.Second, 100_000

func limits(*http.Request) (time.Duration, time.Duration, time.Duration) { return limit, 0, 0 }

// The body's first half, a pause, its second half.
func upload(body *io.PipeWriter) {
	body.Write(make([]byte, length/2))
	time.Sleep(pause)
	body.Write(make([]byte, length/2))
	body.Close()
}

// What a caller gets who pauses, and after how many seconds.
func ask(proxy http.Handler) string {
	server := httptest.NewServer(proxy)
	reader, writer := io.Pipe()
	request, _ := http.NewRequest("POST", server.URL, reader)
	request.ContentLength = length
	go upload(writer)
	began := time.Now()
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d after %.0f s", answer.StatusCode, time.Since(began).Seconds())
}

func main() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	target, _ := url.Parse(service.URL)
	limited := handler.NewTimeoutHandler(httputil.NewSingleHostReverseProxy(target), "request timeout", limits, zap.NewNop().Sugar())
	// As in pkg/queue/sharedmain/handlers.go.
	duplex := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		limited.ServeHTTP(w, r)
	})
	usual, full := ask(limited), ask(duplex)
	fmt.Printf("as by default   %s\nfull duplex     %s\n", usual, full)
	if usual != "504 after 3 s" || full != "504 after 1 s" {
		fmt.Println("This has changed.")
		os.Exit(1)
	}
}
END
printf 'module finding\n\ngo 1.24\n\nrequire knative.dev/serving v0.50.0\n' >go.mod
go mod tidy 2>"$folder/log" || { cat "$folder/log" >&2; exit 2; }
go run . 2>"$folder/log" || { cat "$folder/log" >&2; exit 1; }
