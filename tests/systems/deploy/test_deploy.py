"""Exported policies do what the tick does, say what deployers read, and play without torch."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import attrs
import mujoco
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from components.command import Command
from components.control import DofTarget
from components.episode import Episode
from components.learning import Policy
from components.motion import MotionCursor, MotionReference
from components.observation import Observation
from components.robot import BaseFrame, DofState, Robot, RootState
from engine import Bundle, Experiment, SceneError, Simulation, build, load_experiment, term
from engine.runner.run import main as run
from engine.runner.trial import playing
from scenes.cartpole import experiment as cartpole
from scenes.motion_tracking import CONFIGS as TRACKING
from scenes.motion_tracking import experiment as tracking
from scenes.tasks.locomotion import OBSERVATIONS
from scenes.velocity import CONFIGS as WALKING
from scenes.velocity import experiment as walking
from systems import observations as seen
from systems.deploy.command import PUSH, STEP, main, press
from systems.deploy.control_step import ControlStep
from systems.deploy.export import write_onnx
from systems.deploy.player import Event, Player, read_script
from systems.deploy.policy import OnnxPolicy
from systems.deploy.robot import MujocoRobot, RecordedRobot
from systems.deploy.signals import SIGNALS
from systems.deploy.window import PlayWindow
from tests.docs.pages import DOCS, fences
from tests.helpers import REPOSITORY, data_path, needs_g1

LONG, SHORT = 500, 40
SMALL: dict[str, Any] = {
    "robot": "humanoid", "num_envs": 1, "hidden": (16,), "physics_threads": 1, "randomise_played": "none",
}  # fmt: skip


def tracker(config: str = "laptop", **numbers: Any) -> Experiment:
    return tracking(TRACKING[config].replace(**{**SMALL, **numbers}))


def walker(**numbers: Any) -> Experiment:
    return walking(WALKING["laptop"].replace(**{**SMALL, **numbers}))


def played(experiment: Experiment) -> Simulation:
    """One row of the scene that plays, with a policy of random numbers."""
    assert experiment.evaluate is not None
    scene = experiment.evaluate.scene(rows=1, watch=lambda: Bundle("watching"))  # type: ignore[call-arg]
    clocked = any(bundle.name == "gait_clock" for bundle in scene.bundles)
    simulation = build(scene, overrides={"gait_clock.start_gait.spread": "0"} if clocked else {})  # as a file's begins
    policy, generator = simulation.world.resource(Policy), torch.Generator().manual_seed(0)
    policy.parameters.data.normal_(0.0, 0.05, generator=generator)
    if hasattr(policy.actor.normaliser, "mean"):
        policy.actor.normaliser.mean.normal_(0.0, 0.1, generator=generator)
        policy.actor.normaliser.variance.uniform_(0.5, 2.0, generator=generator)
    simulation.run(1)
    return simulation


def signals(simulation: Simulation) -> dict[str, torch.Tensor]:
    """What the robot of the first row tells, and in which control step of its episode it is."""

    def of(cls: type) -> Any:
        return simulation.world.components.get(("robot", cls))

    base, root, dofs, cursor, command = map(of, (BaseFrame, RootState, DofState, MotionCursor, Command))
    values = {
        "base_angular_velocity": base.angular_velocity,
        "base_linear_velocity": base.linear_velocity,
        "base_orientation": root.rotation,
        "base_position": root.position,
        "joint_position": dofs.position,
        "joint_velocity": dofs.velocity,
    }
    values["time_step"] = of(Episode).step.float().unsqueeze(-1)
    if cursor is not None:
        values["time_step"] = ((cursor.time - cursor.start) / 0.02).round().sub(1.0).unsqueeze(-1)
    if command is not None:
        values["command"] = command.velocity
    return {name: value[:1].clone() for name, value in values.items()}


def greatest_difference(simulation: Simulation, file: Path, steps: int) -> float:
    """Of joint targets, between the tick and the file, over control steps of a run."""
    session = onnxruntime.InferenceSession(str(file))
    shapes = {each.name: each.shape for each in session.get_inputs()}
    remembered = json.loads(session.get_modelmeta().custom_metadata_map["states"])
    states: dict[str, np.ndarray] = {}
    apart, began, world = 0.0, 0, simulation.world
    for _ in range(steps):
        values = signals(simulation)
        if int(world.components["robot", Episode].step[0]) == 0:
            states, began = {name: np.zeros(shapes[name], np.float32) for name in remembered}, began + 1
        simulation.run(1)
        fed = {name: value.numpy() for name, value in values.items() if name in shapes} | states
        target, *rest = session.run(None, fed)
        states = dict(zip(remembered, rest, strict=True))
        apart = max(apart, float(np.abs(target - world.components["robot", DofTarget].position[:1].numpy()).max()))
    assert began > 0
    return apart


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with walk.onnx, track.onnx, and network.onnx and json.onnx of the tracker's actor alone."""
    folder = tmp_path_factory.mktemp("policies")
    write_onnx(played(walker()), folder / "walk.onnx", "signals", {"command": "made"})
    tracked = played(tracker())
    write_onnx(tracked, folder / "track.onnx", "signals", {"command": "made"})
    write_onnx(tracked, folder / "network.onnx", "observation", {"command": "made"})
    write_onnx(tracked, folder / "json.onnx", "observation_json", {"command": "made"})
    return folder


