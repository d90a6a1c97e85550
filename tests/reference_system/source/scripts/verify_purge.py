"""After a purge: which job records are gone, which remain, and whether the results are still there.

python -m scripts.verify_purge ids.txt     (an ID a line; exit status 1 where a record remains or a result is gone)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app import records
from app.config import settings
from app.tasks import celery_app


def main() -> int:
    parser = argparse.ArgumentParser(description="Check what a purge has removed.")
    parser.add_argument("ids", type=Path, help="a file with the ID of a purged job a line")
    ids = parser.parse_args().ids.read_text(encoding="utf-8").split()
    remaining = lost = 0
    with records.connect(settings().jobs_url, client_name="verify-purge") as store:
        for job_id in ids:
            record = records.read(store, job_id)
            result = celery_app.backend.get(celery_app.backend.get_key_for_task(job_id))
            remaining += record is not None
            lost += result is None
            print(job_id, "remains" if record else "gone", "no-result" if result is None else "result")
    print(
        f"{len(ids) - remaining} of {len(ids)} records are gone, {len(ids) - lost} results are there", file=sys.stderr
    )
    return 1 if remaining or lost else 0


if __name__ == "__main__":
    sys.exit(main())
