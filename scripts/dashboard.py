"""The dashboard for Grafana, config/grafana/otlp-service.json, as ``scripts/monitoring`` writes it.

Every panel but those of the first row and of the pods is summed up as the variable `per` says: for all pods together,
or for each.
"""

from collections.abc import Iterator

from scripts.dashboard_form import SOURCE, Chapter, Json, Panel, Query, placed

__all__ = ["dashboard"]

DOCS = "https://github.com/your-org/otlp-service/blob/main/docs/operations.md"
OURS = 'namespace=~"$namespace", pod=~"$pod"'
"""Of which pods."""
PROCESS = f'job="otlp-service", {OURS}'
"""The same for what not only the service exports."""
RATE = "[$__rate_interval]"
FAILED = 'code!~"2..|OK|cancelled"'

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"


def rate(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{OURS}{more}}}{RATE}))"


def total(metric: str, by: str) -> str:
    return f"sum by ({by}) ({metric}{{{OURS}}})"


def quantile(share: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels)})"


def half_and_most(metric: str, by: str = "$per", legend: str = "") -> tuple[Query, ...]:
    """The median and the 99th percentile."""
    name = f"{legend} {{{{pod}}}}".strip()
    return tuple(
        Query(quantile(share, metric, by), f"{word} {name}") for share, word in ((0.5, "median"), (0.99, "99 %"))
    )


FILL = f"otlp_queue_bytes{{{OURS}}} / otlp_queue_capacity_bytes{{{OURS}}}"
ACCEPTED, SENT = "otlp_receiver_accepted_items_total", "otlp_exporter_sent_items_total"
REQUESTS, ATTEMPTS = "otlp_receiver_requests_total", "otlp_exporter_requests_total"
RECEIVED, EXPORTED = "otlp_receiver_request_duration_seconds", "otlp_exporter_request_duration_seconds"
COMMIT = "otlp_queue_commit_duration_seconds"


def law(by: str) -> str:
    came = f"{total(ACCEPTED, by)} + {total('otlp_queue_recovered_items_total', by)}"
    went = (SENT, "otlp_exporter_dropped_items_total", "otlp_queue_items", "otlp_queue_dead_items")
    return f"{came} - " + " - ".join(total(metric, by) for metric in went)


