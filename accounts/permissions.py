"""Who may do what. One class for now; roles and teams find their place here.

What a member may *see* is decided by ``visible_to(user)`` on the querysets; what a member may *do*
is decided here.
"""

from rest_framework.permissions import IsAuthenticated


class MembersOnly(IsAuthenticated):
    """Every signed-in user or token; in open mode, everybody (see accounts.open_mode)."""
