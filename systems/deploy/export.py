"""Export of a trained policy as one ONNX file, with all that a robot's computer must know of it in the file's metadata."""

import base64
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import torch

from components.command import Command
from components.learning import Policy
from components.motion import MotionLibrary
from components.robot import Robot
from engine import Simulation
from engine.errors import SceneError
from engine.files import file_errors, write_file
from systems.deploy.control_step import ControlStep, Takes
from systems.deploy.metadata import FORMAT
from systems.deploy.onnx_graph import onnx_graph
from systems.deploy.policy import PACKAGE
from systems.deploy.signals import SIGNALS
from systems.observation_groups import group_terms
from systems.reference import sample_root_and_dofs
from systems.robots.export_mjcf import physics_mjcf

JSON_ONLY = "_json"  # what a form is called whose metadata is JSON, key by key, as holosoma's loader wants it
NAMES = ("joint_names", "body_names", "command_names", "observation_names")
LISTS = (
    *NAMES, "joint_stiffness", "joint_damping", "joint_torque_limit", "default_joint_pos", "action_scale", "observation_widths",
    "velocity_sensor_position",
)  # fmt: skip
QUATERNION = "scalar first (w, x, y, z), unit norm, from the axes of the body to the world's; z up"


def write_onnx(simulation: Simulation, path: Path, takes: str, made: Mapping[str, Any]) -> Mapping[str, str]:
    """Write the policy of a simulation that plays it; returns what the file takes and gives, in words.

    `takes` "signals" puts observation, network and the map of actions into the file, "observation" the network alone, and
    "observation_json" too, with every value of its metadata as JSON; `made` says how the policy was trained. Raises SceneError where onnx is missing, or something of the policy cannot leave the scene.
    """
    try:
        import onnx
    except ImportError:
        raise SceneError(
            f"An .onnx file needs the package onnx, which is not installed. pip install '{PACKAGE}[export]'"
        ) from None
    takes, json_only = takes.removesuffix(JSON_ONLY), takes.endswith(JSON_ONLY)
    if takes not in get_args(Takes) or (json_only and takes == "signals"):
        raise SceneError(f"A policy takes 'signals', an 'observation' or an 'observation{JSON_ONLY}', not {takes!r}.")
    if Policy not in simulation.world.resources:
        raise SceneError(f"The scene '{simulation.world.name}' has no policy to export.")
    step = ControlStep(simulation, takes)  # type: ignore[arg-type]
    names = [port.name for port in step.inputs]
    proto = onnx.load_from_string(onnx_graph(step, step.example(), names, step.outputs))
    about = metadata(step, made)
    onnx.helper.set_model_props(proto, {k: _as_json(k, v) for k, v in about.items()} if json_only else about)
    with file_errors(f"{path} cannot be written", cure=" Choose another --out."):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, proto.SerializeToString())
    ports = {"takes": ", ".join(names), "gives": ", ".join(step.outputs)}
    plays = takes == "signals" and step.controller == "position"
    return {**ports, "play it": f"lockstep play {path}"} if plays else ports


def metadata(step: ControlStep, made: Mapping[str, Any]) -> dict[str, str]:
    """What a deployer must know, by key: in our words, and in those of mjlab (comma-separated) and holosoma (JSON)."""
    found: dict[str, Any] = {
        "format": FORMAT,
        "version": _version(),
        "scene": step.world.name,
        "made": json.dumps(dict(made)),
        "takes": step.takes,
        "inputs": json.dumps({port.name: _about(step, port.name) for port in step.inputs}),
        "states": json.dumps([port.name for port in step.remembered]),
        "control": step.controller,
        "control_dt": repr(float(step.sensors.dt)),
        "control_rate": f"{1.0 / step.sensors.dt:g} Hz",
        "quaternion": QUATERNION,
        "velocity_sensor_position": _csv(step.sensors.sensor.tolist()),
        "run_path": made.get("command", step.world.name),
        **_observation(step),
    }
    if Robot in step.world.resources:
        found |= _robot(step)
    if MotionLibrary in step.world.resources:
        found |= _motion(step)
    return found


def _as_json(key: str, value: str) -> str:
    """A value of the metadata as JSON: lists with commas become lists, words become texts."""
    if key in LISTS:
        words = value.split(",") if value else []
        return json.dumps(words if key in NAMES else [float(each) for each in words])
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value)
    return value


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"


def _csv(values: Any) -> str:
    """Numbers with all their digits, or words, with commas between them."""
    return ",".join(each if isinstance(each, str) else f"{each:.9g}" for each in values)


