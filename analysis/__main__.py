"""The command, from its first moment: ``analysis``, and ``python -m analysis``."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from analysis.batch.warm import ALONE


def main() -> NoReturn:
    """Run the command. It can be stopped while it is still being loaded, too."""
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    # nbformat brings jsonschema, and that a grammar of addresses, which takes half of the time to load everything. It
    # does without (jsonschema/_format.py), and no notebook is checked for addresses.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        from analysis.cli import main as run
    except KeyboardInterrupt:
        print("analysis: stopped", file=sys.stderr, flush=True)
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
