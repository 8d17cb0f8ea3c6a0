"""Sentiment, concern and outcome of a conversation by word lists and rules."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from analyses.pipeline.local.words import DATA, sentences, words

REACH = 3
"""Words after a negation whose sense it turns round (Pang, Lee and Vaithyanathan 2002 negate up
to the next mark; a short reach errs less in chat)."""

LAST_TURNS = 3
"""The end of a conversation says how it went; these turns count double."""


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Words of one language that say how somebody feels."""

    good: frozenset[str]
    bad: frozenset[str]
    turns: frozenset[str]


@lru_cache(maxsize=1)
def lexicons() -> Mapping[str, Lexicon]:
    """Word lists by ISO code; languages without spaces are matched by piece, not by word."""
    lists = json.loads((DATA / "sentiment.json").read_text(encoding="utf-8"))
    return {
        code: Lexicon(*(frozenset(entry[key].split()) for key in ("good", "bad", "not")))
        for code, entry in lists.items()
    }


def tone(texts: Sequence[str], language: str) -> tuple[float, float]:
    """How much good and how much bad feeling the texts hold; later turns weigh more."""
    lexicon = lexicons().get(language.split("-")[0], lexicons()["en"])
    good, bad = 0.0, 0.0
    for place, text in enumerate(texts):
        weight = 2.0 if place >= len(texts) - LAST_TURNS else 1.0
        plus, minus = _tone_of(text, lexicon, spaced=language not in ("ja", "zh", "ko"))
        good += weight * plus
        bad += weight * minus
    return good, bad


def _tone_of(text: str, lexicon: Lexicon, *, spaced: bool) -> tuple[float, float]:
    if not spaced:
        counts = [sum(text.count(piece) for piece in side) for side in (lexicon.good, lexicon.bad)]
        return float(counts[0]), float(counts[1])
    plus = minus = 0.0
    turned = 0
    for word in words(text):
        if word in lexicon.turns:
            turned = REACH
            continue
        if word in lexicon.good:
            plus, minus = (plus, minus + 1) if turned else (plus + 1, minus)
        elif word in lexicon.bad:
            plus, minus = (plus + 0.5, minus) if turned else (plus, minus + 1)
        turned = max(0, turned - 1)
    shouts = len(re.findall(r"!{2,}|\?{2,}|\b[A-Z]{4,}\b", text))
    return plus, minus + 0.5 * min(shouts, 4) * (minus > 0)


def sentiment(texts: Sequence[str], language: str) -> str:
    """``positive``, ``neutral``, ``negative`` or ``mixed``, from what the asking side wrote."""
    good, bad = tone(texts, language)
    length = max(1, len(texts))
    if good + bad < 1 or (good + bad) / length < 0.25:
        return "neutral"
    if min(good, bad) >= 2 and min(good, bad) / max(good, bad) > 0.5:
        return "mixed"
    if bad > good:
        return "negative"
    return "positive" if good > 1 or good > 2 * bad else "neutral"


