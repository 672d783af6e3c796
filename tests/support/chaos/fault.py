"""What a fault is: something that can be done to the service, or to what it needs, and taken back."""

from typing import TYPE_CHECKING, ClassVar, Final, Literal

from tests.support.chaos.clients import Seen, Transport

if TYPE_CHECKING:
    from tests.support.chaos.laboratory import Laboratory

__all__ = ["ANSWERED", "EVERYTHING", "Engine", "Fault", "Protocol"]

Engine = Literal["grpcio", "native"]
Protocol = Literal["http/protobuf", "grpc"]
EVERYTHING: Final = frozenset({"process", "destination", "disk", "machine"})
ANSWERED: Final = frozenset({Seen.TAKEN, Seen.LATER})
"""What clients may see whatever happens: the truth, or when to come back."""


class Fault:
    """One thing that goes wrong. A laboratory inflicts it, waits until it shows, and relieves it."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Programs and rights, by the names that tests/conftest.py has for them."""
    sees: ClassVar[frozenset[Seen]] = frozenset()
    """What clients may see beside `ANSWERED`. A connection is never refused while the process lives."""
    refuses: ClassVar[frozenset[Transport]] = frozenset()
    """Over what a process that drains may refuse connections all the same."""
    ends: ClassVar[frozenset[int]] = frozenset()
    """The exit codes with which the service may end because of it; minus the number of a signal."""
    ready: ClassVar[frozenset[str]] = frozenset()
    """What ``/health/ready`` may answer beside 200: 503, or none; one that ends within a second may anyway."""
    live: ClassVar[frozenset[str]] = frozenset()
    """What ``/health/live`` may answer beside 200."""
    notes: ClassVar[frozenset[str]] = frozenset()
    """Which notes may be in the body of ``/health/ready``, by their first word."""
    engine: ClassVar[Engine] = "grpcio"
    """What the service has OTLP/gRPC by, when it is tried singly."""
    protocol: ClassVar[Protocol | None] = None
    """The exporter's, where there is such a fault with one alone."""
    repeats: str = ""
    """Why what was delivered may be delivered again; empty where it may not."""
    touches: ClassVar[frozenset[str]] = EVERYTHING
    """What it lays hands on, or needs to be whole: faults that have nothing in common here may be there at once.

    One that takes the disk away ends the process, so it goes with none that is about the process, nor with another of
    the disk, which would act on a disk that is not there. A directory that vanishes is put back once what came into the
    new one is delivered, and a page is damaged under a backlog: both have the destination to themselves too.
    """

    lives: int
    """How many lives the service had had when this was inflicted."""
    logged: int
    """How long its log was then."""

    def prepare(self, lab: "Laboratory", /) -> None:
        """Remember how things are without it."""
        self.lives, self.logged = len(lab.kubelet.lives), len(lab.service.log)

    async def inflict(self, lab: "Laboratory", /) -> None:
        """Do it."""
        raise NotImplementedError

    async def shows(self, lab: "Laboratory", /) -> None:
        """Return when it has been felt, as clients can tell or the service does; it may go on meanwhile.

        Where nothing was inflicted it does not return.
        """
        raise NotImplementedError

    async def relieve(self, lab: "Laboratory", /) -> None:
        """Take it back, as far as the world does that by itself."""

    def __str__(self) -> str:
        return self.name
