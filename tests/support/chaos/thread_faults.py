"""A thread of the service ends without a word, and the others are not told."""

import signal
from typing import TYPE_CHECKING, ClassVar, Final

from tests.support.chaos.clients import Seen
from tests.support.chaos.fault import Fault
from tests.support.process import until

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = [
    "ExporterThreadDies",
    "GrpcPollerDies",
    "GrpcThreadsDie",
    "NativeReceiverDies",
    "NativeThreadDies",
    "ReaderDies",
    "ResolverDies",
]

_OF_THE_EXPORTER: Final = {"http/protobuf": "compress", "grpc": "grpc-start"}


class _ThreadDies(Fault):
    """In time the service is not live any more, and is killed for it."""

    needs = frozenset({"gcc"})
    # Where it held a lock that others need, they hang with it.
    live = ready = frozenset({"503", "none"})
    notes = frozenset({"export", "disk"})
    sees = frozenset({Seen.CUT, Seen.NOBODY})
    ends = frozenset({-signal.SIGKILL})
    repeats = "killed between a delivery and its commit"
    thread: ClassVar[str]
    """What is in its name; all end whose name has that."""

    def names(self, _: "Laboratory") -> str:
        return self.thread

    async def inflict(self, lab: "Laboratory") -> None:
        machine, word, pid = lab.machine, self.names(lab), lab.service.pid
        assert machine is not None
        if machine.end_threads(pid, word):
            return
        # It begins only when much has waited.
        await lab.backend.stop()
        acknowledged = len(lab.clients.acknowledged)
        await lab.clients.until(
            lambda clients: len(clients.acknowledged) - acknowledged > lab.more_than_memory, "more than memory holds"
        )
        await lab.backend.start()

        async def ended() -> bool:
            return machine.end_threads(pid, word) > 0

        await until(ended, f"a thread {word}")

    async def shows(self, lab: "Laboratory") -> None:
        await lab.kubelet.until_ended(self.lives)
        said = {(probe.live, probe.ready) for probe in lab.kubelet.observed.probes}
        assert said & {("503", "503"), ("none", "none")}, said


class ReaderDies(_ThreadDies):
    name = "reader thread dies"
    thread = "queue-reader"


class ExporterThreadDies(_ThreadDies):
    """That which compresses, or begins calls."""

    name = "exporter's thread dies"

    def names(self, lab: "Laboratory") -> str:
        return _OF_THE_EXPORTER[lab.protocol]


class ResolverDies(_ThreadDies):
    """Those that ask for names; gRPC has its own."""

    name = "event loop's threads die"
    protocol = "http/protobuf"
    thread = "libuv-worker"


class GrpcThreadsDie(_ThreadDies):
    """Those of the library, which have the connections and the time."""

    name = "gRPC's threads die"
    thread = "event_engine"


class GrpcPollerDies(_ThreadDies):
    """That which tells the event loop what has come over gRPC."""

    name = "gRPC's poller dies"
    thread = "(_poll"


class NativeThreadDies(_ThreadDies):
    """That which has the connections."""

    name = "native engine's thread dies"
    engine = "native"
    thread = "grpc-native-io"


class NativeReceiverDies(_ThreadDies):
    """That which hands calls over to the event loop."""

    name = "native engine's receiver dies"
    engine = "native"
    thread = "uvloop_"
