"""Actions from outside of the tick: what stands in a scene in the place of its learner, for learners of other libraries."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from components.control import Action, ChosenAction
from components.episode import Done
from components.learning import Policy
from components.observation import LastObservation, Observation, ObservationNoise
from engine.ecs.access import Rng, Terms, Write
from engine.ecs.bundle import Bundle, Deferred
from engine.ecs.component import Kind, info, kind_of
from engine.ecs.condition import any_row
from engine.ecs.scene import Scene
from engine.ecs.system import System, fuse, system
from engine.errors import SceneError
from systems.observation_groups import BOTH, REGISTERED, observe_row
from systems.ppo_rollout import put_action
from systems.tick import ACT, COMMAND, OBSERVE, RECORD


def take_action(chosen: ChosenAction, action: Write[Action], *, limit: float = math.inf) -> None:
    """Do what was chosen outside, held within ±`limit`."""
    put_action(action, chosen.value, limit)


def observe_last(
    values: Terms, rng: Rng, last: Write[LastObservation], *, noisy: bool = True, limit: float = math.inf
) -> None:
    """Put side by side what actor and critic see before a reset, with their noise and bounds; nothing is late or drifts."""
    for group, noise in zip(BOTH, ("noise", "critic_noise"), strict=True):
        observe_row(getattr(last, group), values, noise, rng if noisy else None, limit, group=group)


def observe_last_under_curriculum(
    values: Terms, rng: Rng, noise: ObservationNoise, last: Write[LastObservation],
    *, noisy: bool = True, limit: float = math.inf,
) -> None:  # fmt: skip
    """`observe_last`, with the noise of all terms scaled by the curriculum."""
    for group, key in zip(BOTH, ("noise", "critic_noise"), strict=True):
        observe_row(getattr(last, group), values, key, rng if noisy else None, limit, noise.level, group)


def outside(*, limit: float = math.inf, home: str | None = None) -> Bundle:
    """Takes actions from `ChosenAction`, held within ±`limit`; `home` is the table that it is for."""
    return Bundle("outside", [Action, ChosenAction], systems={ACT: [system(take_action, limit=limit)]}, table=home)


def without_learner(scene: Scene, *, bound: float = math.inf) -> Scene:
    """The same scene with `outside` in the place of its learner, and `observe_last` in that of `observe_final`.

    Actions are held within ± the learner's limit, and ±`bound`. SceneError where nobody could act in it, or would see anything.
    """
    learners = [bundle for bundle in scene.bundles if any(_type_of(each) is Policy for each in bundle.resources)]
    if not learners:
        raise SceneError(
            f"Nobody acts in the scene '{scene.name}': it has no learner whose place somebody outside could take. Name a "
            "scene that learns, or add ppo(...) to its bundles."
        )
    placed = [each for bundle in scene.bundles for each in bundle.systems.get(OBSERVE, ())]
    observed = next((each for each in placed if each.terms and Observation in each.writes), None)
    if observed is None:
        raise SceneError(
            f"Nothing is seen in the scene '{scene.name}': no system makes Observation of terms. Add task(observations=…) to "
            "its bundles."
        )
    acting: Mapping[str, Any] = next((each.constants for each in learners[0].systems.get(ACT, ())), {})
    stands = outside(limit=min(acting.get("limit", math.inf), bound), home=learners[0].table)
    bundles = [
        stands if each is learners[0] else seen_before_reset(each, observed, scene.bundles)
        for each in scene.bundles
        if each not in learners[1:]
    ]
    return attrs.evolve(scene, bundles=bundles)


def seen_before_reset(bundle: Bundle, observed: System, bundles: Sequence[Bundle]) -> Bundle:
    """The bundle, with its part in what is seen before rows reset, in each tick in which an episode ends.

    That is `observe_last`, where `observed` is the bundle's, and the caches that it reads.
    """
    needed, ended = _behind(observed, bundles), any_row(Done, "ended")
    makers = {s.name: s for p in (COMMAND, OBSERVE) for s in bundle.systems.get(p, ()) if _derives(s, needed)}
    recorded = [s for s in bundle.systems.get(RECORD, ()) if s.name != "observe_final"]
    first = [attrs.evolve(each, when=ended) if each.name in makers else each for each in recorded]
    known, components = {each.name for each in first}, list(bundle.components)
    first += [attrs.evolve(each, when=ended, after=None) for name, each in makers.items() if name not in known]
    if any(each is observed for each in bundle.systems.get(OBSERVE, ())):
        look = observe_last_under_curriculum if ObservationNoise in observed.reads else observe_last
        last = fuse(look, observed.terms, name="observe_final", settings=REGISTERED, when=ended)
        last.constants = observed.constants  # one noise and one limit for both
        first.append(last)
        components.append(LastObservation)
    return attrs.evolve(bundle, components=components, systems={**bundle.systems, RECORD: first})


def _behind(observed: System, bundles: Sequence[Bundle]) -> set[type]:
    """The components that a system reads, and those that caches among them are made of."""
    makers = {w: s for b in bundles for each in b.systems.values() for s in each for w in s.writes if _is_cache(w)}
    found, waiting = set[type](), list(observed.reads)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += makers[each].reads if each in makers else ()
    return found


def _derives(each: System, needed: set[type]) -> bool:
    return bool(each.writes) and all(_is_cache(w) for w in each.writes) and bool(needed & set(each.writes))


def _is_cache(cls: type) -> bool:
    return kind_of(cls) is Kind.COMPONENT and info(cls).lifetime == "derived"


def _type_of(resource: object) -> type:
    return resource.type if isinstance(resource, Deferred) else type(resource)
