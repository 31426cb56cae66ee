"""Terrain: tiles in closed form, the ground as MuJoCo has it, levels worked out by hand, and rows that leave."""

import math
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor, tensor
from torch.testing import assert_close

from components.command import Command
from components.episode import Done, Episode, Rewritten
from components.robot import BodyState, RootState
from components.terrain import Ground, TerrainTile
from engine import Clock, SceneError, build
from engine.debugger.body.terrain import onto_ground, read_terrain
from scenes.velocity import CONFIGS, experiment
from systems import observations as seen
from systems import terminations as end
from systems.ground.generators import GENERATORS, Patch
from systems.ground.grid import Terrain, kinds_of, make_terrain
from systems.ground.heights import ground_height, ground_normal, height_above_ground, scan_points
from systems.locomotion_terms import ground_tilt
from systems.physics import physics
from systems.robots.export_mjcf import export_mjcf
from systems.robots.model import RobotModel, build_robot
from systems.terrain import (
    ClimbedTiles,
    change_level,
    count_asked,
    draw_first_tiles,
    level_of_kind,
    mark_wrapped,
    stand_on_tile,
    terrain,
    wrap,
)
from tests.physics.rows import pendulum
from tests.systems.task_rows import from_euler, generator, marked, small_robot

COUNT, CELL = 80, 0.1  # squares of a tile of 8 m


def patch(kind: str, difficulty: float, seed: int = 0) -> Patch:
    """One tile."""
    return GENERATORS[kind](difficulty, COUNT, CELL, np.random.default_rng(seed))


def tops(made: Patch) -> np.ndarray:
    """The highest block over each square, one square after the other."""
    found = np.full((COUNT, COUNT), -np.inf)
    for one in made.blocks:
        for y in range(one.y0, one.y1):
            for x in range(one.x0, one.x1):
                found[y, x] = max(found[y, x], one.top)
    return found


def heights(made: Patch) -> np.ndarray:
    """The vertices of a tile that has some."""
    assert made.heights is not None
    return made.heights


def turned(*angles: float) -> Tensor:
    """A rotation by roll, pitch and yaw in rad, (4,)."""
    roll, pitch, yaw = (tensor([angle]) for angle in angles)
    return from_euler(roll, pitch, yaw)[0].float()


@pytest.fixture(scope="module")
def every() -> Terrain:
    """Every kind at three difficulties."""
    made = make_terrain("all", levels=3, border=2.0)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def model(every: Terrain) -> RobotModel:
    """A robot on it."""
    return build_robot(pendulum(), control="torque", terrain=every)


# -- generators ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_tiles_cover_their_square_meet_at_height_zero_and_follow_their_stream(kind: str, difficulty: float) -> None:
    made, again = patch(kind, difficulty), patch(kind, difficulty)
    assert made.blocks == again.blocks
    if made.heights is None:
        covered = tops(made)
        assert np.isfinite(covered).all()
        edge = np.concatenate((covered[0], covered[-1], covered[:, 0], covered[:, -1]))
        assert set(edge.tolist()) <= ({0.0, -1.0} if kind == "stepping_stones" else {0.0})
    else:
        found = heights(made)
        assert found.shape == (COUNT + 1, COUNT + 1) and np.array_equal(found, heights(again))
        edge = np.concatenate((found[0], found[-1], found[:, 0], found[:, -1]))
        assert np.abs(edge).max() < 1e-12


def test_slopes_rise_one_metre_per_metre_to_a_platform_of_two() -> None:
    up, down = heights(patch("slope_up", 1.0)), heights(patch("slope_down", 1.0))
    for x, y, expected in ((10, 40, 1.0), (40, 25, 2.5), (5, 30, 0.5), (30, 40, 3.0), (40, 40, 3.0), (75, 40, 0.5)):
        assert up[y, x] == pytest.approx(expected) and down[y, x] == pytest.approx(-expected)
    assert np.abs(heights(patch("slope_up", 0.3))).max() == pytest.approx(0.9)


