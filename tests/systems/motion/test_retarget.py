"""Human motion on a robot: limbs, contact, balance, and the whole way to a clip."""

from functools import cache
from pathlib import Path

import attrs
import numpy as np
import pytest

from components.robot import Motor, RobotDescription
from engine.errors import SceneError
from scenes.robots.g1 import g1
from scenes.robots.humanoid import humanoid
from systems.motion.files import read_clips
from systems.motion.kinematics import body_poses
from systems.motion.retarget import make
from systems.motion.retarget.balance import correction, off_the_soles, pressure_point
from systems.motion.retarget.contact import find_contact, on_level_floor, phases
from systems.motion.retarget.human import sample
from systems.motion.retarget.limbs import find_limbs
from systems.motion.retarget.make import retarget
from systems.motion.retarget.quality import SLIDE, sliding
from systems.motion.retarget.targets import make_targets
from systems.robots.model import RobotModel, build_robot
from tests.helpers import needs_g1
from tests.made_clips import clip_made_once
from tests.systems.motion.retarget_inputs import human_from_clip

pytest.importorskip("mink")


@cache
def _humanoid() -> RobotModel:
    return build_robot(humanoid())


@cache
def _g1(joints: int = 29) -> RobotModel:
    return build_robot(g1(joints))


def test_limbs_are_found_by_their_chains():
    limbs = find_limbs(_humanoid())
    left, right = limbs.legs
    assert left.upper == pytest.approx(0.25) and left.lower == pytest.approx(0.25)
    assert left.top.local == pytest.approx((0.0, 0.09, -0.05), abs=1e-3)
    assert right.top.local == pytest.approx((0.0, -0.09, -0.05), abs=1e-3)
    assert limbs.arms[0].upper == pytest.approx(0.18)
    assert limbs.arms[0].top.local == pytest.approx((0.0, 0.16, 0.25), abs=1e-3)
    assert limbs.feet[0].height == pytest.approx(0.05)  # spheres of 1 cm, 4 cm below the ankle


@needs_g1
@pytest.mark.parametrize("joints", [29, 23])
def test_limbs_of_the_g1_are_those_of_its_data_sheet(joints: int):
    limbs = find_limbs(_g1(joints))
    assert limbs.leg == pytest.approx(0.62, abs=0.02)
    assert _g1(joints).model.body(limbs.trunk).name == "torso_link"
    assert _g1(joints).model.body(limbs.arms[1].hinge.body).name == "right_elbow_link"


def test_a_robot_without_two_feet_is_refused():
    bare = attrs.evolve(humanoid(), feet=("left_ankle_roll_link",), end_effectors=())
    with pytest.raises(SceneError, match=r"has 1 feet \(left_ankle_roll_link\); human motion is for a robot with two"):
        find_limbs(build_robot(bare))


def test_a_leg_without_a_knee_is_refused():
    def leg(side: str, y: float) -> str:
        return (
            f'<body name="{side}_leg" pos="0 {y} 0"><joint name="{side}_hip" axis="0 1 0" range="-1 1"/>'
            '<geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.05"/></body>'
        )

    text = (
        '<mujoco><compiler angle="radian"/><worldbody><body name="trunk" pos="0 0 0.6"><freejoint/>'
        f'<geom size="0.1"/>{leg("left", 0.1)}{leg("right", -0.1)}</body></worldbody></mujoco>'
    )
    stilts = RobotDescription(
        name="stilts", model=lambda: text, motors={".*": Motor(50.0, 2.0, 50.0, 10.0)}, feet=("left_leg", "right_leg")
    )
    with pytest.raises(SceneError, match="The leg of stilts that ends in 'left_leg' has no knee"):
        find_limbs(build_robot(stilts))


def test_feet_stand_where_the_clip_was_made_to_stand():
    human = human_from_clip(_humanoid(), "march")
    contact = find_contact(human)
    still = contact.stands[:10]
    assert still.all()  # it begins at rest
    assert not contact.stands.all()  # and lifts its feet
    lifted = human.of("ankle")[..., 2] > human.of("ankle")[..., 2].min() + 0.05
    assert not (lifted & contact.stands).any()
    assert contact.stands.any(1).mean() > 0.95


def test_a_floor_that_sinks_is_made_level():
    human = human_from_clip(_humanoid(), "walk")
    drift = np.linspace(0.0, 0.3, len(human.points))[:, None, None] * np.array((0.0, 0.0, 1.0))
    made = on_level_floor(attrs.evolve(human, points=human.points + drift))
    straight = on_level_floor(human)
    assert np.abs(made.points - straight.points).max() < 0.03
    assert "made level" in made.notes[-1] and not straight.notes
    assert (find_contact(made).stands == find_contact(straight).stands).mean() > 0.97


def test_phases_are_the_stretches_in_which_it_holds():
    assert phases(np.array([1, 1, 0, 1, 0, 0, 1], dtype=bool)) == [(0, 2), (3, 4), (6, 7)]
    assert phases(np.zeros(3, dtype=bool)) == []


def test_the_floor_pushes_under_a_mass_that_rests():
    centre = np.tile((0.2, -0.1, 0.8), (50, 1))
    assert pressure_point(centre, 50.0) == pytest.approx(np.tile((0.2, -0.1), (50, 1)))


def test_the_floor_pushes_behind_a_mass_that_speeds_up():
    time = np.arange(100) / 50.0
    centre = np.stack((0.5 * 2.0 * time**2, 0.0 * time, 0.981 + 0.0 * time), 1)
    pressure = pressure_point(centre, 50.0)
    assert (pressure[20:-20, 0] - centre[20:-20, 0]) == pytest.approx(-0.2, abs=0.01)  # − z / g · 2 m/s²


