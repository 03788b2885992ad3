"""Teams, who belongs to them, service accounts, tokens."""

from accounts.models.access_version import AccessVersion
from accounts.models.service_account import ServiceAccount
from accounts.models.team import Team, TeamMembership
from accounts.models.token import Token

__all__ = ["AccessVersion", "ServiceAccount", "Team", "TeamMembership", "Token"]
