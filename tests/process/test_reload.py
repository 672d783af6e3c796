"""SIGHUP: what can change while the service runs does, at once, and nobody who sends or receives notices."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import ssl
import termios
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest

from app.core.request import Signal
from tests.support.backend import Backend
from tests.support.certificates import Certificates
from tests.support.exchange import Hang, Http
from tests.support.load import Load, identities, spans_request
from tests.support.patience import PATIENCE
from tests.support.process import until
from tests.support.service import COMMAND, SOON, Service

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with Backend() as backend:
        yield backend


async def hang_up(service: Service, settings: Mapping[str, Mapping[str, Any]], outcome: str = "success") -> None:
    """Have `settings` read again; returns when that was counted as `outcome`."""

    async def times() -> float:
        return (await service.metrics()).total("otlp_config_reloads_total", file="config", outcome=outcome)

    before = await times()
    service.configure(settings)
    service.signal(signal.SIGHUP)

    async def counted() -> bool:
        return await times() > before

    await service.until(counted, f"the configuration was read again: {outcome}")


async def post(service: Service, *, url: str = "", trust: ssl.SSLContext | bool = True, **headers: str) -> int:
    """The status of a request with one span, on a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            (url or service.http_url) + Signal.TRACES.path,
            data=spans_request(1, 1),
            headers=PROTOBUF | headers,
            ssl=trust,
        ) as answer,
    ):
        return answer.status


async def call(service: Service, **metadata: str) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(service.grpc_target) as channel:
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
        return await export(spans_request(1, 1), timeout=PATIENCE, metadata=tuple(metadata.items())).code()


def exporter(endpoint: str, **more: object) -> dict[str, dict[str, object]]:
    return {"exporter": {"endpoint": endpoint, "batch_timeout": "20ms", "retry": SOON, **more}}


@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_keys_come_change_and_go(tmp_path: Path, backend: Backend, engine: str) -> None:
    settings = {"server": {"host": "127.0.0.1", "grpc_engine": engine}, **exporter(backend.http_endpoint)}
    async with Service(tmp_path, settings) as service:

        async def taken(**key: str) -> tuple[bool, bool]:
            return await post(service, **key) == 200, await call(service, **key) is grpc.StatusCode.OK

        both, none = (True, True), (False, False)
        assert await taken() == both
        await hang_up(service, {"auth": {"api_keys": ["web:sesame"]}})
        assert [await taken(), await taken(authorization="Bearer sesame")] == [none, both]
        keys = tmp_path / "keys"
        keys.write_text("web:other\n")
        await hang_up(service, {"auth": {"api_keys": [], "api_keys_file": str(keys)}})
        assert [await taken(authorization="Bearer sesame"), await taken(authorization="Bearer other")] == [none, both]
        assert (await service.law()).total("otlp_auth_items_total", key="web") == 4
        await hang_up(service, {"auth": {"api_keys_file": None}})
        assert await taken() == both
        assert "sesame" not in service.log


async def test_the_level_of_the_log_changes(tmp_path: Path) -> None:
    async with Service(tmp_path, {"logging": {"level": "warning"}}) as service:
        await hang_up(service, {"logging": {"level": "info"}})
        assert re.findall(r"the configuration was read again: logging.level is (\w+)", service.log) == ["info"]
        await hang_up(service, {"logging": {"level": "error"}})
        await hang_up(service, {"logging": {"level": "info"}})
        assert service.log.count("was read again") == 2
    assert "stopped: " in service.log


async def test_how_long_to_wait_changes_with_the_next_failure(tmp_path: Path, backend: Backend) -> None:
    slow = exporter(backend.http_endpoint, retry={"initial_interval": "1h", "max_interval": "1h"})
    async with Service(tmp_path, slow) as service:
        await hang_up(service, exporter(backend.http_endpoint))
        backend.script(Http(503))
        assert await post(service) == 200
        await backend.received(lambda b: identities(request.body for request in b.taken) == [1])


async def test_how_often_one_who_refuses_us_is_tried_is_told_as_it_is_now(tmp_path: Path, backend: Backend) -> None:
    async with Service(tmp_path, exporter(backend.http_endpoint)) as service:
        await hang_up(service, exporter(backend.http_endpoint, retry={"max_interval": "7s"}))
        backend.script(Http(401))
        assert await post(service) == 200

        async def told() -> bool:
            return "and every 7 s one batch tries whether it has changed" in service.log

        await service.until(told, "we are refused")


