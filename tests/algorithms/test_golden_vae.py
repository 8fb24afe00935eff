"""BCQ, PLAS, SPOT, MCQ, BEAR, UWAC: whole update steps equal to numbers recorded from the authors' code (float64)."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from holdfast.algorithms import bcq, bear, mcq, plas, spot, td3_bc, uwac
from holdfast.core.config import as_arrays
from holdfast.core.noise import Tape
from holdfast.core.trained import Trained
from holdfast.parts import divergences, layers, nets, optimisers, spectral
from holdfast.parts import vae as vaes
from support.tapes import TOLERANCE, Golden, close, common, replay

pytestmark = pytest.mark.usefixtures("x64")

adam = optimisers.adam


def samples_first(*names):
    """The recorded draws with the samples of a row, recorded second, as the leading axis."""

    def tape(arrays):
        return {k: jnp.moveaxis(v, 1, 0) if k in names else v for k, v in arrays.items()}

    return tape


def vae(g, root, suffix=""):
    return vaes.VAE(g.mlp(f"{root}/vae_encoder", suffix), g.mlp(f"{root}/vae_decoder", suffix))


def frozen_vae(g):
    """The decoder, and an encoder that nobody asks, where none was recorded."""
    if "params/vae_encoder/layer0/weight" in g.arrays:
        return vae(g, "params")
    encoder = layers.MLP((layers.Linear(jnp.zeros((8, 12)), jnp.zeros(12)),), ())
    return vaes.VAE(encoder, g.mlp("params/vae_decoder"))


def test_bcq():
    g = Golden("bcq_continuous")
    cfg = bcq.BCQ(
        candidates=g.setting("n_target_actions"),
        mix=g.setting("lmbda"),
        **common(g, "phi", "actor_lr", "critic_lr", "vae_lr"),
    )

    def perturbation(root, suffix=""):
        return bcq.Perturbation(g.mlp(f"{root}/perturbation", suffix))

    state = bcq.State(
        Trained.new(vae(g, "params"), adam(cfg.vae_lr)),
        Trained.new(g.critic("params"), adam(cfg.critic_lr)),
        Trained.new(perturbation("params"), adam(cfg.actor_lr)),
        g.critic("target"),
        perturbation("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.critic.net, state.perturbation.net)
            return *nets, state.target_critic, state.target_perturbation
        at = "expected/params"
        return (
            vae(g, at, suffix),
            g.critic(at, suffix),
            perturbation(at, suffix),
            g.critic("expected/target", suffix),
            perturbation("expected/target", suffix),
        )

    losses = {
        "vae/loss": "vae_loss",
        "vae/kl": "kl_loss",
        "vae/reconstruction": "recon_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "perturbation_loss",
    }
    replay(bcq.algorithm, cfg, state, g, expected, losses, tape=samples_first("target_latent"))


@pytest.mark.parametrize("name", ["plas", "plas_perturbation"])
def test_plas(name):
    g = Golden(name)
    perturbed = name == "plas_perturbation"
    cfg = plas.PLAS(
        phi=g.setting("phi") if perturbed else 0.0,
        mix=g.setting("lmbda"),
        **common(g, "max_latent_action", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        xi = bcq.Perturbation(g.mlp(f"{root}/perturbation", suffix)) if perturbed else None
        return plas.Actor(g.mlp(f"{root}/actor", suffix), xi)

    state = plas.State(
        Trained.new(frozen_vae(g), adam(cfg.vae_lr)),
        Trained.new(actor("params"), adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), adam(cfg.critic_lr)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            return state.vae.net, state.actor.net, state.critic.net, state.target_actor, state.target_critic
        online, target = "expected/params", "expected/target"
        slow = (actor(target, suffix), g.critic(target, suffix))
        return frozen_vae(g), actor(online, suffix), g.critic(online, suffix), *slow

    replay(plas.algorithm, cfg, state, g, expected, {"critic/loss": "critic_loss", "actor/loss": "actor_loss"})


def spot_case(name):
    g = Golden(name)
    cfg = spot.SPOT(
        support_weight=g.setting("lambd"),
        kl_weight=g.setting("beta"),
        samples=g.setting("num_samples"),
        policy_every=g.setting("policy_freq"),
        **common(g, "iwae", "policy_noise", "noise_clip", "actor_dropout", "actor_lr", "critic_lr"),
    )

    def actor(root, suffix=""):
        return nets.DeterministicPolicy(g.mlp(f"{root}/actor", suffix))

    state = spot.State(
        Trained.new(vae(g, "params"), adam(cfg.vae_lr)),
        Trained.new(actor("params"), td3_bc.optimiser(cfg)),
        Trained.new(g.critic("params"), td3_bc.critic_optimiser(cfg)),
        actor("target"),
        g.critic("target"),
    )
    return g, cfg, actor, state


@pytest.mark.parametrize("name", ["spot", "spot_iwae"])
def test_spot(name):
    g, cfg, actor, state = spot_case(name)

    def expected(state, suffix=None):
        if suffix is None:
            return state.vae.net, state.actor.net, state.critic.net, state.target_actor, state.target_critic
        online, target = "expected/params", "expected/target"
        slow = (actor(target, suffix), g.critic(target, suffix))
        return vae(g, "params"), actor(online, suffix), g.critic(online, suffix), *slow

    def tape(arrays):
        arrays = samples_first("vae_latent")(arrays)
        return {k.replace("mask_", "").replace("actor_layer", "actor_dropout_"): v for k, v in arrays.items()}

    g.arrays.pop("noise/vae_training_latent", None)  # of the phase before, see test_spot_vae
    losses = {"critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    replay(spot.algorithm, cfg, state, g, expected, losses, tape=tape)


def test_spot_vae():
    """The phase before, in which the VAE is fitted."""
    g, cfg, _, state = spot_case("spot")
    cfg = dataclasses.replace(cfg, vae_lr=g.setting("vae_lr"))
    phase = spot.algorithm.phases(cfg)[0]
    state = spot.State(**{**vars(state), "vae": Trained.new(vae(g, "params"), adam(cfg.vae_lr))})
    for i, eps in enumerate(g["noise/vae_training_latent"]):
        tape = Tape({"vae_posterior": eps})
        state, metrics = jax.jit(lambda s, t=tape: phase.update(as_arrays(cfg), s, g.batch(), t, 0))(state)
        close(f"step {i + 1}", state.vae.net, vae(g, "expected/params", f"/step{i + 1}"), TOLERANCE)
        assert metrics["vae/loss"] == pytest.approx(g[f"expected/vae_loss/step{i + 1}"], rel=TOLERANCE)


def test_mcq():
    g = Golden("mcq")
    cfg = mcq.MCQ(
        in_weight=g.setting("lmbda"),
        candidates=g.setting("n_sampled_actions"),
        max_temperature=g.setting("alpha_clip_max"),
        temperature_lr=g.setting("alpha_lr"),
        **common(g, "target_entropy", "actor_lr", "critic_lr", "vae_lr"),
    )

    def actor(root, suffix=""):  # the kit's density has 1e-6 in the logarithm, ours is exact
        low, high, floor = (g.setting(k) for k in ("log_std_min", "log_std_max", "tanh_eps"))
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=low, high=high, floor=floor)

    def log_temperature(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_alpha{suffix}"]).reshape(())

    state = mcq.State(
        Trained.new(vae(g, "params"), adam(cfg.vae_lr)),
        Trained.new(actor("params"), adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), adam(cfg.critic_lr)),
        g.critic("target"),
        Trained.new(log_temperature("params"), adam(cfg.temperature_lr)),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net)
            return *nets, state.target_critic, state.temperature.net
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix))
        return *nets, g.critic("expected/target", suffix), log_temperature(at, suffix)

    for step in range(1, g.steps + 1):  # the two critics stepped apart there, together here
        total = g[f"expected/critic1_loss/step{step}"] + g[f"expected/critic2_loss/step{step}"]
        g.arrays[f"expected/critic_loss/step{step}"] = total
    losses = {
        "vae/loss": "vae_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "actor_loss",
        "temperature/loss": "alpha_loss",
    }
    replay(mcq.algorithm, cfg, state, g, expected, losses, tape=samples_first("decode_latent"))


def warm_then(algorithm, cfg, losses):
    """The first recorded step is of the warm start, the others of the run; metrics that both have."""
    warm, run = (phase.update or algorithm.update for phase in algorithm.phases(cfg))

    def update(cfg, state, batch, noise, step):
        def of(phase):
            def call(state):
                state, metrics = phase(cfg, state, batch, noise, step)
                return state, {name: metrics[name] for name in losses}

            return call

        return jax.lax.cond(step < 1, of(warm), of(run), state)

    return update


@pytest.mark.parametrize("name", ["bear_laplacian", "bear_gaussian"])
def test_bear(name):
    g = Golden(name)
    cfg = bear.BEAR(
        sigma=g.setting("mmd_sigma"),
        match_samples=g.setting("n_mmd_samples"),
        q_samples=g.setting("n_mmd_samples"),
        candidates=g.setting("n_target_actions"),
        mix=g.setting("critic_mix_lambda"),
        aggregate={"0": "min", "2": "mean"}[g.setting("version")],
        multiplier_lr=g.setting("lagrange_lr"),
        **common(g, "kernel", "std_penalty", "threshold", "actor_lr", "critic_lr", "vae_lr"),
    )

    def actor(root, suffix=""):  # log_std is not clipped there
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-jnp.inf, high=jnp.inf)

    def log_multiplier(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_lagrange{suffix}"]).reshape(())

    state = bear.State(
        Trained.new(vae(g, "params"), adam(cfg.vae_lr)),
        Trained.new(actor("params"), adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), adam(cfg.critic_lr)),
        Trained.new(log_multiplier("params"), adam(cfg.multiplier_lr)),
        actor("target"),
        g.critic("target"),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net, state.multiplier.net)
            return *nets, state.target_actor, state.target_critic
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix), log_multiplier(at, suffix))
        return *nets, actor("expected/target", suffix), g.critic("expected/target", suffix)

    losses = {"vae/loss": "vae_loss", "critic/loss": "critic_loss", "actor/loss": "actor_loss"}
    tape = samples_first("target_action", "vae_decode_latent", "actor_action")
    slopes = {"multiplier": "log_lagrange"}
    update = warm_then(bear.algorithm, cfg, {*losses, "multiplier/gradient_norm"})
    replay(bear.algorithm, cfg, state, g, expected, losses, update=update, tape=tape, slopes=slopes)


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
@pytest.mark.parametrize("sigma", [0.2, 1.0, 10.0])
def test_mmd(kernel, sigma):
    g = Golden("bear_laplacian")
    x, y = (jnp.moveaxis(jnp.asarray(g[f"mmd/samples{i}"]), 1, 0) for i in (1, 2))
    close("mmd", divergences.mmd(x, y, kernel, sigma), g[f"mmd/{kernel}/sigma{sigma}"], TOLERANCE)


@pytest.mark.parametrize("name", ["uwac_exp_weight", "uwac_inverse_weight"])
def test_uwac(name):
    """With passes as drawn by the authors, a mask for every row, and no spectral normalisation."""
    g = Golden(name)
    cfg = uwac.UWAC(
        passes=g.setting("n_passes"),
        shared_masks=False,
        spectral_norm=False,
        threshold=g.setting("mmd_threshold"),
        sigma=g.setting("mmd_sigma"),
        match_samples=g.setting("n_mmd_samples"),
        candidates=g.setting("n_target_actions"),
        mix=g.setting("critic_mix_lambda"),
        actor_lr=g.setting("policy_lr"),
        critic_lr=g.setting("qf_lr"),
        multiplier_lr=g.setting("alpha_lr"),
        **common(g, "beta", "exp_weight", "dropout", "kernel", "vae_lr"),
    )

    def actor(root, suffix=""):
        return nets.GaussianHeadsPolicy(g.mlp(f"{root}/actor", suffix), low=-5.0, high=2.0)

    def log_multiplier(root, suffix=""):
        return jnp.asarray(g[f"{root}/log_alpha{suffix}"]).reshape(())

    state = uwac.State(
        Trained.new(vae(g, "params"), adam(cfg.vae_lr)),
        Trained.new(actor("params"), adam(cfg.actor_lr)),
        Trained.new(g.critic("params"), adam(cfg.critic_lr)),
        Trained.new(log_multiplier("params"), adam(cfg.multiplier_lr)),
        g.critic("target"),
        (),
    )

    def expected(state, suffix=None):
        if suffix is None:
            nets = (state.vae.net, state.actor.net, state.critic.net, state.multiplier.net)
            return *nets, state.target_critic
        at = "expected/params"
        nets = (vae(g, at, suffix), actor(at, suffix), g.critic(at, suffix), log_multiplier(at, suffix))
        return *nets, g.critic("expected/target", suffix)

    def tape(arrays):
        arrays = samples_first("target_action", "vae_decode_latent", "actor_action")(arrays)
        found = {k: v for k, v in arrays.items() if not k.startswith("mask_")}
        for i in range(2):
            target = [arrays[f"mask_target_critic{c}_layer{i}"].transpose(2, 1, 0, 3) for c in (1, 2)]
            policy = [arrays[f"mask_critic{c}_policy_layer{i}"].swapaxes(0, 1) for c in (1, 2)]
            found[f"target_dropout_{i}"] = jnp.stack(target, 1)
            found[f"policy_dropout_{i}"] = jnp.stack(policy, 1)
            found[f"data_dropout_{i}"] = jnp.stack([arrays[f"mask_critic{c}_data_layer{i}"] for c in (1, 2)])
        return found

    for step in range(1, g.steps + 1):  # reported there apart, or for each row
        g.arrays[f"expected/critic_loss/step{step}"] = sum(g[f"expected/qf{c}_loss/step{step}"] for c in (1, 2))
        for name in ("critic_weight", "target_var", "mmd"):
            g.arrays[f"expected/{name}/step{step}"] = g[f"expected/{name}/step{step}"].mean()
    losses = {
        "vae/loss": "vae_loss",
        "critic/loss": "critic_loss",
        "actor/loss": "policy_loss",
        "actor/mmd": "mmd",
        "variance": "target_var",
        "weight": "critic_weight",
    }
    slopes = {"multiplier": "log_alpha"}
    update = warm_then(uwac.algorithm, cfg, {*losses, "multiplier/gradient_norm"})
    replay(uwac.algorithm, cfg, state, g, expected, losses, update=update, tape=tape, slopes=slopes)


def test_spectral_norm():
    g = Golden("uwac_exp_weight")
    weight, before = (jnp.asarray(g[f"spectral_norm/{k}"]) for k in ("weight", "u_before"))
    net, (after,) = spectral.normalise(layers.MLP((layers.Linear(weight, jnp.ones(8)),), ()), (before,))
    close("direction", after, g["spectral_norm/u_after"], TOLERANCE)
    close("weight", net.layers[0].weight, g["spectral_norm/weight_normalised"], TOLERANCE)
    close("bias", net.layers[0].bias, jnp.ones(8), TOLERANCE)
