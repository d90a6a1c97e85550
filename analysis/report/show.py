"""Whether values are shown as they are or redacted: one switch for the command, the kernels it starts, and notebooks
by hand.

It is an environment variable because a notebook's parameters are fixed and stay in the executed notebook.
"""

from __future__ import annotations

import os

SWITCH = "ANALYSIS_SHOW_VALUES"


def shown() -> bool:
    """True where values are to be shown as they are (``--show-values``)."""
    return os.environ.get(SWITCH) == "1"
