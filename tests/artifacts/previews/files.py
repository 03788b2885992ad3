"""Files of a run, to be shown."""

import io

from artifacts.uploads import store
from tests.factories import RunFactory


def uploaded(name, content, run=None):
    content = content.encode() if isinstance(content, str) else content
    artifact, _is_new = store(run or RunFactory(), name, io.BytesIO(content))
    return artifact