FLOW = Chapter(
    "Clients → receiver → queue → exporter → collector",
    (
        Panel(
            "Clients send",
            "Items accepted each second: spans, data points and log records.",
            "cps",
            (Query(f"sum(rate({ACCEPTED}{{{OURS}}}{RATE}))"),),
            "stat",
            4,
            4,
        ),
        Panel(
            "… and are refused",
            "The share of answers that are no success: bad requests, wrong keys, quotas, and a service that is short "
            "of room.",
            "percentunit",
            (
                Query(
                    f'sum(rate({REQUESTS}{{{OURS}, code!~"2..|OK"}}{RATE}) or vector(0))'
                    f" / (sum(rate({REQUESTS}{{{OURS}}}{RATE})) > 0)"
                ),
            ),
            "stat",
            3,
            4,
            steps=((None, GREEN), (0.001, YELLOW), (0.05, RED)),
            empty="idle",
        ),
        Panel(
            "Answered within",
            "99 of 100 requests, from the whole request to its answer, which comes after the fsync.",
            "s",
            (Query(f"{quantile(0.99, RECEIVED)} >= 0"),),
            "stat",
            3,
            4,
            steps=((None, GREEN), (0.25, YELLOW), (2.5, RED)),
            empty="idle",
        ),
        Panel(
            "Queue is full to",
            "The fullest of the pods' queues. A full one tells clients to come back.",
            "percentunit",
            (Query(f"max({FILL})"),),
            "stat",
            3,
            4,
            steps=((None, GREEN), (0.5, YELLOW), (0.8, RED)),
            most=1,
        ),
        Panel(
            "Oldest has waited",
            "For how long the oldest item of any pod has waited: the best single figure of whether delivery keeps up.",
            "s",
            (Query(f"max(otlp_queue_oldest_age_seconds{{{OURS}}})"),),
            "stat",
            3,
            4,
            steps=((None, GREEN), (60, YELLOW), (600, RED)),
        ),
        Panel(
            "Attempts that fail",
            "The share of export attempts that the collector did not take.",
            "percentunit",
            (
                Query(
                    f"sum(rate({ATTEMPTS}{{{OURS}, {FAILED}}}{RATE}) or vector(0))"
                    f" / (sum(rate({ATTEMPTS}{{{OURS}}}{RATE})) > 0)"
                ),
            ),
            "stat",
            3,
            4,
            steps=((None, GREEN), (0.01, YELLOW), (0.5, RED)),
            empty="idle",
        ),
        Panel(
            "Collector takes",
            "Items delivered each second. After an outage it is more than what clients send.",
            "cps",
            (Query(f"sum(rate({SENT}{{{OURS}}}{RATE}))"),),
            "stat",
            5,
            4,
        ),
        Panel(
            "In and out",
            "Items each second: accepted of clients, delivered, refused to clients, and dropped. In and out are the "
            "same but for what waits.",
            "cps",
            (
                Query(rate(ACCEPTED, "$per"), "accepted {{pod}}"),
                Query(rate(SENT, "$per"), "delivered {{pod}}"),
                Query(rate("otlp_receiver_refused_items_total", "$per"), "refused {{pod}}"),
                Query(rate("otlp_exporter_dropped_items_total", "$per"), "dropped {{pod}}"),
            ),
            width=12,
        ),
        Panel(
            "Waiting",
            "Items in the queue, by signal. Some are always there under load; a line that climbs is a collector that "
            "does not keep up.",
            "short",
            (Query(total("otlp_queue_items", "signal, $per"), "{{signal}} {{pod}}"),),
            width=7,
            stacked=True,
        ),
        Panel(
            "Alerts",
            "Those of the rules that fire now; each has a chapter in docs/operations.md.",
            "none",
            (
                Query(
                    "max by (alertname, severity, pod, signal)"
                    ' (ALERTS{alertname=~"OtlpService.+", alertstate="firing", namespace=~"$namespace|"})'
                ),
            ),
            "table",
            5,
            empty="none fires",
        ),
    ),
)

PODS = Chapter(
    "Pods",
    (
        Panel(
            "Pods",
            "Each pod now: whether it is ready, what goes in and out, how its queue is, and what it takes of its "
            "machine.",
            "none",
            (
                Query(f"max by (pod) (otlp_service_ready{{{OURS}}})"),
                Query(rate(ACCEPTED, "pod")),
                Query(rate(SENT, "pod")),
                Query(f"max by (pod) ({FILL})"),
                Query(f"max by (pod) (otlp_queue_oldest_age_seconds{{{OURS}}})"),
                Query(total("otlp_queue_dead_items", "pod")),
                Query(f"sum by (pod) (rate(process_cpu_seconds_total{{{PROCESS}}}{RATE}))"),
                Query(f"max by (pod) (process_resident_memory_bytes{{{PROCESS}}})"),
                Query(f"time() - max by (pod) (process_start_time_seconds{{{PROCESS}}})"),
            ),
            "table",
            19,
            7,
            columns={
                "A": ("ready", "bool_yes_no"),
                "B": ("in", "cps"),
                "C": ("out", "cps"),
                "D": ("queue", "percentunit"),
                "E": ("oldest", "s"),
                "F": ("dead", "short"),
                "G": ("processors", "none"),
                "H": ("memory", "bytes"),
                "I": ("up", "s"),
            },
        ),
        Panel(
            "Versions",
            "How many pods run which version. Two are a rollout.",
            "short",
            (Query(f"count by (version) (otlp_service_info{{{OURS}}})", "{{version}}"),),
            "stat",
            5,
            7,
        ),
    ),
)

