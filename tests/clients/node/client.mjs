// The OpenTelemetry SDK for Node.js as an application has it: a trace, metrics and logs that use what it knows.
//
// It is configured by the standard variables alone (OTEL_EXPORTER_OTLP_ENDPOINT, _PROTOCOL, _COMPRESSION), prints what
// it made, {"traces": REQUEST, "metrics": REQUEST, "logs": REQUEST}, and exits with 1 when an export was not taken.
// A request is what the SDK's own objects say, written down here field by field in OTLP's JSON, so that it owes nothing
// to how the SDK serializes.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url); // the packages are where NODE_PATH says, and import has no such path
const { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, ValueType, createTraceState, trace } =
  require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { AggregationType, DataPointType, MeterProvider, PeriodicExportingMetricReader } =
  require("@opentelemetry/sdk-metrics");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const suffix = { "http/json": "http", "http/protobuf": "proto", grpc: "grpc" }[process.env.OTEL_EXPORTER_OTLP_PROTOCOL];
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPMetricExporter } = require(`@opentelemetry/exporter-metrics-otlp-${suffix}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${suffix}`);

// What is made.

const SCALARS_AND_LISTS = {
  text: "größer als ASCII, 中文, 🙂",
  empty: "",
  yes: true,
  no: false,
  zero: 0,
  least: Number.MIN_SAFE_INTEGER,
  most: Number.MAX_SAFE_INTEGER,
  double: 0.1,
  tiny: Number.MIN_VALUE,
  texts: ["a", "", "c"],
  integers: [1, -2],
  doubles: [0.5, -1.5],
  flags: [true, false],
};
const EVERYTHING = {
  ...SCALARS_AND_LISTS,
  bytes: new Uint8Array([0, 255, 10]),
  mixed: [1, "two", 3.5, null, [true]],
  map: { inner: { deep: [1, 2] }, empty: {} },
};
const SCHEMA = "https://schema.example/scope";
const START = [1_760_000_000, 123_456_789]; // seconds and nanoseconds, as the SDK writes a time

const later = (nanoseconds) => [START[0], START[1] + nanoseconds];
const remote = {
  traceId: "0102030405060708090a0b0c0d0e0f10",
  spanId: "ffeeddccbbaa9988",
  traceFlags: TraceFlags.SAMPLED,
  traceState: createTraceState("vendor=x,other=y"),
  isRemote: true,
};
const caller = trace.setSpanContext(ROOT_CONTEXT, remote);

function makeSpans(provider) {
  const tracer = provider.getTracer("scope.one", "1.2.3", { schemaUrl: SCHEMA });
  const link = {
    context: { traceId: "a".repeat(32), spanId: "b".repeat(16), traceFlags: 0, traceState: createTraceState("l=1") },
    attributes: SCALARS_AND_LISTS,
  };
  const root = tracer.startSpan(
    "root",
    { kind: SpanKind.SERVER, attributes: SCALARS_AND_LISTS, links: [link, { context: remote }], startTime: START },
    caller,
  );
  root.addEvent("first", SCALARS_AND_LISTS, later(1));
  root.addEvent("second", later(2));
  root.setStatus({ code: SpanStatusCode.ERROR, message: "it broke" });
  for (const [name, kind] of Object.entries(SpanKind).filter(([name]) => Number.isNaN(Number(name)))) {
    const child = tracer.startSpan(name, { kind, startTime: later(3) }, trace.setSpan(caller, root));
    child.setStatus({ code: SpanStatusCode.OK });
    child.end(later(4));
  }
  root.end(later(5));
  provider.getTracer("scope.two").startSpan("").end();
}

function makeMetrics(provider) {
  const meter = provider.getMeter("scope.one", "1.2.3", { schemaUrl: SCHEMA });
  const counter = meter.createCounter("requests", { unit: "1", description: "How many.", valueType: ValueType.INT });
  counter.add(3, { route: "/a", code: 200 });
  counter.add(4, { route: "/b" });
  meter.createCounter("paid", { unit: "EUR" }).add(74.9);
  meter.createUpDownCounter("open", { valueType: ValueType.INT }).add(-2);
  meter.createGauge("level").record(-0.5, { tank: 1 });
  meter.createObservableCounter("seen", { valueType: ValueType.INT }).addCallback((result) => result.observe(7));
  const latency = meter.createHistogram("latency", { unit: "s", advice: { explicitBucketBoundaries: [0.1, 1] } });
  for (const value of [0.05, 0.25, 0.5, 7]) latency.record(value, { route: "/a" });
  const size = meter.createHistogram("size", { unit: "By" });
  for (const value of [0, 1, 2.5, 1e6]) size.record(value);
}

function makeLogs(provider) {
  const logger = provider.getLogger("scope.one", "1.2.3", { schemaUrl: SCHEMA, attributes: { "scope.kind": "test" } });
  logger.emit({
    timestamp: START,
    observedTimestamp: later(1),
    context: caller,
    severityNumber: SeverityNumber.ERROR2,
    severityText: "Error",
    body: EVERYTHING,
    attributes: EVERYTHING,
    eventName: "device.broke",
  });
  logger.emit({ severityNumber: SeverityNumber.INFO, body: "a line" });
  for (const body of [true, 42, 4.2, ["a", 1], new Uint8Array([1, 2, 3])]) logger.emit({ body });
}

// What is said about it.

const time = ([seconds, nanoseconds]) => String(BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds));
const pairs = (map = {}) => Object.entries(map).map(([key, value]) => ({ key, value: any(value) }));

