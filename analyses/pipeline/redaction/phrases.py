"""The phrases, words and shapes by which :mod:`introductions` knows a name."""

from __future__ import annotations

import re

WORD = r"[^\W\d_][\w'’\-]{0,30}+"
UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪĮİĶĻŁŃŅŇŌŐŒŘŚŞŠŢŤŪŮŰŲŹŻŽΑ-ΩА-Я"
CAP = rf"[{UPPER}][\w'’\-]{{0,30}}+"
WORDS = re.compile(WORD)
CAPITAL = re.compile(rf"[{UPPER}][\w'’\-]{{1,30}}+")

# Followed by a name whatever its case, with the slips of the keyboard that are usual.
STRONG = re.compile(
    r"\b(?:my (?:full |first |last |sur|family |given |real |user )?"
    r"(?:name|nmae|naem|nam|anme)(?:['’]?s| is| was| si)?"
    r"|(?:you )?(?:can|may) call me|just call me"
    r"|(?:customer|passenger|cardholder|contact|full|first|last)(?:['’]s)? name(?: is|(?=[ ]?[:=]))"
    r"|ich h[ei]{1,3}(?:ß|ss?)e?|m(?:ei|ie)n (?:vor|nach)?name (?:ist|lautet|its)"
    r"|je m['’ ]?[ ]?app?elle|mon (?:pré)?nom (?:est|c['’]est)|je me nomme"
    r"|me l?lamo|mi (?:nombre|apellido)(?: completo)? es"
    r"|mi chiamo|il mio (?:nome|cognome) [èe]"
    r"|(?:eu )?me chamo|chamo-me|meu nome [ée]"
    r"|ik heet|mijn naam is|jag heter|mitt namn är|jeg he(?:t|dd)er|mit navn er"
    r"|nazywam się|mam na imię|jmenuji se|mă numesc|nimeni on|benim adım"
    r"|nama saya(?: adalah)?|tên tôi là|tôi tên là|mera naa?m"
    r"|меня зовут|мене звати)(?=[ :=\t])[ :=\t]{1,3}",
    re.IGNORECASE,
)
FORM = re.compile(
    r"(?:^|[\n\x00]|[.;][ ])[ \t]{0,8}(?:name|nom|nombre|nome)(?:[ \t]{0,4}[:=][ \t]{0,4}|[ ](?:is )?)",
    re.IGNORECASE,
)
# One of these is part of whatever the two patterns match; the second tuple is for both.
STRONG_CUES = (
    *("my nmae", "my naem", "my nam ", "my nam:", "my anme", "call me", "ich h", "appel", "apel"),
    *(
        "me nomme",
        "lamo ",
        "lamo:",
        "apellido",
        "chiamo",
        "cognome",
        "chamo",
        "heet",
        "naam",
        "heter",
        "namn",
    ),
    *("jeg he", "navn", "nazywam", "na imię", "jmenuji", "numesc", "nimeni on", "benim ad"),
    *("nama saya", "tên", "naam ", "зовут", "звати"),
)
NAME_CUES = ("name", "nom")
BEFORE_CUE, BEHIND_CUE = 26, 26
# Fields of the records that tools hand to an assistant.
FIELD = re.compile(
    r"[\"'](?:first|last|full|given|family|middle|customer|passenger|user)_?name[\"']\s{0,2}:\s{0,2}"
    r"[\"'](?P<name>[^\W\d_][^\"'\x00\n]{1,60})[\"']",
    re.IGNORECASE,
)
# In lower-case typing only a well-known name counts.
SAID = (
    *(
        "i am ",
        "i'm ",
        "im ",
        "i’m ",
        "this is ",
        "hi ",
        "hello ",
        "thanks ",
        "thanks, ",
        "thank you ",
    ),
    *("merci ", "merci, ", "gracias, ", "gracias ", "danke ", "danke, ", "appreciated, "),
)
ALONE = re.compile(rf"(?P<name>{WORD}(?: {WORD}){{0,2}})[ ]?[.,!]?(?=$|\x00)")
# Followed by a name only if what follows looks like one.
WEAK = re.compile(
    r"\b(?P<intro>(?i:i am|i['’]m|i m|this is|it['’]s|it is|here is|ich bin|hier ist|hier spricht|ici"
    r"|je suis|c['’]est|yo soy|soy|habla|sono|parla|eu sou|sou|ik ben|jag är|jestem))[ ]"
    rf"(?P<name>{CAP}(?:[ ]{CAP}){{0,3}})"
    r"(?P<after>[ ]?(?:(?i:, (?:customer|client|member|account|order|policy|kundennummer|numéro)\b"
    r"|,|\.|!|$|from\b|with\b|at\b|here\b|speaking\b|calling\b|writing\b|again\b|von\b|vom\b"
    r"|am apparat|de\b|del?\b|d['’]|à l['’]appareil|da\b|and\b|und\b))?)"
)
OF_ONESELF = ("i ", "i'm", "i’m", "je ", "yo ", "soy", "eu ", "sou ", "jag", "jestem")
ANNOUNCED = re.compile(
    r"from|with|speaking|calling|writing|here|am apparat|à l|vom|customer|client|member|account"
    r"|policy|kundennummer|numéro",
    re.IGNORECASE,
)
# Said by the one who takes up a call, so that after a greeting any capitalised word is a name.
TAKEN_UP = ("this is", "hier ist", "hier spricht", "ici")
WEAK_CUES = frozenset(
    [
        "am",
        "i'm",
        "i’m",
        "m",
        "is",
        "it's",
        "it’s",
        "bin",
        "ist",
        "spricht",
        "ici",
        "suis",
        "c'est",
        "c’est",
        "soy",
        "habla",
        "sono",
        "parla",
        "sou",
        "ben",
        "är",
        "jestem",
    ]
)
TITLES = (
    r"(?:(?:(?:Mr|Mrs|Ms|Mx|Dr|Prof|Mme|Sra?|Sig)\b\.?"
    r"|(?:Miss|Herrn?|Frau|Monsieur|Madame|Señora?|Signora?|Mevrouw|Meneer)\b)[ ])"
)
TITLE = re.compile(rf"{TITLES}{{1,3}}(?P<name>{CAP}(?:[ ][A-Z]\.)?(?:[ ]{CAP})?)")
TITLE_WORDS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "mx",
        "miss",
        "dr",
        "prof",
        "herr",
        "herrn",
        "frau",
        "monsieur",
        "madame",
        "mme",
        "señor",
        "señora",
        "sr",
        "sra",
        "signor",
        "signora",
        "sig",
        "mevrouw",
        "meneer",
    ]
)
# What may stand before the first word of a name: titles and initials.
PREFIX = re.compile(rf"{TITLES}{{0,3}}(?:[A-Z]\.[ ]?){{0,3}}")
GREETING_CUES = frozenset(
    [
        "hi",
        "hello",
        "hey",
        "dear",
        "thanks",
        "you",
        "appreciated",
        "bye",
        "goodbye",
        "welcome",
        "morning",
        "afternoon",
        "evening",
        "bonjour",
        "salut",
        "merci",
        "hallo",
        "danke",
        "lieber",
        "liebe",
        "hola",
        "gracias",
        "estimado",
        "estimada",
        "ciao",
        "grazie",
        "gentile",
        "olá",
        "obrigado",
        "obrigada",
        "cher",
        "chère",
    ]
)
# Last words of a greeting after which somebody may say who is there.
OPENING = GREETING_CUES | frozenset(
    [
        "there",
        "day",
        "tag",
        "morgen",
        "abend",
        "gott",
        "servus",
        "moin",
        "grüezi",
        "bonsoir",
        "buenas",
        "buenos",
        "días",
        "tardes",
        "noches",
        "buongiorno",
        "buonasera",
        "bom",
        "dia",
        "tarde",
        "boa",
        "hoi",
        "goedendag",
        "yes",
        "ja",
        "sí",
        "oui",
    ]
)
PRESENTED = (
    *("through to", "talking to", "talking with", "speaking to", "speaking with", "chatting to"),
    *("chatting with", "connected to", "connected with", "sprechen mit", "le atiende"),
    *("les atiende", "te atiende", "le saluda", "les saluda", "al habla", "parlez à"),
    *("parlez avec", "spreekt met", "parlando con"),
)
# Behind a name: what leaves no doubt, and what needs a greeting or a known name in front.
FIRM = (
    *(" speaking", " am apparat", " à l'appareil", " à l’appareil", " à votre service"),
    *(" à votre écoute", " al habla", " al aparato", " is my name"),
)
LOOSE = (" here", " hier", " por aquí", " from ", " vom ", " von ")
DESK = re.compile(
    r" (?:from|vom|von|de|du|del|dal) (?:the |der |our )?[\w-]{0,24}"
    r"(?:support|team|service|sales|billing|kundendienst|soporte|helpdesk)"
)
# Ends of a letter, by their last word; those of the second set are said in between as well.
CLOSINGS = frozenset(
    [
        "regards",
        "best",
        "wishes",
        "cheers",
        "sincerely",
        "yours",
        "truly",
        "faithfully",
        "grüße",
        "grüßen",
        "gruß",
        "grüsse",
        "grüssen",
        "gruss",
        "mfg",
        "lg",
        "vg",
        "bg",
        "cordialement",
        "vous",
        "bientôt",
        "salutations",
        "journée",
        "saludo",
        "saludos",
        "atentamente",
        "saluti",
        "atenciosamente",
        "groet",
        "groeten",
        "mvg",
        "hugs",
    ]
)
THANKS = frozenset(
    [
        "thanks",
        "you",
        "advance",
        "danke",
        "voraus",
        "merci",
        "gracias",
        "grazie",
        "obrigado",
        "care",
    ]
)
SHORT_CLOSINGS = frozenset(["best", "lg", "vg", "bg", "mfg", "mvg"])
PAUSE = re.compile(r"[.!:\n]")
LINE_END = re.compile(r"(?:,[^\n\x00]{0,40})?[^\w\n\x00]{0,4}(?=\Z|[\n\x00])")
SIGNED = re.compile(
    rf"\n[ \t]{{0,3}}(?P<name>{WORD}(?: {WORD}){{0,2}})"
    r"(?P<rest>,[^\n\x00]{1,40})?[^\w\n\x00]{0,4}(?=\Z|\x00)"
)
BESIDE = re.compile(rf"[ ]?\((?P<name>{CAP}[ ]{CAP}(?:[ ]{CAP})?)\)")
EAST_ASIAN = re.compile(
    r"(?:我叫|我的名字是|我的名字叫|我姓)(?P<zh>[\u4e00-\u9fff]{2,3})(?![\u4e00-\u9fff]{2})"
    r"|(?:名前は|氏名は|名前:)[ ]?(?P<ja>[\u4e00-\u9fff\u3040-\u30ff・ ]{2,12}?)(?=です|と申|とい|だ|。|$|\x00)"
    r"|(?P<ja2>[\u4e00-\u9fff\u30a0-\u30ff・]{2,10})(?=と申します|と申し|といいます|と言います)"
    r"|(?:제|내) 이름은 (?P<ko>[\uac00-\ud7a3]{2,4}?)(?=입니다|이에요|예요|이야|야)"
    r"|저는 (?P<ko2>[\uac00-\ud7a3]{2,4}?)(?=이?라고 합니다)"
)
EAST_HINT = re.compile("我叫|我的名字|我姓|名前|氏名|と申|といいます|と言います|이름은|라고 합니다")
DEVANAGARI = re.compile(
    r"मेरा नाम (?P<name>[\u0900-\u097f]{2,20}(?: [\u0900-\u097f]{2,20})?) (?:है|हे)"
)
PARTICIPLE = re.compile(r"[a-z]{3}(?:ed|ing)$")
