"""Policies of other projects as tests make them: an action that is a matrix times what is seen."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.robot import Robot
from scenes.robots import load
from systems.robots.model import build_robot

TABLE = """about = "a walker"
kind = "walker"
robots = ["humanoid"]
control_dt = 0.02
physics_dt = 0.005
action = "action"
"""


def linear_policy(
    path: Path,
    weights: np.ndarray,
    *,
    takes: str = "obs",
    gives: str = "action",
    bias: np.ndarray | None = None,
    motion: dict[str, np.ndarray] | None = None,
    about: dict[str, Any] | None = None,
) -> Path:
    """A file that gives `takes` (1, N) times `weights` (N, joints) plus `bias`; frames (T, …) of a `motion` by output, too."""
    seen, joints = weights.shape
    constants = {"W": weights, "b": np.zeros(joints) if bias is None else bias}
    nodes = [
        helper.make_node("MatMul", [takes, "W"], ["product"]),
        helper.make_node("Add", ["product", "b"], [gives]),
    ]
    inputs = [helper.make_tensor_value_info(takes, TensorProto.FLOAT, [1, seen])]
    outputs = [helper.make_tensor_value_info(gives, TensorProto.FLOAT, [1, joints])]
    if motion:
        last = np.array(len(next(iter(motion.values()))) - 1, np.int64)
        constants |= {"last": last, "zero": np.array(0, np.int64)}
        inputs.append(helper.make_tensor_value_info("time_step", TensorProto.FLOAT, [1, 1]))
        nodes += [
            helper.make_node("Cast", ["time_step"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Squeeze", ["whole"], ["step"]),
            helper.make_node("Min", ["step", "last"], ["below"]),
            helper.make_node("Max", ["below", "zero"], ["frame"]),
            helper.make_node("Unsqueeze", ["frame", "zero_axis"], ["frames"]),
        ]
        constants["zero_axis"] = np.array([0], np.int64)
        for name, frames in motion.items():
            constants[f"motion_{name}"] = frames
            nodes.append(helper.make_node("Gather", [f"motion_{name}", "frames"], [name], axis=0))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *frames.shape[1:]]))
    stored = [
        numpy_helper.from_array(each if each.dtype == np.int64 else each.astype(np.float32), name)
        for name, each in constants.items()
    ]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, stored)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (about or {}).items()}
    helper.set_model_props(proto, metadata)
    onnx.save(proto, str(path))
    return path


def table_file(path: Path, terms: Sequence[Any], more: str = "", takes: str = "obs") -> Path:
    """A walker's table for the built-in humanoid."""
    path.write_text(f"{TABLE}{more}\n[inputs]\n{takes} = {json.dumps(list(terms))}\n", encoding="utf-8")
    return path


def robot_called(name: str) -> Robot:
    """A robot by name."""
    return build_robot(load(name)).robot


def holosoma_about(robot: Robot) -> dict[str, Any]:
    """Metadata as holosoma writes it."""
    return {
        "dof_names": list(robot.dof_names),
        "kp": robot.stiffness.tolist(),
        "kd": robot.damping.tolist(),
        "command_ranges": {"lin_vel_x": [-1.0, 1.0], "lin_vel_y": [-1.0, 1.0], "ang_vel_yaw": [-1.0, 1.0]},
    }
