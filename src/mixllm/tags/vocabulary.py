"""The shipped vocabulary of domains: names and descriptions that tag queries without any training."""

from __future__ import annotations

from mixllm.errors import InvalidValueError
from mixllm.types import Value

__all__ = ["DEFAULT_DOMAINS", "Domain"]


class Domain(Value, frozen=True, kw_only=True):
    """A domain of queries: a short name, and words that such queries use.

    Parameters
    ----------
    name
        What decisions and reports show.
    description
        Text that is encoded; a query is tagged by its nearness to it.
    """

    name: str
    description: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InvalidValueError("name", self.name, "a name that is not blank")
        if not self.description.strip():
            raise InvalidValueError("description", self.description, "a description that is not blank")

    @property
    def text(self) -> str:
        """Name and description, as they are encoded."""
        return f"{self.name}. {self.description}"


_VOCABULARY = {
    "mathematics": (
        "Solve a math word problem: algebra, arithmetic, geometry, calculus, probability; how many, how "
        "much, total, equation, step-by-step reasoning, number"
    ),
    "programming": (
        "Write code: a Python function, fix a bug, algorithm, program, software, class, SQL query, unit "
        "test, compile error"
    ),
    "medicine": (
        "Medical question: patient, disease, diagnosis, drug treatment, symptoms, anatomy, surgery, clinical, hospital"
    ),
    "biology and chemistry": (
        "Biology and chemistry: cell, protein, gene, reaction, molecule, acid, enzyme, organism, evolution"
    ),
    "physics and engineering": (
        "Physics and engineering: force, energy, velocity, circuit, voltage, temperature, wave, mass, "
        "mechanical, electrical"
    ),
    "law": ("Law: court, contract, statute, plaintiff, defendant, crime, liability, constitution, legal rights"),
    "economics and business": (
        "Economics, business and finance: market, price, demand, inflation, company, accounting, tax, "
        "management, marketing"
    ),
    "history and politics": (
        "History and politics: war, king, president, government, treaty, empire, election, century, revolution"
    ),
    "geography and society": (
        "Geography, culture, society: country, city, river, population, religion, language, travel"
    ),
    "arts and entertainment": (
        "Trivia about film, music, television, books, sport: actor, singer, song, album, novel, author, "
        "football team, which film, who played"
    ),
    "philosophy and psychology": (
        "Philosophy, ethics, psychology: moral, belief, theory of mind, behaviour, argument, logic, consciousness"
    ),
    "myths and beliefs": (
        "Is it true that? Common misconceptions, superstition, what happens if you, health myths, "
        "conspiracy, can you, advice"
    ),
    "writing": (
        "Write an essay, email, poem, story, letter, blog post; rewrite, proofread, improve the tone of this text"
    ),
    "summarising and translating": (
        "Summarise this article; translate this text into French, German, Spanish; extract the key points"
    ),
    "common sense": (
        "Complete the sentence: everyday situations, he she because, which option makes sense, what happens next"
    ),
    "conversation": ("Hello, how are you? chat, opinion, recommend, personal advice, thanks"),
}

DEFAULT_DOMAINS: tuple[Domain, ...] = tuple(
    Domain(name=name, description=description) for name, description in _VOCABULARY.items()
)
"""Domains for general traffic; give your own where your queries have other kinds."""
