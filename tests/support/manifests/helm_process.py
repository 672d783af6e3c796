"""Helm in a process of its own, because its library brings threads of Go along: a request a line, an answer a line."""

import json
import sys
from typing import Any

import helm_python


def answer(*, path: str, lint: str | None, **how: Any) -> Any:
    if lint:
        return helm_python.lint(path, how["values"], strict=True, kube_version=lint, namespace=how["namespace"])
    with helm_python.Chart.load(path) as chart:  # anew: a dependency that is not enabled is gone from it afterwards
        return chart.render(how["values"], name=how["name"], namespace=how["namespace"])


def main() -> None:
    for line in sys.stdin:
        try:
            told = {"answer": answer(**json.loads(line))}
        except helm_python.HelmError as error:
            told = {"error": str(error)}
        print(json.dumps(told), flush=True)  # noqa: T201 - it is the answer


if __name__ == "__main__":
    main()
