"""Parts and losses of BCQ, BEAR, MCQ, PLAS, SPOT and UWAC against numbers worked by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast.algorithms import bcq, bear, mcq, plas, registry, spot, uwac
from holdfast.core.contract import Context
from holdfast.core.noise import Noise, Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.core.trained import Trained
from holdfast.parts import candidates, divergences, layers, nets, optimisers, spectral
from holdfast.parts import vae as vaes
from support.formulas import mlp, stack

pytestmark = pytest.mark.usefixtures("x64")

NOISE = Noise(jax.random.PRNGKey(0))
SPEC = Spec((2,), 1)


def flat_critic(*offsets):
    """Critics Q_j(s, a) = a + offset_j, of one layer, for two observations and one action."""
    return nets.Critic(stack(*(mlp(([[0.0], [0.0], [1.0]], [b])) for b in offsets)))


def flat_vae(bias=0.0):
    """Encoder to the standard normal, decoder to tanh(bias); the latent has two dimensions."""
    return vaes.VAE(mlp((np.zeros((3, 4)), np.zeros(4))), mlp((np.zeros((4, 1)), [bias])))


def both(fn, *args):
    """The value with and without jit, which must be the same."""
    plain, compiled = fn(*args), jax.jit(fn)(*args)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    return compiled


# parts


@pytest.mark.parametrize("lead", [(), (4,), (2, 4)])
def test_several_actions_a_state_are_judged_as_if_the_state_was_repeated(lead):
    critic = nets.critic(NOISE, Spec((3,), 2), (8, 8), n=2)
    obs, action = NOISE.normal("o", (5, 3)), NOISE.normal("a", (*lead, 5, 2))
    keep = layers.dropout(NOISE, "d", 0.5, (2, *lead, 5), (8, 8))
    repeated = jnp.broadcast_to(obs, (*lead, 5, 3))
    for k in ((), keep):
        np.testing.assert_allclose(critic(obs, action, k), critic(repeated, action, k), rtol=1e-12)
    assert critic(obs, action).shape == (2, *lead, 5)


def test_dropout_of_critics_drops():
    critic = nets.Critic(jax.tree.map(lambda x: x[None], mlp((np.ones((3, 2)), [0, 0]), ([[1.0], [10.0]], [0.5]))))
    keep = (jnp.asarray([[[0.0, 2.0]]]),)  # hidden units are both 3
    np.testing.assert_allclose(critic(jnp.ones((1, 2)), jnp.ones((1, 1)), keep), [[2 * 30 + 0.5]])


def test_mmd_by_hand():
    x, y = jnp.asarray([[0.0], [2.0]])[:, None], jnp.asarray([[1.0]])[:, None]
    k = {"laplacian": [math.exp(-1), math.exp(-0.5)], "gaussian": [math.exp(-2), math.exp(-0.5)]}  # distances 2, 1
    for name, (two, one) in k.items():
        squared = (2 + 2 * two) / 4 + 1 - 2 * one
        np.testing.assert_allclose(both(lambda x, y, n=name: divergences.mmd_squared(x, y, n, 1.0), x, y), [squared])
        np.testing.assert_allclose(divergences.mmd(x, y, name, 1.0), [math.sqrt(squared + 1e-6)])


def test_mmd_of_the_same_samples_has_a_gradient():
    x = NOISE.normal("x", (4, 3, 2))
    for name in ("laplacian", "gaussian"):
        value, slope = jax.value_and_grad(lambda y, n=name: divergences.mmd(x, y, n, 20.0).sum())(x)
        assert value == pytest.approx(3e-3)
        assert np.isfinite(slope).all()


def test_candidates():
    q = jnp.asarray([[1.0, 5.0], [2.0, 4.0], [0.0, 6.0]])
    actions = jnp.arange(6.0).reshape(3, 2, 1)
    np.testing.assert_array_equal(both(candidates.best, q, actions), [[2.0], [5.0]])
    fixed = candidates.normals(NOISE, "best", 7, 3, 2)
    assert fixed.shape == (7, 3, 2)
    np.testing.assert_array_equal(fixed[:, 0], fixed[:, 2])
    np.testing.assert_array_equal(fixed, candidates.normals(NOISE.fold(1), "best", 7, 3, 2))
    drawn = candidates.normals(NOISE, "sample", 7, 3, 2)
    assert not np.array_equal(drawn[:, 0], drawn[:, 2])


def test_spectral_norm_finds_the_largest_singular_value():
    net = nets.mlp(NOISE, (6, 8, 3))
    towards = spectral.directions(NOISE, net)
    for _ in range(300):
        normal, towards = jax.jit(spectral.normalise)(net, towards)
    for layer, raw, u in zip(normal.layers, net.layers, towards, strict=True):
        assert np.linalg.svd(layer.weight)[1][0] == pytest.approx(1)
        np.testing.assert_allclose(layer.weight * np.linalg.svd(raw.weight)[1][0], raw.weight)
        assert np.linalg.norm(u) == pytest.approx(1)


def test_a_spectrally_normalised_layer_does_not_feel_the_scale_of_its_weight():
    layer, (u,) = mlp(([[3.0, 0.0], [0.0, 1.0]], [0.0, 0.0])), (jnp.asarray([1.0, 0.0]),)
    slope = jax.grad(lambda n: spectral.normalise(n, (u,))[0].layers[0].weight.sum())(layer).layers[0].weight
    np.testing.assert_allclose(slope, [[-1 / 9, 1 / 3], [1 / 3, 1 / 3]])  # sum of W / W_00: the last term from sigma
    assert float((slope * layer.layers[0].weight).sum()) == pytest.approx(0)


def test_the_prior_is_clipped():
    z = vaes.prior(NOISE, "z", (100, 2))
    assert float(jnp.abs(z).max()) == 0.5
    assert float(jnp.abs(z).min()) < 0.1


# BCQ and PLAS


def test_bcq_perturbation_is_bounded():
    xi = bcq.Perturbation(mlp((np.zeros((3, 1)), [100.0])))
    action = jnp.asarray([[0.2], [0.99]])
    np.testing.assert_allclose(xi(jnp.zeros((2, 2)), action, 0.05), [[0.25], [1.0]])


def test_bcq_perturbation_loss():
    xi = bcq.Perturbation(mlp((np.zeros((3, 1)), [100.0])))
    critic = flat_critic(1.0, -7.0)  # the first alone counts
    loss, metrics = bcq.perturbation_loss(xi, critic, jnp.zeros((2, 2)), jnp.asarray([[0.2], [0.4]]), 0.1)
    assert loss == pytest.approx(-(0.3 + 0.5) / 2 - 1)
    assert metrics["change"] == pytest.approx(0.1)


def test_bcq_target():
    """Mixed for each candidate, then the best of them: 0.75 min + 0.25 max of tanh(bias) + offset."""
    cfg = bcq.BCQ(vae_hidden=(), hidden=(), candidates=3, mix=0.75, discount=0.5, phi=0.0)
    one = Batch(*(jnp.ones((1, 2)), jnp.ones((1, 1)), jnp.asarray([2.0]), jnp.ones((1, 2))), jnp.zeros(1), jnp.zeros(1))
    xi = bcq.Perturbation(mlp((np.zeros((3, 1)), [0.0])))
    critic = flat_critic(1.0, 3.0)
    adam = optimisers.adam(0.0)
    state = bcq.State(Trained.new(flat_vae(0.3), adam), Trained.new(critic, adam), Trained.new(xi, adam), critic, xi)
    _, metrics = jax.jit(lambda s: bcq.update(bcq.BCQ(**{**vars(cfg), "vae_lr": 0.0}), s, one, NOISE, 0))(state)
    assert metrics["target"] == pytest.approx(2 + 0.5 * (math.tanh(0.3) + 0.75 * 1 + 0.25 * 3))


def test_plas_acts_through_the_decoder():
    vae = vaes.VAE(flat_vae().encoder, mlp(([[0.0], [0.0], [1.0], [1.0]], [0.0])))
    actor = plas.Actor(mlp((np.zeros((2, 2)), [0.5, -100.0])), None)
    action, latent = actor(vae, jnp.ones((1, 2)), 2.0, 0.0)
    np.testing.assert_allclose(latent, [[2 * math.tanh(0.5), -2]])
    np.testing.assert_allclose(action, [[math.tanh(2 * math.tanh(0.5) - 2)]])


def test_the_vae_alone_moves_in_its_phase():
    cfg = plas.PLAS(hidden=(8,), vae_hidden=(8,))
    state = plas.init(cfg, Context(SPEC), NOISE)
    batch = Batch(jnp.ones((4, 2)), jnp.ones((4, 1)), jnp.ones(4), jnp.ones((4, 2)), jnp.zeros(4), jnp.zeros(4))
    first, second = plas.algorithm.phases(cfg)
    assert first.steps == cfg.vae_steps
    assert second.steps is None
    before, phase = first.update(cfg, state, batch, NOISE, 0)
    after, run = plas.update(cfg, before, batch, NOISE, 0)
    assert all(name.startswith("vae/") for name in phase)
    assert not any(name.startswith("vae/") for name in run)

    def same(a, b):
        return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))

    assert not same(before.vae.net, state.vae.net)
    assert same(before.actor, state.actor)
    assert same(after.vae, before.vae)
    assert not same(after.actor.net, before.actor.net)


# SPOT


def test_spot_prices_where_the_latent_says_nothing():
    """Posterior and prior are one, the decoder gives 0: the ELBO's price is the mean square, IWAE's the density."""
    action = jnp.asarray([[0.5], [-1.0]])
    for samples in (1, 4):
        eps = NOISE.normal("eps", (samples, 2, 2))
        elbo = spot.elbo_price(flat_vae(), jnp.zeros((2, 2)), action, eps, 0.5)
        np.testing.assert_allclose(elbo, [0.25, 1.0])
        iwae = spot.iwae_price(flat_vae(), jnp.zeros((2, 2)), action, eps, 0.5)
        var = 0.5 / 4
        np.testing.assert_allclose(iwae, [0.5 * a**2 / var + 0.5 * math.log(2 * math.pi * var) for a in (0.5, 1.0)])


def test_spot_price_of_a_posterior_off_the_prior():
    """Mean 1, deviation e: KL = -.5 (1 + 2 - 1 - e^2) a dimension; one latent of eps 0 weighs log p(z) - log q(z)."""
    encoder = mlp((np.zeros((3, 4)), [1.0, 1.0, 1.0, 1.0]))
    vae = vaes.VAE(encoder, flat_vae().decoder)
    obs, action, eps = jnp.zeros((1, 2)), jnp.zeros((1, 1)), jnp.zeros((1, 1, 2))
    kl = -0.5 * (1 + 2 - 1 - math.e**2)
    np.testing.assert_allclose(spot.elbo_price(vae, obs, action, eps, 0.25), [0.25 * kl])
    beta, log_ratio = 0.25, 2 * (1 - 0.5)
    np.testing.assert_allclose(
        spot.iwae_price(vae, obs, action, eps, beta), [0.5 * math.log(2 * math.pi * beta / 4) - log_ratio]
    )


def test_spots_critics_may_have_layer_norm_and_its_rates_fall():
    cfg = spot.SPOT(critic_layer_norm=True, hidden=(4, 3), vae_hidden=(4,), actor_decay_steps=4, critic_decay_steps=8)
    state = spot.init(cfg, Context(Spec((2,), 1)), NOISE)
    assert [norm.weight.shape for norm in state.critic.net.nets.norms] == [(2, 4), (2, 3)]
    assert not state.actor.net.net.norms
    batch = Batch(jnp.zeros((3, 2)), jnp.ones((3, 1)), jnp.ones(3), jnp.ones((3, 2)), jnp.zeros(3), jnp.ones(3))
    moved, update = [], jax.jit(functools.partial(spot.update, cfg))
    for step in range(9):  # the actor moves every second time: after two moves its rate is 0
        after, _ = update(state, batch, Noise(jax.random.key(step)), jnp.asarray(step))
        leaves = [[jax.tree.leaves(net.net) for net in (s.actor, s.critic)] for s in (state, after)]
        pairs = [zip(old, new, strict=True) for old, new in zip(*leaves, strict=True)]
        moved.append([any((a != b).any() for a, b in pair) for pair in pairs])
        state = after
    assert moved == [[t in (1, 3), t < 8] for t in range(9)]


def test_spot_divides_q_by_its_size():
    cfg = spot.SPOT(support_weight=0.0)
    actor = nets.DeterministicPolicy(mlp((np.zeros((2, 1)), [0.0])))
    eps = jnp.zeros((1, 3, 2))
    for scale in (1.0, 100.0):
        critic = nets.Critic(jax.tree.map(lambda x, s=scale: s * x, flat_critic(2.0, 0.0).nets))
        loss, _ = spot.actor_loss(actor, critic, flat_vae(), jnp.zeros((3, 2)), (), eps, cfg)
        assert loss == pytest.approx(-1)


# MCQ


def test_mcq_critic_loss():
    """Data errors 1 and 2 (critic values .5 + offset), policy errors 3 and 4 from the bound, weighed .7 and .3."""
    obs, action = jnp.zeros((1, 2)), jnp.asarray([[0.5]])
    batch = Batch(obs, action, jnp.zeros(1), obs, jnp.zeros(1), jnp.zeros(1))
    states, own, bound = jnp.zeros((2, 2)), jnp.asarray([[0.0], [0.0]]), jnp.asarray([-3.0, -3.0])
    loss, metrics = mcq.critic_loss(flat_critic(0.0, 1.0), jnp.asarray([-0.5]), batch, bound, states, own, 0.7)
    assert loss == pytest.approx(0.7 * (1 + 4) + 0.3 * (9 + 16))
    assert metrics["q"] == pytest.approx(1.0)
    assert metrics["policy_q"] == pytest.approx(0.5)


# BEAR and UWAC


def constant_policy(mean, log_std):
    return nets.GaussianHeadsPolicy(mlp((np.zeros((2, 2)), [mean, log_std])))


def test_bear_actor_loss():
    """One sample at tanh(.2 + .5 * .1): Q = a + offsets 1 and 3."""
    eps, obs = jnp.full((2, 3, 1), 0.1), jnp.zeros((3, 2))
    actor, alpha = constant_policy(0.2, math.log(0.5)), 2.0
    behaviour = jnp.full((2, 3, 1), 1.25)
    mmd = math.sqrt(2 - 2 * math.exp(-1 / 2) + 1e-6)
    for aggregate, offset in (("min", 1.0), ("mean", 2.0)):
        cfg = bear.BEAR(kernel="gaussian", sigma=1.0, aggregate=aggregate, std_penalty=0.4)
        args = (alpha, behaviour, eps, obs, cfg)
        loss, metrics = bear.actor_loss(actor, flat_critic(1.0, 3.0), *args)
        assert metrics["mmd"] == pytest.approx(mmd)
        assert metrics["spread"] == pytest.approx(1.0)  # half the distance of the two
        assert loss == pytest.approx(-(math.tanh(0.25) + offset) + 0.4 * 1.0 + alpha * mmd)
        assert bear.actor_loss(actor, None, *args)[0] == pytest.approx(alpha * mmd)  # the warm start


def test_the_multiplier_climbs_above_the_threshold_and_stays_in_bounds():
    start = Trained.new(jnp.asarray(0.0), optimisers.adam(0.1))
    up, metrics = bear.dual_step(start, 0.1, jnp.asarray(0.3), 0.05)
    down, _ = bear.dual_step(start, 0.1, jnp.asarray(0.01), 0.05)
    assert float(up.net) == pytest.approx(0.1, rel=1e-4)
    assert float(down.net) == pytest.approx(-0.1, rel=1e-4)
    assert metrics["multiplier/loss"] == pytest.approx(-0.25)
    far = Trained.new(jnp.asarray(9.99), optimisers.adam(0.1))
    assert float(bear.dual_step(far, 0.1, jnp.asarray(0.3), 0.05)[0].net) == 10


def test_uwac_variance_is_exact_for_one_hidden_layer():
    """Hidden units 1 and 2 with weights 3 and 4 out: p / (1 - p) ((1 * 3)^2 + (2 * 4)^2); mean the plain Q."""
    net = mlp(([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]), ([[3.0], [4.0]], [0.5]))
    critic = nets.Critic(jax.tree.map(lambda x: jnp.stack([x, x]), net))
    obs, action = jnp.asarray([[1.0, 0.0]]), jnp.zeros((1, 1))
    cfg = uwac.UWAC(dropout=0.2, hidden=(2,), passes=4)
    mean, variance = uwac.moments(critic, obs, action, (), cfg)
    np.testing.assert_allclose(mean, [[11.5], [11.5]])
    np.testing.assert_allclose(variance, np.full((2, 1), 0.25 * (9 + 64)))
    # all four masks as four passes: the mean of their squares, weighed by chance, is that variance
    masks = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]]) / 0.8
    chance = np.asarray([0.2 * 0.2, 0.2 * 0.8, 0.8 * 0.2, 0.8 * 0.8])
    q = masks @ np.asarray([3.0, 8.0]) + 0.5
    assert chance @ q == pytest.approx(11.5)
    assert chance @ (q - 11.5) ** 2 == pytest.approx(0.25 * 73)
    keep = (jnp.broadcast_to(jnp.asarray(masks)[:, None, None], (4, 2, 1, 2)),)
    drawn_mean, drawn_variance = uwac.moments(critic, obs, action, keep, cfg)
    np.testing.assert_allclose(drawn_mean, np.full((2, 1), q.mean()))
    np.testing.assert_allclose(drawn_variance, np.full((2, 1), q.var(ddof=1)))


def test_uwac_variance_to_first_order_is_near_that_of_many_passes():
    cfg = uwac.UWAC(hidden=(64, 64), passes=2000)
    critic = uwac.init(cfg, Context(SPEC), NOISE).critic.net
    obs, action = NOISE.normal("o", (8, 2)), NOISE.uniform("a", (8, 1))
    drawn = uwac.moments(critic, obs, action, uwac.masks(cfg, NOISE, "keep", (8,)), cfg)
    mean, variance = uwac.moments(critic, obs, action, (), cfg)
    np.testing.assert_allclose(variance, drawn[1], rtol=0.3)
    np.testing.assert_allclose(mean, drawn[0], atol=0.2 * float(jnp.sqrt(drawn[1]).max()))


def test_uwac_masks():
    assert uwac.masks(uwac.UWAC(passes=0), NOISE, "m", (3, 5)) == ()
    shared = uwac.masks(uwac.UWAC(passes=4, hidden=(6, 7)), NOISE, "m", (3, 5))
    assert [m.shape for m in shared] == [(4, 2, 3, 5, 6), (4, 2, 3, 5, 7)]
    np.testing.assert_array_equal(shared[0][:, :, 0, 0], shared[0][:, :, 2, 4])
    own = uwac.masks(uwac.UWAC(passes=4, hidden=(6, 7), shared_masks=False), NOISE, "m", (3, 5))
    assert not np.array_equal(own[0][:, :, 0, 0], own[0][:, :, 2, 4])


def test_uwac_weights():
    variance = jnp.asarray([0.0, 1.0, 4.0])
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=0.5), variance), np.exp([0, -0.5, -2]))
    np.testing.assert_allclose(uwac.certainty(uwac.UWAC(beta=2.0, exp_weight=False), variance), [1, 1, 0.5])


def test_uwac_critic_loss():
    """Errors 1 and 3 with weight .5: inside the square a quarter of them, outside half."""
    obs = jnp.zeros((1, 2))
    batch = Batch(obs, jnp.zeros((1, 1)), jnp.zeros(1), obs, jnp.zeros(1), jnp.zeros(1))
    for square, share in ((True, 0.25), (False, 0.5)):
        args = ((), jnp.asarray([1.0]), jnp.asarray([0.5]), (), batch, square)
        assert uwac.critic_loss(flat_critic(2.0, 4.0), *args)[0] == pytest.approx(share * (1 + 9))


# settings and acting


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("bear", {"q_samples": 9}, "q_samples"),
        ("bear", {"kernel": "cauchy"}, "kernel"),
        ("uwac", {"passes": 1}, "passes"),
        ("uwac", {"dropout": 0.0}, "dropout"),
        ("spot", {"samples": 0}, "samples"),
        ("plas", {"vae_hidden": (0,)}, "vae_hidden"),
        ("mcq", {"in_weight": 1.5}, "in_weight"),
        ("bcq", {"acting_candidates": 0}, "acting_candidates"),
    ],
)
def test_faults(name, wrong, said):
    algorithm = registry.get(name)
    (fault,) = algorithm.check(algorithm.Config(**wrong))
    assert fault.startswith(said)


def test_acting_takes_the_best_candidate():
    """Values grow with the action: the largest of the recorded candidates is taken."""
    cfg = bear.BEAR(acting_candidates=3)
    adam = optimisers.adam(0.0)
    actor = constant_policy(0.0, 0.0)
    trained = [Trained.new(x, adam) for x in (flat_vae(), actor, flat_critic(0.0, 9.0), jnp.asarray(0.0))]
    state = bear.State(*trained, actor, flat_critic(0.0, 0.0))
    eps = jnp.asarray([[[0.1], [3.0]], [[-1.0], [0.0]], [[0.5], [1.0]]])
    action, _ = bear.act(cfg, state, Seen(jnp.zeros((2, 2)), jnp.zeros(2)), (), Tape({"act": eps}), "sample")
    np.testing.assert_allclose(action, np.tanh([[0.5], [3.0]]))
