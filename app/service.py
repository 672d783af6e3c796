"""The service as a whole: which stage calls which, in which order they start and end, and how it drains.

client ─▶ receiver ─▶ admission ─▶ queue ─▶ dispatcher ─▶ retry ─▶ timeout ─▶ exporter ─▶ collector
"""

import asyncio
import gc
import os
import signal as signals
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import uvloop
from prometheus_client.core import Metric

from app import descriptors, probe
from app.admin import AdminServer, queue_routes
from app.core.clock import Clock, SystemClock
from app.core.consumer import Consumer
from app.core.errors import Retryable
from app.core.instance import Instance
from app.core.log import Log
from app.core.request import Signal
from app.exporters import Renewable, make_exporter
from app.handoff import hand_off
from app.health import DEAD_LETTERS, DISK, MEMORY, QUEUE, Health
from app.memory import Cgroup, Headroom, at_hand, find_cgroup, map_large_blocks
from app.pipeline.admission import Admission
from app.pipeline.dispatch import Dispatcher
from app.pipeline.retry import Retry
from app.pipeline.timeout import Timeout
from app.pipeline.tracing import TracedAttempts, TracedBatches
from app.pulse import Threads, watch
from app.queue import Desk, DiskQueue, LmdbStore, MemoryQueue, Queue, QueueError
from app.receivers.auth import Doorkeeper
from app.receivers.grpc import GrpcReceiver
from app.receivers.grpc_pulse import GrpcPulse
from app.receivers.http import HttpReceiver
from app.receivers.turns import Turnstile
from app.reload import Reload, Switch
from app.settings import Loaded, QueueSettings, ServerSettings, Settings, warnings
from app.telemetry import logs
from app.telemetry.metrics import Metrics, gauge, gauge_by, gauge_by_signal

if TYPE_CHECKING:
    from app.console import Console
    from app.receivers.grpc_native import NativeGrpcReceiver
    from app.receivers.tls import ServerTls
    from app.telemetry.tracing import SelfTracing

__all__ = ["Service", "run"]

