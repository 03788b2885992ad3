"""A fast path for the JSON of an artifact list: two queries and no serializer.

A run can have tens of thousands of files. The output equals ArtifactSerializer's
(tests/artifacts/test_artifact_json.py), which still defines the schema.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import orjson

from artifacts.blobs import root_uri
from core import json_field
from core.database import Statement
from core.json_field import rewritten
from core.messages import loads
from runs.models import Run

# The fields of ArtifactSerializer, and the path as in Artifact.path.
ARTIFACTS: Final = Statement(
    """
SELECT id, run_id, name, type,
    %(root)s::text || CASE WHEN stored_as = '' THEN '/' ELSE '/files/' END || file AS path,
    step, size_bytes, sha256, metadata::text AS metadata, created_at, updated_at
FROM artifacts_artifact
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS requested (id, position) USING (id)
ORDER BY position
"""
)
# Not aggregated into the query above, so that timestamps of both are formatted the same way.
TAGS: Final = Statement(
    """
SELECT artifact_id, value, notes, applied_at
FROM artifacts_artifacttag
WHERE artifact_id = ANY(%(ids)s::text[])
ORDER BY applied_at, id
"""
)


def artifact_list(run: Run, ids: Iterable[str]) -> orjson.Fragment:
    """The JSON array of the artifacts ``ids`` of ``run``, in the order of ``ids``."""
    requested = list(ids)
    tags: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for tag in TAGS.records(ids=requested):
        tags[tag.pop("artifact_id")].append(tag)
    artifacts = ARTIFACTS.records(root=root_uri(run), ids=requested)
    for artifact in artifacts:
        artifact["name"] = str(loads(artifact["name"]))
        artifact["metadata"] = orjson.Fragment(_readable(artifact["metadata"]))
        artifact["tags"] = tags.get(artifact["id"], ())
    return orjson.Fragment(orjson.dumps(artifacts, option=orjson.OPT_UTC_Z))


_MESSAGES: Final = ("damage", "ignored")


def _readable(metadata: str) -> str | bytes:
    """The metadata with its messages in the reader's language; nearly always unchanged."""
    if not any(f'"{key}"' in metadata for key in _MESSAGES):
        return rewritten(metadata)
    content = json_field.loads(metadata)
    shown = {key: str(loads(content[key])) for key in _MESSAGES if key in content}
    return orjson.dumps({**content, **shown})
