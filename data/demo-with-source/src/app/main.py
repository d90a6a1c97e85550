"""The web application: ``uvicorn app.main:app``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import logs, records
from app.api.routers import jobs
from app.config import settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    logs.configure(settings().log_dir)
    with records.connect(settings().jobs_url, client_name="studio-api") as app.state.store:
        yield


app = FastAPI(title="Studio", lifespan=lifespan)
app.include_router(jobs.router)


@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}
