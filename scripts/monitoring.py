"""Write the files that are made of what a service is monitored with: ``scripts/monitoring``."""

import json
from pathlib import Path
from textwrap import indent

from scripts.dashboard import dashboard

__all__ = ["files"]

ROOT = Path(__file__).parents[1]
RULES = ROOT / "config/prometheus/otlp-service.rules.yaml"


def files() -> dict[Path, str]:
    """What each file has to be."""
    rules = RULES.read_text()
    about, groups = rules[: rules.index("groups:")], rules[rules.index("groups:") :]
    component = ROOT / "k8s/components/monitoring/prometheusrule.yaml"
    head, _, _ = component.read_text().rpartition("spec:\n")
    head = head[head.index("apiVersion:") :]
    drawn = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    return {
        ROOT / "config/grafana/otlp-service.json": drawn,
        ROOT / "helm/otlp-service/files/dashboard.json": drawn,
        ROOT / "helm/otlp-service/files/alerts.yaml": rules,
        component: f"{about}{head}spec:\n{indent(groups, '  ')}",
    }


def main() -> None:
    for path, text in files().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
