"""The family of a run: the runs that it goes back to, and all that came of them, as a tree.

A run comes of the run whose checkpoint it was resumed from; or of the one that it tries again; or,
as MLflow's clients nest runs, of the one that its tag names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from artifacts.family_queries import Link, parents, possible_children
from runs.models import Run

MAX_RUNS: Final = 500  # in a family; more would be no tree to read
MAX_GENERATIONS: Final = 100


class Kinship(models.TextChoices):
    RESUMED = "resumed", _("resumed")
    RETRIED = "retried", _("retried")
    NESTED = "nested", _("nested")


@dataclass(slots=True)
class Member:
    """A run of the family, with those that came of it, the oldest first."""

    run: Run
    link: Link | None  # to its parent
    children: list[Member] = field(default_factory=list)

    @property
    def kinship(self) -> str:
        return str(Kinship(self.link.kind).label) if self.link else ""

    def members(self) -> Iterator[Member]:
        yield self
        for child in self.children:
            yield from child.members()


@dataclass(frozen=True, slots=True)
class Family:
    root: Member
    is_cut: bool  # there are more than MAX_RUNS

    def members(self) -> list[Member]:
        return list(self.root.members())


def family_of(run: Run) -> Family:
    """The tree that ``run`` is in, from its oldest ancestor on. Runs in the trash are in it, as
    others came of them. A few statements for each generation."""
    links: dict[str, Link] = {}
    ids, root = {run.pk}, run.pk
    for _generation in range(MAX_GENERATIONS):
        above = parents([root])
        if not above or above[0].parent in ids:  # rows edited by hand may form a circle
            break
        links[root] = above[0]
        root = above[0].parent
        ids.add(root)
    is_cut = False
    newest = sorted(ids)
    for _generation in range(MAX_GENERATIONS):
        room = MAX_RUNS - len(ids)
        found = [pk for pk in possible_children(newest, MAX_RUNS + len(ids)) if pk not in ids]
        children = {link.child: link for link in parents(found) if link.parent in ids}
        if len(children) > room:
            is_cut = True
            children = dict(sorted(children.items())[:room])
        if not children:
            break
        links |= children
        ids |= children.keys()
        newest = sorted(children)
    return Family(_tree(root, links, ids), is_cut)


def _tree(root: str, links: dict[str, Link], ids: set[str]) -> Member:
    runs = Run.objects.filter(pk__in=ids).brief("metrics").select_related("project")
    rows = {run.pk: run for run in runs}
    below: defaultdict[str, list[Link]] = defaultdict(list)
    for link in links.values():
        if link.child in rows:
            below[link.parent].append(link)

    def member(run_id: str, link: Link | None) -> Member:
        children = sorted(
            below[run_id], key=lambda child: (rows[child.child].created_at, child.child)
        )
        return Member(rows[run_id], link, [member(child.child, child) for child in children])

    return member(root, None)
