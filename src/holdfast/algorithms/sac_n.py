"""SAC-N (An, Moon, Kim, Song 2021, arXiv:2110.01548, section 3): soft actor-critic with N critics instead of two.

Away from the data the critics disagree, and the minimum over many is low: no other pessimism is needed. The
more critics, the lower the minimum. The metric `actor/disagreement` shows how far apart they are at the policy's
actions.

Notation (paper = code): N = `critics`; alpha = temperature; H = `target_entropy`, where 0 means minus the number of
action dimensions. Arrays of critics are [E] = [N].
Order, as in the authors' code: temperature, actor with the new temperature and the old critics, critics with the target
of the new actor and temperature, target critics. SAC's usual order is the reverse; CORL found this one to be better.
As in CORL: three separate samples of the policy, the new temperature in the actor's loss (the authors: one sample for
temperature and actor, the old temperature). Not as there: the log-density of tanh is exact; theirs has
log(1 - a^2 + 1e-6), which saturates near the bounds.
The paper's value is the minimum (`value` "min"). The other values compare ways to aggregate the same ensemble: "mean",
"lcb" (the mean minus `value_deviations` standard deviations) and "mixture", the random convex combination of REM
(arXiv:1907.04543) in targets and critics. REM for continuous actions has no file of its own, because its actor and its
order of update are SAC-N's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..core.config import config, faults
from ..core.contract import Algorithm, Context, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Scalar, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import ema
from ..parts import initialisers, losses, nets, targets
from ..parts.acting import act, dist
from ..parts.critics import squared_error
from .sac import Optimisers, State, entropy_goal, optimisers_of, temperature_loss


@config
class SACN:
    critics: int = 10  # N; 10 on HalfCheetah, 20 on Walker2d, 200 on Hopper (500 on its medium data)
    value: str = "min"  # aggregate of the N critics: min, mean, lcb (mean minus deviations) or mixture
    value_deviations: float = 1.0  # lcb: standard deviations below the mean
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    initial_temperature: float = 1.0  # alpha before the first update
    target_entropy: float = 0.0  # H, in nats; 0 means minus the number of action dimensions
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    temperature_lr: float = 3e-4  # Adam
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update


def check(cfg: SACN) -> list[str]:
    rules = {"value": "min|mean|lcb|mixture", "critics": "positive", "value_deviations": "at least 0"}
    rules |= {"discount": "in [0, 1]", "polyak": "in [0, 1]", "initial_temperature": "positive"}
    found = faults(cfg, n_step="positive", **rules)
    if cfg.value == "lcb" and cfg.critics == 1:
        found.append("critics is 1, expected at least 2: value lcb needs their standard deviation")
    return found


def init(cfg: SACN, ctx: Context, noise: Noise) -> State:
    """Networks with the authors' initial weights: biases of .1, last layers close to 0."""
    hidden = initialisers.torch_weights(bias=0.1)
    last = initialisers.uniform_init(1e-3, 1e-3)
    actor = nets.gaussian_heads_policy(noise.sub("actor"), ctx.spec, cfg.hidden, low=-5.0, init=hidden, last=last)
    last = initialisers.uniform_init(3e-3, 3e-3)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden, cfg.critics, init=hidden, last=last)
    tx = optimisers_of(cfg)
    temperature = Trained.new(jnp.log(cfg.initial_temperature), tx.temperature)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic, temperature)


def mixed_loss(critic: nets.Critic, y: jax.Array, batch: Batch, mixture: jax.Array) -> tuple[jax.Array, Metrics]:
    """REM's loss: the `mixture` [N] of the critics, not each of them, regresses on y [B]."""
    q = mixture @ critic(batch.obs, batch.action)
    return jnp.square(q - y).mean(), {"q": q.mean(), "target": y.mean()}


def actor_loss(
    actor: nets.Policy, critic: nets.Critic, alpha: Scalar, obs: jax.Array, eps: jax.Array, cfg: SACN
) -> tuple[jax.Array, Metrics]:
    action, log_prob = actor(obs).sample_and_log_prob(eps)
    q = critic(obs, action)
    value = losses.lower(q, cfg.value, cfg.value_deviations)
    metrics = {"entropy": -log_prob.mean(), "q": value.mean(), "disagreement": q.std(0).mean()}
    return (alpha * log_prob - value).mean(), metrics


def improve(
    cfg: SACN, tx: Optimisers, state: State, batch: Batch, noise: Noise, mixture: jax.Array | None = None
) -> tuple[Trained, Trained, jax.Array, Metrics]:
    """All of an update but the critics.

    Args:
        cfg: the settings.
        tx: the optimisers, as `optimisers_of` makes them.
        state: networks before the update.
        batch: B rows.
        noise: draws of the update.
        mixture: weights [N] of the target critics; None takes their aggregate `value`.

    Returns:
        Temperature, actor, the target y [B] that the critics regress on, and metrics.
    """
    shape = batch.action.shape
    _, log_prob = state.actor.net(batch.obs).sample_and_log_prob(noise.normal("temperature_action", shape))
    goal = entropy_goal(cfg, batch)
    temperature, m1 = state.temperature.step(tx.temperature, temperature_loss, log_prob, goal, name="temperature")

    alpha = jnp.exp(temperature.net)
    eps = noise.normal("actor_action", shape)
    actor, m2 = state.actor.step(tx.actor, actor_loss, state.critic.net, alpha, batch.obs, eps, cfg, name="actor")

    eps = noise.normal("target_action", shape)
    next_action, next_log_prob = actor.net(batch.next_obs).sample_and_log_prob(eps)
    q = state.target_critic(batch.next_obs, next_action)
    value = losses.lower(q, cfg.value, cfg.value_deviations) if mixture is None else mixture @ q
    return temperature, actor, targets.td(batch, value - alpha * next_log_prob, cfg.discount), merge(m1, m2)


def update(cfg: SACN, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    if cfg.value == "mixture":
        uniform = noise.uniform("mixture_uniform", (cfg.critics,))
        mixture = uniform / uniform.sum()
        temperature, actor, y, m1 = improve(cfg, tx, state, batch, noise, mixture)
        critic, m2 = state.critic.step(tx.critic, mixed_loss, y, batch, mixture, name="critic")
    else:
        temperature, actor, y, m1 = improve(cfg, tx, state, batch, noise)
        critic, m2 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target, temperature), merge(m1, m2)


def preset(critics: int, source: str) -> Preset:
    return Preset(SACN(critics=critics), Treatment(), "CORL, configs/offline/sac_n/" + source)


PRESETS = {
    "halfcheetah": preset(10, "halfcheetah"),
    "walker2d": preset(20, "walker2d"),
    "hopper": preset(200, "hopper"),
    "hopper-medium": preset(500, "hopper/medium_v2.yaml"),
    "adroit": preset(100, "pen, door, hammer, relocate; the authors also standardise rewards"),
}

algorithm = Algorithm(
    "sac_n", SACN, init, update, act, PRESETS, needs=targets.n_step_rows, dist=dist, check=check, images=True
)