function any(value) {
  if (value === null || value === undefined) return {};
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  if (value instanceof Uint8Array) return { bytesValue: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return { arrayValue: { values: value.map(any) } };
  return { kvlistValue: { values: pairs(value) } };
}

const flags = (context, from) => context.traceFlags | 0x100 | (from?.isRemote ? 0x200 : 0);
const scopeOf = ({ name, version, attributes }) => ({ name, version, attributes: pairs(attributes) });
const under = (item, group, items) => ({
  resource: { attributes: pairs(item.resource.attributes) },
  schemaUrl: item.resource.schemaUrl,
  [group]: [{ scope: scopeOf(item.instrumentationScope), schemaUrl: item.instrumentationScope.schemaUrl, ...items }],
});

function describeSpan(span) {
  const context = span.spanContext();
  const described = {
    traceId: context.traceId,
    spanId: context.spanId,
    parentSpanId: span.parentSpanContext?.spanId,
    traceState: context.traceState?.serialize(),
    flags: flags(context, span.parentSpanContext),
    name: span.name,
    kind: `SPAN_KIND_${SpanKind[span.kind]}`,
    startTimeUnixNano: time(span.startTime),
    endTimeUnixNano: time(span.endTime),
    attributes: pairs(span.attributes),
    events: span.events.map((event) => ({
      name: event.name,
      timeUnixNano: time(event.time),
      attributes: pairs(event.attributes),
    })),
    links: span.links.map((link) => ({
      traceId: link.context.traceId,
      spanId: link.context.spanId,
      traceState: link.context.traceState?.serialize(),
      flags: flags(link.context, link.context),
      attributes: pairs(link.attributes),
    })),
    status: { code: `STATUS_CODE_${SpanStatusCode[span.status.code]}`, message: span.status.message },
  };
  return under(span, "scopeSpans", { spans: [described] });
}

function describeLog(record) {
  const described = {
    timeUnixNano: time(record.hrTime),
    observedTimeUnixNano: time(record.hrTimeObserved),
    severityNumber: record.severityNumber,
    severityText: record.severityText,
    body: any(record.body),
    attributes: pairs(record.attributes),
    flags: record.spanContext?.traceFlags,
    traceId: record.spanContext?.traceId,
    spanId: record.spanContext?.spanId,
    eventName: record.eventName,
  };
  return under(record, "scopeLogs", { logRecords: [described] });
}

function describePoint(kind, type, { attributes, startTime, endTime, value }) {
  const point = { attributes: pairs(attributes), startTimeUnixNano: time(startTime), timeUnixNano: time(endTime) };
  if (kind === DataPointType.SUM || kind === DataPointType.GAUGE)
    return { ...point, ...(type === ValueType.INT ? { asInt: String(value) } : { asDouble: value }) };
  const { count, sum, min, max } = value;
  const summary = { ...point, count, sum, min, max };
  if (kind === DataPointType.HISTOGRAM)
    return { ...summary, bucketCounts: value.buckets.counts, explicitBounds: value.buckets.boundaries };
  const { scale, zeroCount, positive, negative } = value;
  return { ...summary, scale, zeroCount, positive, negative };
}

function describeMetric(resource, scope, { descriptor, dataPointType: kind, aggregationTemporality, ...data }) {
  const dataPoints = data.dataPoints.map((point) => describePoint(kind, descriptor.valueType, point));
  const temporality = { aggregationTemporality: aggregationTemporality + 1 }; // the SDK counts from 0
  const { name, unit, description } = descriptor;
  const kinds = {
    [DataPointType.SUM]: { sum: { dataPoints, ...temporality, isMonotonic: data.isMonotonic } },
    [DataPointType.GAUGE]: { gauge: { dataPoints } },
    [DataPointType.HISTOGRAM]: { histogram: { dataPoints, ...temporality } },
    [DataPointType.EXPONENTIAL_HISTOGRAM]: { exponentialHistogram: { dataPoints, ...temporality } },
  };
  const metrics = [{ name, unit, description, ...kinds[kind] }];
  return under({ resource, instrumentationScope: scope }, "scopeMetrics", { metrics });
}

const describeMetrics = ({ resource, scopeMetrics }) =>
  scopeMetrics.flatMap(({ scope, metrics }) => metrics.map((metric) => describeMetric(resource, scope, metric)));

// Make it, send it, tell.

const made = { traces: [], metrics: [], logs: [] };

/** `exporter`, which writes down what it exports with `describe`, and fails the process when it was not taken. */
function remembering(exporter, signal, describe) {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) => {
    made[signal].push(...describe(items));
    send(items, (result) => {
      if (result.code !== 0) {
        console.error(`${signal}: not taken: ${result.error}`);
        process.exitCode = 1;
      }
      done(result);
    });
  };
  return exporter;
}

const resource = resourceFromAttributes(
  { "service.name": "everything", "host.cpus": 4, "host.tags": ["a", "b"] },
  { schemaUrl: "https://schema.example/resource" },
);
const spans = remembering(new OTLPTraceExporter(), "traces", (all) => all.map(describeSpan));
const metrics = remembering(new OTLPMetricExporter(), "metrics", describeMetrics);
const logs = remembering(new OTLPLogExporter(), "logs", (all) => all.map(describeLog));
const providers = [
  new BasicTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spans)] }),
  new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter: metrics })],
    views: [{ instrumentName: "size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
  }),
  new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: logs })] }),
];
makeSpans(providers[0]);
makeMetrics(providers[1]);
makeLogs(providers[2]);
for (const provider of providers) await provider.shutdown();
console.log(
  JSON.stringify({
    traces: { resourceSpans: made.traces },
    metrics: { resourceMetrics: made.metrics },
    logs: { resourceLogs: made.logs },
  }),
);
