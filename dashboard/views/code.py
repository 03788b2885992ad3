"""The code of a run: its files, one of them, and what differs from another run or its commit."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from code_bundles import diffs, reading
from code_bundles.diffs import FileDiff
from code_bundles.manifest import BadBundle, entries_of
from code_bundles.viewsets import as_download
from dashboard.pages import PageRequest
from dashboard.run_header import run_context
from dashboard.views.lookups import get_run
from runs.models import CodeBundle, Run, RunCode

# The class of a line of a diff, by how it begins.
KINDS: Final = (("+++", "file"), ("---", "file"), ("@@", "place"), ("+", "added"), ("-", "removed"))


@require_safe
def run_code(request: PageRequest, project_id: str, run_id: str) -> HttpResponse:
    """``?file=``: a file of it; ``?against=``: another run, whose code is the one before."""
    run = get_run(request, project_id, run_id)
    code = RunCode.objects.select_related("bundle").filter(run=run).first()
    bundle = None if code is None else code.bundle
    context: dict[str, Any] = {**run_context(run, "configuration"), "code": code}
    if code is not None:
        context["patch"] = [(_kind(line), line) for line in code.patch.splitlines()]
    if bundle is not None:
        context["files"] = entries_of(bundle.files)
        context |= _file(bundle, request.GET.get("file", ""))
        if "against" in request.GET:
            visible = Run.objects.visible_to(request.user).select_related("project")
            other = get_object_or_404(visible, pk=request.GET["against"].replace("\x00", ""))
            context |= _differences(other, bundle)
    return render(request, "runs/code.html", context)


def _file(bundle: CodeBundle, path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        text = reading.text_of(bundle, path)
    except KeyError:
        raise Http404 from None
    except (FileNotFoundError, BadBundle):
        return {"file": path, "problem": _("Its bytes are missing or damaged.")}
    if text is None:
        return {"file": path, "problem": _("It is large, or no text.")}
    return {"file": path, "text": text}


def _differences(other: Run, bundle: CodeBundle) -> dict[str, Any]:
    before = CodeBundle.objects.filter(run_codes__run=other).first()
    if before is None:
        return {"against": other, "problem": _("That run has no code.")}
    try:
        found = list(diffs.differences(before, bundle))
    except (FileNotFoundError, BadBundle):
        return {"against": other, "problem": _("Its bytes are missing or damaged.")}
    return {"against": other, "differences": [(file, _classed(file)) for file in found]}


def _classed(file: FileDiff) -> list[tuple[str, str]]:
    return [(_kind(line), line) for line in file.lines or ()]


def _kind(line: str) -> str:
    return next((kind for start, kind in KINDS if line.startswith(start)), "")


@require_safe
def run_code_archive(request: PageRequest, project_id: str, run_id: str) -> HttpResponseBase:
    run = get_run(request, project_id, run_id)
    return as_download(get_object_or_404(CodeBundle, run_codes__run=run))
