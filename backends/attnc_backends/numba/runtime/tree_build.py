"""Filling a tree region: keys that are near each other are brought into neighbouring slots.

A run of slots is split at a multiple of a power of two leaves, along the coordinate in which a sample of its
keys spreads most, until one leaf is left: a k-d tree (Bentley, 1975) whose cells are the nodes. Before that,
if only long keys are likely to win, as among normally distributed ones, they are brought to the front. All
this changes how much a search can leave out, never what it finds.

Keys that come one by one go into the next slot. Whenever the slots used reach a multiple of a power of four
leaves, the last so many are arranged anew, so that all keys but a few lie in large arranged runs, and each
key is moved a logarithmic number of times (Bentley and Saxe, 1980).
"""

import math

from numba import njit

from attnc_backends.numba.runtime.key_scan import key_scan_lowest_bit
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_element,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i32,
    store_i64,
)
from attnc_backends.numba.runtime.tree_layout import (
    TREE_COLUMN,
    TREE_COUNT,
    TREE_LEAF,
    TREE_LEAF_SHIFT,
    TREE_LEAVES_AT,
    TREE_LOWEST,
    TREE_NO_BIT,
    TREE_ORDER_AT,
    TREE_SIZE,
    TREE_STOP,
    TREE_TEMPORARY_AT,
    TREE_WIDTH,
    tree_close,
    tree_extend,
    tree_key,
    tree_leaf,
)

_TREE_STEP_SHIFT = 2
"""Runs are arranged anew when they have four times as many leaves."""
_TREE_BULK = 1024
"""So many keys at once are worth arranging everything anew."""
_TREE_SAMPLE = 128
_TREE_PIVOTS = 31
_TREE_SHELL_LEAVES = 64
"""Runs of fewer leaves have too few keys to be sampled."""
_TREE_SHELL_SAMPLE = 4096
_TREE_WINNING_SAMPLE = 65536
_TREE_SHELL_SHARE = 0.33
_TREE_DIRECTIONS = 8


# --- while a run is arranged, its keys lie one behind the other instead of in columns ---


@njit(nogil=True, error_model="numpy")
def _tree_turn(r: int, first: int, last: int, to_columns: int) -> None:
    """Turn leaves from columns to rows (`to_columns` 0) or back (1), slots past the last key filled up."""
    width = load_i64(r + TREE_WIDTH)
    temporary = r + load_i64(r + TREE_TEMPORARY_AT)
    count = load_i64(r + TREE_COUNT)
    for leaf in range(first, last):
        at = tree_leaf(r, leaf)
        copy_bytes(temporary, at, TREE_COLUMN * width)
        there = min(count - (leaf << TREE_LEAF_SHIFT), TREE_LEAF)
        for lane in range(TREE_LEAF):
            row = 8 * width * min(lane, there - 1)
            column = 8 * lane
            if to_columns != 0:
                for c in range(width):
                    store_f64(at + column + TREE_COLUMN * c, load_f64(temporary + row + 8 * c))
            elif lane < there:
                for c in range(width):
                    store_f64(at + row + 8 * c, load_f64(temporary + column + TREE_COLUMN * c))


@njit(nogil=True, error_model="numpy")
def _tree_swap(rows: int, order: int, width: int, i: int, j: int) -> None:
    """Exchange two keys and their positions."""
    x = rows + 8 * width * i
    y = rows + 8 * width * j
    for c in range(width):
        held = load_f64(x + 8 * c)
        store_f64(x + 8 * c, load_f64(y + 8 * c))
        store_f64(y + 8 * c, held)
    position = load_i32(order + 4 * i)
    store_i32(order + 4 * i, load_i32(order + 4 * j))
    store_i32(order + 4 * j, position)


