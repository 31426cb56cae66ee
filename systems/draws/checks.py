"""What draws cannot make of a robot: a body that cannot be, a value that nothing feels, gains that no time step holds."""

import logging
import math
from collections.abc import Mapping, Sequence

import attrs
import torch
from torch import Tensor

from engine import System
from engine.ecs.schedule import Schedule
from engine.errors import SceneError, listing
from systems.draws.draw import Draw, bounds, refuse_no_range
from systems.draws.layout import Change, Layout, Target, changed
from systems.physics.contract import FIELDS, Field
from systems.robots.model import RobotModel

_log = logging.getLogger(__name__)
Extremes = Mapping[str, tuple[Tensor, Tensor]]
COLUMN_FIELDS = {  # what limits columns that are no fields of a model, too
    "PdGains.stiffness": FIELDS["stiffness"],
    "PdGains.damping": FIELDS["damping"],
    "TorqueNoise.amplitude": Field("dof", "share of the torque limit", least=0.0),
}
_EXCLUSIVE = (  # fields that make others of the same place anew
    ("pseudo_inertia", ("body_mass", "body_com")),
    ("restitution", ("contact_time", "contact_damping")),
)


def extremes(target: Target, key: str, names: Sequence[str], draws: Mapping[str, Draw]) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each element, (elements, parts); SceneError for a term by which one becomes impossible."""
    low, high = target.nominal.clone(), target.nominal.clone()
    for change in target.changes:
        draw, at = draws[change.term], change.elements
        spans = [*bounds(draw.distribution, draw.spans)] * (len(target.parts) // len(draw.spans))
        ends = torch.tensor(spans, dtype=torch.float64).unbind(-1)
        own = torch.stack([changed(change, part[at], end) for part in (low, high) for end in ends])
        if change.operation == "scale" and not target.nominal[at].any() and len(target.changes) == 1:
            raise SceneError(
                f"randomization.{change.term}: operation='scale' has no effect: {key} of {listing(names[int(i)] for i in at)} is 0. "
                "Say operation='set' or 'add'."
            )
        low[at], high[at] = own.amin(0), own.amax(0)
        _refuse_impossible(change, key, names, draws[change.term], low, high)
    return low, high


def _refuse_impossible(change: Change, key: str, names: Sequence[str], draw: Draw, low: Tensor, high: Tensor) -> None:
    field = FIELDS.get(key) or COLUMN_FIELDS.get(key)
    if field is None:
        return
    under = low <= field.least if field.excluded else low < field.least
    bad = under | (high > field.most)
    if bad.any():
        at = int(bad.any(-1).nonzero()[0])
        wrong = low[at].min() if under[at].any() else high[at].max()
        limit = f"{'above' if field.excluded else 'at least'} {field.least:g}"
        limit += f" and at most {field.most:g}" if field.most < math.inf else ""
        owner = f" of {names[at]}" if names[at] else ""
        raise SceneError(
            f"randomization.{change.term}: {draw.written} with operation='{draw.operation}' can make {key}{owner} "
            f"{float(wrong):.3g} {field.unit}; it must be {limit}. Choose another range: "
            f'--set "randomization.{change.term}.spans={_possible(draw, field, float(wrong))}"'
        )


def _possible(draw: Draw, field: Field, wrong: float) -> str:
    """Spans that come near what was asked for, as they are typed."""
    lowest, highest = min(low for low, _ in bounds(draw.distribution, draw.spans)), max(high for _, high in draw.spans)
    if draw.operation == "add":
        low, high = lowest + 1.1 * max(0.0, field.least - wrong) + 1e-3, highest - max(0.0, wrong - field.most)
    else:
        low, high = max(lowest, 0.1), min(highest, field.most)
    low = round(low, 3)
    return f"(({low:g}, {max(low, high):g}),)"


def refuse_rivals(layout: Layout) -> None:
    """SceneError for two fields of the same element, one of which makes the other anew."""
    for one, others in _EXCLUSIVE:
        for other in others:
            if one in layout.targets and other in layout.targets:
                ours, theirs = (
                    {int(i) for change in layout.targets[key].changes for i in change.elements} for key in (one, other)
                )
                if ours & theirs:
                    terms = " and ".join(layout.targets[key].changes[0].term for key in (one, other))
                    raise SceneError(
                        f"randomization: {terms} both say the {one.replace('_', ' ')} of {layout.names[one][min(ours & theirs)]}, "
                        f"as {one} includes {other}. Leave one of them out."
                    )


# -- settings that have no effect, or too much ---------------------------------------------------------


def examined(layout: Layout, draws: Mapping[str, Draw], systems: Mapping[str, System]) -> Extremes:
    """Extremes of every target, by the constants as they are now. SceneError for a range that is none or makes no robot."""
    now = {}
    for name, draw in draws.items():
        constants = systems[name].constants
        now[name] = attrs.evolve(draw, spans=constants["spans"], distribution=constants["distribution"])
        refuse_no_range(name, now[name])
        layout.refuse_misfit(name, now[name])
    return {key: extremes(target, key, layout.names[key], now) for key, target in layout.targets.items()}


def check_targets(
    layout: Layout, draws: Mapping[str, Draw], systems: Mapping[str, System], model: RobotModel, schedule: Schedule
) -> None:
    """Raise SceneError for what can have no effect in a scene as it is now, or makes no robot; warn of unstable gains."""
    found = examined(layout, draws, systems)
    _check_motors(layout, found, model, schedule)
    for key, target in layout.targets.items():
        component, _, column = key.partition(".")
        readers = [e for e in schedule.entries if any(cls.__name__ == component for _, cls in e.reads)]
        if key not in FIELDS and column not in layout.targets and not readers:
            raise SceneError(
                f"randomization.{target.changes[0].term} has no effect: nothing in this scene reads {component}. Leave it out."
            )
    warn_of_unstable_gains(found, model)


def _check_motors(layout: Layout, found: Extremes, model: RobotModel, schedule: Schedule) -> None:
    compute = [e.system.constants for e in schedule.entries if e.name == "compute_torque"]
    for key, target in layout.targets.items():
        name = target.changes[0].term
        if key.startswith("PdGains.") and model.control != "servo" and all(c["controller"] == "T" for c in compute):
            raise SceneError(
                f"randomization.{name} has no effect: torques are the commands themselves. Leave it out, or choose "
                "actuation(controller='P') or 'V'."
            )
        if key == "TorqueNoise.amplitude" and not any(c["noisy"] for c in compute):
            most = float(found[key][1].max())
            raise SceneError(
                f"randomization.{name} has no effect: no motor of this scene is noisy. Leave it out, or choose "
                f"actuation(controller='P', torque_noise={most:g})."
            )
        if key == "torque_limit" and any(c["limited"] for c in compute) and (found[key][1] > target.nominal).any():
            raise SceneError(
                f"randomization.{name} can raise torque limits above the motors' own, which has no effect: explicit torques are "
                "held within those first. End the range at the motors' own limits (factor 1), or choose --control servo."
            )


def warn_of_unstable_gains(found: Extremes, model: RobotModel) -> None:
    """Warn of gains with which a joint would swing ever wider at this time step, as it stands in the model and alone.

    With I the joint's inertia as a torque feels it, a servo (damping implicit, stiffness explicit) is stable where
    Kp dt² < 2 (2 I + Kd dt), and explicit torque where Kp dt² + 2 Kd dt < 4 I: Jury's conditions for a step of q' = q + dt v'.
    """
    servo, dt, robot = model.control == "servo", model.dt, model.robot
    if not {"PdGains.stiffness", "PdGains.damping", "armature"} & found.keys():
        return
    inertia = 1.0 / torch.from_numpy(model.model.dof_invweight0[6:].copy())
    if "armature" in found:
        inertia = inertia + found["armature"][0][:, 0] - robot.armature.double()
    highest = found["PdGains.stiffness"][1][:, 0] if "PdGains.stiffness" in found else robot.stiffness.double()
    low, high = (part[:, 0] for part in found.get("PdGains.damping", (robot.damping.double().unsqueeze(1),) * 2))
    spare = 2 * (2 * inertia + low * dt) - highest * dt**2 if servo else 4 * inertia - highest * dt**2 - 2 * high * dt
    wild = [name for name, left in zip(robot.dof_names, spare.tolist(), strict=True) if left <= 0.0]
    if wild:
        _log.warning(
            f"randomization: the highest gains drawn make {listing(wild)} unstable at physics steps of {dt:g} s. Draw lower ones, "
            "or take more steps: --substeps."
        )
