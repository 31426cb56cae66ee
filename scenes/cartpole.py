"""Balance a pole on a cart: a whole task on one page, to be read from top to bottom.

The physics is that of Barto, Sutton & Anderson, "Neuronlike adaptive elements that can solve difficult learning control
problems" (1983), without friction. Limits, masses and score are those of Gymnasium's CartPole-v1; the force is any within ±10 N.
"""

import math
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from components.control import Action
from components.episode import Done, Rewritten
from engine import Bundle, Rng, Scene, Term, Write, any_row, column, component, put_rows, system, table, term
from engine.runner.experiment import Experiment, Trial
from systems.deploy.export import write_onnx
from systems.episode import episode
from systems.filmstrip import drawn_film, filmstrip
from systems.first_episode import all_episodes_ended, first_episodes, summarise_episodes
from systems.learning.config import PpoConfig
from systems.metrics import metrics, report
from systems.ppo import play, ppo
from systems.task import task
from systems.terminations import time_limit
from systems.tick import RESET, STEP, TICK

DT, LONGEST = 0.02, 500  # s in one tick, ticks in one episode


@component
class Cart:
    """A cart on a track with a pole hinged to it, one of each per row."""

    position: Tensor = column(unit="m", doc="0 in the middle of the track")
    speed: Tensor = column(unit="m/s")
    angle: Tensor = column(unit="rad", doc="of the pole; 0 upright, positive when it leans forward")
    spin: Tensor = column(unit="rad/s")


def push(
    action: Action, cart: Write[Cart], *, force: float = 10.0, cart_mass: float = 1.0, pole_mass: float = 0.1,
    half_length: float = 0.5, gravity: float = 9.8, dt: float = DT,
) -> None:  # fmt: skip
    """Push every cart by action × `force` in N, and let it and its pole, a uniform rod, move on by one Euler step."""
    mass, sine, cosine = cart_mass + pole_mass, cart.angle.sin(), cart.angle.cos()
    pushed = force * action.value[:, 0].clamp(-1.0, 1.0)
    drive = (pushed + pole_mass * half_length * cart.spin.square() * sine) / mass
    spin_change = (gravity * sine - cosine * drive) / (half_length * (4 / 3 - pole_mass * cosine.square() / mass))
    speed_change = drive - pole_mass * half_length * spin_change * cosine / mass
    cart.position += dt * cart.speed
    cart.speed += dt * speed_change
    cart.angle += dt * cart.spin
    cart.spin += dt * spin_change


def start_over(done: Done, rng: Rng, cart: Write[Cart], *, spread: float = 0.05) -> None:
    """Put the rows whose episode ended near the middle, nearly upright: everything uniform within ±`spread`."""
    for value in (cart.position, cart.speed, cart.angle, cart.spin):
        drawn = torch.rand(value.shape, generator=rng, device=rng.device)
        put_rows(value, done.ended, spread * (2.0 * drawn - 1.0))


def state(cart: Cart) -> Tensor:
    """What the policy sees: everything there is."""
    return torch.stack((cart.position, cart.speed, cart.angle, cart.spin), -1)


def balanced(cart: Cart) -> Tensor:
    """What is good: 1 in every tick, so that it pays to make the episode last."""
    return torch.ones_like(cart.angle)


def off_track(cart: Cart, *, most: float = 2.4) -> Tensor:
    """The cart is more than `most` metres from the middle."""
    return cart.position.abs() > most


def fallen(cart: Cart, *, degrees: float = 12.0) -> Tensor:
    """The pole leans by more than `degrees`."""
    return cart.angle.abs() > math.radians(degrees)


def sight() -> dict[str, Term]:
    """What actor, critic and camera see, as terms."""
    return {"state": term(state)}


def balancing(rows: int, *learner: Bundle) -> Scene:
    """The task, and after it whoever learns or plays it."""
    cart = Bundle(
        "cart",
        [Cart],
        systems={STEP: [system(push)], RESET: [system(start_over, when=any_row(Rewritten, "rows"))]},
        axes={"dof": ("force",)},  # the policy's action is this one number
        vitals=sight(),
    )
    goal = task(
        observations=sight(),
        rewards={"balanced": term(balanced, weight=1.0 / DT)},  # weights are per second
        terminations={
            "off_track": term(off_track),
            "fallen": term(fallen),
            "time_limit": term(time_limit, kind="time_limit", steps=LONGEST),
        },
        dt=DT,
    )
    return Scene([table("cart", rows=rows)], [cart, episode(), goal, *learner], TICK, name="cartpole")


def picture(draw: Any, position: float, speed: float, angle: float, spin: float) -> None:
    """One frame of the film, 640 by 480 pixels: 120 of them are a metre."""
    x, y = 320 + 120 * position, 300
    draw.line((0, y + 20, 640, y + 20), fill="gray", width=2)
    draw.rectangle((x - 40, y - 20, x + 40, y + 20), fill="steelblue")
    draw.line((x, y, x + 120 * math.sin(angle), y - 120 * math.cos(angle)), fill="darkorange", width=10)


def scored(rows: int = 100, *, learner: PpoConfig) -> Scene:
    """So many carts, each balanced for one episode by the mean of the policy."""
    return balancing(rows, play(learner), first_episodes())


def experiment(
    num_envs: Annotated[int, "carts simulated in parallel"] = 64,
    horizon: Annotated[int, "ticks in one learning iteration"] = 32,
    hidden: Annotated[tuple[int, ...], "hidden layers of actor and critic"] = (32, 32),
    iterations: Annotated[int, "learning iterations"] = 60,
) -> Experiment:
    """Balance a pole on a cart. The score is the mean return of 100 episodes without exploration; 500 is best."""
    # values grow to 100, which a critic that moves by 0.2 would hardly reach; nothing is found by shaking a pole that stands
    learner = PpoConfig(horizon=horizon, hidden=hidden, value_clip=math.inf, entropy_weight=0.0)
    score = partial(scored, learner=learner)
    played, film = LONGEST + 1, partial(drawn_film, draw=picture, fps=1 / DT)  # the first tick only resets
    return Experiment(
        train=lambda: balancing(num_envs, ppo(learner), metrics(horizon=horizon)),
        evaluate=Trial(score, played, summarise_episodes, over=all_episodes_ended),
        film=Trial(lambda: balancing(1, play(learner), filmstrip(sight(), frames=LONGEST)), played, film),
        export=write_onnx,
        report=partial(report, dt=DT),
        panel=("episode/return", "episode/length"),
        iterations=iterations,
        best="episode/return",
    )