def meta(file: Path) -> dict[str, str]:
    return dict(onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map)


def changed(file: Path, to: Path, **properties: str | None) -> Path:
    """A copy with other metadata; None leaves a key out."""
    proto = onnx.load(str(file))
    known = {p.key: p.value for p in proto.metadata_props} | properties
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {k: v for k, v in known.items() if v is not None})
    onnx.save(proto, str(to))
    return to


def with_targets(file: Path, to: Path, added: float, more: int = 0) -> Path:
    """A copy whose joint targets have a number added, and `more` targets after them."""
    proto, helper = onnx.load(str(file)), onnx.helper
    out = proto.graph.output[0]
    shape = out.type.tensor_type.shape.dim[1]
    for node in proto.graph.node:
        node.output[:] = ["before" if name == out.name else name for name in node.output]
    for name, value in (("added", np.full((1, shape.dim_value), added)), ("extra", np.zeros((1, more)))):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    proto.graph.node.extend(
        [
            helper.make_node("Add", ["before", "added"], ["sum"]),
            helper.make_node("Concat", ["sum", "extra"], [out.name], axis=1),
        ]
    )
    shape.dim_value += more
    onnx.save(proto, str(to))
    return to


# -- the same as the tick ------------------------------------------------------------------------------


STEPS = [SHORT, pytest.param(LONG, marks=pytest.mark.slow)]


@pytest.mark.parametrize("steps", STEPS)
def test_the_file_of_a_tracker_gives_the_joint_targets_of_the_tick(files: Path, steps: int) -> None:
    assert greatest_difference(played(tracker()), files / "track.onnx", steps) < 1e-5


@pytest.mark.parametrize("steps", STEPS)
def test_the_file_of_a_walker_gives_the_joint_targets_of_the_tick(files: Path, steps: int) -> None:
    assert greatest_difference(played(walker()), files / "walk.onnx", steps) < 1e-5


@needs_g1
@pytest.mark.slow
def test_the_policy_that_ships_gives_the_tick_s_joint_targets_for_500_steps_and_stands_at_the_end_of_its_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    shipped, file = REPOSITORY / "scenes/policies/motion_tracking.lockstep", tmp_path / "squat.onnx"
    words = ["scenes/motion_tracking.py", "--export", str(shipped), "--out", str(file), "--randomise-played", "none"]
    assert run([*words, "--physics-threads", "1"]) == 0
    experiment = load_experiment("scenes/motion_tracking.py", randomise_played="none", physics_threads=1)
    assert experiment.film is not None
    simulation = playing(experiment.film, shipped.read_bytes(), training=experiment.train())
    simulation.run(1)
    assert greatest_difference(simulation, file, LONG) < 1e-5
    assert main([str(file), "--no-film"]) == 0
    assert re.search(r"played  4\.80 s\n +robot   stands, 0\.[67]\d m high", capsys.readouterr().out)


ROBOTS = [(tracking, TRACKING, name) for name in TRACKING] + [(walking, WALKING, name) for name in WALKING]


