"""Settings from the environment, our own variables and the standard ones."""

import pytest

from app.settings.environment import STANDARD, read_environment, read_standard
from app.settings.keys import KEYS, Value, variable


def test_every_key_has_a_variable() -> None:
    environ = {variable(key): "x" for key in KEYS}
    values, problems = read_environment(environ)
    assert problems == []
    assert values == {key: Value("x", variable(key)) for key in KEYS}


def test_nested_keys_take_two_underscores_at_each_step() -> None:
    values, _ = read_environment({"OTLP_EXPORTER__RETRY__INITIAL_INTERVAL": "2s"})
    assert values == {"exporter.retry.initial_interval": Value("2s", "OTLP_EXPORTER__RETRY__INITIAL_INTERVAL")}


def test_what_is_not_ours_is_left_alone() -> None:
    assert read_environment({"PATH": "/bin", "MY_OTLP_X": "1", "OTEL_SERVICE_NAME": "x"}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTLP_SERVICE_SERVICE_HOST", "10.0.0.1"),
        ("OTLP_SERVICE_SERVICE_PORT_HTTP", "8080"),
        ("OTLP_SERVICE_PORT", "tcp://10.0.0.1:8080"),
        ("OTLP_SERVICE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("OTLP_SERVICE_HEADLESS_SERVICE_HOST", "None"),
        ("OTLP_SERVICE__X", "1"),
        ("OTLP_COLLECTOR_SERVICE_HOST", "10.0.0.2"),
        ("OTLP_COLLECTOR_SERVICE_PORT", "4317"),
        ("OTLP_COLLECTOR_SERVICE_PORT_GRPC", "4317"),
        ("OTLP_COLLECTOR_PORT", "tcp://10.0.0.2:4317"),
        ("OTLP_COLLECTOR_PORT_4317_TCP", "tcp://10.0.0.2:4317"),
        ("OTLP_COLLECTOR_PORT_4317_TCP_PROTO", "tcp"),
        ("OTLP_PORT", "tcp://10.0.0.3:80"),
        ("OTLP_PORT_80_TCP_PORT", "80"),
    ],
)
def test_what_kubernetes_says_of_a_service_is_left_alone(name: str, text: str) -> None:
    assert read_environment({name: text}) == ({}, [])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("OTLP_EXPORTER_ENDPOINT", "did you mean OTLP_EXPORTER__ENDPOINT?"),
        ("OTLP_SERVER_PORT", "did you mean OTLP_SERVER__PORT?"),
        ("OTLP_EXPORTER__TIMOUT", "did you mean OTLP_EXPORTER__TIMEOUT?"),
        ("OTLP_EXPORTERS__TIMEOUT", "did you mean OTLP_EXPORTER__TIMEOUT?"),
        ("OTLP_QUEUE__ENDPOINT", "did you mean OTLP_EXPORTER__ENDPOINT?"),
        ("OTLP_FOO", "write OTLP_<SECTION>__<KEY>"),
    ],
)
def test_an_unknown_variable_is_told_with_what_was_probably_meant(name: str, problem: str) -> None:
    assert read_environment({name: "1"}) == ({}, [f"{name}: unknown variable; {problem}"])


@pytest.mark.parametrize(
    ("name", "example"),
    [("OTLP_QUEUE", "OTLP_QUEUE__STORAGE"), ("OTLP_EXPORTER__RETRY", "OTLP_EXPORTER__RETRY__INITIAL_INTERVAL")],
)
def test_a_variable_of_a_whole_section_is_told(name: str, example: str) -> None:
    assert read_environment({name: "{}"})[1] == [f"{name}: names a section; name a key in it as well, as in {example}"]


@pytest.mark.parametrize(
    ("suffix", "text", "raw"),
    [
        ("ENDPOINT", "http://c:4318", "http://c:4318"),
        ("TRACES_ENDPOINT", "http://t/x", "http://t/x"),
        ("METRICS_ENDPOINT", "http://m/x", "http://m/x"),
        ("LOGS_ENDPOINT", "http://l/x", "http://l/x"),
        ("PROTOCOL", "grpc", "grpc"),
        ("PROTOCOL", "http/protobuf", "http/protobuf"),
        ("HEADERS", "authorization=Bearer%20x,b=1", {"authorization": "Bearer x", "b": "1"}),
        ("TIMEOUT", "10000", "10000ms"),
        ("COMPRESSION", "none", "none"),
        ("CERTIFICATE", "/ca.pem", "/ca.pem"),
        ("CLIENT_CERTIFICATE", "/c.pem", "/c.pem"),
        ("CLIENT_KEY", "/k.pem", "/k.pem"),
    ],
)
def test_a_standard_variable_is_understood(suffix: str, text: str, raw: object) -> None:
    name = f"OTEL_EXPORTER_OTLP_{suffix}"
    assert read_standard({name: text}) == ({STANDARD[suffix]: Value(raw, name)}, [])  # type: ignore[arg-type]


def test_an_empty_standard_variable_counts_as_unset() -> None:
    assert read_standard({f"OTEL_EXPORTER_OTLP_{suffix}": " " for suffix in STANDARD}) == ({}, [])


@pytest.mark.parametrize(
    ("suffix", "text", "problem"),
    [
        ("PROTOCOL", "http/json", "exporter.protocol: 'http/json' is not supported; write grpc or http/protobuf"),
        (
            "TIMEOUT",
            "10s",
            "exporter.timeout: '10s' is not a number of milliseconds, which this variable takes; write 30000",
        ),
        ("HEADERS", "a", "exporter.headers: entry 1 is not name=value; write name=value,name=value"),
    ],
)
def test_a_wrong_standard_variable_is_told(suffix: str, text: str, problem: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{suffix}"
    assert read_standard({name: text}) == ({}, [f"{problem} ({name})"])


@pytest.mark.parametrize("signal", ["TRACES", "METRICS", "LOGS"])
@pytest.mark.parametrize(
    "what", ["HEADERS", "TIMEOUT", "PROTOCOL", "COMPRESSION", "CERTIFICATE", "CLIENT_KEY", "INSECURE"]
)
def test_only_endpoints_may_be_set_for_one_signal_and_the_rest_is_told(signal: str, what: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{signal}_{what}"
    assert read_standard({name: "x"})[1] == [
        f"{name}: is not supported for one signal alone; set OTEL_EXPORTER_OTLP_{what}, which is for all"
    ]


def test_standard_variables_for_sdks_alone_are_left_to_them() -> None:
    assert read_standard({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta", "OTEL_LOG_LEVEL": "info"}) == (
        {},
        [],
    )


@pytest.mark.parametrize(("insecure", "endpoint"), [("false", "https://c:4317"), ("true", "c:4317"), ("", "c:4317")])
def test_insecure_decides_where_there_is_no_scheme(insecure: str, endpoint: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_INSECURE": insecure, "OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}
    assert read_standard(environ)[0]["exporter.endpoint"].raw == endpoint


def test_insecure_does_not_change_a_scheme() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_INSECURE": "False",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1000",
    }
    values, _ = read_standard(environ)
    assert (values["exporter.endpoint"].raw, values["exporter.timeout"].raw) == ("http://c:4317", "1000ms")
