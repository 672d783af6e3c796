"""How telemetry goes out: OTLP over HTTP and gRPC, or lines on a terminal."""
