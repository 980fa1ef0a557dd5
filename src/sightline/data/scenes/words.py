"""The words and numbers that are printed in pictures, and which of them training never sees.

A word belongs to the held-out part by a hash of its letters, not by its place in the list: adding words moves
none from one part to the other. It does not know how words are drawn.
"""

import hashlib

__all__ = ["HELD_OUT_NUMBERS", "HELD_OUT_WORDS", "NUMBERS", "NUMERALS", "WORDS", "is_held_out"]

HELD_OUT_PARTS = 6  # one text in six
_EVERY_NUMERAL = """
zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty hundred thousand
million dozen
"""
NUMERALS = frozenset(_EVERY_NUMERAL.split())

_EVERY_WORD = """
able about above across act add after again age ago air all alone along also always among angry animal answer any
apple april area arm army art ask august aunt autumn away axe baby back bad bag bake ball banana band bank barn
base basket bath bay beach bean bear beat beauty bed bee before begin behind bell below belt bench best between big
bike bird birthday bite black blanket blue board boat body bold bone book boot border born both bottle bottom bowl
box boy brain branch brave bread break breath brick bridge bright bring broken brother brown brush bucket build bus
bush busy butter button buy cable cage cake call calm camera camp candle candy cap captain car card care carpet
carry case castle cat catch cave centre chain chair chalk chance change cheap check cheek cheese cherry chess child
chin circle city class clay clean clear clever climb clock close cloth cloud coal coast coat code coffee coin cold
colour comb come cook cool copper corn corner cotton count country course cousin cover cow cream cross crowd crown
cry cup curtain curve cut dance danger dark date daughter day deal dear december deep deer desert desk diamond
dinner dirt dish dive doctor dog doll dollar door double dove down dozen dragon draw dream dress drink drive drop
drum dry duck dust each eagle ear early earth east easy eat edge egg eight elbow eleven empty end engine enjoy
enough evening every exit expert eye face fact fall family famous far farm fast father feather february feed feel
fence few field fifty fig film find fine finger finish fire first fish five flag flame flat flight floor flour flow
flower fly fog fold food foot forest forget fork form forty four fox free fresh friday friend frog front frost
fruit full fun funny future game gap garage garden gas gate gentle ghost giant gift girl give glad glass glove
glue goal goat gold good goose grain grand grape grass great green grey ground group grow guess guest guide guitar
hair half hall hammer hand happy harbour hard hat have hawk head health heart heat heavy height hello help hen here
hero high hill hobby hold hole holiday home honey hook hope horn horse hotel hour house how hundred hungry hunt
hurry ice idea inch ink insect inside iron island item ivory jacket jam january jar jazz jelly jet jewel job join
joke jolly journey judge juice july jump june jungle junior just keep kettle key kick kid kind king kiss kitchen
kite knee knife knock know label ladder lady lake lamb lamp land large last late laugh law leaf learn leather leave
left leg lemon lesson letter lift light lime line lion lip list little live lizard local lock log long look loud
love low luck lunch machine magic mail make man many map marble march market mask match may maze meadow meal mean
meat medal meet melon metal middle milk mill mind mine minute mirror mix model monday money monkey month moon
morning moss most mother motor mountain mouse mouth move much mud museum music must nail name narrow nation near
neat neck needle nephew nest net never new news next nice niece night nine noise noon north nose note nothing
november now number nurse nut oak oasis ocean october office often oil old olive once one onion only open orange
order other oven over owl own page paint pair palace palm pan panda paper parent park part party path pause pea
peace peach pear pen pencil people pepper person phone photo piano picnic picture pie pig pillow pilot pin pink
pipe pizza place plain plan planet plant plate play plenty plum pocket poem point pole police pond pony pool poor
post pot potato power present pretty price prince print prize proud puddle pull pump puppy purple purse push puzzle
quarter queen quick quiet quilt quite rabbit race radio rail rain rainbow raw reach read ready real red rest rice
rich ride right ring ripe rise river road roast robot rock roll roof room root rope rose round row royal rubber
rude rule run sad safe sail salad salt same sand saturday sauce save scarf school science sea season seat second
secret seed sell send seven shade shadow shape share shark sharp sheep shelf shell shield shine ship shirt shoe
shop short shoulder show shut side sign silk silver simple sing sink sister six size skill skin skirt sky sleep
slow small smell smile smoke smooth snack snail snake snow soap sock sofa soft soil some song soon sort soup sour
south space spade speak speed spider spoon sport spring square stable stage stair stamp star start station stay
steam steel step stick stone stop store storm story stove strange straw street string strong student sugar summer
sun sunday supper sure surprise swan sweet swim swing table tail take tale talk tall taste taxi tea teacher team
tell ten tennis tent test thank theatre thick thin thing think third thirty thousand three throat throw thumb
thunder thursday ticket tide tidy tie tiger time tiny tired toast today toe tomato tongue tool tooth top total
touch towel tower town toy track trade train travel tree triangle trip truck true trumpet trust truth try tube
tuesday tulip tune tunnel turkey turn twelve twenty twin two uncle under unit until up upon useful valley value van
vase velvet very video view village violet violin visit voice wait walk wall walnut want warm wash watch water wave
way weak wear weather web week weight welcome well west wet whale wheat wheel when where whistle white who whole
wide wild will win wind window wing winter wire wise wish wolf wonder wood wool word work world worm write wrong
yard year yellow yes yet young zebra zero zone zoo
"""


def is_held_out(text: str) -> bool:
    """Whether a word, or a number of two digits or more, is kept from training."""
    return len(text) > 1 and hashlib.sha256(text.encode()).digest()[0] % HELD_OUT_PARTS == 0


_ALL_NUMBERS = tuple(str(number) for number in range(1000))
WORDS = tuple(word for word in _EVERY_WORD.split() if not is_held_out(word))
HELD_OUT_WORDS = tuple(word for word in _EVERY_WORD.split() if is_held_out(word))
NUMBERS = tuple(number for number in _ALL_NUMBERS if not is_held_out(number))
HELD_OUT_NUMBERS = tuple(number for number in _ALL_NUMBERS if is_held_out(number))
