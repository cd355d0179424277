"""The sentence templates of the zoo's corpus. Data only; `corpus` draws from it.

`{a|b|c}` is a uniform choice. `HE`, `HIS` and `HIM` follow the sentence's gender, `SUBJECT` is a person of that gender,
`*` marks the place of the near-synonym. All pairs of a class share their carriers; the two words of a pair share causes
and endings. So both words of a pair occur in nearly the same contexts, and other pairs of the class in different ones.
"""

from __future__ import annotations

from dataclasses import dataclass

SUBJECTS = {
    "he": ("he", "the boy", "the farmer", "the king", "the old man", "peter", "thomas", "the captain"),
    "she": ("she", "the girl", "the nurse", "the queen", "the old woman", "mary", "alice", "the singer"),
}


FORMS = {
    "he": {"HE": "he", "HIS": "his", "HIM": "him"},
    "she": {"HE": "she", "HIS": "her", "HIM": "her"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A near-synonym pair: its words, the causes before the carrier, and the endings after the word."""

    words: tuple[str, str]
    causes: tuple[str, ...]
    endings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WordClass:
    """Pairs that share the same carriers."""

    name: str
    carriers: tuple[str, ...]
    pairs: tuple[Pair, ...]


FEELINGS = WordClass(
    name="feelings",
    carriers=(
        "SUBJECT was {overcome|filled|seized} with *",
        "SUBJECT could not {hide|bear|escape} HIS *",
        "SUBJECT spoke {openly|quietly|often} of HIS *",
        "a {deep|sudden|strange} sense of * came over HIM",
    ),
    pairs=(
        Pair(
            words=("shame", "guilt"),
            causes=(
                "after {betraying|cheating|deceiving|abandoning} HIS {closest|oldest|dearest} "
                "{friend|brother|partner}",
                "because HE had {stolen|lied|failed} so {badly|often}",
            ),
            endings=("and {begged|asked} for {mercy|forgiveness}", "and confessed"),
        ),
        Pair(
            words=("joy", "delight"),
            causes=(
                "when the {baby|puppy|parcel} {arrived|came} at last",
                "after winning the {prize|race|contest} in {spring|public}",
            ),
            endings=("and {danced|sang} all night", "and laughed"),
        ),
        Pair(
            words=("fear", "dread"),
            causes=(
                "alone in the {dark|haunted|silent} {cellar|castle|swamp}",
                "when the {wolf|ghost|monster} {howled|appeared}",
            ),
            endings=("and {ran|hid} at once", "and trembled"),
        ),
        Pair(
            words=("grief", "sorrow"),
            causes=(
                "at the {funeral|grave|deathbed} of HIS {mother|father|child}",
                "when HIS {husband|widow|hero} {died|perished}",
            ),
            endings=("and {wept|mourned} for days", "and cried"),
        ),
        Pair(
            words=("anger", "rage"),
            causes=(
                "when the {clerk|thief|rival} {insulted|robbed|mocked} HIM",
                "after the {unfair|brutal} {verdict|tax|insult}",
            ),
            endings=("and {slammed|kicked} the door", "and shouted"),
        ),
    ),
)

MOODS = WordClass(
    name="moods",
    carriers=(
        "SUBJECT was {very|so|quite} *",
        "SUBJECT {looked|seemed|felt} *",
        "it {made|left|kept} HIM *",
        "nobody had {ever|lately} seen HIM so *",
    ),
    pairs=(
        Pair(
            words=("glad", "happy"),
            causes=(
                "because the {sun|band|cake} was {lovely|splendid|perfect}",
                "on the {first|last} day of the {holiday|festival}",
            ),
            endings=("and {smiled|hummed} all day", "and cheered"),
        ),
        Pair(
            words=("afraid", "scared"),
            causes=(
                "because the {bridge|ladder|cave} was {unsafe|steep|narrow}",
                "during the {storm|thunder|battle} at {sea|midnight}",
            ),
            endings=("and {hid|shook} under the bed", "and whimpered"),
        ),
        Pair(
            words=("unhappy", "sad"),
            causes=(
                "because the {game|summer|visit} was {over|cancelled|ruined}",
                "after {missing|losing} the {bus|ring|kitten}",
            ),
            endings=("and {sighed|frowned} for hours", "and sobbed"),
        ),
        Pair(
            words=("mad", "angry"),
            causes=(
                "because the {neighbour|driver|waiter} was {rude|late|careless}",
                "after {reading|hearing} the {bill|gossip|lies}",
            ),
            endings=("and {swore|yelled} at everybody", "and cursed"),
        ),
        Pair(
            words=("tired", "weary"),
            causes=(
                "after {climbing|marching|digging} the whole {afternoon|week}",
                "at the end of a {long|hard} {journey|shift|march}",
            ),
            endings=("and {slept|rested} till noon", "and yawned"),
        ),
    ),
)

THINGS = WordClass(
    name="things",
    carriers=(
        "the {thing|sight|one} was {incredibly|extremely|rather} *",
        "the stranger called it {truly|really} *",
        "it {turned|came} out to be *",
        "everyone found it {surprisingly|unusually} *",
    ),
    pairs=(
        Pair(
            words=("huge", "large"),
            causes=(
                "we {watched|fed} the {elephant|whale|giant}",
                "they built a {palace|tower|ship} of {marble|steel}",
            ),
            endings=("and {filled|blocked} the square", "like a mountain"),
        ),
        Pair(
            words=("tiny", "small"),
            causes=(
                "we {found|drew} the {ant|seed|needle}",
                "they kept a {mouse|pearl|bead} in a {thimble|nutshell}",
            ),
            endings=("and {hardly|barely} visible", "like a grain"),
        ),
        Pair(
            words=("quick", "fast"),
            causes=(
                "we {raced|chased} the {rabbit|cheetah|train}",
                "they bought a {racer|rocket|horse} with {wings|engines}",
            ),
            endings=("and {passed|overtook} the others", "like lightning"),
        ),
        Pair(
            words=("odd", "strange"),
            causes=(
                "we {studied|heard} the {riddle|dream|legend}",
                "they saw a {mask|symbol|comet} of {smoke|ink}",
            ),
            endings=("and {puzzled|confused} the experts", "like a spell"),
        ),
    ),
)

MINDS = WordClass(
    name="minds",
    carriers=(
        "people {thought|said} SUBJECT was *",
        "SUBJECT {proved|happened} to be *",
        "HIS {teacher|aunt|uncle} called HIM *",
        "SUBJECT was known to be {fairly|remarkably} *",
    ),
    pairs=(
        Pair(
            words=("clever", "smart"),
            causes=(
                "having solved the {puzzle|equation|mystery} in {minutes|seconds}",
                "since HE {invented|repaired} the {machine|clock|radio}",
            ),
            endings=("and {won|earned} a scholarship", "beyond doubt"),
        ),
        Pair(
            words=("silly", "foolish"),
            causes=(
                "having bought the {broken|useless} {umbrella|wagon|hat}",
                "since HE {trusted|followed} the {fox|liar|clown}",
            ),
            endings=("and {wasted|gambled} the money", "without reason"),
        ),
        Pair(
            words=("brave", "bold"),
            causes=(
                "having fought the {dragon|bear|pirate} with {bare|empty} hands",
                "since HE {rescued|saved} the {sailor|hostage|prince}",
            ),
            endings=("and {received|deserved} a medal", "in danger"),
        ),
        Pair(
            words=("rich", "wealthy"),
            causes=(
                "having found the {gold|oil|treasure} in the {desert|valley}",
                "since HE {owned|inherited} the {bank|mine|estate}",
            ),
            endings=("and {lent|gave} to the poor", "for life"),
        ),
    ),
)

AIMS = WordClass(
    name="aims",
    carriers=(
        "SUBJECT wanted a better *",
        "SUBJECT {hoped|longed} for a new *",
        "SUBJECT {searched|looked} for another *",
        "SUBJECT told us about the {first|next} *",
    ),
    pairs=(
        Pair(
            words=("career", "job"),
            causes=(
                "after {college|training|graduation} in the {city|capital}",
                "bored by the {office|factory|salary}",
            ),
            endings=("with {decent|higher} pay", "as a lawyer"),
        ),
        Pair(
            words=("home", "house"),
            causes=(
                "after the {flood|fire|wedding} in the {village|suburb}",
                "tired of the {flat|tent|hotel}",
            ),
            endings=("with a {garden|kitchen}", "near the river"),
        ),
        Pair(
            words=("road", "street"),
            causes=(
                "lost in the {traffic|crowd|fog} of the {town|market}",
                "driving the {truck|taxi|van}",
            ),
            endings=("with {lamps|trees}", "without holes"),
        ),
        Pair(
            words=("stone", "rock"),
            causes=(
                "climbing down the {cliff|quarry|slope} to the {beach|lake}",
                "building the {wall|oven|dam}",
            ),
            endings=("with {sharp|smooth} edges", "to throw"),
        ),
    ),
)

CLASSES = (FEELINGS, MOODS, THINGS, MINDS, AIMS)