@njit(nogil=True, error_model="numpy")
def _tree_pivot(column: int, step: int, low: int, high: int, wanted: int, temporary: int) -> float:
    """A coordinate near the one that belongs at `wanted`, from a sorted sample of slots `low` to `high`."""
    span = high - low
    if span < 4 * _TREE_PIVOTS:
        x = load_f64(column + step * low)
        y = load_f64(column + step * (low + (span >> 1)))
        z = load_f64(column + step * high)
        return max(min(x, y), min(max(x, y), z))
    for n in range(_TREE_PIVOTS):
        x = load_f64(column + step * (low + span * n // (_TREE_PIVOTS - 1)))
        m = n
        while m > 0 and load_f64(temporary + 8 * (m - 1)) > x:
            store_f64(temporary + 8 * m, load_f64(temporary + 8 * (m - 1)))
            m -= 1
        store_f64(temporary + 8 * m, x)
    return load_f64(temporary + 8 * ((wanted - low) * (_TREE_PIVOTS - 1) // span))


@njit(nogil=True, error_model="numpy")
def _tree_select(
    rows: int, order: int, width: int, c: int, first: int, last: int, wanted: int, temp: int
) -> None:
    """Let no key in slots `first` to `wanted` be larger in coordinate `c` than one in `wanted` to `last`
    (Hoare's selection).
    """
    step = 8 * width
    column = rows + 8 * c
    low = first
    high = last - 1
    while low < high:
        pivot = _tree_pivot(column, step, low, high, wanted, temp)
        i = low
        j = high
        while i <= j:
            while load_f64(column + step * i) < pivot:
                i += 1
            while load_f64(column + step * j) > pivot:
                j -= 1
            if i <= j:
                _tree_swap(rows, order, width, i, j)
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            return


@njit(nogil=True, error_model="numpy")
def _tree_widest(rows: int, width: int, first: int, last: int) -> int:
    """The coordinate in which the keys of a run spread most, by a sample; -1 when all keys are equal."""
    count = last - first
    sampled = min(count, _TREE_SAMPLE)
    widest = -1
    most = 0.0
    for c in range(width):
        low = math.inf
        high = -math.inf
        for n in range(sampled):
            x = load_f64(rows + 8 * (width * (first + count * n // sampled) + c))
            low = min(low, x)
            high = max(high, x)
        # Halves, because the spread of finite numbers may be infinite.
        spread = 0.5 * high - 0.5 * low
        if spread > most:
            most = spread
            widest = c
    if widest >= 0:
        return widest
    for slot in range(first + 1, last):
        for c in range(width):
            if load_f64(rows + 8 * (width * slot + c)) != load_f64(rows + 8 * (width * first + c)):
                return c
    return -1


# --- which keys can win at all ---


@njit(nogil=True, error_model="numpy")
def _tree_square(row: int, width: int) -> float:
    """The square of a key's length."""
    total = 0.0
    for c in range(width):
        total += load_f64(row + 8 * c) * load_f64(row + 8 * c)
    return total


@njit(nogil=True, error_model="numpy")
def _tree_winning_square(rows: int, width: int, first: int, last: int, samples: int) -> float:
    """The square of the length that a key needs to win under an average query, by a sample of keys and
    directions.
    """
    total = 0.0
    for direction in range(_TREE_DIRECTIONS):
        best = -math.inf
        for n in range(samples):
            row = rows + 8 * width * (first + (last - first) * n // samples)
            score = 0.0
            # The signs of a direction come from a multiplicative hash.
            bits = (direction + 1) * 0x9E3779B97F4A7C15
            for c in range(width):
                x = load_f64(row + 8 * c)
                score += x if (bits >> (c & 31)) & 1 == 0 else -x
            best = max(best, score)
        total += best
    mean = max(total, 0.0) / _TREE_DIRECTIONS
    return mean * mean / width


@njit(nogil=True, error_model="numpy")
def _tree_share(rows: int, width: int, first: int, last: int, samples: int, square: float) -> float:
    """The share of a sample whose squared length is at least `square`."""
    found = 0
    for n in range(samples):
        row = rows + 8 * width * (first + (last - first) * n // samples)
        found += 1 if _tree_square(row, width) >= square else 0
    return found / samples


@njit(nogil=True, error_model="numpy")
def _tree_shell(rows: int, order: int, width: int, first: int, last: int) -> int:
    """Bring the longest keys of a run to its front, if only these are likely to win; the leaves they fill,
    a power of two, or 0 where nothing was moved.
    """
    samples = min((last - first) >> 2, _TREE_WINNING_SAMPLE)
    winning = _tree_winning_square(rows, width, first, last, samples)
    samples = min(samples, _TREE_SHELL_SAMPLE)
    share = max(_tree_share(rows, width, first, last, samples, winning), 1.0 / 64)
    # An infinite square compares like none: the share is 0 or 1.
    if share > _TREE_SHELL_SHARE or not winning < math.inf:
        return 0
    leaves = (last - first) >> TREE_LEAF_SHIFT
    front = 1
    while front < share * leaves:
        front *= 2
    # The length that a little fewer keys have than the front has room for, by bisection.
    wanted = 0.95 * front / leaves
    low = 0.0
    high = winning
    while _tree_share(rows, width, first, last, samples, high) > wanted:
        high *= 2.0
    for _ in range(12):
        middle = 0.5 * (low + high)
        if _tree_share(rows, width, first, last, samples, middle) > wanted:
            low = middle
        else:
            high = middle
    place = first
    for slot in range(first, last):
        if _tree_square(rows + 8 * width * slot, width) >= high:
            _tree_swap(rows, order, width, place, slot)
            place += 1
    return front


@njit(nogil=True, error_model="numpy")
def _tree_split(r: int, first: int, last: int) -> None:
    """Arrange the keys in slots `first` to `last`, which lie as rows; `first` begins a leaf."""
    width = load_i64(r + TREE_WIDTH)
    rows = r + load_i64(r + TREE_LEAVES_AT)
    order = r + load_i64(r + TREE_ORDER_AT)
    temporary = r + load_i64(r + TREE_TEMPORARY_AT)
    stack = temporary + TREE_COLUMN * width
    waiting = 0
    # Where long keys are rare and win, short ones only make their boxes wider.
    end = last
    while (end - first) >> TREE_LEAF_SHIFT >= _TREE_SHELL_LEAVES:
        front = _tree_shell(rows, order, width, first, end)
        if front == 0:
            break
        # What stays behind, in runs that are nodes.
        low = first + front * TREE_LEAF
        size = front * TREE_LEAF
        while low < end:
            store_i64(stack + 16 * waiting, low)
            store_i64(stack + 16 * waiting + 8, min(low + size, end))
            waiting += 1
            low += size
            size *= 2
        end = first + front * TREE_LEAF
    store_i64(stack + 16 * waiting, first)
    store_i64(stack + 16 * waiting + 8, end)
    waiting += 1
    # The larger half waits, so that 32 runs more wait at most.
    while waiting > 0:
        waiting -= 1
        low = load_i64(stack + 16 * waiting)
        high = load_i64(stack + 16 * waiting + 8)
        leaves = (high - low + TREE_LEAF - 1) >> TREE_LEAF_SHIFT
        if leaves <= 1:
            continue
        left = 1
        while 2 * left < leaves:
            left *= 2
        c = _tree_widest(rows, width, low, high)
        if c < 0:
            continue
        middle = low + left * TREE_LEAF
        _tree_select(rows, order, width, c, low, high, middle, temporary)
        store_i64(stack + 16 * waiting, low)
        store_i64(stack + 16 * waiting + 8, middle)
        store_i64(stack + 16 * waiting + 16, middle)
        store_i64(stack + 16 * waiting + 24, high)
        waiting += 2


# --- filling ---


@njit(nogil=True, error_model="numpy")
def _tree_take(r: int, at: int, step: int, keys: int, key_step: int, kdtype: int) -> bool:
    """Copy one key to `at`, its elements `step` bytes apart, and note its size and lowest bit; whether it is
    finite.
    """
    width = load_i64(r + TREE_WIDTH)
    for c in range(width):
        if not math.isfinite(load_element(keys + c * key_step, kdtype)):
            return False
    most = load_f64(r + TREE_SIZE)
    lowest = load_i64(r + TREE_LOWEST)
    for c in range(width):
        x = load_element(keys + c * key_step, kdtype)
        store_f64(at + c * step, x)
        most = max(most, abs(x))
    # Elements that span more than 53 bits make no exact sums, however far they span.
    if math.ldexp(most, -53 - max(lowest, -1000)) <= 1.0:
        for c in range(width):
            x = load_f64(at + c * step)
            if x != 0.0:
                lowest = min(lowest, key_scan_lowest_bit(x))
        store_i64(r + TREE_LOWEST, lowest)
    store_f64(r + TREE_SIZE, most)
    return True


@njit(nogil=True, error_model="numpy")
def tree_fill(r: int, high: int, keys: int, stride: int, step: int, kdtype: int) -> int:
    """Start anew with the keys at positions [0, high), all arranged; how many were taken in, which is all
    before the first that is not finite.

    O(n log n). Key `j` begins at `keys + j * stride`, its elements are `step` bytes apart.
    """
    width = load_i64(r + TREE_WIDTH)
    rows = r + load_i64(r + TREE_LEAVES_AT)
    order = r + load_i64(r + TREE_ORDER_AT)
    store_f64(r + TREE_SIZE, 0.0)
    store_i64(r + TREE_LOWEST, TREE_NO_BIT)
    count = 0
    while count < high:
        if not _tree_take(r, rows + 8 * width * count, 8, keys + count * stride, step, kdtype):
            store_i64(r + TREE_STOP, count)
            break
        store_i32(order + 4 * count, count)
        count += 1
    store_i64(r + TREE_COUNT, count)
    if count > 0:
        leaves = (count + TREE_LEAF - 1) >> TREE_LEAF_SHIFT
        _tree_split(r, 0, count)
        _tree_turn(r, 0, leaves, 1)
        tree_close(r, 0, leaves)
    return count


@njit(nogil=True, error_model="numpy")
def tree_reach(r: int, high: int, keys: int, stride: int, step: int, kdtype: int) -> int:
    """Take in the keys up to position `high` that are new; how many there are now. Amortised
    O(width log(n)^2) for each.
    """
    count = load_i64(r + TREE_COUNT)
    if load_i64(r + TREE_STOP) >= 0:
        return count
    if high - count > _TREE_BULK and high > 2 * count:
        return tree_fill(r, high, keys, stride, step, kdtype)
    order = r + load_i64(r + TREE_ORDER_AT)
    while count < high:
        at = tree_key(r, count)
        if not _tree_take(r, at, TREE_COLUMN, keys + count * stride, step, kdtype):
            store_i64(r + TREE_STOP, count)
            return count
        if count & (TREE_LEAF - 1) == 0:
            for c in range(load_i64(r + TREE_WIDTH)):
                x = load_f64(at + TREE_COLUMN * c)
                for lane in range(1, TREE_LEAF):
                    store_f64(at + TREE_COLUMN * c + 8 * lane, x)
        store_i32(order + 4 * count, count)
        tree_extend(r, count)
        count += 1
        store_i64(r + TREE_COUNT, count)
        if count & (TREE_LEAF - 1) == 0:
            leaves = count >> TREE_LEAF_SHIFT
            run = 1
            while leaves & ((run << _TREE_STEP_SHIFT) - 1) == 0:
                run <<= _TREE_STEP_SHIFT
            if run > 1:
                _tree_turn(r, leaves - run, leaves, 0)
                _tree_split(r, count - run * TREE_LEAF, count)
                _tree_turn(r, leaves - run, leaves, 1)
                tree_close(r, leaves - run, leaves)
    return count
