"""Fusion against the plain reference: a window that slides over each sample's tokens, and splices."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.nn.fusion import find_runs, fuse

ID, PATCHES, HIDDEN = 34, 3, 2


def sliding_window(row):
    """The starts of the whole runs in one sample, left to right without overlap."""
    starts, at = [], 0
    while at + PATCHES <= len(row):
        if row[at : at + PATCHES] == [ID] * PATCHES:
            starts.append(at)
            at += PATCHES
        else:
            at += 1
    return starts


def spliced(row, h, features):
    """text_prefix + vision + text_suffix, run by run."""
    parts, at = [], 0
    for start, feature in zip(sliding_window(row), features, strict=True):
        parts += [h[at:start], feature]
        at = start + PATCHES
    return torch.cat([*parts, h[at:]])


rows = st.lists(
    st.one_of(st.just([5]), st.just([ID]), st.just([ID] * PATCHES), st.just([ID] * 2 * PATCHES), st.just([0])),
    max_size=8,
).map(lambda pieces: [token for piece in pieces for token in piece])


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(rows, min_size=1, max_size=4), seqlen=st.none() | st.integers(0, 40))
def test_fusion_is_the_sliding_window(rows, seqlen):
    width = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
    rows = [row + [0] * (width - len(row)) for row in rows]
    tokens, h = torch.tensor(rows), torch.randn(len(rows), width, HIDDEN)
    counts = [len(sliding_window(row)) for row in rows]
    placement = find_runs(tokens, ID, PATCHES)
    assert placement.runs.tolist() == counts
    features = torch.randn(sum(counts), PATCHES, HIDDEN)
    expected = [spliced(*parts) for parts in zip(rows, h, features.split(counts), strict=True)]
    fused = fuse(h, placement, features)
    assert torch.equal(fused[:, :seqlen], torch.stack(expected)[:, :seqlen])
