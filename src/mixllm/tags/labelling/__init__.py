"""Tags from an LLM, as InsTag asks for them (Lu et al. 2023, arXiv:2308.07074).

`LLMTagger` asks an OpenAI-compatible endpoint in batches, with an estimate first, a cap on money and a `Journal` to go
on from; `normalise` makes the raw tags few; `label_queries` groups them into domains, which gives `TagLabels`, the file
that taggers are trained from.
"""

from mixllm.tags.labelling.answers import QueryTags, parse_answer
from mixllm.tags.labelling.cost import CostEstimate, estimate_cost
from mixllm.tags.labelling.domains import label_queries
from mixllm.tags.labelling.journal import Journal, JournalHeader, job_header
from mixllm.tags.labelling.labels import TagDomain, TagLabels, TagVocabulary
from mixllm.tags.labelling.normalise import NormalisationSettings, TagSets, normalise
from mixllm.tags.labelling.prompt import tag_request
from mixllm.tags.labelling.run import LLMTagger, TaggingProgress, TaggingResult
from mixllm.tags.labelling.settings import TaggingSettings

__all__ = [
    "CostEstimate",
    "Journal",
    "JournalHeader",
    "LLMTagger",
    "NormalisationSettings",
    "QueryTags",
    "TagDomain",
    "TagLabels",
    "TagSets",
    "TagVocabulary",
    "TaggingProgress",
    "TaggingResult",
    "TaggingSettings",
    "estimate_cost",
    "job_header",
    "label_queries",
    "normalise",
    "parse_answer",
    "tag_request",
]
