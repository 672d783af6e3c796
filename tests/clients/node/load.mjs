// The OpenTelemetry SDK for Node.js under way: it exports numbered spans one batch after another, retries and all.
//
// It is configured by the standard variables alone (OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL), numbers spans from its one
// argument, and prints a line of JSON for each export: {"first": N, "spans": N, "error": null or what it said}. SIGTERM
// ends it after the export that is under way.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url); // the packages are where NODE_PATH says, and import has no such path
const { BasicTracerProvider } = require("@opentelemetry/sdk-trace-base");

const suffix = { "http/json": "http", "http/protobuf": "proto", grpc: "grpc" }[process.env.OTEL_EXPORTER_OTLP_PROTOCOL];
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${suffix}`);

const SPANS = 20;
let next = Number(process.argv[2]);
let finishing = false;
process.on("SIGTERM", () => (finishing = true));

const made = [];
const provider = new BasicTracerProvider({
  idGenerator: {
    generateTraceId: () => "00000000000000010000000000000001",
    generateSpanId: () => (next++).toString(16).padStart(16, "0"),
  },
  spanProcessors: [
    {
      onStart() {},
      onEnd: (span) => made.push(span),
      forceFlush: async () => {},
      shutdown: async () => {},
    },
  ],
});
const tracer = provider.getTracer("load");
const exporter = new OTLPTraceExporter();

while (!finishing) {
  const first = next;
  for (let count = 0; count < SPANS; count++) tracer.startSpan("numbered").end();
  const spans = made.splice(0);
  const { code, error } = await new Promise((done) => exporter.export(spans, done));
  console.log(JSON.stringify({ first, spans: SPANS, error: code === 0 ? null : String(error) }));
  if (code !== 0) await new Promise((done) => setTimeout(done, 1000));
}
await exporter.shutdown();