@needs_g1
@pytest.mark.slow
@pytest.mark.parametrize(("make", "configs", "name"), ROBOTS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_configuration_is_exported_or_names_the_term_that_cannot_be(
    make: Any, configs: Any, name: str, tmp_path: Path
) -> None:
    go1 = WALKING["go1_laptop"] is configs[name]
    config = configs[name].replace(num_envs=1, physics_threads=1, **({"robot": "g1"} if go1 else {}))
    simulation = played(make(config))
    if "rough" in name:
        with pytest.raises(
            SceneError, match="Observation `height_scan` cannot leave the scene 'velocity': it reads Ground"
        ):
            write_onnx(simulation, tmp_path / "policy.onnx", "signals", {})
        return
    write_onnx(simulation, tmp_path / "policy.onnx", "signals", {})
    assert OnnxPolicy.load(tmp_path / "policy.onnx").joints == simulation.world.resource(Robot).dof_names


def test_histories_are_remembered_outside_and_give_the_joint_targets_of_the_tick(tmp_path: Path) -> None:
    simulation = played(tracker("humanoidverse_tracking_laptop"))
    write_onnx(simulation, tmp_path / "hv.onnx", "signals", {})
    metadata = meta(tmp_path / "hv.onnx")
    assert json.loads(metadata["states"]) == ["action_value", "history_actor"]
    assert json.loads(metadata["observation_history"])["dof_pos"] == 4
    assert greatest_difference(simulation, tmp_path / "hv.onnx", 12) < 1e-5


def test_without_state_estimation_neither_place_nor_speed_of_the_base_is_taken(files: Path) -> None:
    simulation = played(tracker(observations="mjlab_tracking_no_state_estimation"))
    taken = {port.name for port in ControlStep(simulation).inputs}
    estimated = {"base_position", "base_linear_velocity"}
    assert not taken & estimated and {"base_orientation", "base_angular_velocity", "time_step"} <= taken
    assert estimated <= set(json.loads(meta(files / "track.onnx")["inputs"]))


def test_the_file_of_the_actor_alone_gives_its_actions_and_the_reference_of_the_time_step(files: Path) -> None:
    simulation = played(tracker())
    world, session = simulation.world, onnxruntime.InferenceSession(str(files / "network.onnx"))
    simulation.run(7)
    cursor = world.components["robot", MotionCursor]
    step = ((cursor.time - cursor.start) / 0.02).round().sub(1.0).unsqueeze(-1)
    observation, reference = world.components["robot", Observation].actor, world.components["robot", MotionReference]
    names = [each.name for each in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"obs": observation.numpy(), "time_step": step.numpy()}), strict=True))
    with torch.no_grad():
        actions = world.resource(Policy).actor(observation)
    np.testing.assert_allclose(found["actions"], actions, atol=1e-5)
    np.testing.assert_allclose(found["joint_pos"], reference.dof_position, atol=1e-6)
    np.testing.assert_allclose(found["body_quat_w"], reference.body_rotation, atol=1e-6)


def test_a_scene_without_a_robot_is_exported_with_what_its_physics_moves(tmp_path: Path) -> None:
    made = cartpole(num_envs=1, hidden=(8,))
    assert made.film is not None
    assert "play it" not in write_onnx(build(made.film.scene()), tmp_path / "cart.onnx", "signals", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "cart.onnx"))
    assert [each.name for each in session.get_inputs()] == ["cart_position", "cart_speed", "cart_angle", "cart_spin"]
    with pytest.raises(SceneError, match="gives 'action' in the scene 'cartpole'"):
        OnnxPolicy.load(tmp_path / "cart.onnx")


def test_a_term_that_no_sensor_tells_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBSERVATIONS, "feet", lambda model, **numbers: {"soles": term(seen.feet_touching)})  # type: ignore[misc]
    simulation = played(walking(WALKING["laptop"].replace(**SMALL, observations="mjlab_velocity,feet")))
    with pytest.raises(SceneError) as refused:
        ControlStep(simulation)
    assert str(refused.value).startswith(
        "Observation `soles` cannot leave the scene 'velocity': it reads Contact, which `derive_contacts` (SENSE) makes of"
    )


# -- what deployers read -------------------------------------------------------------------------------


def read_as_mjlab_s_controllers(file: Path) -> dict[str, Any]:
    """Lists with commas, numbers where they are numbers; the keys that controllers of mjlab's and BeyondMimic's files ask for.

    After mjlab's attach_onnx_metadata, which writes ",".join, and the readers that split it again; what is missing is an error.
    """
    metadata = meta(file)
    names = {
        key: metadata[key].split(",") for key in ("joint_names", "body_names", "observation_names", "command_names")
    }
    per_joint = ("joint_stiffness", "joint_damping", "default_joint_pos", "action_scale")
    found = {key: [float(each) for each in metadata[key].split(",")] for key in per_joint}
    assert all(len(found[key]) == len(names["joint_names"]) for key in per_joint)
    return {**names, **found, "anchor_body_name": metadata["anchor_body_name"], "run_path": metadata["run_path"]}


def read_as_holosoma(file: Path) -> dict[str, Any]:
    """Every value is JSON, or loading fails; `kp` and `kd` are the gains, in the order of `dof_names`.

    After BasePolicy.setup_policy of holosoma_inference, which calls json.loads on each entry of metadata_props.
    """
    found = {entry.key: json.loads(entry.value) for entry in onnx.load(str(file)).metadata_props}
    assert len(found["dof_names"]) == np.array(found["kp"]).size == np.array(found["kd"]).size
    return found


