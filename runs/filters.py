import django_filters
from django.utils.translation import gettext_lazy as _

from runs.models import Run, RunQuerySet
from runs.status import RunStatus

# ArtifactTag's values; artifacts stand above runs, which know them through the relation alone.
TAGS = [(tag, tag) for tag in ("候选", "发布", "归档")]


class RunFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which runs of a project, and in which order."""

    status = django_filters.MultipleChoiceFilter(choices=RunStatus.choices)
    model = django_filters.CharFilter(max_length=200)
    name = django_filters.CharFilter(lookup_expr="icontains", max_length=200)
    recipe = django_filters.CharFilter(field_name="recipe_id", max_length=64)
    tag = django_filters.ChoiceFilter(
        choices=TAGS, method="with_tagged_checkpoint", label=_("Tag of one of its checkpoints.")
    )
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")
    sort = django_filters.OrderingFilter(
        fields=[
            (field, field)
            for field in (
                "created_at",
                "started_at",
                "finished_at",
                "name",
                "status",
                "progress",
                "priority",
            )
        ]
    )

    class Meta:
        model = Run
        fields = ()

    def with_tagged_checkpoint(self, runs: RunQuerySet, name: str, value: str) -> RunQuerySet:
        # In a subquery: a join would list a run once for each of its checkpoints.
        tagged = Run.objects.filter(artifacts__tags__value=value)
        return runs.filter(pk__in=tagged.values("pk"))
