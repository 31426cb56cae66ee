"""Tools that look at a built scene: what it is (explain), what it costs (profile), and whether it does as declared (audit).

`figures` makes the figures of pictures in files. They import the kernel and errors only. Public words: explain, graph;
profile_table, count_operations, measure_time, Cost; Audit, Finding; file_figure.
"""
