"""Loads what every worker needs, once, before processes fork or the first call is made.

Importing this module does it: vocabularies, language models, price lists and numeric libraries
take seconds in all, and would otherwise stand still the calls in flight of a running analysis.
"""

from analyses.pipeline.language import detect_language
from analyses.pipeline.prepare import PrepareParams, prepare_one
from analyses.pipeline.records import Source, Turn
from providers.prices import list_prices

_SENTENCE = "My name is Ada Example and I would like to change the address of my order, please."

prepare_one(Source(0, (Turn("customer", _SENTENCE),)), PrepareParams())
detect_language([Turn("customer", _SENTENCE)])
list_prices("gpt-4o-mini", "https://api.openai.com/v1")
