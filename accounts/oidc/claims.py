"""What a provider says of a person. Claims: OpenID Connect Core 1.0, 5.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings


def claims_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the ID token and of the UserInfo endpoint, which counts where both have one."""
    return {**(data.get("id_token") or {}), **(data.get("userinfo") or {})}


def is_of_one_person(data: Mapping[str, Any]) -> bool:
    """Whether the two are about the same subject; if not, UserInfo must not be used (5.3.2)."""
    answers = [data[name] for name in ("id_token", "userinfo") if data.get(name)]
    return len({answer.get("sub") for answer in answers}) == 1


def verified_email(claims: Mapping[str, Any]) -> str:
    """The e-mail address that the provider has verified; empty if there is none."""
    email = claims.get("email")
    is_verified = claims.get("email_verified") in (True, "true")  # a text from some providers
    return email if is_verified and isinstance(email, str) else ""


def is_of_allowed_domain(email: str) -> bool:
    """Whether ``email`` belongs to one of the domains that may sign in, if they are limited."""
    domains = {domain.lower().lstrip("@") for domain in settings.OIDC_DOMAINS}
    return not domains or email.rpartition("@")[2].lower() in domains


def operator_status(claims: Mapping[str, Any]) -> bool | None:
    """Whether the provider makes this person an operator; None if it has no say in that."""
    claim, _equals, value = settings.OIDC_OPERATORS.partition("=")
    if not claim:
        return None
    said = claims.get(claim)
    return value in said if isinstance(said, list) else value == str(said)
