"""A durable OTLP gateway: it acknowledges what it has safely kept, and delivers it to an OpenTelemetry Collector."""
