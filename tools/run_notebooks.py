"""Run notebooks from top to bottom and store their outputs: python -m tools.run_notebooks [FOLDER or FILE …]"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError


def notebook_files(arguments: list[str]) -> list[Path]:
    """Return the notebooks that the arguments name, folders searched; by default all."""
    files = []
    for argument in arguments or ["notebooks"]:
        path = Path(argument)
        files += sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
    missing = [str(file) for file in files if not file.is_file()]
    if missing or not files:
        sys.exit(f"No such notebook: {', '.join(missing or arguments)}")
    return files


def execute(path: Path, seed: int | None = None) -> nbformat.NotebookNode:
    """Return the notebook with fresh outputs; `seed` overrides its own.

    Raises:
        SystemExit: a cell failed; the message names notebook and cell.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    environment = os.environ if seed is None else os.environ | {"COURSE_SEED": str(seed)}
    try:
        client.execute(env=dict(environment))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        # the cell that failed is the last one that was started
        number = max(n for n, cell in enumerate(notebook.cells, 1) if cell.get("execution_count") or n == 1)
        sys.exit(f"{path}, cell {number}: {error}")
    return notebook


if __name__ == "__main__":
    for file in notebook_files(sys.argv[1:]):
        print(f"Running {file} …", flush=True)
        nbformat.write(execute(file), file)
