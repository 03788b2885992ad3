"""Teams, who belongs to them, service accounts, tokens, the limits of sign-in."""

from accounts.models.access_version import AccessVersion
from accounts.models.service_account import ServiceAccount
from accounts.models.team import Team, TeamMembership
from accounts.models.token import Token
from accounts.sign_in.allowances import Allowance

__all__ = ["AccessVersion", "Allowance", "ServiceAccount", "Team", "TeamMembership", "Token"]
