"""A list of artifacts as JSON, quickly: two statements, and no serializer over its rows.

A run may have tens of thousands of files. What is said is what ArtifactSerializer says
(tests/artifacts/test_artifact_json.py), which stays what the schema is made from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import orjson

from artifacts.models import root_of
from runs.models import Run
from trainhub.database import Statement
from trainhub.json_field import rewritten

# As ArtifactSerializer and Artifact.path have them.
ARTIFACTS: Final = Statement(
    """
SELECT id, run_id, name, type,
    %(root)s::text || CASE WHEN stored_as = '' THEN '/' ELSE '/files/' END || file AS path,
    step, size_bytes, sha256, metadata::text AS metadata, created_at, updated_at
FROM artifacts_artifact
    JOIN unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (id, place) USING (id)
ORDER BY place
"""
)
# Not joined to the above: their times are to be written as its times are.
TAGS: Final = Statement(
    """
SELECT artifact_id, value, notes, applied_at
FROM artifacts_artifacttag
WHERE artifact_id = ANY(%(ids)s::text[])
ORDER BY applied_at, id
"""
)


def artifact_list(run: Run, ids: Iterable[str]) -> orjson.Fragment:
    """The JSON array of the artifacts ``ids`` of ``run``, in their order."""
    wanted = list(ids)
    tags: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for tag in TAGS.records(ids=wanted):
        tags[tag.pop("artifact_id")].append(tag)
    artifacts = ARTIFACTS.records(root=root_of(run), ids=wanted)
    for artifact in artifacts:
        artifact["metadata"] = orjson.Fragment(rewritten(artifact["metadata"]))
        artifact["tags"] = tags.get(artifact["id"], ())
    return orjson.Fragment(orjson.dumps(artifacts, option=orjson.OPT_UTC_Z))
