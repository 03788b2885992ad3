"""How static files are stored: compressed, and named by a hash of their content."""

from __future__ import annotations

from typing import ClassVar

from whitenoise.storage import CompressedManifestStaticFilesStorage

MODULE_PATTERNS = CompressedManifestStaticFilesStorage._js_module_import_aggregation_patterns[1]


class StaticFilesStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Also rewrites the imports of our ES modules (``static/js/``) to the hashed names.

    Not those of other scripts, which ``support_js_module_import_aggregation`` would include:
    minified bundles contain text that only looks like an import. An import must end with a
    semicolon, and its path begin with ``./`` or ``../``.
    """

    patterns: ClassVar[tuple[tuple[str, tuple[object, ...]], ...]] = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("js/*.js", MODULE_PATTERNS),
    )
