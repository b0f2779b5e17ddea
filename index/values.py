"""Types of values that documents, filters and manifests share."""

from __future__ import annotations

# A value of a document's metadata, or of a setting in a manifest.
Scalar = str | int | float | bool | None