def test_mjlab_s_controllers_read_lists_with_commas(files: Path) -> None:
    metadata, robot = read_as_mjlab_s_controllers(files / "network.onnx"), played(tracker()).world.resource(Robot)
    assert metadata["joint_names"] == list(robot.dof_names) and metadata["body_names"] == list(robot.tracked_bodies)
    assert metadata["joint_stiffness"] == pytest.approx(robot.stiffness.tolist())
    assert metadata["joint_damping"] == pytest.approx(robot.damping.tolist())
    assert metadata["default_joint_pos"] == pytest.approx(robot.default_position.tolist())
    assert metadata["action_scale"] == pytest.approx(robot.action_scale.tolist())
    assert metadata["anchor_body_name"] in metadata["body_names"] and metadata["run_path"] == "made"
    assert metadata["command_names"] == ["motion"] and metadata["observation_names"][0] == "command"
    assert read_as_mjlab_s_controllers(files / "walk.onnx")["command_names"] == ["twist"]
    widths = [float(each) for each in meta(files / "network.onnx")["observation_widths"].split(",")]
    assert len(widths) == len(metadata["observation_names"])
    assert sum(widths) == len(played(tracker()).world.tables["robot"].axes["actor_observation"])


def test_holosoma_reads_json(files: Path) -> None:
    metadata, robot = meta(files / "walk.onnx"), played(walker()).world.resource(Robot)
    assert json.loads(metadata["dof_names"]) == list(robot.dof_names)
    assert (
        json.loads(metadata["kp"]) == robot.stiffness.tolist() and json.loads(metadata["kd"]) == robot.damping.tolist()
    )
    assert json.loads(metadata["command_ranges"])["lin_vel_x"] == [-1.0, 1.0]
    assert json.loads(meta(files / "track.onnx")["command_ranges"]) is None


def test_holosoma_s_loader_reads_a_file_whose_metadata_is_json_throughout(files: Path) -> None:
    metadata, lists = read_as_holosoma(files / "json.onnx"), read_as_mjlab_s_controllers(files / "network.onnx")
    assert metadata["dof_names"] == metadata["joint_names"] == lists["joint_names"] and metadata["kp"] == pytest.approx(
        metadata["joint_stiffness"]
    )
    assert (
        metadata["command_ranges"] is None
        and metadata["control_dt"] == 0.02
        and metadata["anchor_body_name"] == lists["anchor_body_name"]
    )
    assert set(metadata) == set(meta(files / "network.onnx"))
    with pytest.raises(json.JSONDecodeError):
        read_as_holosoma(files / "network.onnx")  # the two ways exclude each other


def test_the_rules_of_holosoma_are_those_by_which_its_own_files_are_read() -> None:
    metadata = read_as_holosoma(data_path("policies", "holosoma", "loco_ppo_g1_29dof.onnx"))
    assert len(metadata["dof_names"]) == 29 and metadata["command_ranges"]["lin_vel_x"] == [-1.0, 1.0]


def test_rates_conventions_and_the_clip_are_said(files: Path) -> None:
    metadata = meta(files / "track.onnx")
    assert float(metadata["control_dt"]) == 0.02 and float(metadata["physics_dt"]) == pytest.approx(0.02 / 3)
    assert metadata["quaternion"].startswith("scalar first (w, x, y, z)")
    assert json.loads(metadata["motion_clips"]) == ["squat"] and json.loads(metadata["motion_steps"]) == [240]
    assert metadata["action_center"] == "joint_pos of the time step"


# -- playing -------------------------------------------------------------------------------------------


def player(*paths: Path) -> Player:
    policies = [OnnxPolicy.load(path) for path in paths]
    first = policies[0]
    return Player(MujocoRobot(first.about["mjcf"], first.dt, first.numbers["joint_torque_limit"]), policies)


def test_the_robot_of_a_file_is_the_simulator_s(files: Path) -> None:
    """Both are given the same targets; the file rounds numbers to six digits."""
    simulation = played(tracker())
    robot = player(files / "track.onnx").robot
    assert isinstance(robot, MujocoRobot)
    world = simulation.world
    for _ in range(10):
        simulation.run(1)
        robot.send(world.components["robot", DofTarget].position[0].numpy().astype(float))
    reading = robot.read()
    np.testing.assert_allclose(reading.joint_position, world.components["robot", DofState].position[0], atol=2e-3)
    np.testing.assert_allclose(
        reading.base_angular_velocity, world.components["robot", BaseFrame].angular_velocity[0], atol=5e-2
    )


def test_a_clip_is_placed_where_the_robot_stands_and_faces(files: Path) -> None:
    """A robot that is elsewhere and turned gets the same targets as one where the clip begins."""
    play = player(files / "track.onnx")
    assert isinstance(play.robot, MujocoRobot)
    pose, speed = play.policy.start
    first = play.policy.target(play.robot.read(), np.zeros(3))
    half = 0.6
    turned = np.array((np.cos(half), 0.0, 0.0, np.sin(half)))
    w, x, y, z = pose[3:7]
    c, s = turned[0], turned[3]
    moved = pose.copy()
    moved[:2] += (3.0, -2.0)
    moved[3:7] = (c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w)
    play.robot.reset(moved, np.zeros_like(speed))
    still = play.robot.read()
    play.policy.begin(still)
    again = play.policy.target(still, np.zeros(3))
    play.robot.reset(pose, np.zeros_like(speed))
    play.policy.begin(play.robot.read())
    np.testing.assert_allclose(again, play.policy.target(play.robot.read(), np.zeros(3)), atol=1e-4)
    assert np.isfinite(first).all()


