"""What the audit tells of artifacts: their tags, and that people replace or delete them."""

from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.models import Artifact, ArtifactTag
from artifacts.storage_quotas import StorageQuota
from core.audited import Audited, declare

# What a script replaces with its run's own token is its work, like what a worker stores.
BY_A_SCRIPT = (
    "EXISTS (SELECT FROM accounts_token WHERE id = audit_caller() ->> 'token_id' AND run_id <> '')"
)
PROJECT = "(SELECT project_id FROM runs_run WHERE id = {row}.run_id)"

declare(
    Audited(
        model=Artifact,
        kind="artifact",
        columns=["run_id", "type", "file", "step", "size_bytes", "sha256"],
        changing=["file", "size_bytes", "sha256"],
        name="{row}.file",
        project=PROJECT,
        when=f"TG_OP = 'DELETE' OR NOT {BY_A_SCRIPT}",
        only_by_users=True,
        operations=("UPDATE", "DELETE"),
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
    Audited(
        model=CheckpointDeletion,
        kind="checkpoint_deletion",
        columns=["checkpoint_key", "file", "step", "size_bytes", "sha256", "by_policy"],
        changing=["restored_at", "purge_requested_at", "purged_at", "deleted_at"],
        subject="{row}.checkpoint_key",
        name="{row}.file",
        project="{row}.project_id",
        actions={
            "restored_at": ("restored",),
            "deleted_at": ("deleted",),
            "purged_at": ("purged",),
            "purge_requested_at": ("purge_requested",),
        },
        operations=("INSERT", "UPDATE"),
    ),
    Audited(
        model=StorageQuota,
        kind="storage_quota",
        columns=["project_id", "owner", "max_bytes"],
        name="{row}.owner",
        project="{row}.project_id",
    ),
)
