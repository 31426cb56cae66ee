"""Where MuJoCo keeps the fields that rows may have values of their own of, and what their values are in a model."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
import mujoco
import numpy as np
from torch import Tensor

from engine.errors import SceneError, listing
from systems.maths.inertia import deformed, principal
from systems.physics.contract import FIELDS
from systems.robots.model import RobotModel

Index = tuple[int | slice | list[int], ...]
_ALL = slice(None)


@attrs.frozen
class Place:
    """An array of MjModel, where in it a field stands, and the sign that it has there."""

    array: str
    index: Index
    sign: float = 1.0


class Arrays(Protocol):
    """Arrays of MjModel of which every row has its own, such as those of a `mujoco.batch.Batch`."""

    def expand(self, name: str) -> np.ndarray:
        """(rows, ...) numbers of the array of that name, to be written in place."""
        ...


def places(model: RobotModel) -> dict[str, tuple[Place, ...]]:
    """Where each field stands; the inertia, which follows the mass, and what is computed first are not among them."""
    shapes, bodies, joints = list(model.shape_geoms), slice(1, None), slice(6, None)
    return {
        "friction": (Place("geom_friction", (shapes, 0)),),
        "torsional_friction": (Place("geom_friction", (shapes, 1)),),
        "rolling_friction": (Place("geom_friction", (shapes, 2)),),
        "contact_time": (Place("geom_solref", (shapes, 0)),),
        "contact_damping": (Place("geom_solref", (shapes, 1)),),
        "body_mass": (Place("body_mass", (bodies,)),),
        "body_com": (Place("body_ipos", (bodies,)),),
        "armature": (Place("dof_armature", (joints,)),),
        "joint_damping": (Place("dof_damping", (joints,)),),
        "friction_loss": (Place("dof_frictionloss", (joints,)),),
        "stiffness": (Place("actuator_gainprm", (_ALL, 0)), Place("actuator_biasprm", (_ALL, 1), -1.0)),
        "damping": (Place("actuator_biasprm", (_ALL, 2), -1.0),),
        "torque_limit": (Place("actuator_forcerange", (_ALL, 1)), Place("actuator_forcerange", (_ALL, 0), -1.0)),
        "torque_offset": (Place("actuator_biasprm", (_ALL, 0)),),
        "gravity": (Place("opt.gravity", ()),),
    }


COMPUTED: Mapping[str, tuple[str, ...]] = {  # the arrays of fields that are no plain copy of numbers
    "restitution": ("geom_solref",),
    "pseudo_inertia": ("body_mass", "body_ipos", "body_inertia", "body_iquat"),
}
DERIVING = frozenset(
    {"body_mass", "body_com", "pseudo_inertia", "armature"}
)  # MuJoCo derives other constants from these
DERIVING_ARRAYS = frozenset({"body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_armature"})


def varied_by(model: RobotModel) -> frozenset[str]:
    """The fields that rows of this robot can differ in: a robot without a servo has no gains."""
    return frozenset(FIELDS) - (frozenset() if model.control == "servo" else {"stiffness", "damping"})


def arrays(model: RobotModel, field: str) -> tuple[str, ...]:
    """The arrays of MjModel that a field changes."""
    if field in COMPUTED:
        return COMPUTED[field]
    found = tuple(dict.fromkeys(place.array for place in places(model)[field]))
    return (*found, "body_inertia") if field == "body_mass" else found


def nominal(model: RobotModel, field: str) -> np.ndarray:
    """(labels, parts): a field's values in the model; 0 for what is a change of others."""
    declared, count = FIELDS[field], len(labels(model, field))
    if field in COMPUTED:
        return np.zeros((count, len(declared.parts)))
    place = places(model)[field][0]
    values = place.sign * np.array(_array(model, place.array)[place.index], np.float64)
    return values.reshape(count, len(declared.parts))


def labels(model: RobotModel, field: str) -> tuple[str, ...]:
    """The names along a field's axis; shapes have the name of their body, and a number where it has several."""
    axis = FIELDS[field].axis
    if axis == "":
        return ("",)
    if axis != "shape":
        return model.axes[axis]
    owners = [model.robot.body_names[body - 1] for body in model.model.geom_bodyid[list(model.shape_geoms)]]
    return tuple(
        owner if owners.count(owner) == 1 else f"{owner}:{owners[:place].count(owner)}"
        for place, owner in enumerate(owners)
    )


