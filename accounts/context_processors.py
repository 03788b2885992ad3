"""Template context for every page."""

from django.http import HttpRequest

from accounts.open_mode import is_open


def open_mode(request: HttpRequest) -> dict[str, bool]:
    """``open_mode``, for the notice that every page shows while sign-in is off."""
    return {"open_mode": is_open()}
