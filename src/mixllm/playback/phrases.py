"""Words for synthetic queries: templates, what fills their slots, and details that make a query harder."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DOMAIN_PHRASES", "OPENERS", "DomainPhrases"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPhrases:
    """How queries and answers of one domain are worded.

    A slot ``{name}`` is filled from ``slots[name]``; ``{n}`` with a number.
    """

    templates: tuple[str, ...]
    details: tuple[str, ...]
    answers: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]


OPENERS = (
    *("",) * 6,
    "Hi! ",
    "Quick question. ",
    "Please help me. ",
    "Could you help? ",
    "I need this today. ",
    "Hello, ",
)
"""What may come before a query of any domain."""

_PEOPLE = ("Amina", "Bruno", "Chen", "Dora", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Mara")
_CITIES = ("Bergen", "Quito", "Nairobi", "Kyoto", "Lisbon", "Tallinn", "Perth", "Oaxaca", "Cork", "Tunis", "Busan")

_MATH = DomainPhrases(
    templates=(
        "{person} buys {n} {goods} at {n} dollars each and sells {n} of them at {n} dollars. How much profit is made?",
        "A train travels {n} kilometres in {n} minutes. What is its average speed in kilometres per hour?",
        "A tank holds {n} litres and a pump fills {n} litres per minute. After how many minutes is it full?",
        "{person} shares {n} {goods} equally among {n} friends. How many does each get and how many are left over?",
        "The sum of two numbers is {n} and their difference is {n}. Find both numbers.",
        "A rectangle is {n} metres long and {n} metres wide. Compute its area and perimeter.",
        "{person} saves {n} dollars a week. How many weeks until there are {n} dollars for the {goods}?",
    ),
    details=(
        "Then add a discount of {n} percent and compute the total again.",
        "Show each step of the calculation.",
        "Round the result to {n} decimals and solve the equation a second way.",
        "Assume the price rises by {n} percent every year for {n} years.",
    ),
    answers=("The result is {n}.", "First multiply, then subtract: the answer is {n}.", "Solving gives x = {n}."),
    slots={
        "person": _PEOPLE,
        "goods": ("apples", "pencils", "marbles", "notebooks", "tickets", "muffins", "stamps", "bricks", "oranges"),
    },
)

_CODING = DomainPhrases(
    templates=(
        "Write a Python function that takes {structure} and {task}.",
        "Implement a Python class for {thing} with methods to {verb} and {verb}.",
        "My Python code raises {exception} when I {verb} {structure}. How do I fix the bug?",
        "Refactor this loop over {structure} into a generator that {task}.",
        "Write unit tests with pytest for a function that {task}, given {structure}.",
        "Use pandas to load {structure} from a CSV file and write code that {task}.",
    ),
    details=(
        "It must run in O(n log n) time and raise {exception} on empty input.",
        "Add type hints and a docstring.",
        "Handle {structure} with up to {n} thousand elements without recursion.",
        "Make it thread-safe and asynchronous with asyncio.",
    ),
    answers=(
        "def solve(items):\n    return sorted(items)[:{n}]",
        "Catch {exception} and check the length of {structure} first.",
        "class Cache:\n    def __init__(self, size={n}):\n        self.size = size",
    ),
    slots={
        "structure": (
            "a list of integers",
            "a nested dictionary",
            "a binary tree",
            "a linked list",
            "a JSON string",
            "a matrix of floats",
            "a list of tuples",
            "an iterator of lines",
            "a set of strings",
            "a directed graph",
        ),
        "task": (
            "returns the longest increasing subsequence",
            "merges overlapping intervals",
            "removes duplicates while keeping the order",
            "counts the words by frequency",
            "finds the shortest path",
            "flattens every nested level",
            "groups the values by key",
            "checks whether it is a palindrome",
            "parses the dates into datetime objects",
        ),
        "thing": ("an LRU cache", "a priority queue", "a rate limiter", "a bank account", "a matrix", "an event bus"),
        "verb": ("insert", "delete", "search", "iterate over", "serialise", "copy", "update", "pop from", "sort"),
        "exception": ("a KeyError", "an IndexError", "a TypeError", "a ValueError", "a RecursionError"),
    },
)

_MEDICINE = DomainPhrases(
    templates=(
        "A {n}-year-old patient presents with {symptom} and {symptom} for {n} days. What is the most likely diagnosis?",
        "Which drug is first-line treatment for {disease} in a patient with {disease}?",
        "What are the side effects of {drug} when it is given together with {drug}?",
        "Which laboratory finding is typical of {disease} in a {n}-year-old woman with {symptom}?",
        "Describe the mechanism of action of {drug} in the treatment of {disease}.",
        "A nurse asks about the dose of {drug} for a {n}-year-old with {disease}. What should be checked?",
    ),
    details=(
        "The patient also takes {drug} and has a history of {disease}.",
        "Blood pressure is {n} and the heart rate is {n} beats per minute.",
        "List the differential diagnoses and the next examination.",
        "Consider renal impairment and pregnancy.",
    ),
    answers=(
        "The findings fit {disease}; treatment with {drug} is usual.",
        "Together with the history, {symptom} suggests {disease}.",
        "Check renal function before {drug}.",
    ),
    slots={
        "symptom": (
            *("chest pain", "shortness of breath", "a high fever", "joint swelling", "a persistent cough"),
            *("abdominal pain", "blurred vision", "a skin rash", "night sweats", "muscle weakness"),
        ),
        "disease": (
            "type 2 diabetes",
            "atrial fibrillation",
            "pneumonia",
            "rheumatoid arthritis",
            "hypothyroidism",
            "chronic kidney disease",
            "asthma",
            "iron deficiency anaemia",
            "migraine",
            "heart failure",
        ),
        "drug": ("metformin", "warfarin", "amoxicillin", "ibuprofen", "lisinopril", "prednisone", "digoxin", "heparin"),
    },
)

_LAW = DomainPhrases(
    templates=(
        "Can the {party} terminate {contract} because of {ground}, and which notice period of {n} days applies?",
        "The {party} sues the {party} for {ground}. Which court has jurisdiction and what must the plaintiff prove?",
        "Draft a clause for {contract} that limits the liability of the {party} to {n} thousand euros.",
        "Is the {party} liable for {ground} under tort law if {contract} excludes damages?",
        "Which statute of limitations applies to a claim of the {party} for {ground} after {n} years?",
        "Explain the legal difference between {ground} and {ground} for the {party}.",
    ),
    details=(
        "The {party} lives abroad and {contract} has an arbitration clause.",
        "Cite the legal principle and name the exceptions.",
        "An earlier judgment found {ground} by the same {party}.",
        "Consider consumer protection statutes and the burden of proof.",
    ),
    answers=(
        "The {party} may terminate where {ground} is proven.",
        "Liability for {ground} needs fault, damage and causation.",
        "The limitation period is {n} years from knowledge of the claim.",
    ),
    slots={
        "party": (
            "landlord",
            "tenant",
            "employer",
            "contractor",
            "shareholder",
            "licensee",
            "buyer",
            "insurer",
            "trustee",
        ),
        "contract": (
            "a lease agreement",
            "an employment contract",
            "a licence agreement",
            "a loan agreement",
            "a purchase contract",
            "a partnership agreement",
            "an insurance policy",
        ),
        "ground": (
            "breach of contract",
            "negligence",
            "misrepresentation",
            "copyright infringement",
            "unpaid rent",
            "wrongful dismissal",
            "defamation",
            "breach of fiduciary duty",
        ),
    },
)

_TRIVIA = DomainPhrases(
    templates=(
        "Which {event} took place in {city} in the year 18{n}?",
        "Who was the first {role} born in {city}, and in which century?",
        "In which year did the {role} from {city} win the {prize}?",
        "What is the capital of the country where the {event} of 19{n} was held?",
        "Which famous {role} is buried in {city}?",
        "Name the {role} who received the {prize} in 19{n}.",
    ),
    details=(
        "Also name the river that flows through {city}.",
        "Who came second after the {role}?",
        "Which film tells the story of this {event}?",
        "How many people lived in {city} at that time?",
    ),
    answers=("It was in 19{n}.", "The {role} came from {city}.", "The {event} in {city}."),
    slots={
        "city": _CITIES,
        "event": (
            "world fair",
            "royal coronation",
            "Olympic final",
            "peace treaty",
            "chess championship",
            "expedition",
        ),
        "role": (
            "composer",
            "explorer",
            "painter",
            "astronaut",
            "president",
            "novelist",
            "sprinter",
            "actress",
            "physicist",
        ),
        "prize": ("Nobel Prize", "gold medal", "Booker Prize", "Academy Award", "world title", "Fields Medal"),
    },
)

_CHAT = DomainPhrases(
    templates=(
        "I feel {mood} after {occasion}. What would you do?",
        "What should I {do} this weekend with my {friend}? It may rain.",
        "My {friend} forgot {occasion}. Should I say something or let it go?",
        "Tell me something nice, I am {mood} because of {occasion}.",
        "How was your day? Mine was {mood}, my {friend} called about {occasion}.",
        "I want to {do} with my {friend} but I am {mood}. Any ideas?",
    ),
    details=(
        "We have about {n} minutes and no car.",
        "My {friend} is {mood} too.",
        "Last time we tried to {do} and it was awkward.",
        "Be honest with me.",
    ),
    answers=(
        "I am glad you told me. Maybe {do} with your {friend}?",
        "Being {mood} after {occasion} is normal.",
        "Talk to your {friend}, it will be fine.",
    ),
    slots={
        "mood": ("tired", "bored", "excited", "lonely", "nervous", "grumpy", "happy", "a bit sad", "restless", "proud"),
        "friend": (
            "best friend",
            "sister",
            "neighbour",
            "flatmate",
            "mum",
            "colleague",
            "cousin",
            "partner",
            "grandpa",
        ),
        "occasion": (
            "my birthday",
            "the party",
            "our first date",
            "moving house",
            "a long week",
            "the family dinner",
            "a bad night's sleep",
            "the holidays",
        ),
        "do": (
            "bake something",
            "go for a walk",
            "watch a film",
            "play board games",
            "visit a museum",
            "have a picnic",
        ),
    },
)

_TRANSLATION = DomainPhrases(
    templates=(
        'Translate into {language}: "The {noun} is {adjective} and stands near the {noun}."',
        'How do you say "I would like {n} tickets to the {noun}" in {language}?',
        'Translate this sentence from {language} to {language}: "{greeting}, where is the {adjective} {noun}?"',
        'What is the {language} word for "{noun}", and what is its plural?',
        'Please put into {language}: "We met at the {adjective} {noun} at {n} o\'clock."',
        'Give the {language} translation of "the {adjective} {noun}" with its article.',
    ),
    details=(
        "Use the polite form.",
        "Give a literal {language} translation as well.",
        "Keep the idiom natural for native speakers of {language}.",
        'Also translate "{greeting}, my {adjective} friend".',
    ),
    answers=("In {language}: {greeting}.", "The {language} word is feminine.", "{greeting}, {noun}."),
    slots={
        "language": ("Spanish", "German", "French", "Italian", "Portuguese", "Dutch", "Swedish", "Polish", "Turkish"),
        "noun": (
            "bridge",
            "station",
            "museum",
            "lighthouse",
            "garden",
            "library",
            "market",
            "castle",
            "harbour",
            "bakery",
        ),
        "adjective": ("old", "beautiful", "small", "red", "quiet", "famous", "crowded", "wooden", "bright", "empty"),
        "greeting": ("Buenos días", "Guten Morgen", "Bonjour", "Buongiorno", "Bom dia", "Goedemorgen", "God morgon"),
    },
)

_WRITING = DomainPhrases(
    templates=(
        "Write a {style} email to my {reader} announcing {topic}.",
        "Write a {style} product description for {product} in {n} words.",
        "Compose a {style} poem about {topic} and {product}.",
        "Rewrite this headline in a {style} tone: {topic} meets {product}.",
        "Draft a {style} newsletter paragraph for our {reader} about {topic}.",
        "Suggest {n} {style} slogans for {product}.",
    ),
    details=(
        "Mention {product} in the second paragraph.",
        "Keep it below {n} words and end with a call to action.",
        "Write it for {reader} who have never heard of {topic}.",
        "Use a metaphor in every sentence.",
    ),
    answers=(
        "Dear {reader}, we are happy to announce {topic}.",
        "Meet {product}: made for people who love {topic}.",
        "A {style} line about {topic}.",
    ),
    slots={
        "style": ("formal", "playful", "persuasive", "poetic", "concise", "warm", "dramatic", "witty", "inspiring"),
        "reader": (
            "customers",
            "newsletter subscribers",
            "team",
            "investors",
            "volunteers",
            "readers",
            "marketing team",
        ),
        "topic": (
            "our summer launch",
            "a charity concert",
            "the new office",
            "autumn leaves",
            "a brand anniversary",
            "the open day",
            "a lost umbrella",
            "slow mornings",
        ),
        "product": (
            *("a bamboo bicycle", "a scented candle", "a travel backpack", "an herbal tea"),
            *("a desk lamp", "a board game", "wool socks", "a smart kettle"),
        ),
    },
)

DOMAIN_PHRASES = {
    "math": _MATH,
    "coding": _CODING,
    "medicine": _MEDICINE,
    "law": _LAW,
    "trivia": _TRIVIA,
    "chat": _CHAT,
    "translation": _TRANSLATION,
    "writing": _WRITING,
}
"""How each domain is worded."""