def felt(model: RobotModel, field: str) -> np.ndarray:
    """(labels,) bool: where a field can have an effect. Friction of a shape needs a contact with so many directions."""
    needs = {"friction": 3, "torsional_friction": 4, "rolling_friction": 6}
    if field in needs:
        return np.asarray(model.model.geom_condim[list(model.shape_geoms)] >= needs[field])
    return np.ones(len(labels(model, field)), bool)


def take_values(batch: Arrays, model: RobotModel, rows: np.ndarray, values: Mapping[str, Tensor]) -> None:
    """Put fields by name, each with an entry for every row as `Backend.change` gets them, into the arrays of some rows.

    SceneError for a field that rows of this robot cannot differ in.
    """
    known = varied_by(model)
    lacking = sorted(values.keys() - known)
    if lacking:
        raise SceneError(f"MuJoCo cannot vary {listing(lacking)} of this robot; it varies {listing(sorted(known))}.")
    for field, value in values.items() if rows.size else ():
        shape = (len(rows), len(labels(model, field)), len(FIELDS[field].parts))
        write(batch, model, field, rows, np.asarray(value.numpy()[rows], np.float64).reshape(shape))


def write(batch: Arrays, model: RobotModel, field: str, rows: np.ndarray, values: np.ndarray) -> None:
    """Put a field's values (rows, labels, parts) into the arrays of these rows."""
    if field == "restitution":
        _write_restitution(batch, model, rows, values[..., 0])
    elif field == "pseudo_inertia":
        _write_pseudo_inertia(batch, model, rows, values)
    else:
        if field == "body_mass":
            share = np.divide(
                values[..., 0], model.body_mass, where=model.body_mass > 0.0, out=np.ones(values.shape[:2])
            )
            batch.expand("body_inertia")[rows, 1:] = model.model.body_inertia[1:] * share[..., None]
        single = FIELDS[field].parts == ("",)
        if field == "torque_offset":
            values = values * model.robot.torque_limit.double().numpy()[:, None]
        for place in places(model)[field]:
            flat = values[..., 0] if single else values
            batch.expand(place.array)[_at(rows, place.index)] = place.sign * (
                flat if FIELDS[field].axis else flat[:, 0]
            )


def _write_restitution(batch: Arrays, model: RobotModel, rows: np.ndarray, share: np.ndarray) -> None:
    """Spring and damper of a contact that give back a share e of the speed: ζ = −ln e / √(π² + ln² e).

    The spring is as stiff as the model's contacts, 1 / time²; MuJoCo takes negative numbers for spring and damper themselves.
    """
    shapes = list(model.shape_geoms)
    with np.errstate(divide="ignore"):
        log = np.log(share)
    ratio = np.where(share > 0.0, -log / np.hypot(np.pi, np.where(share > 0.0, log, 0.0)), 1.0)
    rate = 1.0 / model.model.geom_solref[shapes, 0]
    own = batch.expand("geom_solref")
    own[_at(rows, (shapes, 0))] = np.broadcast_to(-(rate**2), share.shape)
    own[_at(rows, (shapes, 1))] = -2.0 * ratio * rate


def _write_pseudo_inertia(batch: Arrays, model: RobotModel, rows: np.ndarray, change: np.ndarray) -> None:
    touched = change.any(-1)
    mass, center, inertia = deformed(model.body_mass, model.body_com, model.body_inertia, change)
    moments, axes = principal(inertia)
    compiled = model.model
    for name, new in (("body_mass", mass), ("body_ipos", center), ("body_inertia", moments), ("body_iquat", axes)):
        kept = getattr(compiled, name)[None, 1:]
        batch.expand(name)[rows, 1:] = np.where(touched.reshape(*touched.shape, *[1] * (kept.ndim - 2)), new, kept)


def _array(model: RobotModel, name: str) -> np.ndarray:
    owner = model.model.opt if name.startswith("opt.") else model.model
    return np.asarray(getattr(owner, name.removeprefix("opt.")))


def _at(rows: np.ndarray, index: Index) -> tuple[Any, ...]:
    """The index of a field in rows of a batch's array."""
    return (rows[:, None], *index) if index and isinstance(index[0], list) else (rows, *index)


def with_sensors(model: RobotModel, sensed: Sequence[str]) -> tuple[mujoco.MjModel, list[int]]:
    """The model that computes the contact sensors of these bodies only, and where each stands among its contact sensors."""
    compiled = copy.copy(model.model)
    names = [model.robot.body_names[body] for body in model.contact_bodies]
    for number, name in enumerate(names):
        if name not in sensed:
            compiled.sensor_needstage[number] = int(mujoco.mjtStage.mjSTAGE_NONE)
    return compiled, [names.index(name) for name in sensed]
