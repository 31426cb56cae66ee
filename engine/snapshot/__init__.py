"""Snapshots: a world as bytes and back, and the way back in time.

`snapshot` captures and restores worlds, `container` is the file (of recordings too), `encoding` the tree of tensors in it,
and `history` the ring of recent snapshots by which a run rewinds and branches. May import: ecs, files, errors; `container`
imports errors only, and loads without torch.
"""
