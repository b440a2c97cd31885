"""Short and foreign forms of given names: whoever is called Bill in one place may be William in another."""

from __future__ import annotations

from typing import Final

from signals.matching import plain

FORMS: Final = """
    alexander alex al sandy alec alick xander aleksandr alejandro alessandro alexandre sasha
    alexandra sandra alexa aleksandra alessandra
    alfred alf alfie
    alice alicia ali
    andrew andy drew andreas andre andrea andrei andrzej
    ann anne anna annie nan nancy nanny hanna hannah
    anthony tony anton antonio antoine antony
    arthur art artie arturo
    barbara barb barbie babs
    benjamin ben benny benji
    bernard bernie bernhard bernardo
    bridget biddy bridie brigitte
    caroline carrie carolyn carolina
    catherine cath cathy kate katie kathy kathryn katharine katherine kit kitty katharina caterina catarina kathleen
    charles charlie charley chuck chas carl karl carlos carlo karel
    charlotte lottie lotte carlotta
    christina chrissie christine kristina tina christiane
    christopher chris kit topher kristof christoph
    clement clem clemens
    daniel dan danny daniele
    david dave davy davie
    deborah deb debbie debra
    dennis denis denny
    donald don donnie
    dorothy dot dottie dolly dorothea
    edmund edmond
    edward ed eddie ted teddy ned eduard eduardo edouard
    eleanor nell nellie ellie nora lenora elinor eleonore
    emma emmy em
    elizabeth liz lizzie lizzy beth betty betsy bess bessie eliza elsie elspeth elisabeth libby lisa isabel isabella
    emily emilie emilia
    ernest ernie ernst ernesto
    eugene gene eugen
    florence flo florrie
    frances fanny frannie francesca francoise franziska
    frederick fred freddie freddy frederic friedrich fritz
    francis frank frankie francisco francesco francois franz
    gabriel gabe
    geoffrey geoff jeff jeffrey
    george georgie georg georges jorge giorgio
    gerald gerry jerry gerard gerhard
    gilbert gil
    gertrude gertie trudy gertrud
    gregory greg gregor
    harold harald
    helen nell nellie helena ellen elena helene
    henry harry hank hal heinrich henri enrique enrico hendrik
    herbert bert herb herbie
    hubert hubertus
    hugh hughie hugo
    ignatius ignacio ignaz
    isaac ike zac
    jacob jake jakob
    jane jenny janie jayne
    janet jan jessie
    james jim jimmy jamie jem jaime jacques giacomo
    jennifer jen jenny jenni
    jessica jess jessie
    joan joanna johanna jo joanne juana
    john jack johnny jon jock johann johannes jean juan giovanni jan ian hans
    jonathan jon jonny
    joseph joe joey josef jose giuseppe jo
    josephine jo josie josefa
    joshua josh
    judith judy
    julia julie juliet juliana
    kenneth ken kenny
    laurence larry lawrence laurie lorenz lorenzo lars
    leonard len lenny leo leon leonardo
    lewis lew lou louis ludwig luis luigi
    louisa louise lou luisa
    lucy lucia lucie
    lillian lily lilian lil
    madeleine maddie madeline
    margaret maggie meg peggy madge marge margie daisy greta margery rita margarete margarita marguerite
    mark marcus marc marco
    martha mattie patty marta
    martin marty martino
    matilda tilly mathilda mathilde maud
    mary molly polly mae may mamie maria marie marion mariam miriam
    matthew matt matty matteo matthias mathieu
    maurice moritz morris
    michael mike mick mickey micky miguel michel michele mikhail mitch
    nathaniel nat nate nathan
    nicholas nick nicky nicolas nikolaus klaus nicola niklas colin
    oliver ollie olly
    pamela pam
    patricia pat patty tricia trish
    patrick pat paddy rick
    paul pablo paolo paulo pavel
    penelope penny
    peter pete pedro pietro pierre piotr petr
    philip phil phillip pip philipp felipe philippe filippo
    priscilla prissy cilla
    rachel rae rachael
    ralph rafe raphael
    raymond ray raimund ramon
    rebecca becky becca
    reginald reg reggie
    richard dick rick ricky rich dickie riccardo ricardo
    roger rodge rog ruggero rudiger
    robert bob bobby rob robbie bert roberto
    roderick rod roddy
    ronald ron ronnie
    rosemary rose rosie rosa
    rudolph rudy rolf rudolf
    samuel sam sammy
    sarah sally sadie sara
    sebastian seb bastian
    sophia sophie sofia sofie
    stanley stan
    stephen steve steven stevie stefan stephan esteban etienne stefano
    susan sue susie susanna suzanne susannah
    sylvester sly
    teresa tess tessa terry theresa therese
    theodore theo ted teddy theodor
    thomas tom tommy thom tomas tommaso
    timothy tim timmy
    valentine val valentin
    victor vic viktor vittorio
    victoria vicky vicki viktoria
    vincent vince vinnie vincenz vicente vincenzo
    virginia ginny
    walter wally walt wat gualtiero
    wilfred wilf wilfrid
    wilhelmina mina minnie wilma
    winifred winnie freda
    william bill billy will willie willy liam wilhelm guillaume guglielmo guillermo willem
    zachary zach zack
"""
"""A line a name: its full form, then others. Common knowledge, written down by hand; a form of two names stands for the
one that comes first here."""

_LINES: Final = [plain(line).split() for line in FORMS.strip().splitlines()]
_HEADS: Final = {line[0] for line in _LINES}
_FULL: Final = {form: line[0] for line in reversed(_LINES) for form in line[1:] if form not in _HEADS}


def full(name: str) -> str:
    """The full form of a given name, both as `plain` spells them; the name itself where no other is known."""
    return _FULL.get(name, name)
