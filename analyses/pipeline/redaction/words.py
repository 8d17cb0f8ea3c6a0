"""Word lists for finding names: roles, words that are no name, common given names."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ROLE_WORDS = _words(
    """customer client agent user assistant system tool function developer bot chatbot human ai gpt
    model llm speaker participant caller callee operator representative rep support advisor adviser
    doctor patient nurse guest family family2 clinician physician chair chairman chairwoman
    chairperson president moderator host interviewer interviewee professor prof phd postdoc grad
    student teacher tutor project manager marketing industrial designer interface product engineer
    sales buyer seller shopper merchant vendor action narrator unknown other staff admin
    administrator employee member mturk worker person people visitor consumer owner reporter
    analyst executive officer secretary clerk witness judge judge lawyer counsel attorney candidate
    recruiter parent child mother father expert novice seeker recommender wizard apprentice bank
    center centre call service helper helpdesk desk requester responder party side a b the of and
    kunde kundin mitarbeiter mitarbeiterin berater beraterin sprecher sprecherin nutzer benutzer
    teilnehmer client cliente agente usuario usuaria asistente sistema utilisateur conseiller
    conseillère intervenant utente operatore assistente usuário atendente
    客户 客服 用户 助手 系统 顾客 お客様 オペレーター ユーザー 고객 상담원"""
)
"""Lower-case words a speaker label may be made of without naming a person."""

NOT_NAMES = _words(
    """a an the and or but so if then than that this these those there here where when what who why
    how which i you he she it we they me him her us them my your his its our their mine yours is are
    was were be been being am do does did done have has had having will would can could shall should
    may might must not no yes yeah yep nope ok okay sure right fine good great well very really just
    also too as at by for from in into of off on onto out over to up down with without about after
    before again still now today tomorrow yesterday please thanks thank sorry hello hi hey dear sir
    madam maam mam back need want wanna looking trying calling writing contacting having going
    getting asking interested happy glad unable able sure afraid aware sorry new old same spelled
    spelt wrong correct misspelled listed under written mentioned given registered already because
    since while until account number email mail address phone order name names card customer
    anything something nothing everything everyone someone anyone one two three first last next
    booking flight ticket order refund delivery package sudah adalah assistant calling speaking help give get got tell said say says know think like would let lets let's
    all bye how're how's what're
    don't didn't isn't can't won't it's i'm i'd i'll i've that's there's what's
    und oder aber ich du er sie es wir ihr der die das ein eine ist sind war nicht nein ja bitte
    danke hallo guten mit von für auf bei nur noch schon hier dort wie was wer wo kunde kundin
    et ou mais je tu il elle nous vous ils elles le la les un une des est sont pas non oui merci
    bonjour salut pour avec sur dans ici très bien client cliente désolé désolée
    y o pero yo tú él ella nosotros ellos el los las una es son no sí gracias hola por para con de
    en aquí muy bien cliente que e ma io lui lei noi voi loro il lo gli uno sono non sì grazie ciao
    per di da in su qui molto bene mas eu ele ela nós eles os as um uma são não sim obrigado
    obrigada olá com em aqui muito bem maar ik jij hij zij wij het een niet nee hoi met van hai main
    aur ka ki ke se ko par nahi haan ji"""
)
"""Lower-case words that never begin or continue a name after an introduction."""

NOT_PEOPLE = _words(
    """monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december christmas easter english american british
    german french spanish italian dutch indian chinese japanese korean russian turkish polish greek
    irish scottish welsh canadian australian mexican brazilian portuguese swedish norwegian danish
    finnish swiss austrian belgian european african asian arab arabic jewish muslim christian hindu
    catholic buddhist vegan vegetarian customer member prime premium ubuntu linux debian fedora windows android assistant universe plaza cafe
    hotel restaurant bar park street avenue center centre museum theatre theater house club school
    university hospital bank airport station church market shop store gold silver google amazon apple
    microsoft facebook netflix paypal ebay uber siri alexa chatgpt claude gemini bard openai support
    service team speaker president chairman chair minister madam commissioner member senator judge
    bean robot pepper martens sir doctor professor kunde kundin student studentin lehrer lehrerin
    mitglied ok okay it hr ceo cto usa uk eu deutscher deutsche allemand allemande français
    française español española italiano italiana europe america england germany france spain italy
    india china japan london paris berlin great good nice sorry happy well fine just absolutely
    definitely really very thank thanks unfortunately however unable kind many best warm dial leaf
    problem issue question same help update message email reply response feedback answer call
    notification news greetings request click toujours restant restons l'équipe équipe equipo
    kundenservice kundendienst hilfe frage anfrage bestellung urgent ridiculous unacceptable
    confirmed correct perfect awesome here there"""
)
"""Lower-case words that, capitalised after "I am" or a title, name no private person."""

GIVEN_NAMES = _words(
    """aaron abdul abigail adam adrian ahmed aisha akira alan albert alejandra alejandro alessandro
    alex alexander alexandra alexis alfred ali alice alicia alina allison alvin amanda amber amelia
    amina amir amit amy ana andrea andreas andrei andrew andy angela angelica anita anja ankit ann
    anna anne annette annie anthony antoine anton antonio arjun arnold arthur arturo ashley astrid
    audrey axel barbara beatrice beatriz ben benjamin bernard bernd beth bianca birgit bob bogdan
    boris brad brandon brenda brian bruce bruno bryan caleb camila camille carl carla carlos carmen
    carol carolina caroline caterina catherine cathy cecilia charles charlie charlotte chiara chloe
    chris christian christina christine christoph christopher cindy claire clara claudia clément
    colin connor craig cristina crystal cynthia daniel daniela danielle danny dave david dean debbie
    deborah deepak denise dennis derek diana diane diego dieter dimitri dirk dmitri dominic donald
    donna dorothy doug douglas dylan eduardo edward edwin eileen elaine elena eleanor eli elias elif
    elisabeth elisabetta elise elizabeth ella ellen emilia emily emma emmanuel enrique eric erica
    erik ernesto esther ethan eugene eva evan evelyn fabian fabio fatima federico felipe felix
    fernanda fernando fiona florian frances francesca francesco francis francisco françois frank
    franz fred frederick friedrich fritz gabriel gabriela gareth gary geoff george georg gerald
    gerhard giorgio giovanni giulia giuseppe gloria gonzalo gordon greg gregory guillaume günter
    gustavo hannah hans harold harry hassan heather hector heidi heike heinz helen helena helga
    henri henry herbert hiroshi holger howard hugo hussein ian ibrahim ignacio ines ingrid irene
    irina isaac isabel isabella ivan jack jackie jacob jacqueline jaime jake james jamie jan jane
    janet janice jason javier jay jean jeff jeffrey jennifer jenny jeremy jerry jesse jessica jill
    jim jimmy joan joanna joão joel joe johan johanna johannes john johnny jon jonas jonathan jordan
    jorge jose josé josef joseph joshua joyce juan judith judy julia julian juliana julie julien
    jürgen justin kai karen karin karl karl-heinz kate katharina katherine kathleen kathy katie
    katrin kavita keith kelly ken kenji kenneth kevin kim kimberly klaus krishna kristen kristin
    kumar kurt kyle lars laura lauren laurent lea leah lena leo leon leonardo leslie lewis liam
    lily linda lisa lorena lorenzo louis louise luca lucas lucia lucy luis luisa luke lukas lydia
    lynn madison magdalena manfred manoj manuel marc marcel marcelo marco marcos marcus margaret
    maria marie marina mario marion mark markus marlene marta martha martin martina mary mateo
    mathieu matt matteo matthew matthias maurice max maximilian megan mehmet mei melanie melissa
    mia michael michaela michel michelle miguel mike mikhail miriam mohamed mohammad mohammed
    karim maya anders svenja nuria manon maëlle maelle wiebke emre ravi inés léa élodie gérard inès
    álvaro lucía andrés rocío rubén noelia pilar marta callum nadia imogen leroy desmond keisha rhys
    anita maureen joanne stephen tobias harriet priya bastien amandine chantal camille théo luc anke
    jörg miriam katrin renate birgit jannis finn luise greta frieda mats svante astrid freya sigrid
    linnea ingrid bjørn bjorn lasse henrik mikkel anneke sanne femke joost maarten pieter willem
    daan sven tijs bram chidi ngozi amara kwame kofi ama adaeze femi tunde zainab yusra layla leila
    noor omar khalid tariq samira nadim farah imran bilal asma hina aditi ananya arnav ishaan kiran
    lakshmi meera nisha rohan sanjana shreya suresh varun vivek anjali divya deepika aarav mei
    xiao ling jun hiroko yoko naoko kaori haruto takeshi sakura minji jisoo seoyeon thuy linh minh
    agnieszka katarzyna małgorzata piotr paweł wojciech krzysztof jakub zofia ondřej jana zdeněk
    ioana mihai zoltán istván lászló ágnes ece zeynep ayşe fatma burak cem murat selin svetlana
    anastasia nikita dmitry sergey vladislav oksana taras bohdan yulia siobhan niamh aoife ciarán
    declan eoin gwen dafydd hamish iona isla oscar archie alfie freddie evie poppy millie tilly
    mackenzie brooke paige kayla brianna destiny tyrone darnell latoya shanice marisol xiomara
    guadalupe joaquín óscar iñaki iker leire ainhoa maite montserrat jordi laia núria pau beatriz
    inês tiago thiago gonçalo mariana letícia camila giorgia matilde ginevra lorenza tommaso
    monica monika monique morgan muhammad mustafa nadia nadine nancy naomi natalia natalie natasha
    nathan neha neil nicholas nick nicola nicolas nicole nikhil nina noah nora norbert oleg olga
    oliver olivia olivier omar oscar otto pablo paolo patricia patrick paul paula paulo pauline
    pedro penelope pete peter petra philip philippe phil pierre pooja priya rachel rafael rahul
    raj rajesh ralf ralph ramesh randy raquel raul ravi ray raymond rebecca regina reinhard renate
    rené ricardo riccardo richard rick rita rob robert roberta roberto robin rodrigo roger roland
    rolf roman ronald rosa rosemary ross roxanne ruben russell ruth ryan sabine sabrina sally
    salma sam samantha samir samuel sandeep sandra sandy sanjay sanjana santiago sara sarah
    satoshi scott sean sebastian sergei sergio shane sharon shaun sheila shirley silke silvia
    simon simone sofia sonia sonja sophia sophie stacy stefan stefano stefanie stella stephan
    stephanie stephen steve steven stuart sunil sunita suresh susan susana susanne suzanne sven
    sylvia tamara tanja tanya tara tatiana ted teresa terry theo theodore theresa thomas thorsten
    tiffany tim timothy tina tobias todd tom tomas tommy toni tony tracy travis tyler ulrich ulrike
    ursula ute uwe valentina valeria valerie vanessa vera veronica victor victoria vijay vikram
    vimal vincent viola virginia vladimir walter wang wayne wei wendy werner wilhelm william willy
    wolfgang xavier yan yasmin yolanda yuki yuri yusuf yves yvonne zachary zoe zoé"""
)
"""Common given names in lower case: tell "Hi Sarah" and "I am Paul" from other capitals."""

AMBIGUOUS = _words(
    """will mark rose grace hope faith may june april august bill rich frank art drew chase pat sue
    jack john joy dawn rob ray dean grant lance miles penny ruby summer violet iris jade sandy robin
    max guy gene cliff rusty van de der den del la le di da dos von zu bin al ben san king young
    long white black brown green gray grey bell price page day rich love banks stone wood woods
    field hill rivers bush best good noble major sharp swift small short west north south east lake
    fox wolf bird fish rice berry cook baker smith carpenter mason potter taylor hunter fisher see
    bank home help test chat web sun moon star destiny dan poppy isla ama jun ling cem pau jana brooke"""
)
"""Names that are everyday words: removed elsewhere only where they are capitalised."""

PARTICLES = _words("de del della der den di da dos van von zu bin ibn al el la le ter ten")
"""Lower-case words inside a name: "Ludwig van Beethoven"."""

OFFICE = re.compile(
    r"minist|pr[äée]sident|kanzler|abgeordn|kolleg|direct|direkt|vorsitz|sekret|secret|commiss"
    r"|sprecher|d[ée]put|diputad|rapporteur|portavoz|señor|chair|senator|council|congress",
    re.IGNORECASE,
)
"""Parts of words that stand for an office, not for the one who holds it."""
