"""Where acknowledged telemetry waits: in memory, or on disk through crashes and power cuts."""

from app.queue.contract import Committed, Entry, Lease, Queue, QueueError
from app.queue.desk import Desk
from app.queue.disk import DiskQueue
from app.queue.memory import MemoryQueue
from app.queue.store import LmdbStore

__all__ = ["Committed", "Desk", "DiskQueue", "Entry", "Lease", "LmdbStore", "MemoryQueue", "Queue", "QueueError"]
