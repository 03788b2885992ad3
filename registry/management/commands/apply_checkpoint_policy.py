"""manage.py apply_checkpoint_policy: apply policies now, or tell what they would do."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from core.text import storable
from registry.checkpoint_policy import CheckpointPolicy
from registry.retention_driving import apply
from registry.retention_preview import Judged, preview


class Command(BaseCommand):
    help = (
        "Move the checkpoints that the policies of projects do not keep to the trash, all of them "
        "at once. Workers do it, too, a bounded number at a time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", default="", help="the id of a project; default: all")
        parser.add_argument(
            "--dry-run", action="store_true", help="list what would go and what stays, and why"
        )

    def handle(self, *args: Any, project: str, dry_run: bool, **options: Any) -> None:
        policies = CheckpointPolicy.objects.select_related("project").order_by("pk")
        if project:
            policies = policies.filter(pk=storable(project))
            if not policies:
                text = _("The project %(id)s has no policy, or there is no such project.")
                raise CommandError(text % {"id": storable(project)})
        for policy in policies:
            (self._preview if dry_run else self._apply)(policy)

    def _preview(self, policy: CheckpointPolicy) -> None:
        found = preview(policy.project, policy.retention)
        for item in found.kept:
            reasons = "; ".join(str(reason) for reason in item.reasons)
            self._line(_("keep"), item, reasons)
        for item in found.removed:
            self._line(_("remove"), item, "")
        text = _(
            "%(project)s: would remove %(removed)d (%(bytes)s) and keep %(kept)d (%(kept_bytes)s) "
            "checkpoints."
        )
        counts = {
            "project": storable(policy.project.name),
            "removed": len(found.removed),
            "bytes": filesizeformat(found.removed_bytes),
            "kept": len(found.kept),
            "kept_bytes": filesizeformat(found.kept_bytes),
        }
        self.stdout.write(text % counts)

    def _line(self, verb: str, item: Judged, reasons: str) -> None:
        checkpoint = item.checkpoint
        facts = [verb, checkpoint.pk, checkpoint.run_id, str(checkpoint.name), str(item.size_bytes)]
        self.stdout.write(storable("\t".join([*facts, reasons]).rstrip()))

    def _apply(self, policy: CheckpointPolicy) -> None:
        deletions = apply(policy)
        text = _("%(project)s: moved to the trash: %(n)d checkpoints (%(bytes)s).")
        counts = {
            "project": storable(policy.project.name),
            "n": len(deletions),
            "bytes": filesizeformat(sum(deletion.size_bytes for deletion in deletions)),
        }
        self.stdout.write(text % counts)
