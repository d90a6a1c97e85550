"""Delete the records of finished jobs, as ``POST /api/jobs/purge`` does: ``python -m scripts.purge_jobs``.

15 3 * * *  python -m scripts.purge_jobs --older-than 604800 --status completed
"""

from __future__ import annotations

import argparse
import logging

from app import logs, records
from app.config import settings

log = logging.getLogger("scripts.purge_jobs")


def main() -> None:
    parser = argparse.ArgumentParser(description="Delete the records of finished jobs; their results stay.")
    parser.add_argument("--older-than", type=int, required=True, metavar="SECONDS", help="since the job finished")
    parser.add_argument("--status", choices=records.FINISHED, action="append", help="both, unless one is given")
    parser.add_argument("--dry-run", action="store_true", help="only say how many it would delete")
    asked = parser.parse_args()
    logs.configure(settings().log_dir)
    statuses = asked.status or records.FINISHED
    with records.connect(settings().jobs_url, client_name="purge-jobs") as store:
        purged = records.purge(store, older_than=asked.older_than, statuses=statuses, dry_run=asked.dry_run)
    done = "would delete" if asked.dry_run else "deleted"
    log.info("purge_jobs %s=%d older_than=%d status=%s", done, len(purged), asked.older_than, ",".join(statuses))


if __name__ == "__main__":
    main()
