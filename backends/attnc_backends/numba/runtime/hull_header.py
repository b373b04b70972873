"""The words of a hull region that code outside the hull library reads and writes itself.

Of the header: how many keys there are, how many there is room for, whether means are kept; where groups and
next-links lie, and how large a group is. While keys come in order (hull_order): in which order, the last
position before the line at their end, the group of those inside that line (-1: none); the side to which every
turn so far was strict, as a double, 1 for left, -1 for right, 0 where there is no such side or fewer than
four keys (where there is one, nobody keeps the position before the line: it is the last but one); and the
interior position at which the last answer stood, or next to which it did. While they do not: whether
the two newest keys are equal, or the newest became no vertex, and then for each kind of next-link the group
that took in the newest (-1: none); and in HULL_NEAR the vertex, in its leaf, that was the last answer.
"""

# What every append and query reads comes first, in two cache lines.
HULL_COUNT = 0
HULL_CAPACITY = 8
HULL_ORDER = 16
HULL_ORDER_STRICT = 24
HULL_ORDER_RUN = 32
HULL_TURN = 40
HULL_NEAR = 48
HULL_REPEAT_READY = 56
HULL_REPEAT = 64
HULL_WITH_MEAN = 96
HULL_GROUP_BYTES = 104
HULL_GROUPS_AT = 112
HULL_LINKS_AT = 120

# The two halves. The lower one stores its keys with y negated and is then an upper hull too. The numbers
# double as the kinds of next-link, followed by those of the columns.
HULL_UPPER = 0
HULL_LOWER = 1

# Values of HULL_ORDER.
HULL_DISORDER = 0
HULL_ORDER_LINE = 1  # on one line so far
HULL_ORDER_TURNS = 2  # plus the half that all keys are on

# The kinds of next-link: of the halves and of the two end columns.
HULL_LINK_KINDS = 4

# Of a group: its last position; with means also its count and the end of its list.
HULL_GROUP_LAST = 8
HULL_GROUP_COUNT = 16
HULL_GROUP_TAIL = 32

HULL_FAN_SHIFT = 6
HULL_FAN = 1 << HULL_FAN_SHIFT
HULL_FAN_MASK = HULL_FAN - 1
