@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_rows(frame, t, first, last, scratch):
    """softmax, in vectors"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    corner = d_M - d_N
    v_q = load_i64(frame + 64)  # %q: f32[B x 8 x N x 64]
    s0_q = load_i64(frame + 72)
    s1_q = load_i64(frame + 80)
    s2_q = load_i64(frame + 88)
    s3_q = load_i64(frame + 96)
    v_k = load_i64(frame + 104)  # %k: f32[B x 2 x M x 64]
    s0_k = load_i64(frame + 112)
    s1_k = load_i64(frame + 120)
    s2_k = load_i64(frame + 128)
    s3_k = load_i64(frame + 136)
    v_v = load_i64(frame + 144)  # %v: f32[B x 2 x M x 64]
    s0_v = load_i64(frame + 152)
    s1_v = load_i64(frame + 160)
    s2_v = load_i64(frame + 168)
    s3_v = load_i64(frame + 176)
    v_lse = load_i64(frame + 184)  # %lse: f32[B x 8 x N]
    s0_lse = load_i64(frame + 192)
    s1_lse = load_i64(frame + 200)
    v_o = load_i64(frame + 208)  # %o: f32[B x 8 x N x 64]
    s0_o = load_i64(frame + 216)
    s1_o = load_i64(frame + 224)
    s2_o = load_i64(frame + 232)
    small_code()
    at_state = (scratch + 63) // 64 * 64
    at_score = at_state + 1344
    at_query = at_score + 24576
    at_out = at_query + 192 * 64
    at_range = at_out + 192 * (64 + 8)
    at_seen = at_range + 768
    at_rows = at_seen + 384
    at_keep = at_rows + 384
    at_wide = at_keep + 6144
    tiles = (per_head + 47) // 48
    for unit in range(first, last):
        head = unit // tiles
        hk = head % 2
        b = head // 2
        place = unit % tiles
        place = place // 2 if place % 2 == 0 else tiles - 1 - place // 2
        start = place * 48
        rows = min(48, per_head - start)
        used = (rows + 15) // 16
        low, high, full_from, full_to = d_M, 0, 0, d_M
        if rows < 48:
            fill_zero(at_query, 192 * 64)
        for r in range(rows):
            h = hk * group + (start + r) % group
            i = (start + r) // group
            lo = 0
            hi = d_M
            hi = min(hi, i + corner + 1)
            lo = max(lo, i + corner - 256)
            hi = min(hi, i + corner + 0 + 1)
            hi = max(hi, 0)
            lo = min(lo, hi)
            if lo < hi:
                low, high = min(low, lo), max(high, hi)
            full_from, full_to = max(full_from, lo), min(full_to, hi)
            store_i64(at_range + 16 * r, lo)
            store_i64(at_range + 16 * r + 8, hi)
            store_i64(at_seen + 8 * r, hi - lo)
            store_i64(at_rows + 8 * r, v_q + b * s0_q + h * s1_q + i * s2_q)
        for r in range(rows, 48):
            store_i64(at_range + 16 * r, 0)
            store_i64(at_range + 16 * r + 8, 0)
        shared_flash_begin_f32_16(frame, at_state, at_out, 64, at_rows, rows, s3_q, 64, at_query)
        at, tile = low, 0
        flushed = 0
        while at < high:
            full = full_from <= at < full_to
            stop = full_to if full else (full_from if at < full_from < full_to else high)
            end = min(at + 128, stop)
            count = end - at
            if tile == 64:
                shared_flash_flush_f32_16(frame, at_wide, at_out, 64, at_state, 0.18033688011112042, flushed)
                flushed, tile = 1, 0
            tile += 1
            keys = v_k + b * s0_k + hk * s1_k + at * s2_k
            shared_flash_scores_f32_16(frame, at_score, keys, s2_k, s3_k, count, at_query, 64, at_state + (0 if full else 768), used)
            if not full:
                shared_flash_range_mask_f32_16(frame, at_keep, at_range, at, count, at_state, used)
            values = v_v + b * s0_v + hk * s1_v + at * s2_v
            shared_flash_join_f32_16(frame, at_score, 0 if full else at_keep, count, at_state, 0.18033688011112042, used, at_out, values, s2_v, s3_v, 64)
            at = end
        if flushed > 0:
            shared_flash_flush_f32_16(frame, at_wide, at_out, 64, at_state, 0.18033688011112042, flushed)
            shared_flash_restore_f32_16(frame, at_wide, at_out, 64)
        for r in range(rows):
            h = hk * group + (start + r) % group
            i = (start + r) // group
            top = np.float64(load_f32(at_state + 0 + 4 * r))
            total = np.float64(load_f32(at_state + 576 + 4 * r))
            if flushed > 0:
                total = load_f64(at_wide + 384 * (64 + 1) + 8 * r)
            top *= 0.125
            top = top if total == total or top == math.inf else math.nan
            shrink = 1.0
            store_f32(at_state + 384 + 4 * r, np.float32(shrink / total))
            store_f32(v_lse + b * s0_lse + h * s1_lse + i * 4, np.float32((top if math.isinf(top) else top + math.log(total))))
        for r in range(rows):
            h = hk * group + (start + r) % group
            i = (start + r) // group
            store_i64(at_rows + 8 * r, v_o + b * s0_o + h * s1_o + i * s2_o)
        shared_flash_end_f32_16(frame, at_out, 64, at_state + 384, at_rows, rows, 4)
        for r in range(rows):
            if load_i64(at_seen + 8 * r) <= 0:
                h = hk * group + (start + r) % group
                i = (start + r) // group
                for c in range(64):
                    store_f32(v_o + b * s0_o + h * s1_o + i * s2_o + c * 4, np.float32(0.0))
                store_f32(v_lse + b * s0_lse + h * s1_lse + i * 4, np.float32(-math.inf))
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_blocks(frame, t):
    """units of work: blocks of query rows, or pieces of keys, of one key head each"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    return d_B * 2 * ((per_head + 47) // 48)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_scratch(frame, t):
    """bytes of scratch per worker"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    return 64 + 1344 + 24576 + 192 * 64 + 192 * (64 + 8) + 768 + 384 + 384 + 6144 + 384 * (64 + 2)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_op0(frame, t, worker, workers, scratch):
    """the share of one of several workers"""
    if workers == 0:
        return g0_n0_scratch(frame, t)
    blocks = g0_n0_blocks(frame, t)
    return g0_n0_rows(frame, t, blocks * worker // workers, blocks * (worker + 1) // workers, scratch)


@njit("int64(int64, int64, int64, int64, int64)", cache=True, nogil=True, error_model="numpy", boundscheck=False)
def g0_entry(frame, op, worker, workers, scratch):
    """One worker's share of one op of @prefill; workers 0 asks for its scratch bytes."""
    first, last = op, op + 1
    if op == -1:  # all, on the arrays of two tuples
        if not objects_alike(worker, load_i64(frame + 240)):
            return -2
        store_i64(frame + 0, 0)
        store_i64(frame + 64, objects_data(worker, 0))  # %q
        store_i64(frame + 104, objects_data(worker, 1))  # %k
        store_i64(frame + 144, objects_data(worker, 2))  # %v
        store_i64(frame + 208, objects_data(workers, 0))  # %o
        store_i64(frame + 184, objects_data(workers, 1))  # %lse
        first, last, worker, workers = 0, 1, 0, 1
    for number in range(first, last):
        status = -1
        if number == 0:  # attend -> %o, %lse
            status = g0_op0(frame, 0, worker, workers, scratch)
        if status != 0:
            return status
    return load_i64(frame + 0) if op == -1 else 0