_log = Log(__name__)
_HEARTBEAT_SECONDS = 1.0
_STUCK_SECONDS = 30.0
_PULSE_SECONDS = 5.0  # to ask threads costs two milliseconds, which is much for a service that has nothing to do
_MOVE_ON_SECONDS = 1.0
_SLOW_SECONDS = 5.0
"""Whoever waits for the disk is told to come back then; SDKs give up after ten."""
_LAST_CALL_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_YOUNG_OBJECTS = 10_000  # or a fourteenth of the processor time of 500 requests at once goes to walking them


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 after a drain, 1 when the service cannot go on."""
    settings = loaded.settings
    logs.configure(settings.logging.level, settings.logging.format)
    cgroup = find_cgroup()
    for warning in warnings(settings, cgroup.limit if cgroup else None):
        _log.warning("setting_doubtful", "%(doubt)s", kind=warning, doubt=warning)
    few = descriptors.doubt(descriptors.allow_all(), settings.server.max_connections)
    if few is not None:
        _log.warning("descriptors_few", "%(doubt)s", doubt=few)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(Service(loaded, cgroup=cgroup).run())
        except (QueueError, OSError, ValueError) as error:
            _log.critical("cannot_go_on", "%(reason)s", reason=str(error))
            return 1


class Service:
    """One running instance, made of what the configuration says, within the memory that `cgroup` allows."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None, cgroup: Cgroup | None = None) -> None:
        self._settings = settings = loaded.settings
        self._clock = clock or SystemClock()
        self._stop = asyncio.Event()
        self._stopped_by: signals.Signals | None = None
        self.version = version("otlp-service")
        self.instance = Instance()
        self._handed_off = 0
        self.metrics = Metrics(self.version)
        self.health = Health(self.version, self._clock, unready_when_full=settings.health.unready_when_full)
        self._keeper = Doorkeeper(settings.auth, self.metrics)
        self._reload = Reload(loaded, self.metrics)
        self._terminals = [each for each in range(3) if os.isatty(each)]
        self.headroom = None if cgroup is None else Headroom(cgroup)
        self.queue = _make_queue(settings.queue, self._clock, self.metrics, None if cgroup is None else cgroup.limit)

    async def run(self) -> int:
        settings, metrics, health, clock = self._settings, self.metrics, self.health, self._clock
        headroom = self.headroom
        if headroom is not None:
            map_large_blocks()
        metrics.at_scrape(self._own_figures)
        async with AsyncExitStack() as lifetimes:
            self._heed_signals(lifetimes)
            # Each is entered after what it hands its work to, and left before it. The admin port comes first and
            # goes last, so that health can be asked while the queue is recovered and while it is drained.
            desk = self._desk()
            console = self._make_console(desk)
            routers = [queue_routes(desk, self._keeper), *([console.routes] if console else ())]
            admin = await lifetimes.enter_async_context(
                AdminServer(settings.metrics, settings.server.host, metrics, health, routers)
            )
            queue = await lifetimes.enter_async_context(self.queue)
            self._tell_the_probe(lifetimes, admin.port)  # only now: another instance may hold the queue
            metrics.at_scrape(self._queue_figures)
            make = partial(make_exporter, metrics=metrics, version=self.version, clock=clock, instance=self.instance)
            exporter = await lifetimes.enter_async_context(Renewable(make, settings.exporter))
            attempt: Consumer = Timeout(exporter, settings.exporter.timeout)
            if console:
                attempt = console.observe(attempt)
            tracing = await self._trace(lifetimes, attempt)
            if tracing:
                attempt = TracedAttempts(attempt)
            retries = {
                signal: Retry(attempt, settings.exporter.retry, clock, f"export of {signal.value}") for signal in Signal
            }
            destinations: Mapping[Signal, Consumer] = retries
            if tracing:
                destinations = {signal: TracedBatches(retry, tracing) for signal, retry in retries.items()}
            dispatcher = await lifetimes.enter_async_context(
                Dispatcher(queue, destinations, settings.exporter, settings.queue.max_age, clock, metrics)
            )
            tls = self._make_tls()
            delivered = settings.queue.acknowledge == "delivered"
            doors = [Admission(queue, metrics, transport, delivered=delivered) for transport in ("grpc", "http")]
            turnstile = Turnstile()
            grpc: GrpcReceiver | NativeGrpcReceiver = await lifetimes.enter_async_context(
                _grpc_engine(settings.server)(
                    settings.server,
                    doors[0],
                    metrics,
                    health,
                    instance=self.instance,
                    tracer=tracing,
                    doorkeeper=self._keeper,
                    tls=tls,
                    headroom=headroom,
                    turnstile=turnstile,
                )
            )
            http = await lifetimes.enter_async_context(
                HttpReceiver(
                    settings.server,
                    doors[1],
                    metrics,
                    health,
                    instance=self.instance,
                    tracer=tracing,
                    doorkeeper=self._keeper,
                    tls=tls,
                    headroom=headroom,
                    turnstile=turnstile,
                )
            )
            if console:
                console.follow(retries, doors, http_port=http.port, grpc_port=grpc.port)
                await lifetimes.enter_async_context(console)
            self._let_change((*retries.values(), dispatcher), tls, tracing, exporter)
            hearts = await self._begin_beating(lifetimes, retries)
            health.ready_now()
            _log.info(
                "ready",
                "ready: OTLP/gRPC on %(grpc_port)d, OTLP/HTTP on %(http_port)d, admin on %(admin_port)d; "
                "version %(version)s",
                grpc_port=grpc.port,
                http_port=http.port,
                admin_port=admin.port,
                version=self.version,
            )
            gc.collect()
            gc.freeze()  # what start-up made stays; the collector need not walk it again and again
            gc.set_threshold(_YOUNG_OBJECTS)

            for_ever = [
                *hearts,
                *queue.tasks,
                *dispatcher.tasks,
                *grpc.tasks,
                *http.tasks,
                *admin.tasks,
            ]
            for optional in (tracing, console):
                for_ever += optional.tasks if optional else []
            if not await self._until_stopped(for_ever):
                return 1
            await self._drain(doors, grpc, http, dispatcher, retries)
        logs.tell_what_was_held_back(all_of_it=True)  # the account is the last line
        _log.info("stopped", "stopped: %(account)s", account=self._account())
        return 0

    def _let_change(
        self,
        patient: Iterable[Retry | Dispatcher],
        tls: "ServerTls | None",
        tracing: "SelfTracing | None",
        exporter: Renewable,
    ) -> None:
        """Say what can change while the service runs. The exporter goes last, for it begins with being prepared."""

        def retry(new: Settings) -> Switch:
            def switch() -> None:
                for each in patient:
                    each.adopt(new.exporter.retry)

            return switch

        reload = self._reload
        reload.parts += [
            lambda new: partial(logs.set_level, new.logging.level),
            lambda new: self._keeper.prepare(new.auth),
            retry,
        ]
        if tls:
            reload.parts.append(lambda new: tls.prepare(new.server.tls))
        if tracing:
            reload.parts.append(lambda new: partial(tracing.sample, new.tracing.sampling_rate))
        reload.parts.append(lambda new: exporter.prepare(new.exporter))

    async def _begin_beating(
        self, lifetimes: AsyncExitStack, retries: Mapping[Signal, Retry]
    ) -> list[asyncio.Task[None]]:
        """Let the parts that can end unseen give signs of life to health, and the configuration be read again."""
        hearts = [
            asyncio.create_task(self._beat(retries), name="heartbeat"),
            asyncio.create_task(self._reload.heed(), name="reload"),
        ]
        beating = await lifetimes.enter_async_context(GrpcPulse())
        for part, pulse in {"threads": Threads().ask, "gRPC": beating.beat}.items():
            watching = watch(self.health.component(part, _STUCK_SECONDS), pulse, self._clock, _PULSE_SECONDS)
            hearts.append(asyncio.create_task(watching, name=f"pulse of {part}"))
        for heart in hearts:
            lifetimes.callback(heart.cancel)
        return hearts

    async def _trace(self, lifetimes: AsyncExitStack, destination: Consumer) -> "SelfTracing | None":
        """Begin the service's own traces, if it is to have some."""
        if not self._settings.tracing.enabled:
            return None
        from app.telemetry.tracing import SelfTracing  # noqa: PLC0415 - an SDK that is not used is not loaded

        return await lifetimes.enter_async_context(
            SelfTracing(self._settings.tracing, self.version, self.instance.name, destination, self._clock)
        )

    def _make_console(self, desk: Desk) -> "Console | None":
        """Make the page that shows what the service does, if there is to be one."""
        if not self._settings.console.enabled:
            return None
        from app.console import Console  # noqa: PLC0415 - a page that nobody asked for is not loaded

        return Console(
            lambda: self._reload.loaded,
            metrics=self.metrics,
            health=self.health,
            queue=self.queue,
            desk=desk,
            doorkeeper=self._keeper,
            clock=self._clock,
            version=self.version,
        )

    def _make_tls(self) -> "ServerTls | None":
        """Make what the receivers show their clients, if they are to have TLS."""
        if self._settings.server.tls.cert_file is None:
            return None
        from app.receivers.tls import ServerTls  # noqa: PLC0415 - what reads certificates is loaded where there are some

        tls = ServerTls(self._settings.server.tls, self.metrics)
        self.metrics.at_scrape(
            lambda: (
                gauge_by(
                    "otlp_tls_certificate_expiry_timestamp_seconds",
                    "When the certificate in a file ends.",
                    "file",
                    {"server.tls.cert_file": tls.expires},
                ),
            )
        )
        return tls

    def _desk(self) -> Desk:
        """Make what answers for the queue on the admin port."""

        def purged(signal: Signal, items: int) -> None:
            self.metrics.dropped.labels(signal.value, "purged").inc(items)

        return Desk(self.queue, self._clock, self._settings.queue.storage, purged)

    def _tell_the_probe(self, lifetimes: AsyncExitStack, port: int) -> None:
        """Leave the admin port's address for `otlp-service health`; kubelets do without it."""
        try:
            lifetimes.callback(probe.remove_address, *probe.write_address(self._settings.server.host, port))
        except OSError as error:
            _log.warning("probe_unaddressed", "otlp-service health will need --url: %(reason)s", reason=str(error))

    async def _until_stopped(self, tasks: Iterable[asyncio.Task[None]]) -> bool:
        """Wait for a signal; False when one of the tasks that never end has ended."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        ended, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in ended - {stop}:
            _log.critical(
                "task_ended", "%(task)s ended, and the service with it", task=task.get_name(), fault=task.exception()
            )
        return ended == {stop}

    async def _drain(
        self,
        doors: Iterable[Admission],
        grpc: "GrpcReceiver | NativeGrpcReceiver",
        http: HttpReceiver,
        dispatcher: Dispatcher,
        retries: Mapping[Signal, Retry],
    ) -> None:
        """Leave, close, empty: what a rollout needs to drop nothing."""
        shutdown, clock = self._settings.shutdown, self._clock
        self.health.draining()
        if self._stopped_by is signals.SIGTERM:  # at a terminal nobody waits for endpoints to be updated
            _log.info(
                "leaving",
                "leaving: not ready any more, accepting for another %(seconds)g s",
                seconds=shutdown.delay,
            )
            end = clock.monotonic() + shutdown.delay
            while (left := end - clock.monotonic()) > 0:
                http.move_on()  # again and again, because who makes a new connection may be led back here
                await clock.sleep(min(left, _MOVE_ON_SECONDS))
        began = clock.monotonic()
        # What is handed off to siblings has half of the grace for it, whatever the destination does.
        own_part = shutdown.grace if shutdown.handoff is None else shutdown.grace / 2
        _log.info("closing", "closing: finishing what is in flight, refusing what comes")
        for door in doors:
            door.closed = True
        for receiver in (grpc, http):
            receiver.begin_closing()
        # Who waits for delivery is told "later" while there is time to be heard.
        closing = Retryable("the service is shutting down", reason="closing")
        last_call = max(0.0, own_part - _LAST_CALL_SECONDS)
        timer = asyncio.get_running_loop().call_later(last_call, self.queue.give_up_waiting, closing)
        await asyncio.gather(grpc.finish(own_part), http.finish(own_part))
        timer.cancel()
        with suppress(TimeoutError, Retryable):
            async with asyncio.timeout(_LAST_CALL_SECONDS):
                await self.queue.committed()  # what a client gave up waiting for may be on its way to the disk
        _log.info("emptying", "emptying for %(seconds)g s at most; a second signal ends it at once", seconds=own_part)
        left = began + own_part - clock.monotonic()
        if shutdown.handoff is None:
            await dispatcher.drain(left)
        else:
            await self._drain_unless_held(dispatcher, retries, left)
            if self._left():
                await dispatcher.__aexit__(None, None, None)  # what it holds goes back to the queue
                left = began + shutdown.grace - clock.monotonic()
                _log.info(
                    "handing_off",
                    "handing off for %(seconds).1f s at most: %(account)s",
                    seconds=left,
                    account=self._account(),
                )
                self._handed_off = await hand_off(
                    self.queue,
                    shutdown.handoff,
                    self._reload.settings.exporter,
                    left,
                    auth=self._reload.settings.auth,
                    metrics=self.metrics,
                    version=self.version,
                    instance=self.instance,
                    clock=clock,
                )

    async def _drain_unless_held(self, dispatcher: Dispatcher, retries: Mapping[Signal, Retry], seconds: float) -> None:
        """Empty the queue for at most `seconds`, and no longer than the destination takes something of what is left."""
        drain = asyncio.create_task(dispatcher.drain(seconds), name="drain")
        while not drain.done() and any(self.queue.items(signal) and not retries[signal].trouble for signal in Signal):
            await asyncio.wait({drain}, timeout=_LOOK_SECONDS)
        drain.cancel()
        await asyncio.wait({drain})
        if not drain.cancelled():
            drain.result()

    def _heed_signals(self, lifetimes: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signals.SIGTERM, signals.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        # Not by the loop: when that is closed, the signal would end the process again, before it can end by itself.
        before = signals.signal(signals.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._on_hangup))
        lifetimes.callback(signals.signal, signals.SIGHUP, before)

    def _on_signal(self, number: signals.Signals) -> None:
        if self._stop.is_set():
            _log.warning("ending_at_once", "a second signal: ending at once; what is on disk stays there")
            os._exit(128 + number)
        self._stopped_by = number
        self._stop.set()

    def _on_hangup(self) -> None:
        """Read the configuration again, or end as for Ctrl-C: it is also what a terminal that is closed sends."""
        if self._terminals and not any(os.isatty(each) for each in self._terminals):
            self._on_signal(signals.SIGINT)
        else:
            self._reload.ask()

    async def _beat(self, retries: Mapping[Signal, Retry]) -> None:
        """Tell health once a second that the disk answers, and what is not as it should be."""
        disk = self.health.component("disk", _STUCK_SECONDS)
        while True:
            committing = self.queue.commit_seconds()
            if committing < 2 * _HEARTBEAT_SECONDS:  # the disk has answered since the last look
                disk.beat()
            slow = committing >= _SLOW_SECONDS
            if slow:
                self.queue.stall()
            self.health.note(DISK, f"no answer for {committing:.0f} s: clients are told to come back" if slow else None)
            for signal, retry in retries.items():
                self.health.note(f"export of {signal.value}", retry.trouble)
            dead = sum(self.queue.dead.items(signal) for signal in Signal)
            self.health.note(DEAD_LETTERS, f"{dead} items; see otlp-service queue dead list" if dead else None)
            short = self.headroom is not None and self.headroom.short
            self.health.note(MEMORY, "memory is short: clients are told to come back" if short else None)
            self.health.note(QUEUE, "full: clients are told to come back" if self.queue.full else None)
            logs.tell_what_was_held_back()
            await self._clock.sleep(_HEARTBEAT_SECONDS)

    def _account(self) -> str:
        """Return what became of every item so far; the figures add up as the metrics do."""
        metrics, handed_off = self.metrics, self._handed_off
        siblings = "" if self._settings.shutdown.handoff is None else f"{handed_off} handed off, "
        dead = sum(self.queue.dead.items(signal) for signal in Signal)
        where = "on disk" if self._settings.queue.storage == "disk" else "lost with the memory they were in"
        return (
            f"{metrics.accepted.total} items accepted, {metrics.recovered.total} recovered, "
            f"{metrics.sent.total - handed_off} delivered, {siblings}"
            f"{metrics.dropped.total} dropped, {dead} dead, {self._left()} left {where}"
        )

    def _left(self) -> int:
        return sum(self.queue.items(signal) for signal in Signal)

    def _own_figures(self) -> Iterable[Metric]:
        """Return what is known of the service itself, before there is a queue, too."""
        ready, _ = self.health.ready()
        yield gauge("otlp_service_ready", "1 while the service is ready, as /health/ready tells; else 0.", ready)

    def _queue_figures(self) -> Iterable[Metric]:
        """Return the queue's series as of this turn of the loop."""
        queue, oldest = self.queue, self.queue.oldest_ns()
        age = 0.0 if oldest is None else max(0.0, (self._clock.now_ns() - oldest) / 1e9)
        yield gauge_by_signal(
            "otlp_queue_items", "Items that wait or are in flight.", {signal: queue.items(signal) for signal in Signal}
        )
        yield gauge_by_signal(
            "otlp_queue_dead_items",
            "Items in the dead letters, which the destination refused for good.",
            {signal: queue.dead.items(signal) for signal in Signal},
        )
        yield gauge("otlp_queue_bytes", "Bytes of the queue that are taken.", queue.used_bytes)
        yield gauge("otlp_queue_capacity_bytes", "Bytes at which the queue is full.", queue.capacity_bytes)
        yield gauge("otlp_queue_oldest_age_seconds", "For how long the oldest item has waited.", age)


def _grpc_engine(settings: ServerSettings) -> "type[GrpcReceiver | NativeGrpcReceiver]":
    """The receiver for OTLP/gRPC that the settings ask for."""
    if settings.grpc_engine == "grpcio":
        return GrpcReceiver
    from app.receivers.grpc_native import NativeGrpcReceiver  # noqa: PLC0415 - an engine that is not used is not loaded

    return NativeGrpcReceiver


def _make_queue(settings: QueueSettings, clock: Clock, metrics: Metrics, memory_limit: int | None) -> Queue:
    if settings.storage == "memory":
        return MemoryQueue(max_bytes=settings.memory_bytes, patience=settings.wait, clock=clock)
    return DiskQueue(
        LmdbStore(settings.directory, settings.max_bytes),
        max_bytes=settings.max_bytes,
        memory_bytes=at_hand(settings.memory_bytes, memory_limit),
        patience=settings.wait,
        clock=clock,
        metrics=metrics,
    )
