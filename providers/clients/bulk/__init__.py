"""The batch endpoints of providers: OpenAI's, Anthropic's and Mistral's shapes."""

from providers.clients.bulk.anthropic import AnthropicBatches
from providers.clients.bulk.mistral import MistralBatches
from providers.clients.bulk.openai import OpenAIBatches

__all__ = ["AnthropicBatches", "MistralBatches", "OpenAIBatches"]
