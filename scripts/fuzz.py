"""Run each harness in tests/fuzz under atheris for a bounded number of executions.

What is found along the way is kept in .fuzz, and the next run begins with it.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HARNESSES = {"protobuf": 1, "json_mapping": 2, "inflate": 1, "record": 1, "pages": 8}
"""And by how much the executions of each are fewer, because each costs more."""

CORPUS = Path("tests/fuzz/corpus")
FOUND = Path(".fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Run the harnesses in tests/fuzz under atheris.")
    parser.add_argument(
        "runs",
        nargs="?",
        type=int,
        default=30_000,
        help="executions of the cheap ones (30000), fewer of others",
    )
    parser.add_argument("--harness", action="append", choices=HARNESSES, help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="chooses what is tried (1)")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: needs atheris, which PyPI has for Linux on x86_64 and Python 3.11 to 3.14", file=sys.stderr)
        return 2
    good = [fuzz(harness, options.runs // HARNESSES[harness], options.seed) for harness in options.harness or HARNESSES]
    return 0 if all(good) else 1


def fuzz(harness: str, runs: int, seed: int) -> bool:
    corpus, crash = FOUND / harness, FOUND / f"{harness}-crash"
    corpus.mkdir(parents=True, exist_ok=True)
    crash.unlink(missing_ok=True)
    words = CORPUS.parent / f"{harness}.dict"
    began = time.monotonic()
    command = [
        *(sys.executable, "-m", "tests.fuzz.drive", harness),
        *(str(corpus), str(CORPUS / harness)),
        *(f"-runs={runs}", f"-seed={seed}", "-max_len=8192", "-timeout=20", f"-exact_artifact_path={crash}"),
        *([f"-dict={words}"] if words.exists() else []),
    ]
    same = os.environ | {"PYTHONHASHSEED": "0"}  # a seed means the same runs each time
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=same, check=False)
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        print(f"{said}\n{harness}: failed; what it failed with is {crash}, add it to {CORPUS / harness}", flush=True)
        return False
    ran = re.findall(r"^Done (\d+) runs", said, re.MULTILINE)
    print(f"{harness}: {ran[-1] if ran else 'no'} runs in {time.monotonic() - began:.0f} s, nothing found", flush=True)
    return bool(ran)


if __name__ == "__main__":
    sys.exit(main())
