"""Recordings: what happened to rows of a running simulation, kept in memory and in files.

`recorder` is the flight recorder of some rows, `failures` the log of every failure, `row_ring` the memory of both,
and `file` is the format, which loads without torch. May import: protocol,
snapshot, ecs, files, errors.
"""
