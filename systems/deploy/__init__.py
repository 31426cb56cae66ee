"""Deployment: trained policies as ONNX files that need nothing of this project, and what plays such files.

`signals.py` says what a robot can tell, `control_step.py` cuts the control step out of a scene's tick, and `export.py` writes it
as ONNX: they need torch, and are imported when a policy is exported. `policy.py` reads an ONNX file, `robot.py` is the interface
to a robot, with plain MuJoCo and a recorded log as implementations, `player.py` runs policies on one, and `command.py` is `lockstep play`:
these need neither torch nor the rest of the project.
Imports `systems.maths`, `systems.robots` and `systems.film`, components and the engine.
"""