RECEIVER = Chapter(
    "Receiver: rate, errors, duration by transport and signal",
    (
        Panel(
            "Requests",
            "Answered requests each second, whatever the answer.",
            "reqps",
            (
                Query(
                    rate(RECEIVED + "_count", "transport, signal, $per"),
                    "{{transport}} {{signal}} {{pod}}",
                ),
            ),
        ),
        Panel(
            "Errors",
            "Answers each second that are no success. 503 and UNAVAILABLE: the service is short of something; 429 and "
            "RESOURCE_EXHAUSTED: a quota or a size; 401: a key; 400, 413, 415: the client's mistake.",
            "reqps",
            (
                Query(
                    rate(REQUESTS, "transport, signal, code, $per", ', code!~"2..|OK"'),
                    "{{transport}} {{signal}} {{code}} {{pod}}",
                ),
            ),
            empty="no errors",
        ),
        Panel(
            "Duration, 99 %",
            "99 of 100 requests are answered within this, from the whole request on.",
            "s",
            (
                Query(
                    quantile(0.99, RECEIVED, "transport, signal, $per"),
                    "{{transport}} {{signal}} {{pod}}",
                ),
            ),
        ),
        Panel(
            "Items accepted",
            "Spans, data points and log records kept for delivery, each second.",
            "cps",
            (Query(rate(ACCEPTED, "transport, signal, $per"), "{{transport}} {{signal}} {{pod}}"),),
        ),
        Panel(
            "Items refused",
            "Items of readable requests, each second, by reason. What was refused before it was read has no count of "
            "items.",
            "cps",
            (
                Query(
                    rate("otlp_receiver_refused_items_total", "transport, signal, reason, $per"),
                    "{{transport}} {{signal}} {{reason}} {{pod}}",
                ),
            ),
            empty="none",
        ),
        Panel(
            "Size of requests",
            "Bodies as they came, compressed or not. Small ones cost more for each item.",
            "bytes",
            half_and_most("otlp_receiver_request_size_bytes", "transport, $per", "{{transport}}"),
        ),
    ),
)

QUEUE = Chapter(
    "Queue",
    (
        Panel(
            "Fill",
            "The share of the queue that is used, dead letters included. At the line clients are about to be told to "
            "come back.",
            "percentunit",
            (Query(f"max by ($per) ({FILL})", "fullest {{pod}}"),),
            steps=((None, GREEN), (0.8, RED)),
            most=1,
            lined=True,
        ),
        Panel(
            "Predicted full in",
            "When the fullest queue is full, if it grows on as in the last ten minutes. Nothing is shown while it "
            "does not grow.",
            "s",
            (
                Query(
                    f"min by ($per) ((otlp_queue_capacity_bytes{{{OURS}}} - otlp_queue_bytes{{{OURS}}})"
                    f" / (deriv(otlp_queue_bytes{{{OURS}}}[10m]) > 0))",
                    "full in {{pod}}",
                ),
            ),
            empty="it does not grow",
        ),
        Panel(
            "Age of the oldest",
            "For how long the oldest item has waited. At the line somebody is called.",
            "s",
            (Query(f"max by ($per) (otlp_queue_oldest_age_seconds{{{OURS}}})", "oldest {{pod}}"),),
            steps=((None, GREEN), (600, RED)),
            lined=True,
        ),
        Panel(
            "Commits take",
            "One group commit with its fsync; every answer waits for one. Above some 20 ms the volume is slow.",
            "s",
            half_and_most(COMMIT),
        ),
        Panel(
            "Commits",
            "Group commits each second. Under load one takes what hundreds of clients sent.",
            "ops",
            (Query(rate(COMMIT + "_count", "$per"), "commits {{pod}}"),),
        ),
        Panel(
            "Dead letters and recovered items",
            "Dead: what the collector refused for good, until somebody replays or purges it. Recovered: what starts "
            "found in the queue.",
            "short",
            (
                Query(total("otlp_queue_dead_items", "signal, $per"), "dead {{signal}} {{pod}}"),
                Query(total("otlp_queue_recovered_items_total", "signal, $per"), "recovered {{signal}} {{pod}}"),
            ),
        ),
    ),
)

