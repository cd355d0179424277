"""`python -m phantom_dist.spec` writes the JSON Schema of sweep files into the package."""

from phantom_dist.spec.json_schema import SCHEMA_FILE, text

SCHEMA_FILE.write_text(text(), encoding="utf-8")