def test_a_velocity_sensor_away_from_the_base_s_origin_also_feels_how_the_base_turns(
    files: Path, tmp_path: Path
) -> None:
    """v + ω × r, against a sensor in the origin that is known to be there."""
    place, spin, shift = np.array((0.1, 0.2, -0.3)), np.array((1.0, -2.0, 0.5)), np.array((0.3, 0.0, -0.1))
    far = OnnxPolicy.load(changed(files / "walk.onnx", tmp_path / "far.onnx", velocity_sensor_position="0.1,0.2,-0.3"))
    near, still = OnnxPolicy.load(files / "walk.onnx"), player(files / "walk.onnx").robot.read()
    reading = attrs.evolve(still, base_angular_velocity=spin, base_linear_velocity=shift)
    there = attrs.evolve(reading, base_linear_velocity=shift + np.cross(spin, place))
    for policy in (far, near):
        policy.begin(still)
    found, wanted = far.target(reading, np.zeros(3)), near.target(there, np.zeros(3))
    near.begin(still)
    other = near.target(reading, np.zeros(3))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert not np.allclose(found, other, atol=1e-4)


def test_policies_change_over_with_a_blend_and_a_script_acts_in_time(files: Path, tmp_path: Path) -> None:
    (tmp_path / "script").write_text("0.06 policy 2  # walk\n0 push 0.5 0\n0.1 command 0.5 0 0\n")
    events = read_script(tmp_path / "script")
    assert [event.time for event in events] == [0.0, 0.06, 0.1]
    play = player(files / "track.onnx", files / "walk.onnx")
    before = play.robot.read().base_linear_velocity
    play.take(events[0])
    assert play.robot.read().base_linear_velocity - before == pytest.approx([0.5, 0.0, 0.0])
    play.step()
    reading = play.robot.read()
    play.take(events[1])
    play.step()
    kept = play.targets[-1]  # the first target after a change over is the old policy's
    other = OnnxPolicy.load(files / "track.onnx")
    other.begin(player(files / "track.onnx").robot.read())
    other.target(play.readings[0], np.zeros(3))
    np.testing.assert_allclose(kept, other.target(reading, np.zeros(3)), atol=1e-5)
    play.take(events[2])
    assert play.command.tolist() == [0.5, 0.0, 0.0]
    for _ in range(20):
        play.step()
    assert play.current == 1 and isinstance(play.robot, MujocoRobot)
    assert play.robot.model.actuator_gainprm[0, 0] == pytest.approx(play.policy.numbers["joint_stiffness"][0])


def test_keys_of_the_window_steer_push_and_change_over(files: Path) -> None:
    play = player(files / "walk.onnx", files / "track.onnx")
    for key in "WAQQ":
        press(play, ord(key))
    assert play.command.tolist() == pytest.approx([STEP, STEP, 2 * STEP])
    for _ in range(50):
        press(play, ord("S"))
    assert (
        play.policy.ranges is not None and play.command[0] == play.policy.ranges[0][0]
    )  # as slow as it was trained for
    press(play, ord(" "))
    assert play.command.tolist() == [0.0, 0.0, 0.0]
    before = play.robot.read().base_linear_velocity
    press(play, ord("P"))
    assert play.robot.read().base_linear_velocity - before == pytest.approx([0.0, PUSH, 0.0])
    for key in (ord("3"), ord("X"), -1, 1 << 21):  # no such policy, and nothing that a key stands for
        press(play, key)
    assert play.current == 0
    press(play, ord("2"))
    assert play.current == 1
    press(play, 259)  # backspace
    assert play.robot.read().base_position.tolist() == pytest.approx(play.policy.start[0][:3].tolist())


