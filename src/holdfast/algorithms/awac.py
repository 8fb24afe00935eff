"""AWAC, advantage-weighted actor-critic (Nair, Gupta, Dalal, Levine 2020, arXiv:2006.09359; equation numbers are
theirs).

An off-policy critic of the current policy, and a policy that is cloned from the data with weights exp(A / lambda).

Notation (paper = code): lambda = `temperature`; A = `advantage`.
Order of an update: critics, policy with the new critics, targets.
As in CORL's code, which the published presets follow: the policy is a normal around an unbounded mean with a log
standard deviation that does not depend on the state, and samples are clipped to [-1, 1]; V is the smaller critic at one
sample of the policy; the weight is capped, where the paper normalises it over the batch.
With `value_action` mode, as in the authors' code, V is taken at the mode of the policy, so the weights have no noise.
Ours: `mean` tanh, dropout in the actor and rates that follow a cosine, all three for short logs (preset `tuned_100k`);
discrete actions, with a categorical policy, critics with one output per action and a lambda of their own.
"""

from __future__ import annotations

from ..core.config import Schedule, config, faults, static
from ..core.contract import BOTH, PROPORTIONAL, SCALED, Algorithm, Collect, Context, Phase, Preset, Treatment
from ..core.noise import Noise
from ..core.spec import Batch, Step
from ..core.trained import Metrics, Trained, merge
from ..core.tree import PyTree, ema
from ..parts import losses, nets, optimisers, targets
from ..parts.acting import act, dist
from ..parts.cloning import weighted_cloning
from ..parts.critics import squared_error
from ..parts.distributions import draw
from ..parts.optimisers import ActorCritic


@config
class AWAC:
    temperature: float = 0.3333  # lambda of eq. 13: small clones only the best actions, large clones all
    discrete_temperature: float = 15.0  # lambda for discrete actions; ours, because advantages are larger there
    max_weight: float = 100.0  # cap on exp(A / lambda), CORL
    mean: str = "unbounded"  # of the normal: unbounded (CORL) or tanh, as in IQL
    value_action: str = "sample"  # V(s) is Q at a sample of the policy (CORL) or at its mode (authors' code)
    discount: float = 0.99  # gamma
    n_step: int = 1  # steps of the return before it bootstraps; 1 in the paper
    polyak: float = 0.005  # rate at which the target critics follow
    actor_lr: float = 3e-4  # Adam
    critic_lr: float = 3e-4  # Adam
    actor_decay_steps: Schedule = "constant"  # rate of the actor: constant, or a cosine over the run or N updates
    critic_decay_steps: Schedule = "constant"  # the same for the critics
    actor_dropout: float = static(default=0.0)  # share of the actor's hidden units that an update leaves out
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers of every network
    batch_size: int = 256  # rows per update
    update_ratio: int = 1  # fine-tuning: updates per environment step


class State(PyTree):
    actor: Trained
    critic: Trained
    target_critic: nets.Critic


def check(cfg: AWAC) -> list[str]:
    rules = dict.fromkeys(("temperature", "discrete_temperature", "max_weight", "update_ratio"), "positive")
    rules |= dict.fromkeys(("discount", "polyak"), "in [0, 1]")
    rules |= {"value_action": "sample|mode", "mean": "unbounded|tanh", "actor_dropout": "in [0, 1)"}
    return faults(cfg, n_step="positive", **rules)


def optimisers_of(cfg: AWAC) -> ActorCritic:
    return optimisers.decaying(cfg)


def init(cfg: AWAC, ctx: Context, noise: Noise) -> State:
    tx = optimisers_of(cfg)
    squash: nets.Squash = "none" if cfg.mean == "unbounded" else "mean"
    actor = nets.gaussian_policy(noise.sub("actor"), ctx.spec, cfg.hidden, low=-20.0, high=2.0, squash=squash)
    critic = nets.critic(noise.sub("critic"), ctx.spec, cfg.hidden)
    return State(Trained.new(actor, tx.actor), Trained.new(critic, tx.critic), critic)


def update(cfg: AWAC, state: State, batch: Batch, noise: Noise, step: Step) -> tuple[State, Metrics]:
    tx = optimisers_of(cfg)
    next_action = draw(state.actor.net(batch.next_obs).among(batch.next_mask), noise, "target_action")
    y = targets.td(batch, state.target_critic(batch.next_obs, next_action).min(0), cfg.discount)
    critic, m1 = state.critic.step(tx.critic, squared_error, y, batch, name="critic")  # eq. 10

    policy = state.actor.net(batch.obs).among(batch.mask)
    action = policy.mode() if cfg.value_action == "mode" else draw(policy, noise, "actor_action")
    advantage = critic.net(batch.obs, batch.action).min(0) - critic.net(batch.obs, action).min(0)
    temperature = cfg.discrete_temperature if state.critic.net.discrete else cfg.temperature
    weight = losses.exp_weight(advantage, 1 / temperature, cfg.max_weight)
    keep = nets.dropout(noise, "actor_dropout", cfg.actor_dropout, batch.reward.shape, state.actor.net.net)
    actor, m2 = state.actor.step(tx.actor, weighted_cloning, weight, batch, keep, name="actor")  # eq. 13
    target = ema(critic.net, state.target_critic, cfg.polyak)
    return State(actor, critic, target), merge(m1, m2, {"advantage": advantage.mean()})


def finetune(cfg: AWAC) -> tuple[Phase, ...]:
    """Algorithm 1 continues on one buffer of the data and the new rows, with `update_ratio` updates per step."""
    return (Phase("online", mix=PROPORTIONAL, collect=Collect(warmup=0, every=cfg.update_ratio)),)


CORL = "CORL, algorithms/offline/awac.py, configs/offline/awac/"
PRESETS = {
    "mujoco": Preset(AWAC(), Treatment(normalize_obs=1e-3), CORL + "hopper/medium_v2.yaml"),
    "antmaze": Preset(
        AWAC(temperature=0.1), Treatment(normalize_obs=1e-3, reward_shift=-1.0), CORL + "antmaze/umaze_v2.yaml"
    ),
    "tuned_100k": Preset(
        AWAC(
            temperature=1.5,
            max_weight=20.0,
            mean="tanh",
            actor_decay_steps="run",
            critic_decay_steps="run",
            actor_dropout=0.1,
            hidden=(256, 256),
        ),
        SCALED,
        "ours, chosen on mixed logs of 100,000 steps: docs/algorithms/awac.md",
    ),
}

algorithm = Algorithm(
    "awac",
    AWAC,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    actions=BOTH,
    finetune=finetune,
    check=check,
    images=True,
)
