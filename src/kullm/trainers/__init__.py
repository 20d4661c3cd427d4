"""Trainers: rows in, a model out. The default is LoRA on Polyglot-Ko with the paper's settings."""

from kullm.trainers.lora import LoRA, PolyglotLoRA
from kullm.trainers.plan import Choice, TrainingPlan, plan_training
from kullm.trainers.presets import FINETUNE_POLYGLOT, KULLM_V2, PAPER, RUN_SFT, RUN_SFT_FULL
from kullm.trainers.trainer import Checkpoint, Trainer

__all__ = [
    "FINETUNE_POLYGLOT",
    "KULLM_V2",
    "PAPER",
    "RUN_SFT",
    "RUN_SFT_FULL",
    "Checkpoint",
    "Choice",
    "LoRA",
    "PolyglotLoRA",
    "Trainer",
    "TrainingPlan",
    "plan_training",
]
