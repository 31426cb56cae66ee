"""Contact sensors: for the bodies that a scene's systems, terms and vitals read, and no others."""

import shlex
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from components.control import DofTarget
from components.episode import Done, Rewritten
from components.robot import ContactForce, ContactSensors, NamedForce, RootState, SelfContacts
from engine import Bundle, Scene, Term, Write, build, system, table, term
from engine.errors import BuildError, SceneError
from scenes.robots.humanoid import humanoid
from systems import terminations as end
from systems.kinematics import kinematics
from systems.observations import feet_force
from systems.physics import physics
from systems.physics.mujoco_backend import MujocoBackend
from systems.robots.model import build_robot
from systems.terminations import terminations
from systems.tick import RESET, TERMINATE, TICK
from tests.physics.rows import make_rows

FEET = ("left_ankle_roll_link", "right_ankle_roll_link")


def heaviest(forces: ContactForce) -> Tensor:
    """The largest force on any body."""
    return forces.force.norm(dim=-1).amax(-1)


def counted(forces: SelfContacts) -> Tensor:
    """How often the robot touched itself."""
    return forces.self_contacts


def nameless(forces: NamedForce) -> Tensor:
    """A term that names nobody."""
    return forces.force[:, 0, 0]


def rewrite_all(root: Write[RootState], rewritten: Write[Rewritten]) -> None:
    """Lift every row into the air."""
    root.position[:, 2] = 1.0
    root.rotation[:, 0] = 1.0
    rewritten.rows.fill_(True)


def scene(*more: Bundle, backend: str = "mujoco") -> Scene:
    """Two humanoids that are put somewhere, and whoever reads what they touch."""
    model = build_robot(humanoid())
    moved = Bundle("moved", [Rewritten], systems={RESET: [system(rewrite_all)]})
    simulated = physics(model, rows=2, backend=backend, control="none")
    return Scene([table("robot", rows=2)], [simulated, moved, *more], TICK)


def watching(**vitals: Term) -> Bundle:
    """A bundle that only names vitals."""
    return Bundle("watch", vitals=vitals)


def ending(**terms: Term) -> Bundle:
    """A bundle with the system `terminate`."""
    done = {"termination": tuple(terms)}
    return Bundle("task", [Done], systems={TERMINATE: [terminations(terms)]}, axes=done)


def sensed(*more: Bundle, **options: Any) -> tuple[str, ...]:
    """The bodies with a sensor in a scene."""
    world = build(scene(*more), **options).world
    bodies = world[ContactSensors].bodies
    assert world.tables["robot"].axes["sensed"] == bodies and world[ContactForce].force.shape == (2, len(bodies), 3)
    return bodies


def test_a_scene_that_reads_no_force_has_no_sensor() -> None:
    assert sensed() == sensed(watching(hits=term(counted))) == ()


def test_a_scene_that_asks_about_feet_senses_its_feet() -> None:
    assert sensed(kinematics()) == sensed(watching(feet=term(feet_force))) == FEET


def test_patterns_of_terms_are_sensed_beside_the_feet_in_the_order_of_bodies() -> None:
    falls = ending(fell=term(end.contact, bodies=("torso_link", ".*_elbow_link")))
    assert sensed(kinematics(), falls) == (*FEET, "torso_link", "left_elbow_link", "right_elbow_link")


def test_an_override_decides_what_is_sensed() -> None:
    falls = ending(fell=term(end.contact, bodies=("torso_link",)))
    assert sensed(falls, overrides={"task.terminate.fell.bodies": "('pelvis',)"}) == ("pelvis",)


def test_a_reader_that_does_not_say_reads_all_that_can_touch_anything() -> None:
    model = build_robot(humanoid())
    everything = tuple(model.robot.body_names[body] for body in model.contact_bodies)
    assert sensed(watching(most=term(heaviest))) == everything
    assert 2 < len(everything) < len(model.robot.body_names)


def test_a_body_that_cannot_touch_anything_is_a_build_error_with_those_that_can() -> None:
    with pytest.raises(SceneError) as error:
        build(scene(ending(fell=term(end.contact, bodies=("left_ankle_pitch_link",)))))
    text = str(error.value)
    assert text.startswith(
        "'task.terminate.fell' reads the contact force of 'left_ankle_pitch_link', but no body of robot 'humanoid' by that "
        "name can touch anything; these can: pelvis, "
    )
    assert "Write a pattern of one of those in `bodies`." in text


def test_a_foot_without_a_shape_is_a_build_error() -> None:
    model = build_robot(humanoid(), contact_bodies=("pelvis", FEET[0]))
    made = Scene(
        [table("robot", rows=1)], [physics(model, rows=1), Bundle("moved", [DofTarget, Rewritten]), kinematics()], TICK
    )
    with pytest.raises(
        SceneError, match=r"reads the contact force of 'right_ankle_roll_link', .* Give the foot a collision shape"
    ):
        build(made)


def test_a_reader_of_named_bodies_without_the_constant_is_a_build_error() -> None:
    with pytest.raises(
        BuildError, match=r"'watch\.one' .* has no such constant. Write `bodies: tuple\[str, \.\.\.\]` after"
    ):
        build(scene(watching(one=term(nameless))))


def test_an_edit_to_a_body_without_a_sensor_is_refused_and_the_cure_works() -> None:
    def falls() -> Bundle:
        return ending(fell=term(end.contact, bodies=("torso_link", "pelvis")))

    simulation = build(scene(falls()))
    simulation.constants.edit("task.terminate.fell.bodies", "('pelvis',)")
    with pytest.raises(SceneError) as error:
        simulation.constants.edit("task.terminate.fell.bodies", "('left_elbow_link',)")
    text = str(error.value)
    assert text == (
        "'task.terminate.fell' reads the contact force of left_elbow_link, and sensors are placed when a scene is built: this "
        "one has pelvis, torso_link. Start it with --set 'task.terminate.fell.bodies=('\"'\"'left_elbow_link'\"'\"',)'."
    )
    assert simulation.constants.value("task.terminate.fell.bodies") == ("pelvis",)
    address, _, value = shlex.split(text.partition("--set ")[2].rstrip("."))[0].partition("=")
    assert sensed(falls(), overrides={address: value}) == ("left_elbow_link",)


@pytest.mark.parametrize("self_collision", [False, True])
def test_sensed_bodies_feel_the_same_with_fewer_sensors(self_collision: bool) -> None:
    whole = make_rows(2, self_collision=self_collision)
    few = make_rows(2, self_collision=self_collision)
    few.backend = MujocoBackend(few.model, 2, sensed=(FEET[1], "pelvis"), nthread=1)
    few.forces = ContactForce.make(2, few.backend.axes)
    for rows in (whole, few):
        rows.root.position[1, 2] = 0.2
        rows.restart(0, 1)
        for _ in range(25):
            rows.tick()
    names = whole.backend.axes["sensed"]
    assert few.forces.force.abs().amax() > 10.0
    assert_close(few.forces.force, whole.forces.force[:, [names.index(FEET[1]), names.index("pelvis")]], rtol=0, atol=0)
    for mine, other in ((few.root, whole.root), (few.bodies, whole.bodies)):
        assert all(torch.equal(getattr(mine, name), getattr(other, name)) for name in vars(mine))
    assert torch.equal(few.forces.self_contacts, whole.forces.self_contacts)
