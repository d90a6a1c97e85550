"""Run by hand or by cron: ``python -m scripts.<name>``."""
