"""How long a test waits for what must come: as long as the slowest machine may need, since only a hang gets there."""

__all__ = ["PATIENCE"]

PATIENCE = 120.0
"""Seconds."""
