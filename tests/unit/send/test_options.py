"""What the command line of send says, and what is wrong with it."""

from pathlib import Path

import pytest

from app.core.request import Signal
from app.send.options import Options, parse
from tests.support.certificates import Certificates

Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def wrong(arguments: list[str], capsys: Output) -> str:
    """What is said of a command line; what it says is printed after the usage."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.partition("error: ")[2].strip()


def test_without_arguments_a_few_spans_go_to_the_service_on_this_machine() -> None:
    assert parse([]) == Options()
    assert (parse([]).endpoint, parse([]).count) == ("http://localhost:8080", 10)
    assert parse(["--protocol", "grpc"]).endpoint == "localhost:4317"


def test_everything_can_be_chosen(certificates: Certificates) -> None:
    given = parse([
        *("--signal", "logs", "--protocol", "http/json", "--endpoint", "https://otlp.example/base"),
        *("--count", "1000", "--rate", "12.5", "--duration", "1m30s", "--timeout", "500ms"),
        *("--header", "Authorization=Bearer a=b", "--header", "x-tenant=", "--compression", "gzip"),
        *("--ca-file", str(certificates.ca_file), "--cert-file", str(certificates.client_cert_file)),
        *("--key-file", str(certificates.client_key_file)),
    ])  # fmt: skip
    assert given == Options(
        signal=Signal.LOGS,
        protocol="http/json",
        endpoint="https://otlp.example/base",
        count=1000,
        rate=12.5,
        duration=90.0,
        headers={"authorization": "Bearer a=b", "x-tenant": ""},
        ca_file=certificates.ca_file,
        cert_file=certificates.client_cert_file,
        key_file=certificates.client_key_file,
        compression="gzip",
        timeout=0.5,
    )


def test_a_duration_without_a_count_has_no_bound_but_time() -> None:
    assert parse(["--duration", "5s"]).count is None
    assert parse(["--rate", "5"]).count == 10


def test_one_file_may_hold_the_certificate_and_its_key(tmp_path: Path, certificates: Certificates) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.client_cert_file.read_bytes() + certificates.client_key_file.read_bytes())
    assert parse(["--endpoint", "https://h:1", "--cert-file", str(both)]).key_file == both


def test_help_tells_the_defaults_and_the_exit_codes(capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for text in ("http://localhost:8080", "localhost:4317", "--header", "exit code: 0 all were accepted"):
        assert text in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--signal", "profiles"], "argument --signal: invalid choice: 'profiles'"),
        (["--protocol", "http"], "argument --protocol: invalid choice: 'http'"),
        (["--compression", "zstd"], "argument --compression: invalid choice: 'zstd'"),
        (["--count", "0"], "argument --count: '0' is not a number from 1 to 1e+09; write one such as 1000"),
        (["--count", "1.5"], "argument --count: '1.5' is not a number"),
        (["--rate", "0"], "argument --rate: '0' is not a number from 0.001"),
        (["--rate", "nan"], "argument --rate: 'nan' is not a number"),
        (["--rate", "-5"], "argument --rate: '-5' is not a number"),
        (["--duration", "5"], "argument --duration: '5' is not a duration; a number needs its unit"),
        (["--duration", "0s"], "argument --duration: '0s' is no time; write 30s, 500ms or 5m"),
        (["--timeout", "x"], "argument --timeout: 'x' is not a duration"),
        (["--rate", "0.1", "--duration", "5s"], "argument --rate: sends nothing within --duration"),
        (["--endpoint", "localhost:8080"], "argument --endpoint: 'localhost:8080' has no scheme"),
        (["--endpoint", "ftp://h"], "argument --endpoint: 'ftp://h' has the scheme 'ftp'"),
        (["--protocol", "grpc", "--endpoint", "localhost"], "argument --endpoint: 'localhost' has neither"),
        (["--protocol", "grpc", "--endpoint", "http://u:secret@h:1"], "argument --endpoint: 'http://u:****@h:1' has"),
        (["--header", "secret"], "argument --header: number 1 is not NAME=VALUE"),
        (["--header", "a=1", "--header", "A=2"], "argument --header: 'A' is given twice; keep one"),
        (["--header", "a b=1"], "argument --header: 'a b' is not a header's name"),
        (["--header", "host=x"], "argument --header: 'host' is set by the exporter itself"),
        (["--header", "a=\x1b"], "argument --header: the value of 'a' holds characters that no header may"),
        (["--protocol", "grpc", "--header", "a-bin=1"], "argument --header: 'a-bin' would be binary in gRPC"),
        (["--ca-file", "x"], "argument --ca-file: 'http://localhost:8080' has no TLS; write an --endpoint that begins"),
        (["--insecure"], "argument --insecure: 'http://localhost:8080' has no TLS"),
        (["--endpoint", "https://h", "--key-file", "x"], "argument --key-file: needs its certificate"),
        (["--endpoint", "https://h", "--ca-file", "/no"], "argument --ca-file: '/no' holds no certificates: No such"),
        (
            ["--endpoint", "https://h", "--cert-file", "/a", "--key-file", "/b"],
            "argument --cert-file: '/a' and '/b' hold no certificate and its key: No such file",
        ),
        (
            ["--endpoint", "https://h", "--insecure", "--ca-file", "/no"],
            "argument --insecure: contradicts --ca-file; leave one of them out",
        ),
        (
            ["--protocol", "grpc", "--endpoint", "https://h", "--insecure"],
            "argument --insecure: contradicts --protocol grpc; give --ca-file",
        ),
        (["--sig", "logs"], "unrecognized arguments: --sig logs"),
        (["now"], "unrecognized arguments: now"),
    ],
)
def test_wrong_usage_is_told_with_its_remedy(arguments: list[str], said: str, capsys: Output) -> None:
    assert wrong(arguments, capsys).startswith(said)


def test_a_file_that_holds_no_certificates_is_told(tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "x.pem"
    file.write_text("no certificate")
    assert "holds no certificates: " in wrong(["--endpoint", "https://h", "--ca-file", str(file)], capsys)
    assert "hold no certificate and its key: " in wrong(["--endpoint", "https://h", "--cert-file", str(file)], capsys)


def test_a_header_never_shows_its_value(capsys: Output) -> None:
    assert "secret" not in repr(parse(["--header", "authorization=secret"]))
    assert "secret" not in wrong(["--header", "a b=secret"], capsys)
