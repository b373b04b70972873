@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_op0(frame, t, worker, workers, scratch):
    """append to %c"""
    cache0_count = load_i64(frame + 80)
    d_H = load_i64(frame + 88)
    v_k = load_i64(frame + 96)  # %k: f64[H x 2]
    t_k = load_i64(frame + 104)
    now_k = v_k + t * t_k
    s0_k = load_i64(frame + 112)
    s1_k = load_i64(frame + 120)
    cache0_keys = load_i64(frame + 128)
    cache0_key_stride = load_i64(frame + 136)
    cache0_values = load_i64(frame + 144)
    cache0_value_stride = load_i64(frame + 152)
    v_v = load_i64(frame + 160)  # %v: f64[H x 3]
    t_v = load_i64(frame + 168)
    now_v = v_v + t * t_v
    s0_v = load_i64(frame + 176)
    s1_v = load_i64(frame + 184)
    cache0_x0 = load_i64(frame + 192)
    cache0_x0_stride = load_i64(frame + 200)
    if workers == 0:
        return max(0, 0, shared_hull_scratch_bytes(frame, 3))
    n = load_i64(cache0_count)
    for head in range(d_H):
        for c in range(2):
            if not math.isfinite(load_f64(now_k + head * s0_k + c * s1_k)):
                store_i64(frame + 24, head)
                return 2
    for head in range(d_H):
        keys = cache0_keys + head * cache0_key_stride
        values = cache0_values + head * cache0_value_stride
        to_key = keys + n * 16
        to_value = values + n * 24
        prefetch_write(to_key + 192)
        prefetch_write(to_value + 192)
        prefetch(now_k + head * s0_k + 2 * t_k)
        prefetch(now_v + head * s0_v + 2 * t_v)
        if s1_k == 8:
            copy_bytes(to_key, now_k + head * s0_k, 16)
        else:
            for c in range(2):
                store_i64(to_key + c * 8, load_i64(now_k + head * s0_k + c * s1_k))
        if s1_v == 8:
            copy_bytes(to_value, now_v + head * s0_v, 24)
        else:
            for c in range(3):
                store_i64(to_value + c * 8, load_i64(now_v + head * s0_v + c * s1_v))
        row = n
        at = cache0_x0 + head * cache0_x0_stride
        if not monotone_append(at, keys):
            shared_hull_append(frame, at, keys, scratch)
    store_i64(cache0_count, n + 1)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_dense_rows(frame, t, first, last, scratch):
    """hard-max, tie last, one row at a time"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    v_o = load_i64(frame + 208)  # %o: f64[H x 3]
    t_o = load_i64(frame + 216)
    now_o = v_o + t * t_o
    s0_o = load_i64(frame + 224)
    cache0_values = load_i64(frame + 144)
    cache0_value_stride = load_i64(frame + 152)
    v_q = load_i64(frame + 232)  # %q: f64[H x 2]
    t_q = load_i64(frame + 240)
    now_q = v_q + t * t_q
    s0_q = load_i64(frame + 248)
    s1_q = load_i64(frame + 256)
    cache0_keys = load_i64(frame + 128)
    cache0_key_stride = load_i64(frame + 136)
    for unit in range(first, last):
        h = (unit // 1) % d_H
        b = unit // (1 * d_H)
        hk = h // 1
        i = n_keys0 - 1
        lo = 0
        hi = n_keys0
        hi = max(hi, 0)
        lo = min(lo, hi)
        if hi == lo:
            for c in range(3):
                store_f64(now_o + h * s0_o + c * 8, np.float64(0.0))
            continue
        store_i64(scratch + 0, cache0_keys + (b * d_H + hk) * cache0_key_stride)
        store_i64(scratch + 8, 2 * 8)
        store_i64(scratch + 16, 8)
        store_i64(scratch + 24, 0)
        store_i64(scratch + 32, now_q + h * s0_q)
        store_i64(scratch + 40, s1_q)
        store_i64(scratch + 48, 0)
        store_i64(scratch + 56, 2)
        store_i64(scratch + 72, lo)
        store_i64(scratch + 80, hi)
        store_i64(scratch + 88, 1)
        store_f64(scratch + 64, 1.0)
        best = shared_hardmax_row(frame, scratch)
        if best < 0:
            for c in range(3):
                store_f64(now_o + h * s0_o + c * 8, np.float64(math.nan))
            continue
        copy_bytes(now_o + h * s0_o, cache0_values + (b * d_H + hk) * cache0_value_stride + best * 3 * 8, 24)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_dense_blocks(frame, t):
    """how many query rows there are"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    return 1 * d_H * 1


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_dense_scratch(frame, t):
    """bytes of scratch per worker: what describes a row, and what it works in"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    return 1784 + 8 * 2


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
def g0_n1_answer(frame, t, b, h, hk, i, hull, hull_keys, rows_at, row_step, scratch):
    """one query row from the hull; -1 when the query is not finite"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    v_o = load_i64(frame + 208)  # %o: f64[H x 3]
    t_o = load_i64(frame + 216)
    now_o = v_o + t * t_o
    s0_o = load_i64(frame + 224)
    v_q = load_i64(frame + 232)  # %q: f64[H x 2]
    t_q = load_i64(frame + 240)
    now_q = v_q + t * t_q
    s0_q = load_i64(frame + 248)
    s1_q = load_i64(frame + 256)
    cache0_values = load_i64(frame + 144)
    cache0_value_stride = load_i64(frame + 152)
    q_row = now_q + h * s0_q
    qx = load_f64(q_row + 0 * s1_q)
    qy = load_f64(q_row + 1 * s1_q)
    if not (math.isfinite(qx) and math.isfinite(qy)):
        return -1
    best = monotone_best(hull, hull_keys, qx, qy)
    values = cache0_values + (b * d_H + hk) * cache0_value_stride
    if best < 0:
        best = shared_hull_last(frame, hull, hull_keys, qx, qy, scratch)
    copy_bytes(now_o + h * s0_o, values + best * 3 * 8, 24)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_rows(frame, t, first, last, scratch):
    """hull, tie last, one query per head"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    v_q = load_i64(frame + 232)  # %q: f64[H x 2]
    t_q = load_i64(frame + 240)
    now_q = v_q + t * t_q
    s0_q = load_i64(frame + 248)
    v_o = load_i64(frame + 208)  # %o: f64[H x 3]
    t_o = load_i64(frame + 216)
    now_o = v_o + t * t_o
    s0_o = load_i64(frame + 224)
    cache0_x0 = load_i64(frame + 192)
    cache0_x0_stride = load_i64(frame + 200)
    cache0_keys = load_i64(frame + 128)
    cache0_key_stride = load_i64(frame + 136)
    cache0_values = load_i64(frame + 144)
    cache0_value_stride = load_i64(frame + 152)
    own = scratch + g0_n1_dense_scratch(frame, t)
    for unit in range(first, last):
        h = unit
        b = 0
        hk = h // 1
        i = n_keys0 - 1
        prefetch(now_q + h * s0_q + 2 * t_q)
        lo = 0
        hi = n_keys0
        hi = max(hi, 0)
        lo = min(lo, hi)
        if hi == 0:
            for c in range(3):
                store_f64(now_o + h * s0_o + c * 8, np.float64(0.0))
            continue
        hull = cache0_x0 + (b * d_H + hk) * cache0_x0_stride
        if g0_n1_answer(frame, t, b, h, hk, i, hull, cache0_keys + (b * d_H + hk) * cache0_key_stride, cache0_values + (b * d_H + hk) * cache0_value_stride, 3 * 8, own) != 0:
            status = g0_n1_dense_rows(frame, t, unit, unit + 1, scratch)
            if status != 0:
                return status
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_blocks(frame, t):
    """units of work: query rows"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    return 1 * d_H


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n1_scratch(frame, t):
    """bytes of scratch per worker: dense scan, hull, keys as doubles, value rows, a row of doubles"""
    cache0_count = load_i64(frame + 80)
    n_keys0 = load_i64(cache0_count)
    d_H = load_i64(frame + 88)
    size = g0_n1_dense_scratch(frame, t) + shared_hull_scratch_bytes(frame, 3) + 8 * 3
    return size


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_op1(frame, t, worker, workers, scratch):
    """the share of one of several workers"""
    if workers == 0:
        return g0_n1_scratch(frame, t)
    blocks = g0_n1_blocks(frame, t)
    return g0_n1_rows(frame, t, blocks * worker // workers, blocks * (worker + 1) // workers, scratch)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_cache0_x0_bytes(frame, t, capacity):
    """bytes for one head: hull"""
    return shared_hull_bytes(frame, capacity, 3, 0)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_cache0_x0_start(frame, t, capacity):
    """empty, for every head"""
    d_H = load_i64(frame + 88)
    cache0_x0 = load_i64(frame + 192)
    cache0_x0_stride = load_i64(frame + 200)
    for head in range(d_H):
        at = cache0_x0 + head * cache0_x0_stride
        shared_hull_init(frame, at, capacity, 3, 0)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_cache0_x0_move(frame, t, place, stride, capacity):
    """every head's into a larger place"""
    d_H = load_i64(frame + 88)
    cache0_x0 = load_i64(frame + 192)
    cache0_x0_stride = load_i64(frame + 200)
    for head in range(d_H):
        source = place + head * stride
        at = cache0_x0 + head * cache0_x0_stride
        shared_hull_move(frame, source, at, capacity)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_cache0_x0_refill(frame, t, count, scratch):
    """told of the first rows"""
    d_H = load_i64(frame + 88)
    cache0_keys = load_i64(frame + 128)
    cache0_key_stride = load_i64(frame + 136)
    cache0_values = load_i64(frame + 144)
    cache0_value_stride = load_i64(frame + 152)
    cache0_x0 = load_i64(frame + 192)
    cache0_x0_stride = load_i64(frame + 200)
    for head in range(d_H):
        keys = cache0_keys + head * cache0_key_stride
        values = cache0_values + head * cache0_value_stride
        at = cache0_x0 + head * cache0_x0_stride
        for row in range(count):
            if not monotone_append(at, keys):
                shared_hull_append(frame, at, keys, scratch)
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_steps(frame, first, last, scratch):
    """steps of @memory"""
    start = load_i64(frame + 40)
    for t in range(first, last):
        # append -> %c1
        if start <= 0:
            status = g0_op0(frame, t, 0, 1, scratch)
            if status != 0:
                store_i64(frame + 48, t)
                store_i64(frame + 56, 0)
                return status
        # attend.step -> %o
        if start <= 1:
            status = g0_op1(frame, t, 0, 1, scratch)
            if status != 0:
                store_i64(frame + 48, t)
                store_i64(frame + 56, 1)
                return status
        start = 0
    return 0


@njit("int64(int64, int64, int64, int64, int64)", cache=True, nogil=True, error_model="numpy", boundscheck=False)
def g0_entry(frame, command, a, b, scratch):
    """the commands of @memory"""
    of_objects = command == 6
    if of_objects:
        if not objects_alike(a, load_i64(frame + 264)):
            return -2
        store_i64(frame + 0, 0)
        store_i64(frame + 232, objects_data(a, 0))  # %q
        store_i64(frame + 96, objects_data(a, 1))  # %k
        store_i64(frame + 160, objects_data(a, 2))  # %v
        store_i64(frame + 208, objects_data(b, 0))  # %o
        command, a, b = 0, 0, 1
    if command == 0:
        status = g0_steps(frame, a, b, scratch)
        if of_objects and status == 0:
            status = load_i64(frame + 0)
        return status
    if command == 2 and b == 0:
        return g0_cache0_x0_bytes(frame, 0, a)
    if command == 3 and b == 0:
        return g0_cache0_x0_start(frame, 0, a)
    if command == 4 and b == 0:
        return g0_cache0_x0_move(frame, 0, load_i64(frame + 64), load_i64(frame + 72), a)
    if command == 5 and b == 0:
        return g0_cache0_x0_refill(frame, 0, a, scratch)
    if command == 1:
        t = 0
        if a == 0:
            return g0_op0(frame, t, 0, 0, 0)
        if a == 1:
            return g0_op1(frame, t, 0, 0, 0)
    return -1
