"""What the gRPC receiver asks of gRPC."""

import grpc
import pytest

from app.receivers.grpc import listen, server_options
from app.settings import ServerSettings


def test_bounds_are_given_to_grpc_in_its_own_units() -> None:
    options = dict(
        server_options(
            ServerSettings(
                max_request_size=1000,
                max_connections=7,
                max_concurrent_streams=3,
                header_timeout=1.5,
                body_timeout=0.0001,
                max_connection_age=60,
            )
        )
    )
    assert options["grpc.max_receive_message_length"] == 1000
    assert options["grpc.max_allowed_incoming_connections"] == 7
    assert options["grpc.max_concurrent_streams"] == 3
    assert options["grpc.server_handshake_timeout_ms"] == 1500
    assert options["grpc.max_connection_age_grace_ms"] == 1
    assert options["grpc.max_connection_age_ms"] == 60_000
    assert options["grpc.so_reuseport"] == 1
    assert options["grpc.server.max_pending_requests"] == 21, "as many as clients may have under way"
    assert options["grpc.server.max_pending_requests_hard_limit"] == 21


def test_what_grpc_cannot_count_is_as_much_as_it_can() -> None:
    options = dict(server_options(ServerSettings(max_request_size=1 << 40, max_connection_age=1e9)))
    assert options["grpc.max_receive_message_length"] == options["grpc.max_connection_age_ms"] == (1 << 31) - 1


def test_windows_do_not_grow_by_themselves_where_reading_is_gated() -> None:
    assert dict(server_options(ServerSettings(), gated=True))["grpc.http2.bdp_probe"] == 0
    assert dict(server_options(ServerSettings()))["grpc.http2.bdp_probe"] == 1


class Unwilling:
    """A server that does not get its port."""

    def add_insecure_port(self, address: str) -> int:
        raise RuntimeError(f"no {address}")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise RuntimeError(f"no secure {address}, whatever {server_credentials}")


def test_a_port_that_is_lost_between_two_looks_is_an_error_with_its_setting() -> None:
    with pytest.raises(OSError, match=r"^server\.grpc_port: cannot listen on 127\.0\.0\.1:0: no 127\.0\.0\.1:0$"):
        listen(Unwilling(), "127.0.0.1", 0)
