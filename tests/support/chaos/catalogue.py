"""All faults that the laboratory knows."""

from typing import Final

from tests.support.chaos.backend_faults import (
    Away,
    EveryCode,
    HalfTaken,
    Hanging,
    Resetting,
    Slow,
    Swapped,
    TakenUnheard,
)
from tests.support.chaos.disk_faults import (
    DamagedPage,
    DiskFull,
    DiskReadOnly,
    HeadFails,
    PowerCut,
    QueueVanished,
    SyncFails,
    SyncHangs,
    SyncHangsForGood,
    TornWrite,
    WriteFails,
    WriterDies,
)
from tests.support.chaos.fault import Fault
from tests.support.chaos.machine_faults import (
    ClockJumps,
    DescriptorsExhausted,
    LoopBlocked,
    MemoryShort,
    ThreadsExhausted,
)
from tests.support.chaos.process_faults import (
    Killed,
    Stopped,
    Terminated,
    TerminatedAway,
    TerminatedHanging,
    TerminatedSlow,
)
from tests.support.chaos.thread_faults import (
    ExporterThreadDies,
    GrpcPollerDies,
    GrpcThreadsDie,
    NativeReceiverDies,
    NativeThreadDies,
    ReaderDies,
    ResolverDies,
)

__all__ = ["FAULTS", "LONG", "THREADS"]

FAULTS: Final[tuple[type[Fault], ...]] = (
    Killed,
    Terminated,
    TerminatedSlow,
    TerminatedHanging,
    TerminatedAway,
    Stopped,
    LoopBlocked,
    Away,
    Slow,
    Hanging,
    Resetting,
    TakenUnheard,
    EveryCode,
    HalfTaken,
    Swapped,
    DiskFull,
    DiskReadOnly,
    QueueVanished,
    WriteFails,
    SyncFails,
    HeadFails,
    SyncHangs,
    PowerCut,
    TornWrite,
    DamagedPage,
    ClockJumps,
    DescriptorsExhausted,
    ThreadsExhausted,
    MemoryShort,
)
LONG: Final[tuple[type[Fault], ...]] = (SyncHangsForGood, WriterDies)
"""Those that take most of a minute, unless the laboratory is hurried: the service has to be stuck for half of one."""
THREADS: Final[tuple[type[Fault], ...]] = (
    ReaderDies,
    ExporterThreadDies,
    ResolverDies,
    GrpcThreadsDie,
    GrpcPollerDies,
    NativeThreadDies,
    NativeReceiverDies,
)
"""Those that are noticed as the two before, and are tried in a hurried laboratory alone."""
