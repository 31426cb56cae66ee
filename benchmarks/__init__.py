"""Benchmarks: what the product costs or achieves on this machine; each is run as `python -m benchmarks.NAME`.

`pairs` times works in turn for the others; `debugger_cost` and `debugger_clients` belong to `debugger`. Nothing imports them
but tests.
"""
