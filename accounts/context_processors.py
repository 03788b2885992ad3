from django.http import HttpRequest

from accounts.open_mode import is_open


def open_mode(request: HttpRequest) -> dict[str, bool]:
    """``open_mode`` for the notice that every page carries while there is no sign-in."""
    return {"open_mode": is_open()}