def test_the_next_clip_is_a_key_and_an_action_and_a_log_knows_which_clip_was_played(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two, log, events = tmp_path / "two.onnx", tmp_path / "log.npz", tmp_path / "events"
    write_onnx(played(tracker(clip="squat,wave")), two, "signals", {"command": "made"})
    play = player(two)
    for expected in ("wave", "squat"):
        play.step()
        press(play, ord("N"))
        assert play.policy.clips[play.policy.clip] == expected and play.policy.steps == 0
        assert play.robot.read().joint_position == pytest.approx(play.policy.start[0][7:].tolist())
    single = player(files / "track.onnx")
    single.step()
    press(single, ord("N"))
    assert single.policy.steps == 1  # there is no other
    events.write_text("0.1 clip\n")
    assert main([str(two), "--script", str(events), "--no-film", "--seconds", "0.3", "--record", str(log)]) == 0
    assert RecordedRobot.load(log).clips.tolist() == ["squat"] * 5 + ["wave"] * 10
    capsys.readouterr()
    assert main([str(two), "--log", str(log)]) == 0
    printed = re.search(r"at most (\S+) rad", capsys.readouterr().out)
    assert printed is not None and float(printed[1]) < 1e-6
    for file, known in ((files / "walk.onnx", "none"), (files / "track.onnx", "squat")):
        with pytest.raises(SceneError, match=f"has no next clip to play at 0.1 s; it was trained on {known}"):
            main([str(file), "--script", str(events), "--no-film"])


def test_the_window_shows_where_the_robot_is_and_puts_its_looks_back(files: Path) -> None:
    """With a stand-in for MuJoCo's window, whose own keys change looks."""
    play = player(files / "walk.onnx")
    window = PlayWindow(play.policy.about["mjcf"])
    shown = MagicMock()
    shown.opt, shown.user_scn.flags = mujoco.MjvOption(), mujoco.MjvScene().flags
    shown.user_scn.flags[mujoco.mjtRndFlag.mjRND_WIREFRAME] = 1  # key w
    shown.opt.flags[mujoco.mjtVisFlag.mjVIS_STATIC] = 0  # key d
    window._window = shown
    assert isinstance(play.robot, MujocoRobot)
    play.step()
    window.show(play.robot)
    np.testing.assert_array_equal(window.data.qpos, play.robot.data.qpos)
    np.testing.assert_allclose(window.data.xpos[1], play.robot.data.qpos[:3], atol=1e-9)
    assert not shown.user_scn.flags[mujoco.mjtRndFlag.mjRND_WIREFRAME]
    assert shown.opt.flags[mujoco.mjtVisFlag.mjVIS_STATIC]
    assert shown.sync.called


@pytest.fixture
def log(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert (
        main(
            [
                str(files / "walk.onnx"),
                "--no-film",
                "--seconds",
                "0.2",
                "--command",
                "0.5",
                "0",
                "0",
                "--record",
                str(tmp_path / "a/log.npz"),
            ]
        )
        == 0
    )
    assert "played  0.20 s" in capsys.readouterr().out
    return tmp_path / "a/log.npz"


def test_a_log_is_a_robot_that_tells_what_it_told(log: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    robot = RecordedRobot.load(log)
    play = Player(robot, [OnnxPolicy.load(files / "walk.onnx")])
    play.take(Event(0.0, "command", (0.5, 0.0, 0.0)))
    while play.step():
        pass
    np.testing.assert_allclose(robot.sent, robot.targets, atol=1e-6)


def test_a_policy_played_on_its_own_log_sends_the_same_through_commands_resets_and_changes_over(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk, log = str(files / "walk.onnx"), str(tmp_path / "log.npz")
    (tmp_path / "events").write_text("0.04 command 0.5 0 0\n0.1 command 0 0 0.5\n0.16 reset\n0.2 policy 2\n")
    script = ["--script", str(tmp_path / "events"), "--blend", "0"]
    assert main([walk, walk, *script, "--no-film", "--seconds", "0.3", "--record", log]) == 0
    capsys.readouterr()
    assert main([walk, "--log", log]) == 0
    printed = re.search(r"at most (\S+) rad .*, over (\d+) control steps", capsys.readouterr().out)
    assert printed is not None and float(printed[1]) < 1e-6 and printed[2] == "15"


def test_torch_is_not_needed_to_play_and_to_film(files: Path, tmp_path: Path) -> None:
    code = "import sys; from systems.deploy.command import main; s = main(sys.argv[1:]); sys.exit(s or 'torch' in sys.modules)"
    film = tmp_path / "film.mp4"
    words = [str(files / "walk.onnx"), "--seconds", "0.1", "--film", str(film)]
    subprocess.run([sys.executable, "-c", code, *words], check=True, cwd=REPOSITORY)
    assert film.stat().st_size > 1000


def test_the_page_s_robot_is_played(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    (files / "policy.onnx").write_bytes((files / "walk.onnx").read_bytes())
    names: dict[str, Any] = {"np": np, "OnnxPolicy": OnnxPolicy, "Player": Player, "Path": Path}
    for fence in fences("export.md", "python"):
        fence.run(names)
    assert len(names["player"].targets) == 1
    (script,) = fences("export.md", title="events.txt")
    (files / "events.txt").write_text(script.text)
    assert [event.action for event in read_script(files / "events.txt")] == [
        "command",
        "push",
        "policy",
        "clip",
        "reset",
    ]


def test_the_page_names_every_signal_and_every_key_of_the_metadata_that_it_promises(files: Path) -> None:
    page, written = (DOCS / "export.md").read_text(encoding="utf-8"), meta(files / "track.onnx")
    assert not [name for name in SIGNALS if f"`{name}`" not in page]
    promised = page.split("## What the metadata says")[1].split("##")[0].replace("`robot_urdf`", "")
    assert not [key for key in re.findall(r"`(\w+)`", promised) if key not in written]


# -- what cannot be played -----------------------------------------------------------------------------


def sentences(files: Path, folder: Path) -> Iterator[tuple[list[Any], str]]:
    walk, track = files / "walk.onnx", files / "track.onnx"
    joints = meta(walk)["joint_names"].split(",")
    cut, plain = folder / "cut.onnx", folder / "plain.onnx"
    cut.write_bytes(walk.read_bytes()[:5000])
    plain.write_text("no graph")
    yield [folder / "no.onnx"], f"There is no policy at {folder / 'no.onnx'}."
    yield [cut], f"{cut} is cut, or no ONNX file"
    yield [plain], f"{plain} is cut, or no ONNX file"
    yield [changed(walk, folder / "bare.onnx", **dict.fromkeys(meta(walk)))], "bare.onnx is a policy of another program"
    yield [files / "network.onnx"], "takes an observation, and a robot tells signals."
    yield [changed(walk, folder / "gains.onnx", joint_damping=None)], "does not say 'joint_damping' in its metadata."
    yield (
        [changed(walk, folder / "few.onnx", joint_damping="1,2")],
        f"has {len(joints)} joints, but 2 numbers as joint_damping",
    )
    yield [changed(walk, folder / "words.onnx", joint_damping="a,b")], "says joint_damping='a,b', which are not numbers"
    other = changed(walk, folder / "other.onnx", joint_names=",".join(["tail", *joints[1:]]))
    yield [track, other], f"other.onnx is a policy of another robot: it moves {len(joints)} joints"
    fewer = {
        key: ",".join(meta(walk)[key].split(",")[1:])
        for key in ("joint_stiffness", "joint_damping", "joint_torque_limit", "default_joint_pos")
    }
    missing = changed(walk, folder / "missing.onnx", joint_names=",".join(joints[1:]), **fewer)
    poses = {key: json.dumps([json.loads(meta(walk)[key])[0][:-1]]) for key in ("start_pose",)}
    missing = changed(missing, folder / "missing.onnx", **poses)
    yield [missing], f"takes {len(joints)} numbers as joint_position, but {len(joints) - 1} are given"
    first = meta(walk)["joint_stiffness"].split(",")[1:]
    for number, (key, value, sentence) in enumerate(
        (
            ("joint_stiffness", ",".join(["nan", *first]), "says a joint_stiffness that is not finite."),
            (
                "joint_stiffness",
                ",".join(["-40", *first]),
                "says a joint_stiffness of -40, where nothing below 0 belongs.",
            ),
            ("joint_names", ",".join([joints[1], *joints[1:]]), f"names {joints[1]} twice in joint_names."),
            ("joint_names", "", "names no joint in joint_names."),
            ("control_dt", None, "does not say 'control_dt' in its metadata."),
            ("control_dt", "0", "says control_dt=0 s, which is no time step."),
            ("control_dt", "nan", "says a control_dt that is not finite."),
            ("control_dt", "1e9", "says control_dt=1e+09 s, which is no time step."),
            ("motion_clips", "[", "says motion_clips='[', which is no JSON."),
            ("motion_clips", "[1]", "says motion_clips='[1]', which are no names."),
            ("motion_steps", "[-3]", "says a motion_steps of -3, where nothing below 1 belongs."),
            ("motion_steps", "[]", "says 0 numbers as motion_steps, where 1 belong."),
            ("start_pose", None, "does not say 'start_pose' in its metadata."),
            ("start_pose", "[[1,2]]", f"says 1 × 2 numbers as start_pose, where 1 × {7 + len(joints)} belong."),
            ("start_velocity", "[[NaN]]", "says a start_velocity that is not finite."),
            ("velocity_sensor_position", "1,2", "says 2 numbers as velocity_sensor_position, where 3 belong."),
            ("states", "[", "says states='[', which is no JSON."),
            ("states", "[]", "takes action_value, which no robot tells."),
            ("mjcf", "<mujoco/>", "has 0 joints and 0 servos, where a free base, hinges and a servo for each belong."),
            ("mjcf", "<mujoco", "MuJoCo cannot read the robot of this policy: XML parse error"),
        )
    ):
        yield [changed(track, folder / f"{number}.onnx", **{key: value})], sentence
    spans = {"lin_vel_x": [0.0, 1.0], "lin_vel_y": [0.0, float("nan")], "ang_vel_yaw": [0.0, 1.0]}
    for number, (spoiled, sentence) in enumerate(
        (
            ("{", "says command_ranges='{', which is no JSON."),
            ("{}", "says command ranges that lack lin_vel_x, lin_vel_y, ang_vel_yaw."),
            (json.dumps(spans), "says command ranges without a least and a greatest number"),
        )
    ):
        yield [changed(walk, folder / f"ranges_{number}.onnx", command_ranges=spoiled)], sentence
    yield [with_targets(track, folder / "nan.onnx", np.nan)], "an action that is not finite in control step 0."
    wide = with_targets(track, folder / "wide.onnx", 0.0, more=1)
    yield [wide], f"gives {len(joints) + 1} joint targets, but names {len(joints)} joints."
    newer, apart = onnx.load(str(walk)), folder / "apart"
    newer.opset_import[0].version = 999
    onnx.save(newer, str(folder / "newer.onnx"))
    yield [folder / "newer.onnx"], "newer.onnx is newer than onnxruntime can read"
    apart.mkdir()
    onnx.save_model(
        onnx.load(str(walk)), str(apart / "p.onnx"), save_as_external_data=True, location="w", size_threshold=9
    )
    (apart / "w").unlink()
    yield [apart / "p.onnx"], "p.onnx keeps its weights in another file"
    yield (
        [apart],
        f"{apart} is a folder, and a policy is an .onnx file. Export a run: python -m engine.run --export {apart}",
    )
    yield [track, "--clip", "squad"], "was not trained on the clip 'squad'; it knows squat. Did you mean"
    yield [walk, "--clip", "squat"], "was not trained on the clip 'squat'; it follows commands and no clip."
    yield [walk, "--command", "3", "0", "0"], "The command 3, 0, 0 asks for 3 forward, but"
    yield [track, "--command", "0", "0", "0"], "follows a clip and no command. Leave the command out."
    script = folder / "script"
    for text, sentence in {
        "1 fly": "line 1: '1 fly' is not an action at a time from 0 s on.",
        "x push 1 1": "line 1: 'x push 1 1' is not a time in s, an action and its numbers.",
        "0 policy 3": "there is no policy 3 at 0 s; 1 were given, from 1.",
        "0 command 0 9 0": "The command 0, 9, 0 asks for 9 sideways",
        "0 push nan 0": "line 1: '0 push nan 0' is not an action at a time from 0 s on.",
    }.items():
        script.write_text(text)
        yield [walk, "--script", script], sentence
    script.write_text("5 reset")
    yield [walk, "--script", script, "--seconds", "2"], "'reset' at 5 s comes after --seconds 2."
    yield (
        [walk, "--script", folder],
        f"The script {folder} cannot be read (Is a directory). A line of it is TIME ACTION",
    )
    slow = {axis: [-0.1, 0.1] for axis in ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")}
    slower = changed(walk, folder / "slower.onnx", command_ranges=json.dumps(slow))
    script.write_text("0 command 0.5 0 0\n1 policy 2")
    yield [walk, slower, "--script", script], "asks for 0.5 forward, but"
    yield [walk, track, "--no-film"], "Nobody changes over to"
    yield [walk, "--record", folder / "plain.onnx"], "--record writes an npz file, not plain.onnx. Say --record"
    yield [walk, "--record", plain / "log.npz"], "log.npz cannot be written (Not a directory). Choose another --record."
    yield [walk, "--record", "."], "which is a folder."
    (folder / "film.mp4").mkdir()
    yield [walk, "--film", folder / "film.mp4"], "film.mp4, which is a folder."
    yield [walk, "--seconds", "0"], "--seconds is 0; give a number above 0."
    yield [walk, "--film", "a.gif"], "--film writes an mp4 film, not a.gif."
    yield [walk, "--film", "a.mp4", "--no-film"], "--film and --no-film contradict each other"
    yield [walk, "--log", plain], f"{plain} is no log of a robot"
    yield [walk, "--log", plain, "--seconds", "1"], "--seconds has no effect with --log"
    yield [track, "--log", plain, "--clip", "squat"], "--clip has no effect with --log"
    yield [walk, "--log", plain, "--no-film"], "--no-film has no effect with --log"
    yield [walk, "--fly"], "Unrecognized arguments: --fly. See lockstep play --help."


def test_what_cannot_be_played_is_one_sentence_and_nothing_is_written(files: Path, tmp_path: Path) -> None:
    for words, sentence in sentences(files, tmp_path):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(SceneError) as refused:
            main([str(word) for word in words])
        assert sentence in str(refused.value) and "\n" not in str(refused.value), words
        assert sorted(tmp_path.iterdir()) == before


def test_a_policy_of_another_program_is_told_what_would_be_needed() -> None:
    file = data_path("policies", "playground", "joystick_go1.onnx")
    with pytest.raises(SceneError, match=r"it takes obs, and it has no metadata\..*a table of its observation terms"):
        OnnxPolicy.load(file)
