"""Systems: the behaviour of robots, tasks and learners, as plain functions whose parameters say what they touch.

Every module here holds systems, terms, or bundles of them; `tick.py` holds their order. What is no system is in packages:
`maths`, `robots` (models), `motion` (clips), `film`, `physics` (simulators), `learning` (networks), `deploy` (policies as ONNX files, and what plays them),
`doorways` (scenes as environments of other libraries) and `reporting` (what is measured of policies). Of these, `maths`
imports none of the others, `robots` only it, `motion` these two and `film` these three. Imports components and the engine.

MuJoCo is imported here, before anything else can: physics needs no OpenGL, and a MUJOCO_GL of a library that is absent would
stop every command. Films are drawn by a process of their own, which gets the variable as it is.
"""

from engine.render.process import without_opengl

with without_opengl():
    import mujoco

__all__ = ["mujoco"]
