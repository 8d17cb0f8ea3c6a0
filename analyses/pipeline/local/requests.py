"""The sentence in which somebody says what they want, worded as a request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analyses.pipeline.local.grammar import base_form, verbs
from analyses.pipeline.local.words import all_stop_words, sentences, word_set, words

REQUEST_WORDS = 16
"""Longest wording of a request; what comes after is circumstance."""

_FILLER = re.compile(
    r"^(?:(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day)|greetings|there|sir|madam|"
    r"team|everyone|all|thanks?(?: you)?|thank you(?: so| very)? much|ok(?:ay)?|yes|yeah|yep|no|"
    r"nope|sure|great|cool|perfect|alright|well|so|um+|uh+|hmm+|oh|actually|also|and|but|then|now|"
    r"please|kindly|sorry|excuse me|nice|awesome|sounds good|that sounds good|right)\b"
    r"[\s,.!:;\-]*)+",
    re.IGNORECASE,
)
_TO_ACT = re.compile(
    r"^(?:(?:i|we)(?:['’]d| would| am|['’]m|['’]ve| have| was| will|['’]ll| just| really| only"
    r"| also| currently| do| still)*"
    r" (?:like|love|want|wanted|need|needed|wish|wishing|hoping|hope|trying|tried|looking|prefer"
    r"|wanna|have|got|going|planning|plan|going)(?: (?:you|your help))? to"
    r"|(?:can|could|would|will)(?: you)?(?: please| kindly| possibly)?(?: help| assist)?(?: me| us)?"
    r"(?: please)?(?: to| in| with)?"
    r"|(?:can|could|may|might|should|shall|do) (?:i|we)(?: please| just)?"
    r"|(?:please |kindly )?(?:help|assist|let|allow)(?: me| us)?(?: please)?(?: to)?"
    r"|how (?:do|can|could|should|would|to|might)(?: i| we| you| one)?(?: go about)?"
    r"|is (?:it|there)(?: possible| any way| a way| any chance| an option)?(?: for me)? to"
    r"|(?:i was |i am |i['’]m )?(?:wondering|curious)(?: if| whether) (?:you|i|we) (?:can|could)"
    r"|what (?:do|should|can|must) (?:i|we)(?: need to| have to)? do to"
    r"|would you (?:please |kindly )?|my request is to|the goal is to|your task is to"
    r"|you (?:are to|should|need to|have to|must|will))\s+",
    re.IGNORECASE,
)
_WANT = re.compile(
    r"^(?:i|we)(?:['’]d| would| am|['’]m|['’]ve| have| was| will| just| really| also| do| still)*"
    r" (?:(?P<seek>looking for|searching for|seeking|in search of|after)"
    r"|(?P<want>like|want|wanted|need|require|love|needed|interested in|in need of"
    r"|to get|going for))\s+(?!to\b|you\b|it\b|that\b|this\b|him\b|her\b)",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?P<ask>what|which|who|whose|when|where|why|how)\b(?P<more> (?:long|much|many|often|far|big"
    r"|old|soon|come|time|kind of|type of|sort of))?(?:['’]s| is| are| was| were| do| does| did"
    r"| can| could| will| would| has| have| should)?\s+",
    re.IGNORECASE,
)
_YES_NO = re.compile(
    r"^(?:is|are|was|were|does|do|did|has|have|will|would|should|am)\s+(?:there|you|it|i|we|they)?"
    r"(?: (?:have|got|offer|know|any|sell|accept|support))*\s*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"^(?:the |my |a |an |your |any |some |our )", re.IGNORECASE)
_CUT = re.compile(
    r"[,;:.!?()\n…]|\s[-–—]\s|\b(?:because|since|so that|but|and then|and also|if possible|though"
    r"|while|please|thanks|as soon as|and i|and my|and the|and can|and could|so i|so can)\b",
    re.IGNORECASE,
)
AUXILIARY = re.compile(
    r"\b(?:is|are|was|were|has|have|had|did|does|do|doesn['’]?t|didn['’]?t|isn['’]?t|wasn['’]?t"
    r"|hasn['’]?t|haven['’]?t|won['’]?t|can['’]?t|cannot|not|never|keeps?|got|shows?|says|comes?|goes|gets"
    r"|stays|fails|stops|loses|takes|crashes|ended|arrived|failed|stopped|vanished|came|went)\b",
    re.IGNORECASE,
)
_ME = re.compile(r"^(?:me|us)\s+(?!up\b)", re.IGNORECASE)
_DULL_VERBS = word_set("know have be see do go tell let ask thank wait say think hear talk")
_KNOW = re.compile(
    r"^(?:know|see|hear|tell me|ask|inquire|enquire|find out|learn|understand|check|get to know)"
    r"(?: (?:about|regarding|of|if|whether|on|more about|the details of))*\s+",
    re.IGNORECASE,
)


def worded_request(sentence: str) -> tuple[str, int]:
    """The request in an English sentence and how clearly it is one (0: not at all, 3: plainly).

    "Hi, I would like to cancel my subscription please." gives "Cancel my subscription" and 3.
    """
    text = _FILLER.sub("", sentence.strip())
    stripped = _TO_ACT.sub("", text)
    stripped = _FILLER.sub("", stripped)
    known = _KNOW.match(stripped)
    if known and len(stripped) > known.end() + 3 and stripped is not sentence:
        about = _about(stripped[known.end() :])
        if about:
            return about, 2
    acted = _act(stripped)
    if acted:
        return acted, 3
    want = _WANT.match(text)
    if want:
        rest = _cut(text[want.end() :])
        if rest:
            return f"{'Find' if want.group('seek') else 'Get'} {lower_first(rest)}", 2
    question = _QUESTION.match(text) or (_YES_NO.match(text) if text.endswith("?") else None)
    if question and text[question.end() :].strip(" ?.!"):
        about = _about(text[question.end() :])
        return (about, 1) if about else ("", 0)
    return "", 0


def _act(text: str) -> str:
    """The text as an imperative when it begins with a verb that says something, else empty."""
    first = text.split(" ", 1)[0].strip(",.!?").lower()
    if first not in verbs():
        base = base_form(first) if first.endswith("ing") else ""
        if not base or " " not in text:
            return ""
        text = f"{base} {text.split(' ', 1)[1]}"
        first = base
    if first in _DULL_VERBS or " " not in text.strip():
        return ""
    verb, rest = text.split(" ", 1)
    rest = _cut(_ME.sub("", rest))
    useful = [word for word in words(rest) if word not in all_stop_words()]
    return f"{verb.capitalize()} {rest}" if useful else ""


def _about(rest: str) -> str:
    """Words "Ask about …" with the thing a question is about, in the order of the question."""
    body = _cut(_KNOW.sub("", rest))
    lead = _ABOUT.match(body)
    thing = body[lead.end() :] if lead else body
    cut = AUXILIARY.split(thing, maxsplit=1)[0].strip()
    thing = cut or thing
    useful = [word for word in words(thing) if word not in all_stop_words()]
    if not useful:
        return ""
    first = thing.split(" ", 1)[0].lower()
    if base_form(first) == first and not lead:
        return ""
    owner = lead.group().lower() if lead else ""
    return f"Ask about {owner if owner in ('my ', 'the ', 'our ') else ''}{lower_first(thing)}"


def _cut(text: str) -> str:
    """``text`` up to the end of its first clause and at most :data:`REQUEST_WORDS` words."""
    match = _CUT.search(text, 4)
    kept = text[: match.start()] if match else text
    return " ".join(kept.split()[:REQUEST_WORDS]).strip(" ,;:-–")


def lower_first(text: str) -> str:
    """``text`` with a small first letter, unless its first word is a name or an acronym."""
    first = text.split(" ", 1)[0]
    return text if first.isupper() or not first[1:].islower() else text[:1].lower() + text[1:]


def best_request(texts: Sequence[str], english: bool) -> str:
    """The request in what the asking side wrote, first things first; empty if none is found.

    For languages other than English it is the first sentence with a topic, as written.
    """
    best, best_score = "", 0.0
    for turn, text in enumerate(texts[:8]):
        for place, sentence in enumerate(sentences(text)[:12]):
            if not english:
                if _has_topic(sentence):
                    return sentence.strip(" .!?。！？")
                continue
            worded, clarity = worded_request(sentence)
            topics = sum(word not in all_stop_words() for word in words(worded))
            score = clarity * min(topics, 3) - 0.9 * turn - 0.2 * place if worded else 0.0
            if score > best_score:
                best, best_score = worded, score
    return best or _first_topic(texts)


def _first_topic(texts: Sequence[str]) -> str:
    """The first sentence that is about something, without greetings."""
    for text in texts:
        for sentence in sentences(text):
            bare = _FILLER.sub("", sentence).strip(" .!?")
            if _has_topic(bare):
                return " ".join(bare.split()[: 2 * REQUEST_WORDS])
    return ""


def _has_topic(sentence: str) -> bool:
    present = words(sentence)
    useful = [w for w in present if w not in all_stop_words() and (len(w) > 2 or not w.isascii())]
    return len(useful) >= (1 if not sentence.isascii() else 2) and not all(
        word.isdigit() for word in useful
    )
