"""The family of a run: the runs that it goes back to, and all that came of them, as a tree.

A run comes of the run whose checkpoint it was resumed from, or evaluates; or of the one that it
tries again; or, as MLflow's clients nest runs, of the one that its tag names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from artifacts.family_queries import Link, links_above, parents, possible_children
from runs.models import Run

MAX_RUNS: Final = 500  # in a family; more would be no tree to read


class Kinship(models.TextChoices):
    RESUMED = "resumed", _("resumed")
    EVALUATED = "evaluated", _("evaluated")
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


@dataclass(frozen=True, slots=True)
class Family:
    root: Member
    is_cut: bool  # there are more than MAX_RUNS

    def members(self) -> Iterator[tuple[int, Member]]:
        """Each with its generation, from 0, before those that came of it. Without recursion, as
        there may be hundreds of generations."""
        left = [(0, self.root)]
        while left:
            generation, member = left.pop()
            yield generation, member
            left += [(generation + 1, child) for child in reversed(member.children)]


def family_of(run: Run) -> Family:
    """The tree that ``run`` is in, from its oldest ancestor on. Runs in the trash are in it, as
    others came of them. Two statements for each generation below the ancestors."""
    links: dict[str, Link] = {}
    ids, root = {run.pk}, run.pk
    above = links_above(run.pk, MAX_RUNS)
    is_cut = len(above) >= MAX_RUNS
    for link in above[: MAX_RUNS - 1]:
        if link.parent in ids:  # rows edited by hand may form a circle
            break
        links[link.child] = link
        root = link.parent
        ids.add(root)
    newest = sorted(ids)
    while True:
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

    for children in below.values():
        children.sort(key=lambda link: (rows[link.child].created_at, link.child))
    tree = Member(rows[root], None)
    left = [tree]
    while left:
        member = left.pop()
        member.children = [Member(rows[link.child], link) for link in below[member.run.pk]]
        left += member.children
    return tree
