"""Redaction: what is removed, what stays, and that no text makes it slow or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyses.pipeline.records import Turn
from analyses.pipeline.redaction import (
    PLACEHOLDER,
    apply_spans,
    clean_text,
    redact_text,
    redact_turns,
    speaker_labels,
)

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"

# Text, and what has to be removed from it: ``(kind, exact stretch)``.
LABELLED: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "write to jane.doe+shop@mail.example.co.uk today",
        [("email", "jane.doe+shop@mail.example.co.uk")],
    ),
    ("It's jane @ example . com, thanks", [("email", "jane @ example . com")]),
    ("jane (at) example dot org", [("email", "jane (at) example dot org")]),
    ("bob at gmail dot com works too", [("email", "bob at gmail dot com")]),
    ("我的邮箱是wang@example.cn谢谢", [("email", "wang@example.cn")]),
    ("call me on 415-555-1234 please", [("phone", "415-555-1234")]),
    ("(510) 638-4900 is my work line", [("phone", "(510) 638-4900")]),
    ("reach me at +49 30 901820", [("phone", "+49 30 901820")]),
    (
        "Meine Nummer: 030 901820, Handy 0151 23456789",
        [("phone", "030 901820"), ("phone", "0151 23456789")],
    ),
    ("mobile 07911 123456", [("phone", "07911 123456")]),
    ("mon portable est 06 12 34 56 78", [("phone", "06 12 34 56 78")]),
    ("0044 20 7946 0958 abroad", [("phone", "0044 20 7946 0958")]),
    ("my phone number is 5551984423", [("phone", "5551984423")]),
    ("電話は ０９０－１２３４－５６７８ です", [("phone", "０９０－１２３４－５６７８")]),
    ("either 415-555-1234 or 510-555-8888", [("phone", "415-555-1234"), ("phone", "510-555-8888")]),
    ("card 4111 1111 1111 1111 exp 12/26", [("card", "4111 1111 1111 1111")]),
    ("5500-0000-0000-0004", [("card", "5500-0000-0000-0004")]),
    ("amex 378282246310005, cvv 1234", [("card", "378282246310005"), ("card", "1234")]),
    ("my card is 4111 1111 1111 1112", [("card", "4111 1111 1111 1112")]),
    ("pay to DE89 3704 0044 0532 0130 00 now", [("iban", "DE89 3704 0044 0532 0130 00")]),
    ("GB29NWBK60161331926819", [("iban", "GB29NWBK60161331926819")]),
    ("iban fr1420041010050500013m02606", [("iban", "fr1420041010050500013m02606")]),
    ("connecting from 203.0.113.77", [("ip", "203.0.113.77")]),
    ("host 2001:db8::ff00:42:8329 is down", [("ip", "2001:db8::ff00:42:8329")]),
    ("ping fe80::1ff:fe23:4567:890a", [("ip", "fe80::1ff:fe23:4567:890a")]),
    ("mac 00:1A:2B:3C:4D:5E", [("ip", "00:1A:2B:3C:4D:5E")]),
    ("see https://joe:pw@db.example.com/x.", [("link", "https://joe:pw@db.example.com/x")]),
    (
        "https://example.com/reset?token=9f8a7b6c5d",
        [("link", "https://example.com/reset?token=9f8a7b6c5d")],
    ),
    (
        "https://example.com/i/0a1b2c3d-1111-2222-3333-444455556666",
        [("link", "https://example.com/i/0a1b2c3d-1111-2222-3333-444455556666")],
    ),
    ("key sk-proj-abcdefghijklmnop1234", [("secret", "sk-proj-abcdefghijklmnop1234")]),
    ("AKIAIOSFODNN7EXAMPLE leaked", [("secret", "AKIAIOSFODNN7EXAMPLE")]),
    ("password: hunter2!", [("secret", "hunter2!")]),
    ("my pin is 4821", [("secret", "4821")]),
    ("minha senha é gato77!", [("secret", "gato77!")]),
    ("mijn wachtwoord: hond77", [("secret", "hond77")]),
    ("ssn 536-90-4399", [("id", "536-90-4399")]),
    ("social security number 536904399", [("id", "536904399")]),
    ("NI number AB 12 34 56 C", [("id", "AB 12 34 56 C")]),
    ("Steuer-ID 86 095 742 719", [("id", "86 095 742 719")]),
    ("numéro 2 55 08 14 168 025 38", [("id", "2 55 08 14 168 025 38")]),
    ("DNI 12345678Z y NIE X1234567L", [("id", "12345678Z"), ("id", "X1234567L")]),
    ("CPF 529.982.247-25", [("id", "529.982.247-25")]),
    ("codice fiscale RSSMRA85T10A562S", [("id", "RSSMRA85T10A562S")]),
    ("身份证 11010519491231002X", [("id", "11010519491231002X")]),
    ("passport number is C01X0006H", [("id", "C01X0006H")]),
    ("I was born on 12/03/1984", [("birthdate", "12/03/1984")]),
    ("geboren am 3. März 1984", [("birthdate", "3. März 1984")]),
    ("my name is julie george and i need help", [("name", "julie george")]),
    ("Hello, my name's Anna-Lena O'Brien.", [("name", "Anna-Lena O'Brien")]),
    ("Hi, I'm Vimal and this is urgent", [("name", "Vimal")]),
    ("This is Temperance Brennan speaking", [("name", "Temperance Brennan")]),
    ("Ich heiße Jürgen von Hagen.", [("name", "Jürgen von Hagen")]),
    ("Mein Name ist Petra", [("name", "Petra")]),
    ("my name is dan and it is late", [("name", "dan")]),
    ("ya sure im james bond", [("name", "james bond")]),
    ("Ich bin Peter.", [("name", "Peter")]),
    ("je m'appelle Pierre Dupont et vous ?", [("name", "Pierre Dupont")]),
    ("me llamo Juan Carlos Ortega", [("name", "Juan Carlos Ortega")]),
    ("Mi chiamo Giulia", [("name", "Giulia")]),
    ("meu nome é João Silva", [("name", "João Silva")]),
    ("меня зовут Анна", [("name", "Анна")]),
    ("我叫王小明。", [("name", "王小明")]),
    ("私の名前は田中太郎です。", [("name", "田中太郎")]),
    ("제 이름은 김철수입니다", [("name", "김철수")]),
    ("Thank you, Sarah! Goodbye", [("name", "Sarah")]),
    ("Dear Mr. Patel, your parcel", [("name", "Patel")]),
    ("Sehr geehrte Frau Dr. Weber,", [("name", "Weber")]),
    ("My name is Dr. Anna Weber-Lang, MD", [("name", "Dr. Anna Weber-Lang")]),
    ("my name is J. R. Smithers.", [("name", "J. R. Smithers")]),
    ("Best regards,\nMira Okafor", [("name", "Mira Okafor")]),
    ('{"first_name": "Omar", "dob": 1}', [("name", "Omar")]),
    ("My email is w.bright@acme.co.uk.", [("email", "w.bright@acme.co.uk")]),
    ("(jo@mail.example), thanks", [("email", "jo@mail.example")]),
    ("Schreib an t.bright@firma.de. Danke", [("email", "t.bright@firma.de")]),
    ("This is Callum Doyle writing.", [("name", "Callum Doyle")]),
    ("This is Keisha Pemberton again.", [("name", "Keisha Pemberton")]),
    ("I'm Oddny, customer number 482913.", [("name", "Oddny")]),
    ("Ich hiße Renate Ahrens.", [("name", "Renate Ahrens")]),
    ("ich heise Renate und brauche Hilfe", [("name", "Renate")]),
    ("my nmae is Oddny Ström", [("name", "Oddny Ström")]),
    (
        "Pay it to GB29NWBK60161331926819 (Oddny Osei).",
        [("iban", "GB29NWBK60161331926819"), ("name", "Oddny Osei")],
    ),
    ("Grüß Gott, Huber hier. Verstehe.", [("name", "Huber")]),
    ("Hallo, Svenja vom Ostrelo-Support.", [("name", "Svenja")]),
    ("Hallo, hier ist Wiebke. Wie kann ich helfen?", [("name", "Wiebke")]),
    ("Sie sprechen mit Wiebke Otte.", [("name", "Wiebke Otte")]),
    ("Hola, le atiende Nuria.", [("name", "Nuria")]),
    ("Buenas tardes, al habla Iker.", [("name", "Iker")]),
    ("Hola, Iker por aquí.", [("name", "Iker")]),
    ("Bonjour, ici Maëlle d'Ostrelo.", [("name", "Maëlle")]),
    ("Merci de votre message, je suis Manon.", [("name", "Manon")]),
    ("Bonsoir, Maëlle à l'appareil.", [("name", "Maëlle")]),
    ("Hi, Torvald here. Go ahead.", [("name", "Torvald")]),
    ("Hello, you're talking to Torvald.", [("name", "Torvald")]),
    ("Hi, you're through to Torvald. Go ahead.", [("name", "Torvald")]),
    ("Hi there! Torvald speaking.", [("name", "Torvald")]),
    ("Hello and thanks for waiting, Torvald is my name.", [("name", "Torvald")]),
    ("Torvald from support, hello.", [("name", "Torvald")]),
    ("It broke again.\n\nBest, Torvald", [("name", "Torvald")]),
    ("It broke again.\n\nBest\nTorvald Lund", [("name", "Torvald Lund")]),
    ("Done. Kind regards, Torvald, Acme support", [("name", "Torvald")]),
    ("It is sorted.\n\nBest wishes, Ben", [("name", "Ben")]),
    ("Dr. Christine P. Weigen, MD is here", [("name", "Christine P. Weigen")]),
    ("Geht nicht. LG Torvald", [("name", "Torvald")]),
    ("Danke.\n\nMit freundlichen Grüßen\nTorvald 😕", [("name", "Torvald")]),
    ("C'est réglé.\n\nBien à vous\nMaëlle", [("name", "Maëlle")]),
    ("thanks for the help\n\nbest\njoanne!", [("name", "joanne")]),
    (
        "We live at 6410 Old Mill Lane, Westbrook Falls.",
        [("address", "6410 Old Mill Lane, Westbrook Falls")],
    ),
    (
        "I'm Marcus Doyle, Flat 9, Tanner's Row, Eastwick.",
        [("name", "Marcus Doyle"), ("address", "Flat 9, Tanner's Row, Eastwick")],
    ),
    ("ship it to 12 juniper hollow rd please", [("address", "12 juniper hollow rd")]),
    (
        "Ich wohne Am Lindengrund 12, 99999 Musterhagen.",
        [("address", "Am Lindengrund 12, 99999 Musterhagen")],
    ),
    (
        "Die Adresse: Schillerstraße 5a, 80336 München",
        [("address", "Schillerstraße 5a, 80336 München")],
    ),
    (
        "J'habite 8 bis chemin du Lavoir, Montclair.",
        [("address", "8 bis chemin du Lavoir, Montclair")],
    ),
    (
        "Vivo en Calle del Olivar 28, 2º B, Villaluz.",
        [("address", "Calle del Olivar 28, 2º B, Villaluz")],
    ),
]

HARMLESS = [
    "Order #206-8912345-4567890 and order 4567890123 are late",
    "Bestellung 1234567890 und Rechnung 2024-000123",
    "tracking number 9400111899223344556677",
    "Invoice no 4155551234 was paid",
    "on 2024-03-01 12:30:45, between 2019-2020, 01.02.2024 - 03.02.2024, 20240301",
    "I paid $1,250.00, 10.000.000 €, 12000000 USD, 1 250 000 people",
    "ISBN 978-3-16-148410-0 and epoch 1700000000",
    "kernel 2.6.24.18, version 10.20.30.40, mask 255.255.255.0 on 127.0.0.1",
    "std::vector<int> at 12:30:45, a::b::c, ratio 16:9:4",
    "see https://example.com/docs/how-to-reset-a-password-in-12-easy-steps?page=2",
    "I am Interested. I'm German. I am Happy. This is Great. It's Monday.",
    "Ich bin Kunde bei euch und das ist Mist",
    "my name is not listed, my name is spelled wrong, is my name on it?",
    "Thank you, Mr. President. Thanks, Amazon. Hello World",
    "we met at point 5 in the plan, look at dot com names",
    "my password is wrong and the pin code is 400076",
    "rooms 1 2 3 4 5 6 7 8 and 100 200 300",
    "the file name: report.pdf and the hotel name is Astoria",
    "Je vous en prie, bonne journée.\n\nCordialement, le service client",
    "Madame, Monsieur. Fichier de 8000 lignes, seul",
    "Click here. Same here. Hello, Paris from London takes two hours",
    "Generally speaking, the Leaf and the Dial from Ostrelo talk to San Francisco",
    "which is best, Plan A or Plan B? My TV is an LG Oled",
    "Best,\nthe whole family. Thanks\nAlso, where is it?",
    "I waited 20 minutes in a row, 3 miles down the road, 2 lane road, 5 Star Hotel",
    "Stellplatz 7, Monitoring 24, Bahnhof 3, Kapitel 12, 2 place de parking, calle cortada",
    "I'm Annoyed. Hi, this is Ridiculous! Hier ist Ihr Code. Hallo, ich bin Mieter.",
]


def found(text: str) -> list[tuple[str, str]]:
    return [
        (span.kind, text[span.start : span.end]) for span in redact_turns((Turn("user", text),))
    ]


@pytest.mark.parametrize(("text", "expected"), LABELLED, ids=[text[:32] for text, _ in LABELLED])
def test_a_personal_detail_is_found_with_its_exact_borders(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert found(text) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_personal_detail_stays(text: str) -> None:
    assert found(text) == []


def test_recall_and_precision_over_the_labelled_list() -> None:
    """The floor below which a change of rules is a step back; today both are 1."""
    wanted = hit = given_back = 0
    for text, expected in [*LABELLED, *((text, []) for text in HARMLESS)]:
        got = found(text)
        wanted, given_back = wanted + len(expected), given_back + len(got)
        hit += len(set(expected) & set(got))
    assert hit / wanted >= 0.98
    assert hit / given_back >= 0.98


def test_replacement_says_what_was_there() -> None:
    text, kinds = redact_text("mail jane@example.com or call 415-555-1234")
    assert text == "mail [email removed] or call [phone removed]"
    assert kinds == {"email", "phone"}
    assert len(PLACEHOLDER.findall(text)) == 2


def test_an_introduced_name_goes_from_every_turn() -> None:
    turns = (
        Turn("customer", "Hi, my name is Julie Georgiou."),
        Turn("agent", "Welcome, Ms Georgiou. Julie, what can I do?"),
        Turn("customer", "JULIE GEORGIOU is on the card, my juliet balcony is not."),
    )
    spans = redact_turns(turns)
    texts = [apply_spans(t.text, [s for s in spans if s.turn == i]) for i, t in enumerate(turns)]
    assert not any("georgiou" in text.lower() for text in texts)
    assert "julie," not in texts[1].lower()
    assert "juliet balcony" in texts[2]


def test_an_everyday_word_as_a_name_goes_only_where_it_is_capitalised() -> None:
    turns = (
        Turn("user", "My name is Will Marsh."),
        Turn("agent", "Will, we will cross the marsh."),
    )
    spans = [span for span in redact_turns(turns) if span.turn == 1]
    assert apply_spans(turns[1].text, spans) == "[name removed], we will cross the marsh."


def test_a_bare_answer_to_the_question_for_a_name_is_a_name() -> None:
    turns = (
        Turn("agent", "May I have your full name, please?"),
        Turn("customer", "sure, tharun kumar"),
        Turn("agent", "Thank you. Anything else?"),
        Turn("customer", "no thanks"),
    )
    spans = redact_turns(turns)
    assert [(s.turn, turns[s.turn].text[s.start : s.end]) for s in spans] == [(1, "tharun kumar")]


def test_people_in_speaker_labels_get_stable_labels_and_leave_the_texts() -> None:
    roles = [
        "Olivier Véran",
        "agent",
        "Mathilde Panot",
        "Olivier Véran",
        "Project Manager",
        "PhD C",
    ]
    assert speaker_labels(roles) == {"Olivier Véran": "Speaker 1", "Mathilde Panot": "Speaker 2"}
    turns = (Turn("karllekko", "hello"), Turn("boggi", "karllekko: and Boggi here"))
    spans = redact_turns(turns)
    assert apply_spans(turns[1].text, spans) == "[name removed]: and [name removed] here"


@pytest.mark.parametrize(
    "role",
    ["customer", "agent_1", "speaker_2", "Speaker 3", "User Interface", "doctor", "P1", "客服"],
)
def test_role_words_are_kept(role: str) -> None:
    assert speaker_labels([role]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "jo\u200bhn@ex\u200bample.com",
        "john@\u202eexample.com",
        "john@exa\x00mple.com",
        "john\ufeff@example.com",
        "jo\u00adhn@example.com",
        "john@example\ud800.com",
        "\U000e0041john@example.com\U000e007f",
    ],
)
def test_hidden_characters_do_not_hide_an_address(text: str) -> None:
    spans = redact_turns((Turn("user", f"to {text} now"),))
    assert [span.kind for span in spans] == ["email"]
    assert clean_text(apply_spans(f"to {text} now", spans)) in (
        "to [email removed] now",
        "to [email removed] now",
    )


def test_joiners_of_scripts_and_emoji_survive_and_towers_of_marks_do_not() -> None:
    assert clean_text("می‌خواهم 👩‍🚀") == "می‌خواهم 👩‍🚀"
    assert clean_text("e\u0301" + "\u0300" * 1_000_000) == "e\u0301\u0300\u0300"