EXPORTER = Chapter(
    "Exporter",
    (
        Panel(
            "Attempts",
            "Export attempts each second by their answer; `connection` is none, `timeout` one that did not come, "
            "`cancelled` our own stop.",
            "reqps",
            (Query(rate(ATTEMPTS, "signal, code, $per"), "{{signal}} {{code}} {{pod}}"),),
        ),
        Panel(
            "Attempts take",
            "From the first byte of a batch to the collector's answer.",
            "s",
            half_and_most(EXPORTED, "signal, $per", "{{signal}}"),
        ),
        Panel(
            "Since the last success",
            "For how long the collector has taken no batch of a signal. Without traffic it grows, and that is all "
            "right.",
            "s",
            (
                Query(
                    f"time() - max by (signal, $per) (otlp_exporter_last_success_timestamp_seconds{{{OURS}}})",
                    "{{signal}} {{pod}}",
                ),
            ),
            empty="none yet",
        ),
        Panel(
            "Items delivered",
            "Items that the collector took, each second.",
            "cps",
            (Query(rate(SENT, "signal, $per"), "{{signal}} {{pod}}"),),
        ),
        Panel(
            "Items in a batch",
            "Small batches under much load cost the collector more than they need.",
            "short",
            half_and_most("otlp_exporter_batch_items", "signal, $per", "{{signal}}"),
        ),
        Panel(
            "Items dropped",
            "What was acknowledged and given up, each second, by reason. `purged` is what somebody wanted.",
            "cps",
            (
                Query(
                    rate("otlp_exporter_dropped_items_total", "signal, reason, $per"),
                    "{{signal}} {{reason}} {{pod}}",
                ),
            ),
        ),
    ),
)

BOOKS = Chapter(
    "Conservation: accepted + recovered = sent + dropped + queued + dead",
    (
        Panel(
            "Unaccounted",
            "What came in less what became of it. It is 0 in every scrape; anything else is a mistake in the service.",
            "short",
            (Query(law("signal"), "{{signal}}"),),
            "stat",
            8,
            7,
            steps=((None, RED), (0, GREEN), (1, RED)),
            least=None,
        ),
        Panel(
            "Unaccounted, over time",
            "The same. Where a pod is gone, its part is gone on both sides.",
            "short",
            (Query(law("signal, $per"), "{{signal}} {{pod}}"),),
            width=8,
            height=7,
            least=None,
        ),
        Panel(
            "What became of it",
            "Of all that came in since the pods started: delivered, waiting, dead and dropped.",
            "short",
            (
                Query(total(SENT, "$per"), "delivered {{pod}}"),
                Query(total("otlp_queue_items", "$per"), "waiting {{pod}}"),
                Query(total("otlp_queue_dead_items", "$per"), "dead {{pod}}"),
                Query(total("otlp_exporter_dropped_items_total", "$per"), "dropped {{pod}}"),
            ),
            height=7,
            stacked=True,
        ),
    ),
)

ACCESS = Chapter(
    "Keys, certificates, files",
    (
        Panel(
            "Items by API key",
            "Items accepted each second, by the key's configured name. A key that stands still is no longer used.",
            "cps",
            (Query(rate("otlp_auth_items_total", "key, $per"), "{{key}} {{pod}}"),),
            height=7,
            empty="no keys are configured",
        ),
        Panel(
            "Certificates end in",
            "When the certificate ends that clients are shown. It should be renewed well before.",
            "s",
            (
                Query(
                    f"min by (file, $per) (otlp_tls_certificate_expiry_timestamp_seconds{{{OURS}}}) - time()",
                    "{{file}} {{pod}}",
                ),
            ),
            "stat",
            8,
            7,
            steps=((None, RED), (86400, ORANGE), (14 * 86400, GREEN)),
            empty="no TLS",
            least=None,
        ),
        Panel(
            "Files read again",
            "Files of the configuration that changed. After a failure what was in force stays in force.",
            "short",
            (
                Query(
                    f"sum by (file, outcome, $per) (otlp_config_reloads_total{{{OURS}}})",
                    "{{file}} {{outcome}} {{pod}}",
                ),
            ),
            height=7,
            empty="none changed",
        ),
    ),
    closed=True,
)

