"""The first page: what goes on in all projects that the reader sees."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from dashboard import home
from dashboard.activity import activity
from dashboard.live import live
from dashboard.pages import PageRequest, page_of
from projects.sight import Sight
from runs.models import Run

ACTIVITY_SHOWN = 12
RUNS_PER_PAGE = 100


def _version(request: PageRequest) -> str:
    return home.version(request.user)


def _context(request: PageRequest) -> dict[str, Any]:
    sight = Sight.of(request.user)
    return {
        "home": home.home(request.user, sight),
        "entries": activity(sight=sight, size=ACTIVITY_SHOWN).entries,
        "address": settings.PUBLIC_URL,
    }


@require_safe
def home_page(request: PageRequest) -> HttpResponse:
    return render(request, "home/home.html", _context(request))


@require_safe
@live(_version)
def home_parts(request: PageRequest) -> HttpResponse:
    return render(request, "home/_parts.html", _context(request))


@require_safe
def running(request: PageRequest) -> HttpResponse:
    """All runs in progress, page by page."""
    page = page_of(request, home.newest_start_first(home.at_work(request.user)), RUNS_PER_PAGE)
    runs: list[Run] = list(page)
    context = {"page": page, "rows": home.running_rows(runs)}
    return render(request, "home/running.html", context)


@require_safe
def failed(request: PageRequest) -> HttpResponse:
    """All runs that have failed since yesterday, page by page."""
    page = page_of(request, home.failed_runs(request.user), RUNS_PER_PAGE)
    return render(request, "home/failed.html", {"page": page, "runs": list(page)})