async def test_what_clients_are_shown_changes(tmp_path: Path, backend: Backend) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Certificates(tmp_path / "old"), Certificates(tmp_path / "new")

    def shown(by: Certificates) -> dict[str, dict[str, object]]:
        files = {"cert_file": str(by.server_cert_file), "key_file": str(by.server_key_file)}
        return {"server": {"host": "127.0.0.1", "tls": files}}

    async with Service(tmp_path, {**shown(old), **exporter(backend.http_endpoint)}) as service:

        async def trusts(authority: Certificates) -> bool:
            trust = ssl.create_default_context(cafile=authority.ca_file)
            try:
                over_http = await post(service, url=f"https://127.0.0.1:{service.port}", trust=trust) == 200
            except aiohttp.ClientConnectorCertificateError:
                over_http = False
            credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes())
            async with grpc.aio.secure_channel(service.grpc_target, credentials) as channel:
                export: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(Signal.TRACES.method)
                code = await export(spans_request(1, 1), timeout=PATIENCE).code()
            assert over_http is (code is grpc.StatusCode.OK)
            return over_http

        assert [await trusts(old), await trusts(new)] == [True, False]
        service.settings["server"]["port"], service.settings["server"]["grpc_port"] = service.port, service.grpc_port
        await hang_up(service, {"server": service.settings["server"] | shown(new)["server"]})
        assert [await trusts(old), await trusts(new)] == [False, True]
        await hang_up(service, {"server": {"tls": {}}})
        assert [await trusts(old), await trusts(new)] == [False, True]
        assert "server.tls.cert_file: null takes effect at the next start" in service.log


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_whom_the_destination_is_trusted_to_be_changes(tmp_path: Path, protocol: str) -> None:
    certificates = Certificates(tmp_path)
    async with Backend(tls=certificates) as backend:
        endpoint = backend.http_endpoint if protocol == "http/protobuf" else backend.grpc_endpoint

        def trusting(file: Path) -> dict[str, dict[str, object]]:
            return exporter(endpoint, protocol=protocol, tls={"ca_file": str(file)})

        async with Service(tmp_path, trusting(certificates.other_ca_file)) as service:
            assert await post(service) == 200

            async def failed() -> bool:
                return "what waits is kept" in service.log

            await service.until(failed, "the destination is not trusted")
            assert backend.taken == []
            await hang_up(service, trusting(certificates.ca_file))
            await backend.received(lambda b: len(b.taken) == 1)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_what_the_destination_is_told_changes(tmp_path: Path, backend: Backend, protocol: str) -> None:
    endpoint = backend.http_endpoint if protocol == "http/protobuf" else backend.grpc_endpoint
    settings = exporter(endpoint, protocol=protocol, headers={"tenant": "red"})
    async with Service(tmp_path, settings) as service:
        assert await post(service) == 200
        await backend.received(lambda b: len(b.taken) == 1)
        await hang_up(service, exporter(endpoint, protocol=protocol, headers={"tenant": "blue"}))
        assert await post(service) == 200
        await backend.received(lambda b: len(b.taken) == 2)
    assert [request.headers["tenant"] for request in backend.taken] == ["red", "blue"]


async def test_an_attempt_that_is_under_way_goes_on_beside_the_next_exporter(tmp_path: Path, backend: Backend) -> None:
    settings = exporter(backend.http_endpoint, headers={"tenant": "red"})
    backend.script(Hang())
    async with Service(tmp_path, settings) as service:
        assert await post(service) == 200
        await backend.received(lambda b: len(b.requests) == 1)
        await hang_up(service, exporter(backend.http_endpoint, headers={"tenant": "blue"}, timeout="1s"))
        assert backend.abandoned == []
        assert "exporter.timeout: 1s takes effect at the next start" in service.log
        await backend.stop()  # the first attempt ends
        await backend.start()
        await backend.received(lambda b: len(b.taken) == 1)
    assert backend.taken[0].headers["tenant"] == "blue"


async def test_how_much_is_sampled_changes(tmp_path: Path, backend: Backend) -> None:
    traced = {"enabled": True, "service_name": "gateway", "sampling_rate": 0}
    async with Service(tmp_path, {**exporter(backend.http_endpoint), "tracing": traced}) as service:
        assert await post(service) == 200
        await backend.received(lambda b: len(b.taken) == 1)
        await hang_up(service, {"tracing": {"sampling_rate": 1}})
        assert await post(service) == 200
        await backend.received(lambda b: any(span.service == "gateway" for span in b.spans()))
    assert sum(span.service == "gateway" for span in backend.spans()) == 1


async def test_what_has_a_mistake_changes_nothing(tmp_path: Path, backend: Backend) -> None:
    settings = {"auth": {"api_keys": ["web:sesame"]}, **exporter(backend.http_endpoint)}
    async with Service(tmp_path, settings) as service:
        good = service.settings["auth"], service.settings["exporter"]
        mistakes: list[Mapping[str, Mapping[str, Any]]] = [
            {"auth": {"api_keys": ["web:other"]}, "exporter": {"timeout": "30x"}},
            {"auth": {"api_keys": ["web:other"]}, "exporter": {"timeout": "30s", "headers_file": str(tmp_path / "no")}},
        ]
        for mistake in mistakes:
            await hang_up(service, mistake, "failure")
            assert [await post(service, **{"x-api-key": key}) for key in ("sesame", "other")] == [200, 401]
        await hang_up(service, mistakes[-1], "failure")  # who asks is answered each time
        for problem, times in {"exporter.timeout: '30x' is not a duration": 1, "exporter.headers_file: ": 2}.items():
            said = f"the configuration is not read again, and stays as it was: {problem}"
            assert service.log.count(f'"message": "{said}') == times
        file = tmp_path / "config.yaml"
        text = file.read_text()
        file.unlink()
        service.signal(signal.SIGHUP)

        async def missed() -> bool:
            return "the configuration file does not exist" in service.log

        await service.until(missed, "it is told that the file is not there")
        file.write_text(text)
        await hang_up(service, {"auth": good[0], "exporter": {**good[1], "headers_file": None}})
        assert await post(service, **{"x-api-key": "sesame"}) == 200


