// The OpenTelemetry SDK for Go under way: it exports numbered spans one batch after another, retries and all.
//
// It is configured by OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL alone, numbers spans from its one argument, and prints
// a line of JSON for each export: {"first": N, "spans": N, "error": null or what it said}. SIGTERM ends it after the
// export that is under way.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

const spans = 20

type told struct {
	First uint64  `json:"first"`
	Spans int     `json:"spans"`
	Error *string `json:"error"`
}

func main() {
	first, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	client := otlptracehttp.NewClient()
	if os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" {
		client = otlptracegrpc.NewClient()
	}
	exporter, err := otlptrace.New(context.Background(), client)
	if err != nil {
		log.Fatal(err)
	}
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	out := json.NewEncoder(os.Stdout)
	for ; ; first += spans {
		select {
		case <-ending:
			return
		default:
		}
		line := told{First: first, Spans: spans}
		if err := exporter.ExportSpans(context.Background(), numbered(first).Snapshots()); err != nil {
			message := err.Error()
			line.Error = &message
		}
		if err := out.Encode(line); err != nil {
			log.Fatal(err)
		}
	}
}

func numbered(first uint64) tracetest.SpanStubs {
	stubs := make(tracetest.SpanStubs, spans)
	for n := range stubs {
		var id trace.SpanID
		binary.BigEndian.PutUint64(id[:], first+uint64(n))
		context := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: id})
		now := time.Now()
		stubs[n] = tracetest.SpanStub{Name: "numbered", SpanContext: context, StartTime: now, EndTime: now}
	}
	return stubs
}
