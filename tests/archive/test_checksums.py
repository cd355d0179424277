"""The list of checksums is split at line feeds alone, whatever a model's name brings into a file's."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from phantom_dist.archive.checksums import read_sums, write_sums

LINE_ENDS = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
NAMES = st.text(
    st.sampled_from(LINE_ENDS) | st.characters(exclude_characters="\n", codec="utf-8"), min_size=1
)


@given(st.dictionaries(NAMES, st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4))
@example({f"traces/model=a{end}b/part.parquet": "0" * 64 for end in LINE_ENDS})
def test_any_name_comes_back(tmp_path_factory, sums):
    archive = tmp_path_factory.mktemp("archive")
    write_sums(archive, sums)
    assert read_sums(archive) == (sums, [])