_FLAGS = re.IGNORECASE
_URGENT = re.compile(
    r"\b(?:suicid\w*|kill (?:myself|himself|herself|you|him|her|them)|end my life|self[- ]?harm"
    r"|want to die|hurt(?:ing)? myself|bomb|shoot (?:you|him|her|them|up)|rape\w*|child abuse"
    r"|molest\w*|overdos\w*|selbstmord|umbringen|suizid|suicidio|suicid(?:e|er|arsi)"
    r"|matarme|me tuer|uccidermi|me matar|bunuh diri)\b"
    r"|自殺|死にたい|自杀|想死|자살|죽고 싶",
    _FLAGS,
)
_SERIOUS = re.compile(
    r"\b(?:lawyers?|lawsuit|sue|suing|attorney|legal action|small claims|police|fraud\w*|scam\w*"
    r"|stolen|stole|identity theft|hacked|data (?:loss|breach|leak)|unauthori[sz]ed|ombudsman"
    r"|consumer (?:court|forum)|chargeback|harass\w*|discriminat\w*|threat(?:en\w*)?|malware"
    r"|ransomware|phishing|exploit|deobfuscat\w*|chest pain|bleeding|unconscious|emergency"
    r"|anwalt|rechtsanwalt|klage|verklagen|betrug|polizei|anzeige erstatten|gestohlen|gehackt"
    r"|abogad[oa]|demandar|denuncia\w*|polic[ií]a|fraude|estafa|robad[oa]|avocat|porter plainte"
    r"|arnaque|escroquerie|piraté|volée?|avvocato|denuncia|truffa|rubat[oa]|advogad[oa]|processar"
    r"|golpe|roubad[oa]|advocaat|oplichting|aangifte)\b"
    r"|弁護士|詐欺|警察|盗ま|律师|诈骗|警察|被盗|변호사|사기|경찰",
    _FLAGS,
)
_REAL = re.compile(
    r"\b(?:unacceptable|ridiculous|furious|outrageous|disgusting|worst|terrible|horrible|complain\w*"
    r"|complaint|manager|supervisor|escalat\w*|compensation|never again|fed up|angry|useless"
    r"|incompetent|refund|lost|damaged|broken|overcharged|charged twice|locked out|declined"
    r"|deleted|crash(?:ed|es)?|beschwerde|unverschämt|inakzeptabel|entschädigung|wütend|kaputt"
    r"|queja|reclamación|inaceptable|furios[oa]|indignad[oa]|réclamation|inadmissible|remboursement"
    r"|furieu(?:x|se)|scandaleux|cassée?|reclamo|inaccettabile|furioso|rotto|rimborso|reclamação"
    r"|inaceitável|reembolso|quebrado|klacht|schandalig)\b"
    r"|苦情|返金|最悪|投诉|退款|最差|불만|환불|최악",
    _FLAGS,
)
_SLIGHT = re.compile(
    r"\b(?:problem\w*|issue|issues|wrong|error|errors|delay\w*|late|slow|confus\w*|not working"
    r"|doesn['’]?t work|can['’]?t|cannot|unable|missing|fail\w*|sorry|unfortunately|fehler|leider"
    r"|verspät\w*|funktioniert nicht|falla|retras\w*|no funciona|erreur|retard|ne marche pas"
    r"|ne fonctionne pas|errore|ritardo|non funziona|erro|atras\w*|não funciona|fout|vertraging)\b"
    r"|問題|困|遅|问题|错误|문제|오류",
    _FLAGS,
)


def concern(texts: Sequence[str], language: str) -> int:
    """1 (everyday) to 5 (danger to a person) by rules over what the asking side wrote."""
    joined = "\n".join(texts)
    if _URGENT.search(joined):
        return 5
    if _SERIOUS.search(joined):
        return 4
    good, bad = tone(texts, language)
    real = len({match.lower() for match in _REAL.findall(joined)})
    if real >= 2 or (real and bad > good) or bad >= 4 + good:
        return 3
    return 2 if real or _SLIGHT.search(joined) or bad > good + 1 else 1


_SOLVED = re.compile(
    r"\b(?:thank\w*|thx|ty|that worked|it work(?:s|ed)|works now|solved|fixed|perfect|great|awesome"
    r"|that(?:['’]s| is| will be|['’]ll be) all|that(?:['’]s| is) everything|all set|appreciate"
    r"|danke\w*|vielen dank|funktioniert (?:jetzt|wieder)|gelöst|perfekt|gracias|perfecto"
    r"|solucionado|merci|parfait|résolu|grazie|perfetto|risolto|obrigad[oa]|perfeito|resolvido"
    r"|bedankt|dank je|opgelost|terima kasih|dhanyawad|shukriya)\b"
    r"|ありがとう|助かり|解決|谢谢|感谢|解决了|감사|고마워|해결",
    _FLAGS,
)
_OPEN = re.compile(
    r"\b(?:still (?:not|no|doesn|isn|can|waiting|have|broken|the same)|not (?:working|helpful"
    r"|resolved|solved|what i)|doesn['’]?t (?:work|help)|didn['’]?t (?:work|help)|useless"
    r"|no help|waste of|ridiculous|unacceptable|never mind|forget it|i give up|worst"
    r"|immer noch nicht|funktioniert nicht|hilft (?:mir )?nicht|unzufrieden|sigue sin|todavía no"
    r"|no funciona|no sirve|toujours pas|ne marche (?:toujours )?pas|ne fonctionne (?:toujours )?pas"
    r"|ancora non|non funziona|non serve|ainda não|não funciona|não resolve\w*|nog steeds niet"
    r"|werkt niet)\b"
    r"|まだ直|解決し(?:ない|ませ)|还是不行|没解决|没有解决|아직도|안 돼",
    _FLAGS,
)


def resolved(texts: Sequence[str]) -> bool | None:
    """Whether the asking side left content, by its last words; ``None`` when they do not tell."""
    if len(texts) < 2:
        return None
    for text in reversed(texts[-2:]):
        for sentence in reversed(sentences(text)):
            if _OPEN.search(sentence):
                return False
            if _SOLVED.search(sentence):
                return True
    return None
