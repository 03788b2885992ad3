"""Who issues and revokes which tokens."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from accounts.grants import grant_of
from accounts.models import ServiceAccount, Team, Token
from accounts.models.token import TokenQuerySet
from accounts.roles import Role, Scope
from core.exceptions import DomainError, InvalidInput


class AccessForbidden(DomainError):
    code = "permission_denied"
    status_code = 403


def is_unlimited(user: User) -> bool:
    grant = grant_of(user)
    return grant.highest_role == Role.OWNER and not (grant.project_id or grant.run_id)


def require_unlimited(user: User) -> None:
    """A token that cannot do everything must not make one that can, nor let anybody in. Raises
    AccessForbidden."""
    if not is_unlimited(user):
        raise AccessForbidden(
            _("This takes a password, or a token of the scope admin for all projects.")
        )


def service_accounts_of(user: User) -> list[ServiceAccount]:
    """Those whose tokens ``user`` issues and revokes."""
    accounts = ServiceAccount.objects.select_related("user", "team")
    if user.is_superuser:
        return list(accounts)
    return list(accounts.filter(team__in=Team.objects.visible_to(user, role=Role.OWNER)))


def tokens_managed_by(user: User) -> TokenQuerySet:
    """The user's own, and those of the service accounts of teams that they own; for a token that
    may not do everything, itself alone."""
    if not is_unlimited(user):
        return Token.objects.filter(pk=grant_of(user).token_id)
    accounts = [account.user_id for account in service_accounts_of(user)]
    return Token.objects.personal().filter(user__in=[user.pk, *accounts])


def issue_token(
    *,
    by: User,
    name: str,
    scope: Scope,
    project_id: str | None = None,
    days: int | None = None,
    username: str = "",
) -> tuple[Token, str]:
    """Issue a token to ``by``, or to the service account ``username``. Return it with its secret.

    That its user sees the project ``project_id`` is for the caller to check.
    Raises AccessForbidden, InvalidInput.
    """
    require_unlimited(by)
    owner = by
    if username and username != by.get_username():
        managed = {str(account): account.user for account in service_accounts_of(by)}
        if username not in managed:
            raise InvalidInput(
                _("You manage no service account %(name)s.") % {"name": username}, attr="user"
            )
        owner = managed[username]
    life = None if days is None else timedelta(days=days)
    return Token.issue(owner, name=name, scope=scope, project_id=project_id, life=life, by=by)


def revoke(token: Token) -> None:
    token.delete()
