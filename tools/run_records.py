"""Run notebooks with seeds 0 to 4 and store what they recorded in book/data/runs: python -m tools.run_records [FILE …]

The table is of this machine's best device; a GPU's table stands beside a CPU's. Seed 0's outputs are stored in the
notebook itself.
"""

import datetime
import json
import sys
import time
from ast import literal_eval
from pathlib import Path

import nbformat

from course.device import describe_machine, pick_device
from tools.run_notebooks import execute, notebook_files

SEEDS = [0, 1, 2, 3, 4]


def recorded_numbers(notebook: nbformat.NotebookNode) -> dict[str, float]:
    """Return every number that the notebook handed to `course.numbers.record`."""
    numbers = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                value = literal_eval(output.data["text/plain"])
                if not isinstance(value, str):
                    numbers[name] = value
    return numbers


def main(arguments: list[str]) -> None:
    device = pick_device()
    for file in notebook_files(arguments):
        numbers: dict[str, list[float]] = {"notebook_seconds": []}
        for seed in SEEDS:
            print(f"{file}, seed {seed} …", flush=True)
            start_s = time.perf_counter()
            notebook = execute(file, seed)
            if seed == SEEDS[0]:
                shown = notebook  # so that the page shows one of the runs that the table counts
            numbers["notebook_seconds"].append(round(time.perf_counter() - start_s, 1))
            for name, value in recorded_numbers(notebook).items():
                numbers.setdefault(name, []).append(value)
        lengths = {name: len(values) for name, values in numbers.items() if len(values) != len(SEEDS)}
        if lengths:
            sys.exit(f"{file}: not every seed recorded the same numbers: {lengths}")
        record = {
            "notebook": file.stem,
            "device": device.type,
            "machine": describe_machine(device),
            "date": datetime.date.today().isoformat(),
            "seeds": SEEDS,
            "numbers": numbers,
        }
        target = Path("book/data/runs", f"{file.stem}.{device.type}.json")
        target.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
        nbformat.write(shown, file)
        print(f"Stored {target} and the outputs of seed {SEEDS[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
