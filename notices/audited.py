"""What the audit tells of webhooks: never their addresses and secrets."""

from core.audited import Audited, declare
from notices.models import Webhook

declare(
    Audited(
        model=Webhook,
        kind="webhook",
        columns=[
            "name",
            "shape",
            "encrypted_address",
            "encrypted_secret",
            "events",
            "metric",
            "comparison",
            "threshold",
            "enabled",
        ],
        name="{row}.name",
        project="{row}.project_id",
        secret=["encrypted_address", "encrypted_secret"],
        actions={
            "enabled": ("enabled", "disabled"),
            "encrypted_secret": ("secret_changed",),
        },
    ),
)
