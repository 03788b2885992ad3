"""Workers, GPU pools and the queue."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from dashboard.cluster_status import cluster_status
from dashboard.pages import PageRequest


@require_safe
@vary_on_headers("HX-Request")
def workers(request: PageRequest) -> HttpResponse:
    template = "workers/_cluster.html" if request.htmx else "workers/detail.html"
    return render(request, template, {"cluster": cluster_status()})
