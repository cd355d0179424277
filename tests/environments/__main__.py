"""Install every environment that the tests need beside the package's own: `python -m tests.environments`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.environments import names, python_of


def main() -> None:
    """Two at a time, for a half of it is waiting; what can't be installed is named, and its tests are skipped."""
    with ThreadPoolExecutor(2) as pool:
        for name, done in [(name, pool.submit(python_of, name)) for name in names()]:
            try:
                print(f"{name}: {done.result().parents[1].name}")
            except pytest.skip.Exception as error:
                print(error)


if __name__ == "__main__":
    main()