def test_stairs_have_five_treads_of_thirty_centimetres_between_a_border_and_a_platform() -> None:
    """Border 1 m, treads at 1.0, 1.3, 1.6, 1.9 and 2.2 m, and a platform from 2.5 m on: six risers of 0.1 m."""
    up, down = tops(patch("stairs_up", 1.0)), tops(patch("stairs_down", 1.0))
    for x in range(COUNT):
        into = min(x, COUNT - 1 - x)
        step = 0 if into < 10 else min(6, (into - 10) // 3 + 1)
        assert up[40, x] == pytest.approx(0.1 * step) and down[x, 40] == pytest.approx(-0.1 * step)
    assert tops(patch("stairs_up", 0.5)).max() == pytest.approx(0.3)
    assert set(tops(patch("stairs_down", 0.0)).ravel()) == {0.0}


def test_waves_are_four_along_each_side_with_their_amplitude() -> None:
    found = heights(patch("waves", 1.0))
    assert found[5, 5] == pytest.approx(0.2) and found[5, 15] == pytest.approx(-0.2)  # a quarter and three of 2 m
    assert found[10, 5] == pytest.approx(0.0, abs=1e-12)
    assert np.abs(heights(patch("waves", 0.5))).max() == pytest.approx(0.1)


def test_random_ground_keeps_to_its_steps_and_grows_with_difficulty() -> None:
    for difficulty, expected in ((1.0, {0.02, 0.04, 0.06, 0.08, 0.1}), (0.5, {0.02, 0.04, 0.06}), (0.0, {0.02})):
        inside = heights(patch("random_uniform", difficulty))[3:-3, 3:-3]
        assert {round(float(h), 6) for h in inside.ravel()} == expected
    assert not np.array_equal(heights(patch("random_uniform", 1.0, 1)), heights(patch("random_uniform", 1.0, 2)))


def test_obstacles_leave_the_platform_free_and_have_one_height() -> None:
    found = tops(patch("discrete_obstacles", 1.0))
    assert set(found.ravel().round(6)) == {0.0, 0.2} and not found[30:50, 30:50].any()
    assert tops(patch("discrete_obstacles", 0.0)).max() == pytest.approx(0.05)
    for block in patch("discrete_obstacles", 1.0).blocks[1:]:
        assert 4 <= block.x1 - block.x0 <= 11 and 4 <= block.y1 - block.y0 <= 11


def test_stones_are_smaller_and_farther_apart_where_it_is_harder() -> None:
    for difficulty, side, gap in ((0.0, 15, 1), (1.0, 4, 3)):
        line = tops(patch("stepping_stones", difficulty))[0]
        expected = [0.0 if x % (side + gap) < side else -1.0 for x in range(COUNT)]
        assert line.tolist() == expected
    assert not tops(patch("stepping_stones", 1.0))[30:50, 30:50].any()


def test_gaps_are_ditches_around_a_platform_of_three_metres() -> None:
    for difficulty, width in ((0.0, 1), (1.0, 8)):
        line = tops(patch("gaps", difficulty))[40]
        assert line.tolist() == [-1.0 if 25 - width <= min(x, COUNT - 1 - x) < 25 else 0.0 for x in range(COUNT)]


def test_rough_slopes_are_slopes_with_random_heights_twenty_centimetres_apart_and_straight_in_between() -> None:
    """Rises of 0.4 and 0 m per m to a platform of 3 m, and a quarter of a metre at the edge that is only a slope."""
    into = np.minimum(np.arange(COUNT + 1), COUNT - np.arange(COUNT + 1)) * CELL
    inwards = np.minimum(np.minimum(into[None, :], into[:, None]), 2.5)
    for difficulty in (0.0, 1.0):
        rough = heights(patch("rough_slope", difficulty)) - 0.4 * difficulty * inwards
        assert np.abs(rough[:3]).max() < 1e-12 and 0.045 < np.abs(rough).max() < 0.05 + 1e-12
        drawn = rough[4:-4:2, 4:-4:2] / 0.005
        assert np.abs(drawn - drawn.round()).max() < 1e-9 and len(np.unique(drawn.round())) == 21
        between = 0.5 * (rough[4:-5:2, 4:-4] + rough[6:-3:2, 4:-4])
        assert np.abs(rough[5:-4:2, 4:-4] - between).max() < 1e-12


def test_pits_are_four_metres_wide_and_deeper_where_it_is_harder() -> None:
    for difficulty in (0.0, 0.5, 1.0):
        line = tops(patch("pit", difficulty))[40]
        assert line.tolist() == [-difficulty if 20 <= x < 60 else 0.0 for x in range(COUNT)]


# -- the ground ----------------------------------------------------------------------------------------


def test_the_ground_is_where_rays_of_mujoco_meet_it(every: Terrain, model: RobotModel) -> None:
    data = mujoco.MjData(model.model)
    data.qpos[2] = 100.0
    mujoco.mj_kinematics(model.model, data)
    x, y = every.half_size
    points = np.random.default_rng(0).uniform((-x - 1.5, -y - 1.5), (x + 1.5, y + 1.5), (3000, 2))
    hit, down = np.zeros(1, np.int32), np.array([0.0, 0.0, -1.0])
    start = 20.0
    found = [start - mujoco.mj_ray(model.model, data, np.array([*p, start]), down, None, 1, -1, hit) for p in points]
    exact = ground_height(every.ground(), torch.from_numpy(points)).numpy()
    assert np.abs(exact - found).max() < 1e-6
    assert np.ptp(exact) > 5.0  # slopes up and down are among them
    rough = ground_height(every.ground(), torch.from_numpy(points).float()).numpy()
    assert np.abs(rough - found).max() < 1e-5  # a place 12 m away is known to a micrometre in float32


def test_a_ball_comes_to_rest_on_each_kind_where_the_ground_says(every: Terrain) -> None:
    """On a platform, or held by nothing but level ground: its middle is one radius above, less what the contact gives."""
    text = (
        '<mujoco><worldbody><body name="ball"><freejoint name="root"/><geom name="ball" size="0.1" condim="3"/>'
        '<body name="arm" pos="0 0 0.3"><joint name="swing" axis="0 1 0" range="-1 1"/><geom size="0.01"/></body>'
        "</body></worldbody></mujoco>"
    )
    made = build_robot(pendulum(model=lambda: text), control="torque", terrain=every).model
    data, ground = mujoco.MjData(made), every.ground()
    for kind in ("flat", "stairs_up", "stairs_down", "slope_up", "slope_down"):
        origin = every.origins[2, every.kinds.index(kind)]
        mujoco.mj_resetData(made, data)
        data.qpos[:3] = origin[0] + 0.33, origin[1] + 0.27, origin[2] + 0.101
        for _ in range(200):
            mujoco.mj_step(made, data)
        under = float(ground_height(ground, torch.from_numpy(data.qpos[None, :2].copy())))
        assert data.qpos[2] - under == pytest.approx(0.1, abs=2e-3), kind


def test_heights_are_above_the_ground_and_normals_lean_with_a_slope(every: Terrain) -> None:
    ground, kind = every.ground(), every.kinds.index("slope_up")
    x, y, _ = every.origins[2, kind].tolist()
    points = tensor([[x - 2.0, y, 5.0]])  # a metre beyond the platform, where the ground is 2 m high
    assert_close(height_above_ground(ground, points), tensor([3.0]), atol=1e-5, rtol=0.0)
    assert_close(height_above_ground(Ground(), points), tensor([5.0]))
    half = math.sqrt(0.5)
    assert_close(ground_normal(ground, points, 0.3), tensor([[-half, 0.0, half]]), atol=1e-4, rtol=0.0)
    root = RootState.make(1, position=points)
    assert end.low(root, ground, height=3.1).tolist() == [True] and end.low(root, Ground(), height=3.1).tolist() == [
        False
    ]
    assert_close(seen.base_height(root, ground), tensor([[3.0]]), atol=1e-5, rtol=0.0)
    robot = small_robot()
    leaning = turned(0.0, -math.pi / 4, 0.0)  # its nose up, as the slope
    axes = {"body": robot.body_names}
    for rotation, expected in ((leaning, 0.0), (tensor([1.0, 0.0, 0.0, 0.0]), 0.5)):
        bodies = BodyState.make(1, axes, position=points.expand(4, 3)[None], rotation=rotation.expand(4, 4)[None])
        assert_close(ground_tilt(bodies, robot, ground), tensor([expected]), atol=1e-3, rtol=0.0)


def test_a_height_scan_turns_with_the_yaw_and_has_the_published_grid(every: Terrain) -> None:
    grid = scan_points((1.6, 1.0), 0.1, torch.device("cpu"))
    assert grid.shape == (187, 2)
    assert_close(grid[[0, 16, 186]], tensor([[-0.8, -0.5], [0.8, -0.5], [0.8, 0.5]]))
    x, y, _ = every.origins[2, every.kinds.index("slope_up")].tolist()
    place = tensor([[x - 2.0, y, 4.0]])
    root = RootState.make(1, position=place, rotation=turned(0.2, 0.1, math.pi / 2))
    scan = seen.height_scan(root, every.ground(), furthest=5.0).reshape(11, 17)
    for row, column in ((0, 0), (5, 8), (10, 16), (3, 12)):
        ahead, left = -0.8 + 0.1 * column, -0.5 + 0.1 * row
        point = place + tensor([[-left, ahead, 0.0]])  # a quarter turn to the left
        expected = 4.0 - ground_height(every.ground(), point)
        assert_close(scan[row, column].view(1), expected, atol=1e-4, rtol=0.0)
    assert float(seen.height_scan(RootState.make(1, position=[0.0, 0.0, 9.0]), Ground()).max()) == 5.0
    assert seen.height_scan(RootState.make(1, position=[0.0, 0.0, 0.3]), Ground(), offset=0.5).unique().tolist() == [
        pytest.approx(-0.2)
    ]
    with pytest.raises(SceneError, match="is no grid"):
        scan_points((1.65, 1.0), 0.1, torch.device("cpu"))


def test_the_model_that_a_debugger_gets_has_the_terrain(every: Terrain, model: RobotModel, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_bytes(export_mjcf(model.model))
    compiled = mujoco.MjModel.from_xml_path(str(tmp_path / "model.xml"))
    assert np.abs(compiled.hfield_data - model.model.hfield_data).max() < 1e-5
    found = read_terrain(tmp_path / "model.xml")
    assert found is not None
    points = np.random.default_rng(1).uniform(-8.0, 8.0, (500, 3))
    apart = onto_ground(points, found)[:, 2] - ground_height(every.ground(), torch.from_numpy(points)).numpy()
    assert np.quantile(np.abs(apart), 0.8) < 0.02  # but for upright sides, which are drawn as slopes
    assert onto_ground(points, None)[:, 2].tolist() == [0.0] * 500
    (tmp_path / "plain.xml").write_text("<mujoco><worldbody/></mujoco>")
    assert read_terrain(tmp_path / "plain.xml") is None and read_terrain(tmp_path / "gone.xml") is None


def test_parts_of_the_ground_that_make_one_become_one() -> None:
    """Flat tiles and the border are 28 × 12 m; of slopes of 0, 0.5 and 1 m per m the first is a block, the others a field of 16 m."""
    flat = make_terrain("flat", levels=3, border=2.0)
    assert flat is not None and len(flat.blocks) == 3 + 4
    (only,) = flat.joined().blocks
    assert (only.x, only.y, only.top) == ((-14.0, 14.0), (-6.0, 6.0), 0.0)
    slopes = make_terrain("slope_up", levels=3, border=0.0)
    assert slopes is not None and len(slopes.fields) == 2
    (field,) = slopes.joined().fields
    assert (field.x, field.y, field.heights.shape) == ((-4.0, 12.0), (-4.0, 4.0), (81, 161))
    assert (field.heights[40, 40], field.heights[40, 120]) == (pytest.approx(1.5), pytest.approx(3.0))
    assert len(slopes.joined().blocks) == 1


def test_the_tree_of_the_ground_finds_the_same_contacts_as_that_of_the_simulator(model: RobotModel) -> None:
    """A ball with an arm in a thousand places of all kinds, its middle on the ground."""
    assert model.spec is not None and model.terrain is not None
    usual = model.spec.compile()
    assert not np.array_equal(usual.bvh_child, model.model.bvh_child)
    x, y = model.terrain.half_size
    rng, found, touched = np.random.default_rng(2), [mujoco.MjData(usual), mujoco.MjData(model.model)], 0
    for place in rng.uniform((-x - 1.0, -y - 1.0), (x + 1.0, y + 1.0), (1000, 2)):
        height = float(ground_height(model.terrain.ground(), torch.from_numpy(place)))
        for data, compiled in zip(found, (usual, model.model), strict=True):
            mujoco.mj_resetData(compiled, data)
            data.qpos[:3] = *place, height
            mujoco.mj_fwdPosition(compiled, data)
        one, other = (data.contact for data in found)
        assert np.array_equal(one.geom, other.geom) and np.array_equal(one.pos, other.pos)
        assert np.array_equal(one.dist, other.dist)
        touched += len(other.dist)
    assert touched > 1000


def test_a_film_gets_only_what_is_near(every: Terrain) -> None:
    place = every.origins[:1, every.kinds.index("waves"), :2]
    near = every.near(place, 1.0)
    assert len(near.fields) + len(near.blocks) == 1  # the level tile of difficulty 0, as one block
    assert len(every.near(place, 5.0).fields) > 0


# -- levels --------------------------------------------------------------------------------------------


def two_kinds() -> Ground:
    """Three levels of two kinds of level ground."""
    return Ground(origins=torch.arange(18.0).reshape(3, 2, 3), kinds=("flat", "gaps"), shares=(0.25, 0.75))


def test_rows_are_spread_over_kinds_by_share_and_over_the_first_levels() -> None:
    tile = TerrainTile.make(4000)
    draw_first_tiles(two_kinds(), generator(), tile, begin=(0, 1))
    assert tile.kind.tolist() == [0] * 1000 + [1] * 3000
    assert set(tile.level.tolist()) == {0, 1} and float(tile.level.float().mean()) == pytest.approx(0.5, abs=0.05)


def test_levels_follow_the_way_that_was_walked_against_the_way_that_was_asked() -> None:
    """promote 4 m, demote 0.5, 1000 steps; rows begin at x = 10 and tick 500, and end in tick 700, after 200 steps."""
    cases = [  # level, x, asked m, terminated, truncated, lost -> level
        (0, 14.5, 4.0, False, True, False, 1),  # 4.5 m: up
        (0, 5.5, 4.0, True, False, False, 1),  # 4.5 m back, though it fell
        (1, 12.1, 4.0, False, True, False, 1),  # 2.1 of 4 m, more than half
        (1, 11.9, 4.0, False, True, False, 0),  # 1.9 of 4 m: down
        (1, 12.1, 4.0, True, False, False, 0),  # it fell: 2.1 of the 20 m that a whole episode would have asked for
        (0, 10.0, 4.0, False, True, False, 0),  # not below 0
        (1, 10.0, 0.0, False, True, False, 1),  # asked to stand, and stood
        (1, 10.0, 4.0, True, False, True, 1),  # the simulation failed: nobody's fault
        (1, 10.0, 4.0, False, False, False, 1),  # its episode goes on
    ]
    level, x, asked, terminated, truncated, lost, expected = (list(column) for column in zip(*cases, strict=True))
    count = len(cases)
    done = Done.make(count, {"termination": ("any",)}, terminated=terminated, truncated=truncated, lost=lost)
    done.ended.copy_(done.terminated | done.truncated)
    root = RootState.make(count, position=[[value, 3.0, 0.5] for value in x])
    tile = TerrainTile.make(count, level=level, asked=asked, origin=[[10.0, 3.0, 0.0]] * count)
    clock = Clock()
    clock.tick = 700
    given: dict[str, Any] = {"promote": 4.0, "demote": 0.5, "steps": 1000.0}
    change_level(done, root, Episode.make(count, began=500), clock, generator(), two_kinds(), tile, **given)
    assert tile.level.tolist() == expected


def test_rows_past_the_highest_level_go_on_at_any() -> None:
    count = 3000
    done = Done.make(count, {"termination": ("any",)}, ended=True, truncated=True)
    root, tile = RootState.make(count, position=[9.0, 0.0, 0.0]), TerrainTile.make(count, level=2)
    change_level(
        done, root, Episode.make(count), Clock(), generator(), two_kinds(), tile, promote=4.0, demote=0.5, steps=10.0
    )
    shares = torch.bincount(tile.level, minlength=3) / count
    assert len(shares) == 3 and shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.04)


def test_what_is_asked_adds_up_along_the_way_and_levels_are_measured_by_kind() -> None:
    tile = TerrainTile.make(2, level=[1, 2], kind=[0, 1])
    for _ in range(3):
        count_asked(Command.make(2, velocity=[[0.3, 0.4, 9.0], [0.0, 0.0, 1.0]]), tile, dt=0.02)
    assert_close(tile.asked, tensor([0.03, 0.0]))
    assert level_of_kind(tile, place=1)[1] == 2.0 and level_of_kind(tile, place=1)[0].isnan()


def test_episodes_begin_above_the_highest_ground_under_the_robot(every: Terrain) -> None:
    ground, kinds = every.ground(), [every.kinds.index(kind) for kind in ("slope_up", "stairs_down", "flat")]
    done = Done.make(3, {"termination": ("any",)}, ended=[True, True, False])
    root = RootState.make(3, position=[[0.5, -0.5, 0.3], [-1.6, 0.0, 0.3], [7.0, 7.0, 7.0]])
    tile = TerrainTile.make(3, level=2, kind=kinds, asked=5.0)
    stand_on_tile(done, ground, tile, root)
    first, second = (every.origins[2, kind] for kind in kinds[:2])
    assert_close(root.position[0], tensor(first).float() + tensor([0.5, -0.5, 0.3]), atol=1e-5, rtol=0.0)
    # 1.6 m from the middle: the floor at −0.6 m ends at 1.5 m, and 0.4 m farther back the tread is at −0.4 m
    assert_close(root.position[1, 2], tensor(0.3 - 0.4), atol=1e-5, rtol=0.0)
    assert root.position[2].tolist() == [7.0, 7.0, 7.0] and tile.asked.tolist() == [0.0, 0.0, 5.0]
    # places of an episode are counted from the height that it begins on, so that what is recorded stands on 0
    assert_close(tile.origin[:2], tensor([[*first[:2], first[2]], [*second[:2], -0.4]]).float(), atol=1e-5, rtol=0.0)


# -- the edge ------------------------------------------------------------------------------------------


def test_leaving_the_ground_ends_an_episode_or_wraps_around_it(every: Terrain) -> None:
    """Tiles reach to x = 12 m, the border to 14 m, and it is left at 13.7 m; along y each of 12 kinds has 8 m, so at 49.7 m."""
    ground = every.ground()
    root = RootState.make(4, position=[[13.6, 0.0, 0.3], [13.8, 1.0, 0.3], [-13.8, 1.0, 0.3], [0.0, 50.0, 0.3]])
    outside = [False, True, True, True]
    assert end.off_terrain(root, ground).tolist() == outside
    assert not end.off_terrain(root, Ground()).any()
    rewritten = marked(Rewritten, [False] * 4)
    mark_wrapped(root, ground, rewritten)
    assert rewritten.rows.tolist() == outside
    done, tile = Done.make(4, {"termination": ("any",)}, ended=[False, False, True, False]), TerrainTile.make(4)
    wrap(done, ground, tile, root)
    y = 2.0 * (48.0 + 2.0 - 0.3)
    expected = tensor([[13.6, 0.0, 0.3], [-13.6, 1.0, 0.3], [-13.8, 1.0, 0.3], [0.0, 50.0 - y, 0.3]])
    assert_close(root.position, expected, atol=1e-4, rtol=0.0)
    assert_close(tile.origin[1], tensor([-27.4, 0.0, 0.0]), atol=1e-4, rtol=0.0)
    assert end.off_terrain(root, ground).tolist() == [False, False, True, False]


# -- what cannot be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "given", "sentence"),
    [
        ("stares_up", {}, r"no terrain 'stares_up'.*Did you mean"),
        ("flat,flat", {}, "'flat' is named twice"),
        ("slopes,waves", {}, "'slopes' in 'slopes,waves' stands alone.*: slope_up,slope_down,waves."),
        ("rough", {"levels": 0}, "levels=0 makes no sense"),
        ("rough", {"cell": 0.3}, "cell=0.3 m is no width"),
        ("rough", {"border": -1.0}, "border=-1 m"),
        ("rough", {"size": 8.05}, "size=8.05 m cannot be made"),
        ("rough", {"size": 4.0}, "at least 6 m"),
        ("rough", {"levels": 10**9}, "need .* bytes, but only .* are free"),
    ],
)
def test_terrain_that_cannot_be_is_refused_before_it_is_made(text: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        make_terrain(text, available=1e9, **given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"begin": (0, 10)}, r"begin=\(0, 10\) are not levels from 0 to 9"),
        ({"begin": (3, 1)}, "the lower one first"),
        ({"demote": 1.5}, "the thresholds cross"),
        ({"promote": 0.0}, "promote=0 m makes no sense"),
        ({"promote": 30.0}, "nobody would go up"),
        ({"edge": "wrap", "border": 0.0}, "a border of at least 1 m"),
    ],
)
def test_levels_that_cannot_be_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        terrain(ClimbedTiles(**given), seconds=20.0, fastest=1.0)
    with pytest.raises(SceneError, match="episodes without an end"):
        terrain(ClimbedTiles(), seconds=math.inf, fastest=1.0)


def test_terrain_without_effect_is_refused(model: RobotModel) -> None:
    with pytest.raises(SceneError, match="'kinematic' knows nothing of the ground"):
        physics(model, rows=1, backend="kinematic")
    made = experiment(CONFIGS["laptop"].replace(tiles=ClimbedTiles(levels=3), num_envs=2))
    with pytest.raises(SceneError, match="no effect with terrain='plane'"):
        build(made.train())
    assert made.evaluate is not None and build(made.evaluate.scene()).world.clock.tick == 0  # of a run on tiles
    assert make_terrain("plane") is None and set(kinds_of("rough")) < set(GENERATORS)