def _about(step: ControlStep, name: str) -> str:
    if name in SIGNALS:
        return SIGNALS[name].about
    if name == "obs":
        return "what the actor sees, in the order of observation_names"
    if f"next_{name}" in step.outputs:
        return f"0 in the first control step, then next_{name} of the one before"
    return f"measured, as the scene '{step.world.name}' has it"


def _observation(step: ControlStep) -> dict[str, Any]:
    terms = group_terms(step.observe.system.terms, "actor")
    labels = step.world.tables[step.table].axes["actor_observation"]
    widths = [sum(label == name or label.startswith(f"{name}[") for label in labels) for name in terms]
    history = {n: each.settings["history"] for n, each in terms.items() if each.settings.get("history")}
    return {
        "observation_names": _csv(terms),
        "observation_widths": _csv(widths),
        "observation_history": json.dumps(history),
        "observation_scales": json.dumps({n: t.settings["scale"] for n, t in terms.items() if t.settings.get("scale")}),
    }


def _robot(step: ControlStep) -> dict[str, Any]:
    robot, model = step.world.resource(Robot), step.sensors.model
    joints = list(robot.dof_names)
    around = any(e.name == "aim_around_reference" for e in step.schedule.entries)
    stages = next((e.system.constants["stages"] for e in step.schedule.entries if e.name == "widen_range"), None)
    ranges = None
    if stages:
        ranges = dict(
            zip(("lin_vel_x", "lin_vel_y", "ang_vel_yaw"), ([float(x) for x in s] for s in stages[0][1:]), strict=True)
        )
    command = "motion" if MotionLibrary in step.world.resources else "twist" if _has(step, Command) else ""
    found = {
        "robot": robot.name,
        "joint_names": _csv(joints),
        "joint_stiffness": _csv(robot.stiffness.tolist()),
        "joint_damping": _csv(robot.damping.tolist()),
        "joint_torque_limit": _csv(robot.torque_limit.tolist()),
        "default_joint_pos": _csv(robot.default_position.tolist()),
        "action_scale": _csv(robot.action_scale.tolist()),
        "action_center": "joint_pos of the time step" if around else "default_joint_pos",
        "command_names": command,
        "anchor_body_name": robot.anchor_body,
        "body_names": _csv(robot.tracked_bodies),
        "end_effector_names": _csv(robot.end_effectors),
        "dof_names": json.dumps(joints),
        "kp": json.dumps(robot.stiffness.tolist()),
        "kd": json.dumps(robot.damping.tolist()),
        "command_ranges": json.dumps(ranges),
        "start_pose": json.dumps(
            [[0.0, 0.0, robot.default_height, 1.0, 0.0, 0.0, 0.0, *robot.default_position.tolist()]]
        ),
    }
    if model is not None and model.spec is not None:
        found |= {"physics_dt": repr(model.dt), "mjcf": physics_mjcf(model.model, model.spec)}
    if model is not None and model.file is not None and model.file.suffix == ".urdf":
        found["robot_urdf"] = json.dumps(model.file.read_text(encoding="utf-8"))
    return found


def _motion(step: ControlStep) -> dict[str, Any]:
    """Clips by name, how many control steps each lasts, and where the robot stands at the beginning of each."""
    library = step.world.resource(MotionLibrary)
    clips = torch.arange(len(library.names))
    place, turn, linear, angular, joints, speeds = sample_root_and_dofs(library, clips, torch.zeros(len(clips)))
    steps = [round(float(s) / step.sensors.dt) for s in library.seconds]
    return {
        "motion_clips": json.dumps(list(library.names)),
        "motion_steps": json.dumps(steps),
        "motion_reference": json.dumps([_poses(step, clip, count) for clip, count in enumerate(steps)]),
        "start_pose": json.dumps(torch.cat((place, turn, joints), 1).tolist()),
        "start_velocity": json.dumps(torch.cat((linear, angular, speeds), 1).tolist()),
    }


def _poses(step: ControlStep, clip: int, steps: int) -> str:
    """Root pose and joints of a clip at the beginning and after every control step, (steps + 1, 7 + joints) float32 in base64."""
    library, times = step.world.resource(MotionLibrary), torch.arange(steps + 1) * step.sensors.dt
    place, turn, _, _, joints, _ = sample_root_and_dofs(library, torch.full((steps + 1,), clip), times)
    return base64.b64encode(torch.cat((place, turn, joints), 1).numpy().astype("<f4").tobytes()).decode()


def _has(step: ControlStep, component: type) -> bool:
    return (step.table, component) in step.world.components
