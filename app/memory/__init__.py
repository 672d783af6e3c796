"""How much memory the service's cgroup allows, and who gets what is left of it."""

from app.memory.cgroup import Cgroup, find_cgroup
from app.memory.coming import Coming
from app.memory.copies import COPIES, JSON_COPIES
from app.memory.headroom import Headroom, Promise, Rank, at_hand, reserve
from app.memory.malloc import map_large_blocks

__all__ = [
    "COPIES",
    "JSON_COPIES",
    "Cgroup",
    "Coming",
    "Headroom",
    "Promise",
    "Rank",
    "at_hand",
    "find_cgroup",
    "map_large_blocks",
    "reserve",
]