def test_the_distance_outside_of_a_square_is_measured_from_its_edge():
    square = np.tile(np.array([(0, 0), (1, 0), (1, 1), (0, 1)], dtype=float), (3, 1, 1))
    points = np.array([(0.5, 0.5), (1.3, 0.5), (-0.1, 0.5)])
    assert off_the_soles(points, square, np.ones((3, 4), dtype=bool)) == pytest.approx((-0.5, 0.3, 0.1), abs=0.01)


def test_a_correction_brings_the_push_of_the_floor_under_the_soles():
    centre = np.tile((0.30, 0.0, 0.8), (100, 1))
    soles = np.tile(np.array([(0.2, 0.1), (0.2, -0.1), (-0.2, 0.1), (-0.2, -0.1)]), (100, 1, 1))
    touching = np.ones((100, 4), dtype=bool)
    change = correction(centre, soles, touching, 0.02, 50.0)
    assert change == pytest.approx(np.tile((-0.12, 0.0), (100, 1)), abs=1e-3)
    moved = centre + np.pad(change, ((0, 0), (0, 1)))
    assert off_the_soles(pressure_point(moved, 50.0), soles, touching).max() == pytest.approx(-0.02, abs=1e-3)
    assert correction(centre, soles, ~touching, 0.02, 50.0) == pytest.approx(0.0)


def test_only_points_on_the_floor_slide():
    soles = np.zeros((3, 2, 3))
    soles[:, 0, 0] = 0.0, 0.001, 0.003  # on the floor: 5 and 10 cm/s at 50 fps
    soles[:, 1, 0], soles[:, 1, 2] = (0.0, 0.1, 0.2), 0.05  # in the air
    assert sliding(soles, 50.0) == pytest.approx((0.05, 0.10))


@pytest.mark.parametrize("size", [1.0, 1.6])
def test_a_walk_of_our_own_comes_back_with_still_feet(size: float):
    model = _humanoid()
    begin = slice(60, 150)  # a second at rest, then two steps
    human = human_from_clip(model, "walk", size=size)
    made = retarget(attrs.evolve(human, points=human.points[begin]), model)
    assert made.quality.slide_most < SLIDE
    assert made.quality.limits == 0.0 and made.quality.sink < 0.01
    assert made.findings == ()
    own = clip_made_once("walk", model.robot, model)
    ours, theirs = (body_poses(model, c.root_position, c.root_rotation, c.dof_position)[0] for c in (own, made.clip))
    ours = ours[begin]
    moved = theirs[:, :, :2] - theirs[:1, :1, :2] - (ours[:, :, :2] - ours[:1, :1, :2])
    assert np.abs(moved).max() < 0.15  # it goes where the walk goes, whatever the size of who walked


@needs_g1
def test_a_walk_of_the_g1_comes_back_with_still_feet():
    model = _g1()
    human = human_from_clip(model, "walk")
    made = retarget(attrs.evolve(human, points=human.points[50:130]), model)
    assert made.findings == ()
    assert made.quality.slide_most < SLIDE
    assert made.clip.dof_names == model.robot.dof_names


def test_arms_point_where_the_human_points(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(make, "ROUNDS", 0)
    model, limbs = _humanoid(), find_limbs(_humanoid())
    human = human_from_clip(model, "stand")
    human = attrs.evolve(human, points=human.points[:20].copy())
    shoulder, elbow, wrist = (human.of(joint) for joint in ("shoulder", "elbow", "wrist"))
    elbow[:, 0] = shoulder[:, 0] + 0.18 * np.array((1.0, 0.0, 0.0))  # the left arm is stretched ahead
    wrist[:, 0] = elbow[:, 0] + 0.11 * np.array((1.0, 0.0, 0.0))
    clip = retarget(human, model).clip
    position, _ = body_poses(model, clip.root_position, clip.root_rotation, clip.dof_position)
    names = model.robot.body_names
    upper = position[-1, limbs.arms[0].hinge.body - 1] - position[-1, names.index("left_shoulder_pitch_link")]
    assert upper / np.linalg.norm(upper) == pytest.approx((1.0, 0.0, 0.0), abs=0.1)


def test_targets_begin_at_the_origin_facing_x():
    human = human_from_clip(_humanoid(), "turn")
    turn = np.array(((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
    turned = attrs.evolve(human, points=human.points @ turn.T + np.array((3.0, -2.0, 0.0)))
    limbs = find_limbs(_humanoid())
    first, second = (make_targets(each, limbs) for each in (human, turned))
    assert first.root_rotation == pytest.approx(second.root_rotation, abs=1e-6)
    assert first.feet.position == pytest.approx(second.feet.position, abs=1e-6)
    assert first.root_rotation[0] == pytest.approx((1.0, 0.0, 0.0, 0.0), abs=0.05)


def test_sampling_keeps_the_length_and_the_ends():
    human = human_from_clip(_humanoid(), "squat")
    slow = sample(human, 25.0, smoothing=0.0)
    assert len(slow.points) == (len(human.points) + 1) // 2
    assert slow.points == pytest.approx(human.points[::2])


def test_a_frame_rate_that_is_none_is_refused():
    with pytest.raises(SceneError, match="Clips of 0 frames per second cannot be made"):
        retarget(human_from_clip(_humanoid(), "stand"), _humanoid(), fps=0.0)


@needs_g1
def test_a_motion_of_the_data_package_becomes_a_sound_clip(tmp_path: Path):
    pytest.importorskip("envpool_assets")
    from scenes.robots.clip_tools import main

    assert main(["retarget", "cmu:CMU_016_33", "--out", str(tmp_path / "walk.npz")]) == 0
    (clip,) = read_clips(str(tmp_path / "walk.npz"))
    assert clip.num_frames == 113 and clip.fps == 50.0
