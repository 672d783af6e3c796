"""How much memory a process has to itself."""

import re
from pathlib import Path

__all__ = ["own_memory"]


def own_memory(pid: int) -> int:
    """Bytes of RssAnon and RssShmem: pages of mapped files come and go as the system likes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * sum(int(kib) for kib in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+)", status))
