"""Where acknowledged telemetry waits: in memory, or on disk through crashes and power cuts."""
