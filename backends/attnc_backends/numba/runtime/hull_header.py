"""The words of a hull region's header that code outside the hull library reads and writes itself."""

# How many keys there are. While they come in order (hull_order): the last position before the line at their
# end; the side to which every turn so far was strict, as a double, 1 for left, -1 for right, 0 where there is
# no such side; and the interior position at which the last answer stood, or next to which it did.
HULL_COUNT = 0
HULL_ORDER_STRICT = 224
HULL_TURN = 240
HULL_NEAR = 248

HULL_FAN_SHIFT = 6
HULL_FAN = 1 << HULL_FAN_SHIFT
HULL_FAN_MASK = HULL_FAN - 1
