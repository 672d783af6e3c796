"""Helm in a process of its own, because its library brings threads of Go along: a request a line, an answer a line."""

import json
import sys
from typing import Any

import helm_python


def answer(charts: dict[str, helm_python.Chart], *, path: str, lint: str | None, **how: Any) -> Any:
    if lint:
        return helm_python.lint(path, how["values"], strict=True, kube_version=lint, namespace=how["namespace"])
    if path not in charts:
        charts[path] = helm_python.Chart.load(path)
    return charts[path].render(how["values"], name=how["name"], namespace=how["namespace"])


def main() -> None:
    charts: dict[str, helm_python.Chart] = {}
    for line in sys.stdin:
        try:
            told = {"answer": answer(charts, **json.loads(line))}
        except helm_python.HelmError as error:
            told = {"error": str(error)}
        print(json.dumps(told), flush=True)  # noqa: T201 - it is the answer


if __name__ == "__main__":
    main()
