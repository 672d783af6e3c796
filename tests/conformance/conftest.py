"""One service for the tests of a module, and others for what takes settings of their own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.gateway import Gateway


@pytest.fixture(scope="module")
def engine() -> str:
    """What speaks gRPC."""
    return "grpcio"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory, engine: str) -> AsyncIterator[Gateway]:
    """Open to everybody; takes 256 KiB of protobuf and 64 KiB of JSON."""
    settings = {"server": {"max_request_size": "256KiB", "max_json_size": "64KiB", "grpc_engine": engine}}
    async with Gateway(tmp_path_factory.mktemp("gateway"), settings) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory, engine: str) -> AsyncIterator[Gateway]:
    """Lets in who shows the key ``free``, or ``metered`` for one item in a thousand seconds; keeps 128 KiB."""
    settings = {
        "auth": {"api_keys": ["free:free", "metered:metered"], "quotas": {"metered": {"items_per_second": 0.001}}},
        "server": {"max_request_size": "64KiB", "max_json_size": "64KiB", "grpc_engine": engine},
        "queue": {"storage": "memory", "memory_bytes": "128KiB", "wait": "0s"},
    }
    async with Gateway(tmp_path_factory.mktemp("guarded"), settings) as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def delivering(tmp_path_factory: pytest.TempPathFactory, engine: str) -> AsyncIterator[Gateway]:
    """Answers only when the destination has answered."""
    settings = {"queue": {"storage": "memory", "acknowledge": "delivered"}, "server": {"grpc_engine": engine}}
    async with Gateway(tmp_path_factory.mktemp("delivering"), settings) as gateway:
        yield gateway
