"""How the kinds of subjects and what happens to them are called on pages."""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

KINDS: Final[dict[str, Promise]] = {
    "artifact": _("Artifact"),
    "checkpoint_tag": _("Tag of a checkpoint"),
    "evaluation_rule": _("Rule of evaluations"),
    "group": _("Group"),
    "group_member": _("Member of a group"),
    "group_permission": _("Permission of a group"),
    "identity": _("Identity at the provider"),
    "logged_model": _("Logged model"),
    "model_alias": _("Alias of a model"),
    "model_version": _("Version of a model"),
    "pool": _("GPU pool"),
    "project": _("Project"),
    "project_role": _("Role in a project"),
    "quota": _("Quota"),
    "recipe": _("Recipe"),
    "registered_model": _("Registered model"),
    "release_policy": _("Demands on releases"),
    "release_request": _("Request of a release"),
    "run": _("Run"),
    "service_account": _("Service account"),
    "session": _("Sign-in"),
    "sweep": _("Sweep"),
    "team": _("Team"),
    "team_member": _("Member of a team"),
    "token": _("Token"),
    "user": _("User"),
    "user_permission": _("Permission of a user"),
    "webhook": _("Webhook"),
    "worker": _("Worker"),
}

VERBS: Final[dict[str, Promise]] = {
    "activated": pgettext_lazy("audit", "activated"),
    "archived": pgettext_lazy("audit", "archived"),
    "changed": pgettext_lazy("audit", "changed"),
    "created": pgettext_lazy("audit", "created"),
    "deactivated": pgettext_lazy("audit", "deactivated"),
    "decided": pgettext_lazy("audit", "decided"),
    "deleted": pgettext_lazy("audit", "deleted"),
    "disabled": pgettext_lazy("audit", "disabled"),
    "drained": pgettext_lazy("audit", "drained"),
    "enabled": pgettext_lazy("audit", "enabled"),
    "moved": pgettext_lazy("audit", "moved"),
    "password_changed": pgettext_lazy("audit", "password changed"),
    "priority_changed": pgettext_lazy("audit", "priority changed"),
    "refused": pgettext_lazy("audit", "refused"),
    "renamed": pgettext_lazy("audit", "renamed"),
    "resized": pgettext_lazy("audit", "resized"),
    "restored": pgettext_lazy("audit", "restored"),
    "role_changed": pgettext_lazy("audit", "role changed"),
    "secret_changed": pgettext_lazy("audit", "secret changed"),
    "signed_in": pgettext_lazy("audit", "signed in"),
    "signed_out": pgettext_lazy("audit", "signed out"),
    "staff_given": pgettext_lazy("audit", "became staff"),
    "staff_taken": pgettext_lazy("audit", "is no longer staff"),
    "stage_changed": pgettext_lazy("audit", "stage changed"),
    "status_changed": pgettext_lazy("audit", "status changed"),
    "stop_requested": pgettext_lazy("audit", "stop requested"),
    "stop_withdrawn": pgettext_lazy("audit", "stop withdrawn"),
    "superuser_given": pgettext_lazy("audit", "became superuser"),
    "superuser_taken": pgettext_lazy("audit", "is no longer superuser"),
    "tags_changed": pgettext_lazy("audit", "tags changed"),
    "team_changed": pgettext_lazy("audit", "team changed"),
    "trashed": pgettext_lazy("audit", "moved to the trash"),
    "unarchived": pgettext_lazy("audit", "listed again"),
    "undrained": pgettext_lazy("audit", "takes runs again"),
}
