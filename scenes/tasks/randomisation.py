"""Published randomisation by name: sets of terms, and `--randomise`, which joins them.

A set holds what one publication draws, with its ranges; `extra` holds what none of them does, with ranges of our own. One Coulomb
coefficient is friction at rest and in motion here. Robots differ in names, so that feet, torso (the anchor body) and root are
theirs, and the bodies of `link_…` terms those of a pelvis and legs.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import attrs

from components.robot import Robot
from engine import Bundle, Term, term
from engine.errors import SceneError
from scenes.tasks.sets import chosen as chosen_of
from systems import observations as seen
from systems.draws.draw import Draw
from systems.observation_groups import ACTOR, BOTH, CRITIC
from systems.pushes import Push
from systems.randomization import num_drawn, randomization
from systems.robots.model import RobotModel

LINKS = ("pelvis|.*_hip_(yaw|roll|pitch)_link|.*_knee_link",)
ARMS = (".*_(shoulder|elbow)_.*",)
RandomiseNames = Annotated[
    str,
    "none, or what is drawn for rows: sets (mjlab_tracking, beyondmimic, humanoidverse, pbhc, mjlab_velocity, go1_velocity, "
    "gains, extra) and terms of them (set.term or term) with commas between; -term takes one away again",
]


@attrs.frozen
class Delay:
    """Actions reach the joints so many control steps late, drawn at every reset, both ends included."""

    steps: tuple[int, int]


Terms = Mapping[str, "Draw | Push | Delay"]


def _factor(what: str, low: float, high: float, **more: Any) -> Draw:
    return Draw(what, (low, high), operation="scale", **more)


def _offset(what: str, *halves: float, **more: Any) -> Draw:
    return Draw(what, tuple((-half, half) for half in halves), operation="add", **more)


def sets(feet: Sequence[str], torso: Sequence[str], root: Sequence[str]) -> dict[str, Terms]:
    """Every set by name; `feet`, `torso` and `root` are patterns of a robot's bodies."""
    on_feet: dict[str, Any] = {"of": tuple(feet), "shared": True}
    middle: dict[str, Any] = {"of": tuple(torso)}
    shared: dict[str, Any] = {"shared": True}
    again: dict[str, Any] = {"when": "reset"}
    shove = Push((5.0, 10.0), (1.0, 1.0, 0.0), (0.0, 0.0, 0.0), replace=True)
    return {
        "mjlab_tracking": {
            "push": Push(),
            "torso_com": _offset("body_com", 0.025, 0.05, 0.05, **middle),
            "encoder_bias": _offset("encoder_bias", 0.01),
            "foot_friction": Draw("friction", (0.3, 1.2), **on_feet),
        },
        "beyondmimic": {
            "push": Push(),
            "torso_com": _offset("body_com", 0.025, 0.05, 0.05, **middle),
            "joint_offset": _offset("joint_offset", 0.01),
            "friction": Draw("friction", (0.3, 1.6), **shared),
            "restitution": Draw("restitution", (0.0, 0.5), **shared),
        },
        "humanoidverse": {
            "push": shove,
            "torso_com": _offset("body_com", 0.1, 0.1, 0.1, **middle),
            "link_mass": _factor("body_mass", 0.8, 1.2, of=LINKS),
            "stiffness": _factor("stiffness", 0.75, 1.25, **again),
            "damping": _factor("damping", 0.75, 1.25, **again),
            "friction": Draw("friction", (0.5, 1.25), **shared),
            "torque_noise": Draw("torque_noise", (0.05, 0.15), **again),
            "control_delay": Delay((0, 2)),
        },
        "pbhc": {
            "push": attrs.evolve(shove, linear=(0.1, 0.1, 0.0), replace=False),
            "torso_com": _offset("body_com", 0.05, 0.05, 0.01, **middle),
            "link_mass": _factor("body_mass", 0.9, 1.1, of=LINKS),
            "stiffness": _factor("stiffness", 0.9, 1.1, **again),
            "damping": _factor("damping", 0.9, 1.1, **again),
            "friction": Draw("friction", (0.2, 1.2), **shared),
            "torque_noise": Draw("torque_noise", (0.025, 0.075), **again),
            "torque_offset": _offset("torque_offset", 0.05, **again),
            "control_delay": Delay((0, 2)),
        },
        "mjlab_velocity": {
            "push": Push(linear=(0.5, 0.5, 0.4)),
            "torso_com": _offset("body_com", 0.025, 0.025, 0.03, **middle),
            "encoder_bias": _offset("encoder_bias", 0.015),
            "foot_friction": Draw("friction", (0.3, 1.2), **on_feet),
        },
        "go1_velocity": {
            "push": Push(linear=(0.5, 0.5, 0.4)),
            "torso_com": _offset("body_com", 0.025, 0.025, 0.03, **middle),
            "encoder_bias": _offset("encoder_bias", 0.015),
            "foot_friction": Draw("friction", (0.3, 1.5), **on_feet),
            "foot_torsional_friction": Draw("torsional_friction", (1e-4, 2e-2), distribution="log_uniform", **on_feet),
            "foot_rolling_friction": Draw("rolling_friction", (1e-5, 5e-3), distribution="log_uniform", **on_feet),
        },
        "gains": {"stiffness": _factor("stiffness", 0.9, 1.1), "damping": _factor("damping", 0.9, 1.1)},
        "extra": {
            "base_mass": Draw("body_mass", (-1.0, 3.0), of=tuple(root), operation="add"),
            "link_com": _offset("body_com", 0.01, of=LINKS),
            "link_inertia": _offset("pseudo_inertia", 0.0, 0.05, 0.05, 0.05, 0.02, 0.02, 0.02, 0.0, 0.0, 0.0, of=ARMS),
            "armature": _factor("armature", 0.8, 1.2),
            "joint_damping": Draw("joint_damping", (0.0, 0.3)),
            "friction_loss": Draw("friction_loss", (0.0, 0.3)),
            "torque_limit": _factor("torque_limit", 0.8, 1.0),
            "contact_time": _factor("contact_time", 1.0, 2.0, **shared),
            "contact_damping": _factor("contact_damping", 0.8, 1.2, **shared),
            "imu_mounting": _offset("imu_mounting", 0.02),
            "gravity": _offset("gravity", 0.1, when="interval", interval=(2.0, 6.0)),
        },
    }


