"""Components: the data of all rows, as small classes of tensors, and the resources of a world.

A file holds what belongs to one subject (`robot`, `control`, `episode`, `motion`, …). A component has no behaviour; who
writes and reads it stands in the signatures of systems. Imports torch, numpy, attrs and the engine.
"""
