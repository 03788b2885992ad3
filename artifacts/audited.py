"""What the audit tells of artifacts: their tags, and that people delete them."""

from artifacts.models import Artifact, ArtifactTag
from core.audited import Audited, declare

PROJECT = "(SELECT project_id FROM runs_run WHERE id = {row}.run_id)"

declare(
    Audited(
        model=Artifact,
        kind="artifact",
        columns=["run_id", "type", "file", "step", "size_bytes", "sha256"],
        name="{row}.file",
        project=PROJECT,
        only_by_users=True,
        operations=("DELETE",),
    ),
    Audited(
        model=ArtifactTag,
        kind="checkpoint_tag",
        columns=["value", "notes"],
        subject="{row}.artifact_id",
        name="{row}.value",
        project=(
            "(SELECT project_id FROM runs_run WHERE id ="
            " (SELECT run_id FROM artifacts_artifact WHERE id = {row}.artifact_id))"
        ),
    ),
)