def of_robot(robot: Robot) -> dict[str, Terms]:
    """Every set, with the names of a robot's bodies."""
    feet, torso, root = (
        [re.escape(name) for name in names] for names in (robot.foot_names, [robot.anchor_body], robot.body_names[:1])
    )
    return sets(feet, torso, root)


def chosen(text: str, known: Mapping[str, Terms]) -> dict[str, "Draw | Push | Delay"]:
    """The terms that `--randomise` asks for, from left to right; SceneError as of `sets.chosen`."""
    return chosen_of(text, known, "randomise")


def check_names(text: str) -> None:
    """SceneError for `--randomise` with names that there are not, before there is a robot."""
    chosen(text, sets((".*",), (".*",), (".*",)))


def motors(text: str, robot: Robot) -> dict[str, Any]:
    """What the terms ask of `actuation()`."""
    found = chosen(text, of_robot(robot))
    delay, noise = found.get("control_delay"), found.get("torque_noise")
    return {
        **({"latency": delay.steps} if isinstance(delay, Delay) else {}),
        **({"torque_noise": noise.spans[0][1]} if isinstance(noise, Draw) else {}),
    }


def drawing(text: str, robot: Robot, share: float = 1.0) -> dict[str, "Draw | Push"]:
    """The terms for `randomization()`, with pushes `share` times as strong; none of 0."""
    found: dict[str, Draw | Push] = {}
    for name, each in chosen(text, of_robot(robot)).items():
        if isinstance(each, Push):
            found |= {name: each.scaled(share)} if share else {}
        elif isinstance(each, Draw):
            found[name] = each
    return found


def randomised(text: str, model: RobotModel, *, backend: str, share: float, dt: float) -> list[Bundle]:
    """The bundle that draws what `text` says; none where nothing is drawn."""
    terms = drawing(text, model.robot, share)
    return [randomization(terms, model, backend=backend, dt=dt)] if terms else []


# -- what is seen of it --------------------------------------------------------------------------------


def through_imu(terms: Mapping[str, Term]) -> dict[str, Term]:
    """The observations with a gyro and an accelerometer that sit askew; the critic sees what is true."""
    compounds = seen.compounds_of(terms)
    remembered = {name for each in compounds.values() for name, _ in each.constants["of"]}
    askew = {seen.base_angular_velocity: seen.imu_angular_velocity, seen.projected_gravity: seen.imu_gravity}
    found: dict[str, Term] = {}
    for name, each in terms.items():
        function, settings = askew.get(each.function), each.settings
        if function is not None and name in remembered:
            raise SceneError(
                f"imu_mounting changes `{name}`, which is part of a compound of past terms, and the critic's past would no longer "
                "be true. Leave imu_mounting out, or say history= of the term."
            )
        if function is None or "actor" not in settings.get("groups", BOTH):
            found[name] = each
            continue
        own = {key: value for key, value in settings.items() if key != "critic_noise"}
        actors = ("delay", "drift")
        found[name] = term(function, **{**own, "groups": ACTOR})
        if "critic" in settings.get("groups", BOTH):
            rest = {key: value for key, value in settings.items() if key not in ("noise", *actors)}
            noise = {"noise": settings.get("critic_noise")} if settings.get("history") else {}
            found[f"true_{name}"] = term(each.function, **{**rest, **noise, "groups": CRITIC})
    return found


def with_privileged(
    terms: Mapping[str, Term], text: str, model: RobotModel, *, backend: str, playing: bool
) -> dict[str, Term]:
    """The observations, and for the critic what was drawn by `text`; zeros where a policy is only played."""
    asked = chosen(text, of_robot(model.robot))
    count = num_drawn({n: t for n, t in asked.items() if isinstance(t, Draw)}, model, backend=backend)
    late = any(isinstance(each, Delay) for each in asked.values())
    if not count and not late:
        raise SceneError(
            f"privileged=True has no effect with randomise={text}: nothing is drawn. Choose --randomise mjlab_tracking."
        )
    if playing:
        return {**terms, "drawn": term(seen.withheld, width=count + late, groups=CRITIC)}
    found = dict(terms)
    if count:
        found["drawn"] = term(seen.drawn_dynamics, groups=CRITIC)
    if late:
        found["action_lag"] = term(seen.action_lag, groups=CRITIC)
    return found
