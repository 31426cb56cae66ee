"""Trackers of ProtoMotions follow any clip by the YAML file beside them, as its own deployment feeds them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from engine import SceneError
from scenes.robots import load
from systems.deploy.player import Player
from systems.referee.command import Contender
from systems.referee.foreign import load_foreign
from tests.systems.referee.makers import robot_called

STEPS = [1, 2, 5]
KEYS = {
    "current_dof_pos": "current.dof_pos", "current_anchor_rot": "current.anchor_rot",
    "historical_processed_actions": "historical.processed_actions", "mimic_future_dof_pos": "mimic.future_dof_pos",
    "mimic_future_anchor_rot": "mimic.future_anchor_rot",
}  # fmt: skip


def tracker(folder: Path, *, weight: float = 0.0, frame: int = 0, **more: Any) -> Path:
    """Targets are the joints of one future frame plus `weight` times the last targets; the rest is taken and ignored."""
    robot = robot_called("humanoid")
    joints, count = list(robot.dof_names), len(robot.dof_names)
    shapes = {
        "current_dof_pos": [count], "current_anchor_rot": [4], "historical_processed_actions": [1, count],
        "mimic_future_dof_pos": [len(STEPS), count], "mimic_future_anchor_rot": [len(STEPS), 4],
    }  # fmt: skip
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *shape]) for n, shape in shapes.items()]
    constants = {"frame": np.array(frame, np.int64), "first": np.array(0, np.int64), "w": np.array(weight, np.float32)}
    nodes = [
        helper.make_node("Gather", ["mimic_future_dof_pos", "frame"], ["aim"], axis=1),
        helper.make_node("Gather", ["historical_processed_actions", "first"], ["last"], axis=1),
        helper.make_node("Mul", ["last", "w"], ["part"]),
        helper.make_node("Add", ["aim", "part"], ["joint_pos_targets"]),
        helper.make_node("Identity", ["joint_pos_targets"], ["actions"]),
    ]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", count]) for n in ("actions", "joint_pos_targets")
    ]
    graph = helper.make_graph(
        nodes, "tracker", inputs, outputs, [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        str(folder / "unified_pipeline.onnx"),
    )
    parts = {
        "type": "unified_pipeline", "dt": 0.02, "joint_names": joints, "body_names": ["pelvis", "torso_link"],
        "robot": {"anchor_body_name": "torso_link", "joint_names": joints},
        "control": {"stiffness": robot.stiffness.tolist(), "damping": robot.damping.tolist(), "pd_target_max_accel": None, "action_ema_alpha": 1.0},
        "timing": {"control_dt": 0.02, "physics_dt": 0.005, "decimation": 4},
        "motion": {"future_step_indices": STEPS}, "_runtime": {"onnx_name_to_in_key": KEYS},
    }  # fmt: skip
    for part, values in more.items():
        parts[part] = {**parts[part], **values}
    (folder / "unified_pipeline.yaml").write_text(yaml.dump(parts, default_flow_style=None), encoding="utf-8")
    return folder / "unified_pipeline.onnx"


@pytest.mark.parametrize("frame", [0, 2])
def test_it_sees_the_frames_ahead_that_its_file_lists(tmp_path: Path, frame: int) -> None:
    policy = load_foreign(tracker(tmp_path, frame=frame), None, load, "squat")
    assert policy.table.name == "protomotions_tracker" and policy.clips == ("squat",) and policy.reference is not None
    player = Player(policy.arena.robot, [policy])
    for _ in range(4):
        player.step()
    poses = policy.reference.poses[:, 7:]
    wanted = [poses[k + STEPS[frame]] for k in range(4)]
    np.testing.assert_allclose(player.targets, wanted, atol=1e-6)
    np.testing.assert_allclose(policy.numbers["joint_stiffness"], policy.arena.stiffness)


def test_the_last_targets_are_those_that_were_sent_and_0_at_first(tmp_path: Path) -> None:
    policy = load_foreign(tracker(tmp_path, weight=0.5), None, load, "squat")
    player = Player(policy.arena.robot, [policy])
    for _ in range(3):
        player.step()
    assert policy.reference is not None
    aims, last = policy.reference.poses[:, 7:], 0.0
    for k, sent in enumerate(player.targets):
        last = aims[k + 1] + 0.5 * last
        np.testing.assert_allclose(sent, last, atol=1e-5)


def test_targets_are_bounded_in_their_second_difference_and_then_filtered(tmp_path: Path) -> None:
    """Written out from ProtoMotions' deployment: clamp of the acceleration, then a moving average."""
    most, share = 0.001, 0.8
    file = tracker(tmp_path, frame=2, control={"pd_target_max_accel": most, "action_ema_alpha": share})
    policy = load_foreign(file, None, load, "squat")
    player = Player(policy.arena.robot, [policy])
    for _ in range(20):
        player.step()
    assert policy.reference is not None
    clamped: list[np.ndarray] = []
    sent: list[np.ndarray] = []
    for k in range(20):
        asked = policy.reference.poses[k + STEPS[2], 7:]
        if len(clamped) > 1:
            change = clamped[-1] - clamped[-2]
            asked = clamped[-1] + change + np.clip(asked - clamped[-1] - change, -most, most)
        clamped.append(asked)
        sent.append(share * asked + (1.0 - share) * sent[-1] if sent else asked)
    np.testing.assert_allclose(player.targets, sent, atol=1e-5)


def test_it_is_judged_beside_the_clip_that_was_named(tmp_path: Path) -> None:
    contender = Contender.load(tracker(tmp_path), None, load, "squat").choose("squat")
    assert contender.kind == "tracker" and contender.reference is not None and len(contender.reference.poses) > 200


def test_what_it_lacks_is_one_sentence(tmp_path: Path) -> None:
    file = tracker(tmp_path)
    with pytest.raises(SceneError, match=r"follows any clip, and none was named\. Give one: --clip"):
        load_foreign(file, None, load)
    for part, values, words in (
        ("timing", {"control_dt": 0.0}, "control_dt=0 s, which is no time step"),
        ("robot", {"joint_names": ["hinge"]}, "is a policy of another robot"),
        ("motion", {"future_step_indices": [1, 2]}, "takes 57 numbers as mimic_future_dof_pos, but"),
        ("_runtime", {"onnx_name_to_in_key": {**KEYS, "current_dof_pos": "current.height"}}, "sees 'current.height'"),
        (
            "_runtime",
            {"onnx_name_to_in_key": {**KEYS, "current_dof_pos": "mimic.future_rot"}},
            "mimic|takes 19 numbers",
        ),
    ):
        with pytest.raises(SceneError, match=words):
            load_foreign(tracker(tmp_path, **{part: values}), None, load, "squat")
    tracker(tmp_path)
    beside = tmp_path / "unified_pipeline.yaml"
    for text, words in (("a: [", "unified_pipeline.yaml cannot be read"), ("- 1", "holds no table of what")):
        beside.write_text(text, encoding="utf-8")
        with pytest.raises(SceneError, match=words) as refused:
            load_foreign(file, None, load, "squat")
        assert "\n" not in str(refused.value)
    beside.unlink()
    with pytest.raises(SceneError, match="no table that comes along fits"):
        load_foreign(file, None, load, "squat")