HOST = Chapter(
    "Process",
    (
        Panel(
            "Processors",
            "One is what a pod uses; near it more pods are needed.",
            "none",
            (Query(f"sum by ($per) (rate(process_cpu_seconds_total{{{PROCESS}}}{RATE}))", "{{pod}}"),),
            width=6,
            height=7,
        ),
        Panel(
            "Memory",
            "Resident, with pages of the mapped queue file, which go when they are needed.",
            "bytes",
            (Query(f"sum by ($per) (process_resident_memory_bytes{{{PROCESS}}})", "{{pod}}"),),
            width=6,
            height=7,
        ),
        Panel(
            "Descriptors",
            "The share of the descriptors that are open, of the pod that has most. Each connection takes one.",
            "percentunit",
            (
                Query(
                    f"max by ($per) (process_open_fds{{{PROCESS}}} / process_max_fds{{{PROCESS}}})",
                    "{{pod}}",
                ),
            ),
            width=6,
            height=7,
        ),
        Panel(
            "Starts",
            "How often a pod was started again within an hour.",
            "short",
            (
                Query(
                    "sum by ($per) (changes("
                    f"max by (namespace, pod) (process_start_time_seconds{{{PROCESS}}})[1h:30s]))",
                    "{{pod}}",
                ),
            ),
            width=6,
            height=7,
        ),
    ),
    closed=True,
)

CHAPTERS = (FLOW, PODS, RECEIVER, QUEUE, EXPORTER, BOOKS, ACCESS, HOST)


def dashboard() -> Json:
    """The whole of it, as Grafana imports it."""
    return {
        "uid": "otlp-service",
        "title": "otlp-service",
        "description": "From clients to the collector: what comes in, what waits, what goes out, and what hurts.",
        "tags": ["opentelemetry", "otlp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [
            {
                "title": "What to do",
                "type": "link",
                "url": DOCS,
                "icon": "doc",
                "targetBlank": True,
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
                "tags": [],
                "tooltip": "docs/operations.md: each metric and each alert",
            }
        ],
        "annotations": {"list": [_starts()]},
        "templating": {"list": list(_variables())},
        "panels": list(placed(CHAPTERS)),
    }


def _starts() -> Json:
    return {
        "name": "Starts",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": f"max by (pod) (process_start_time_seconds{{{PROCESS}}}) * 1000",
        "titleFormat": "{{pod}} started",
        "useValueForTime": True,
        "step": "60s",
    }


def _variables() -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "description": "Where the metrics are",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }
    about = {"namespace": "Of which namespace", "pod": "Of which pods"}
    for name, labels in (("namespace", ""), ("pod", '{namespace=~"$namespace"}')):
        several = name == "pod"
        query = f"label_values(otlp_service_info{labels}, {name})"
        yield {
            "name": name,
            "label": name.capitalize(),
            "description": about[name],
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "variable"},
            **({"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if several else {}),
            "hide": 0,
            "includeAll": several,
            "multi": several,
            "options": [],
            "refresh": 2,
            "regex": "",
            "sort": 1,
        }
    ways = (("all pods together", "namespace"), ("each pod", "pod"))
    yield {
        "name": "per",
        "label": "For",
        "description": "Whether pods are summed up, or each has its own lines",
        "type": "custom",
        "query": ", ".join(f"{text} : {value}" for text, value in ways),
        "current": {"selected": True, "text": ways[0][0], "value": ways[0][1]},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [{"selected": place == 0, "text": text, "value": value} for place, (text, value) in enumerate(ways)],
    }
