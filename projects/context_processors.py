"""What the reader of a page may do in its project: templates offer nothing else."""

from __future__ import annotations

from django.http import HttpRequest

from accounts.roles import Role


def may(request: HttpRequest) -> dict[str, dict[str, bool]]:
    """``may.train``, ``may.maintain``, ``may.own``; all of them on pages of no single project,
    which decide for themselves."""
    role: Role = getattr(request, "role", Role.OWNER)
    return {
        "may": {
            "train": role >= Role.MEMBER,
            "maintain": role >= Role.MAINTAINER,
            "own": role >= Role.OWNER,
        }
    }
