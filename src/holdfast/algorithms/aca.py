"""ACA, actor-critic alignment (Yu and Zhang 2023, ICML, PMLR 202:40452): from offline to online without collapse.

Offline learning leaves a policy pi0 that can be trusted and a critic that cannot: its values of actions outside the
data are wrong, and the first online updates follow them. A soft policy and its critic agree if Q = Z(s) + alpha log pi.
So ACA discards the offline critic and sets Q := log pi0 + Z, which ranks actions exactly as pi0 does. Only Z is fitted.

Stage 1, phase "offline" (`aca_offline.update`): SAC with a likelihood term.
Stage 2 (`aca_offline.align`): Z by the Bellman error of log pi0 + Z. With `z_schedule` "separate" it is the phase
"align" after stage 1; with "concurrent" it is a step within each update of stage 1.
Stage 3, phase "online" of a fine-tuning run (`aca_online.update`): SAC with Q = log pi0 + R, where R starts as Z.

Notation (paper = code): omega = `omega`; pi0 = `reference`; Z = `z`; R = `critic` of the online state.
As in the authors' code and not in the paper: Z is fitted concurrently, with the learned temperature; mean |Q| is over
the policy's actions (`normalize_by`); the target of Z is soft, so log pi0(a'|s') cancels at alpha = 1 (`z_backup`);
online, log pi0 has a soft floor and a weight that falls to `min_prior_weight`, and the actor's gradient is clipped;
the moments of Adam are kept from stage to stage.
Not as in the authors' code: on AntMaze rewards are shifted by -1 in every stage (theirs are shifted online only).
Ours: `z_schedule` "separate", which fits Z with a fixed pi0 as the paper writes it; `realign_steps`, which does so
before stage 3; `online_critic` "offline", the paper's comparison without alignment, in which SAC continues from the
critic of stage 1: it shares stage 1 with ACA, so it is a setting of stage 3 and not a method of its own.
"""

from __future__ import annotations

from dataclasses import replace

from ..core.contract import Algorithm, Phase, Preset, Treatment
from ..core.errors import UserError
from ..parts import targets
from ..parts.acting import act, dist
from . import aca_online
from .aca_offline import ACA, align, check, init, update


def phases(cfg: ACA) -> tuple[Phase, ...]:
    """Stage 1, and stage 2 after it if it is separate."""
    if cfg.z_schedule == "separate" and cfg.align_steps:
        return Phase("offline"), Phase("align", cfg.align_steps, align, plays=False)
    return (Phase("offline"),)


def finetune(cfg: ACA) -> tuple[Phase, ...]:
    """Stage 3, after stage 2 if `realign_steps` is set.

    Raises:
        UserError: stage 3 needs Z, and no stage fits it.
    """
    online = aca_online.phase(cfg)
    if cfg.realign_steps:
        return Phase("align", cfg.realign_steps, align, plays=False), online
    if cfg.online_critic == "aligned" and cfg.z_schedule == "separate" and not cfg.align_steps:
        raise UserError(
            "aca: Z was never fitted (align_steps is 0): set realign_steps above 0, or online_critic to offline"
        )
    return (online,)


CODE = "authors' code, github.com/ZishunYu/Actor-Critic-Alignment, configs/"
MEDIUM = ACA()
PRESETS = {
    "mujoco": Preset(MEDIUM, Treatment(), CODE + "offline/mjc_mr.yaml, configs/online/mjc_m.yaml (medium data)"),
    "mujoco-random": Preset(
        replace(MEDIUM, online_decay_steps=10_000, min_prior_weight=0.0), Treatment(), CODE + "online/mjc_r.yaml"
    ),
    "mujoco-medium-replay": Preset(
        replace(MEDIUM, best_episodes=50), Treatment(), CODE + "online/mjc_mr.yaml (medium-replay data)"
    ),
    "mujoco-medium-expert": Preset(
        replace(MEDIUM, floor_width=15.0, min_prior_weight=1.0, online_decay_steps=100_000, best_episodes=50),
        Treatment(),
        CODE + "online/mjc_me.yaml",
    ),
    "antmaze": Preset(
        ACA(squashed=False, target_entropy=-4.0, floor_width=3.0, online_decay_steps=200_000),
        Treatment(reward_shift=-1.0),
        CODE + "offline/antmaze.yaml, configs/online/antmaze.yaml",
    ),
    "tuned_separate": Preset(
        replace(MEDIUM, z_schedule="separate"), Treatment(), "ours, as mujoco with Z fitted in a phase after stage 1"
    ),
}

algorithm = Algorithm(
    "aca",
    ACA,
    init,
    update,
    act,
    PRESETS,
    needs=targets.n_step_rows,
    dist=dist,
    phases=phases,
    finetune=finetune,
    check=check,
)
