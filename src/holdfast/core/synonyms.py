"""What a user probably meant: names that other libraries and papers use for the same thing, and close spellings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# what others write -> what it may be here; of these, a hint names the ones that exist where the name was written
SYNONYMS: dict[str, tuple[str, ...]] = {
    # settings
    "batch": ("batch_size",),
    "beta": ("inverse_temperature", "temperature"),
    "gamma": ("discount",),
    "hidden_dims": ("hidden",),
    "hidden_sizes": ("hidden",),
    "layers": ("hidden",),
    "learning_rate": ("actor_lr", "critic_lr", "value_lr"),
    "lr": ("actor_lr", "critic_lr", "value_lr"),
    "minibatch_size": ("batch_size",),
    "n_critics": ("critics",),
    "num_critics": ("critics",),
    "policy_lr": ("actor_lr",),
    "qf_lr": ("critic_lr",),
    "tau": ("polyak", "expectile"),
    # runs
    "buffer_size": ("replay",),
    "dataset": ("data",),
    "env_id": ("env",),
    "environment": ("env",),
    "epochs": ("steps",),
    "eval_freq": ("eval_every",),
    "eval_interval": ("eval_every",),
    "gradient_steps": ("steps",),
    "iterations": ("steps",),
    "logger": ("log",),
    "max_steps": ("steps",),
    "max_timesteps": ("steps",),
    "n_eval_episodes": ("eval_episodes",),
    "n_seeds": ("seeds",),
    "num_seeds": ("seeds",),
    "num_steps": ("steps",),
    "num_workers": ("workers",),
    "output": ("out",),
    "output_dir": ("out",),
    "total_timesteps": ("steps",),
    "updates": ("steps",),
    "wandb": ("log",),
    # commands
    "bibtex": ("cite",),
    "collect": ("data",),
    "convert": ("data",),
    "eval": ("evaluate",),
    "fine_tune": ("finetune",),
    "fit": ("train",),
    "list": ("algorithms", "data"),
    "plot": ("report",),
    "run": ("train",),
    "test": ("evaluate",),
    # algorithms
    "behavior_cloning": ("bc",),
    "behaviour_cloning": ("bc",),
    "bc10": ("filtered_bc",),
    "dt": ("decision_transformer",),
    "percent_bc": ("filtered_bc",),
    "sac_discrete": ("discrete_sac",),
}
CUTOFF = 0.6  # of difflib: below it, a suggestion is more often wrong than right


def key(name: str) -> str:
    """A name without case and punctuation: IQL and iql, TD3+BC and td3_bc have the same key."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


SYNONYM_KEYS = {key(name): meant for name, meant in SYNONYMS.items()}


def meant(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a user probably meant: the same one in another spelling, synonyms, or the closest one.

    Args:
        name: what the user wrote.
        known: the names that exist.
    """
    known = list(known)
    by_key = {key(candidate): candidate for candidate in reversed(known)}
    if key(name) in by_key:
        return [by_key[key(name)]]
    synonyms = [by_key[key(other)] for other in SYNONYM_KEYS.get(key(name), ()) if key(other) in by_key]
    return synonyms or difflib.get_close_matches(name, known, n=1, cutoff=CUTOFF)
