"""The kernel: components in tables, systems that declare what they touch, one visible tick, and proofs about it.

This docstring is the manual. The kernel imports torch, numpy, attrs and `engine.errors`, and knows nothing of what its
worlds are used for. Its public words are imported from `engine`; nothing is imported here.

An example
----------
    import torch
    from torch import Tensor
    from engine import Bundle, Scene, Tick, Write, any_row, build, column, component, derived, put_rows, signal, system, table

    @component
    class Ball:
        height: Tensor = column(unit="m", fill=1.0)
        speed: Tensor = column(unit="m/s")

    @derived
    class Energy:
        value: Tensor = column(unit="J/kg")

    @signal
    class Landed:
        rows: Tensor = column(dtype=torch.bool)

    def fall(ball: Write[Ball], *, gravity: float = 9.81, dt: float = 0.02) -> None:
        ball.speed -= gravity * dt
        ball.height += ball.speed * dt

    def land(ball: Ball, landed: Write[Landed]) -> None:
        landed.rows.copy_(ball.height <= 0.0)

    def throw(landed: Landed, ball: Write[Ball]) -> None:
        put_rows(ball.speed, landed.rows, 5.0)

    def add_up(ball: Ball, energy: Write[Energy]) -> None:
        energy.value.copy_(9.81 * ball.height + 0.5 * ball.speed.square())

    tick = Tick(phases=("MOVE", "RESTART", "MEASURE"))
    balls = Bundle("balls", components=[Ball, Energy, Landed], systems={
        "MOVE": [system(fall), system(land)],
        "RESTART": [system(throw, when=any_row(Landed, "rows"))],
        "MEASURE": [system(add_up)],
    })
    simulation = build(Scene([table("ball", rows=1000)], [balls], tick), overrides={"balls.fall.gravity": "1.62"})
    simulation.run(100)
    simulation.world[Energy].value  # (1000,)

Words
-----
component   A class of tensors, one row per entity. Its lifetime says how long a value counts: state (`@component`) until
            somebody writes it, a cache (`@derived`) while it agrees with its sources, `@signal` in the tick that wrote it.
resource    One object per world: a clock, a simulator, a library. Snapshots save its fields, except `constant()` ones.
table       N rows of one kind of entity, with named, labelled axes. Columns have the shape (rows, *axes).
system      A function whose signature says everything it touches: `X` is read, `Write[X]` read and written, `Rng` its own
            random stream, `Terms` the fused terms; what follows `*` are constants. It keeps nothing between calls.
term        A pure function that returns a tensor. `fuse` makes one system of many: its combiner gets their values, and
            declares which settings (a weight, a limit) a term may be registered with.
bundle      Components, resources and systems of one feature, as plain data: the unit that scenes are put together from.
tick        Phases in order. A system stands in one, after those before it and where `after=` says. A repeat group runs
            several times; the first tick runs BEGIN and enters at `entry`.
condition   When a system runs: `every(n)`, `first_tick()`, `any_row(Component, "mask")`.
constant    A value after `*`, with an address: bundle.system.constant, or bundle.system.term.constant.
scene       Tables, bundles and a tick. `build` makes a simulation of it, once.
world       All state of all rows, by type: `world[Ball]`, `world["ball", Ball]`, `world[Clock]`.
schedule    The tick, bound to a world: entries are called in order. An `Observer` that is attached is called around them.

What the proofs say
-------------------
`check_schedule` walks the first tick and two more, before anything runs. A scene that is built has these properties:
    fresh       whoever reads a derived component reads it after its writer ran on its sources as they are now;
    alive       whoever reads a signal reads it after it was written in the same tick, under the same condition or always;
    owned       a derived component has one writing system;
    ordered     two bundles that touch the same data in one phase, one writing, say `after=`;
    late        a system that sees the whole World stands in the last phase and writes nothing.
They rest on the signatures; `engine.tools.audit` watches a run for systems that touch more than they declare. Every
finding is a sentence that names where, what and the cure.

Rules of memory
---------------
A column is allocated when the scene is built and never moves: systems write into it (`copy_`, `put_rows`, `out=`), and
assigning to it is an error. Rows are masked, not indexed, so that no operation waits for a device. Everything that the
next tick depends on lies in columns, resources, random streams and edited constants, so a snapshot of those continues
exactly. Random streams are seeded by (seed of the world, name of the system); adding a system changes no other's numbers.

Reading order
-------------
component   table   world   access   system   condition   bundle   binding   schedule   check   imagination   constants   scene
"""