@pytest.mark.parametrize(
    "text",
    [
        "exporter: " + "[" * 20_000,
        'server: {tls: {cert_file: "\\ud800", key_file: "\\ud800"}}',
        f"auth: {{quotas: '{'[' * 100_000}'}}",
    ],
)
async def test_what_nothing_can_be_made_of_ends_nothing(tmp_path: Path, text: str) -> None:
    async with Service(tmp_path, {}) as service:
        (tmp_path / "config.yaml").write_text(text)
        service.signal(signal.SIGHUP)

        async def refused() -> bool:
            return "the configuration is not read again, and stays as it was: " in service.log

        await service.until(refused, "it is refused")
        assert await post(service) == 200


async def test_what_takes_effect_at_the_next_start_is_named_and_the_console_shows_what_is_in_force(
    tmp_path: Path,
) -> None:
    async with Service(tmp_path, {"console": {"enabled": True}}) as service:
        port = service.port
        await hang_up(service, {"server": {"port": 1}, "logging": {"level": "debug"}})
        assert f"server.port: 1 takes effect at the next start ({tmp_path}/config.yaml:4)" in service.log
        assert f"until then it is {port}" in service.log
        _, page = await service.ask("/console/configuration")
        text = re.sub(r"<[^>]+>", " ", page)
        assert re.search(rf"\bport\s+{port}\b", text)
        assert re.search(r"\blevel\s+debug\b", text)
        assert await post(service) == 200


async def test_nobody_notices_a_storm_of_it(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with Backend(tls=certificates) as backend:
        settings = exporter(backend.http_endpoint, tls={"ca_file": str(certificates.ca_file)})
        async with Service(tmp_path, settings) as service, Load(service.http_url, service.grpc_target) as load:
            for number in range(10):
                await load.until_more_answers()
                await hang_up(service, {"auth": {"quotas": {}}, "logging": {"level": ("debug", "info")[number % 2]}})
            await load.stop()
            await service.settled(lambda s: s.books(Signal.TRACES).queued == 0, "all is delivered")
            assert load.answers.keys() == {"200", "OK"}
            taken = identities(request.body for request in backend.taken)
            assert len(taken) == len(set(taken))
            assert load.acknowledged <= set(taken) <= load.acknowledged | load.unacknowledged
            opened = (await service.metrics()).total("process_open_fds")
            await hang_up(service, {})

            async def closed() -> bool:
                return (await service.metrics()).total("process_open_fds") <= opened

            await service.until(closed, "who gave way has let go of its connections")


async def test_one_that_is_starting_or_ending_is_not_ended_by_it(tmp_path: Path, backend: Backend) -> None:
    backend.otherwise = Hang()
    service = Service(tmp_path, {**exporter(backend.http_endpoint), "shutdown": {"delay": "0s", "grace": "1s"}})
    hangup = 1 << (signal.SIGHUP - 1)

    async def heeds() -> bool:
        status = Path(f"/proc/{service.pid}/status").read_text()  # noqa: ASYNC240 - no file of a disk
        return any(int(mask, 16) & hangup for mask in re.findall(r"Sig(?:Ign|Cgt):\t(\w+)", status))

    await service.begin(heeds, "the interpreter has begun")
    try:
        service.signal(signal.SIGHUP)
        await service.until(service.ready, "ready")
        assert await post(service) == 200
        await backend.received(lambda b: len(b.requests) == 1)
        service.signal(signal.SIGTERM)

        async def draining() -> bool:
            return "closing: " in service.log

        await service.until(draining, "it drains")
        service.signal(signal.SIGHUP)
        assert await service.wait() == 0
    finally:
        service.kill()


async def test_one_that_ends_is_not_killed_by_it_at_the_last(tmp_path: Path) -> None:
    async with Service(tmp_path, {}) as service:
        service.signal(signal.SIGTERM)
        while service.returncode is None:
            service.signal(signal.SIGHUP)
            await asyncio.sleep(0.001)
        assert service.returncode == 0


async def test_one_whose_terminal_is_closed_ends_as_for_ctrl_c(tmp_path: Path) -> None:
    service = Service(tmp_path, {"logging": {"format": "json"}})
    ours, its = pty.openpty()
    arguments = [*COMMAND, "serve"]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env=service.environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    try:
        await until(service.ready, "ready")
        os.kill(process.pid, signal.SIGHUP)  # by somebody else: the terminal is there

        async def read_again() -> bool:
            return (await service.metrics()).total("otlp_config_reloads_total", file="config", outcome="success") == 1

        await until(read_again, "the configuration is read again")
        os.close(ours)
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
