"""Models: any OpenAI-compatible service, and any causal language model on this machine."""

from kullm.models.huggingface import HuggingFace
from kullm.models.model import Completion, Model, Prompt
from kullm.models.openai import OpenAI

__all__ = ["Completion", "HuggingFace", "Model", "OpenAI", "Prompt"]
