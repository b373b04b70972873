@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_piece(frame, t, b, hk, split, parts, scratch):
    """what one piece of keys gives for every row of a key head"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    part_bytes = 64 + (64 + 15) // 16 * 64
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
    small_code()
    at_score = (scratch + 63) // 64 * 64
    at_query = at_score + 512 * per_head
    at_range = at_query + (64 + 15) // 16 * 64 * per_head
    at_keep = at_range + 16 * per_head
    at_sum = at_keep + 128 * per_head
    at_key = at_sum + 64 + 8 * 64
    at_value = at_key + 512 * 64
    begin = split * 2048
    behind = min(begin + 2048, d_M)
    low, high = behind, begin
    for r in range(per_head):
        h = hk * group + r % group
        i = r // group
        lo = 0
        hi = d_M
        hi = min(hi, i + corner + 1)
        lo = max(lo, i + corner - 256)
        hi = min(hi, i + corner + 0 + 1)
        hi = max(hi, 0)
        lo = min(lo, hi)
        lo, hi = max(lo, begin), min(hi, behind)
        seen = 0
        if lo < hi:
            low, high = min(low, lo), max(high, hi)
            seen = hi - lo
        store_i64(at_range + 16 * r, lo)
        store_i64(at_range + 16 * r + 8, hi)
        store_i64(parts + r * part_bytes + 16, seen)
    if low >= high:
        return
    fill_zero(at_query, (64 + 15) // 16 * 64 * per_head)
    for r in range(per_head):
        h = hk * group + r % group
        i = r // group
        part = parts + r * part_bytes
        store_f64(part, -math.inf)
        store_f64(part + 8, 0.0)
        fill_zero(part + 64, part_bytes - 64)
        query, packed = v_q + b * s0_q + h * s1_q + i * s2_q, at_query + r * ((64 + 15) // 16 * 64)
        for c in range(64):
            store_f32(packed + 4 * c, np.float32(load_f32(query + c * s3_q)))
    at = low
    while at < high:
        end = min(at + 128, high)
        count = end - at
        keys, key_step = v_k + b * s0_k + hk * s1_k + at * s2_k, s2_k
        if s3_k != 4:
            shared_decode_copy_f32_16(frame, at_key, keys, s2_k, s3_k, count, 64)
            keys, key_step = at_key, 4 * 64
        shared_decode_scores_f32_16(frame, at_score, at_query, (64 + 15) // 16 * 64, per_head, keys, key_step, count, 64)
        values, value_step = v_v + b * s0_v + hk * s1_v + at * s2_v, s2_v
        if s3_v != 4:
            shared_decode_copy_f32_16(frame, at_value, values, s2_v, s3_v, count, 64)
            values, value_step = at_value, 4 * 64
        shared_decode_join_f32_16(frame, at_score, 0, at_range, at, count, per_head, 0.18033688011112042, parts, part_bytes, values, value_step, 64)
        at = end


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_merge(frame, t, parts, scratch):
    """make each row of its parts, one for each piece of keys"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    splits = (d_M + 2047) // 2048
    part_bytes = 64 + (64 + 15) // 16 * 64
    v_o = load_i64(frame + 184)  # %o: f32[B x 8 x N x 64]
    s0_o = load_i64(frame + 192)
    s1_o = load_i64(frame + 200)
    s2_o = load_i64(frame + 208)
    v_lse = load_i64(frame + 216)  # %lse: f32[B x 8 x N]
    s0_lse = load_i64(frame + 224)
    s1_lse = load_i64(frame + 232)
    if per_head <= 12:
        at_score = (scratch + 63) // 64 * 64
        at_query = at_score + 512 * per_head
        at_range = at_query + (64 + 15) // 16 * 64 * per_head
        at_keep = at_range + 16 * per_head
        at_sum = at_keep + 128 * per_head
        at_key = at_sum + 64 + 8 * 64
        at_value = at_key + 512 * 64
        for head in range(d_B * 2):
            for r in range(per_head):
                b = head // 2
                hk = head % 2
                h = hk * group + r % group
                i = r // group
                shared_decode_merge_f32_16(frame, at_sum, parts + (head * splits * per_head + r) * part_bytes, per_head * part_bytes, splits, 0.18033688011112042, 64)
                if load_i64(at_sum + 16) == 0:
                    for c in range(64):
                        store_f32(v_o + b * s0_o + h * s1_o + i * s2_o + c * 4, np.float32(0.0))
                    store_f32(v_lse + b * s0_lse + h * s1_lse + i * 4, np.float32(-math.inf))
                    continue
                top, total = load_f64(at_sum), load_f64(at_sum + 8)
                top *= 0.125
                shrink = 1.0
                for c in range(64):
                    store_f32(v_o + b * s0_o + h * s1_o + i * s2_o + c * 4, np.float32(load_f64(at_sum + 64 + 8 * c) * shrink / total))
                store_f32(v_lse + b * s0_lse + h * s1_lse + i * 4, np.float32((top if math.isinf(top) else top + math.log(total))))
        return 0
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_parts_bytes(frame, t):
    """bytes of memory that workers share"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    splits = (d_M + 2047) // 2048
    part_bytes = 64 + (64 + 15) // 16 * 64
    if per_head <= 12:
        return 64 + d_B * 2 * splits * per_head * part_bytes
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_rows(frame, t, first, last, scratch):
    """softmax, in vectors"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    splits = (d_M + 2047) // 2048
    part_bytes = 64 + (64 + 15) // 16 * 64
    parts_0 = load_i64(frame + 240)
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
    v_lse = load_i64(frame + 216)  # %lse: f32[B x 8 x N]
    s0_lse = load_i64(frame + 224)
    s1_lse = load_i64(frame + 232)
    v_o = load_i64(frame + 184)  # %o: f32[B x 8 x N x 64]
    s0_o = load_i64(frame + 192)
    s1_o = load_i64(frame + 200)
    s2_o = load_i64(frame + 208)
    if per_head <= 12:
        parts = (parts_0 + 63) // 64 * 64
        for unit in range(first, last):
            head = unit // splits
            place = parts + unit * per_head * part_bytes
            g0_n0_piece(frame, t, head // 2, head % 2, unit % splits, place, scratch)
        return 0
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
    splits = (d_M + 2047) // 2048
    if per_head <= 12:
        return d_B * 2 * splits
    return d_B * 2 * ((per_head + 47) // 48)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_scratch(frame, t):
    """bytes of scratch per worker"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
    per_head = group * d_N
    if per_head <= 12:
        return 128 + 512 * per_head + (64 + 15) // 16 * 64 * per_head + 16 * per_head + 128 * per_head + 64 + 8 * 64 + 512 * 64 + 512 * 64
    return 64 + 1344 + 24576 + 192 * 64 + 192 * (64 + 8) + 768 + 384 + 384 + 6144 + 384 * (64 + 2)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_op0(frame, t, worker, workers, scratch):
    """the share of one of several workers"""
    shared = g0_n0_parts_bytes(frame, t)
    if workers == 0:
        return g0_n0_scratch(frame, t) + shared
    if workers == -1:
        return shared
    if workers > 0:
        blocks, place = g0_n0_blocks(frame, t), scratch
        if workers == 1:
            store_i64(frame + 240, scratch)
            place += shared
        status = g0_n0_rows(frame, t, blocks * worker // workers, blocks * (worker + 1) // workers, place)
        if status != 0 or workers > 1:
            return status
    return g0_n0_merge(frame, t, (load_i64(frame + 240) + 63) // 64 * 64, scratch + shared)


@njit("int64(int64, int64, int64, int64, int64)", cache=True, nogil=True, error_model="numpy", boundscheck=False)
def g0_entry(frame, op, worker, workers, scratch):
    """One worker's share of one op of @prefill; workers 0 asks for its scratch bytes."""
    first, last = op, op + 1
    if op == -1:  # all, and the frame has array objects
        store_i64(frame + 0, 0)
        store_i64(frame + 64, load_i64(load_i64(frame + 248) + 16))  # %q
        store_i64(frame + 104, load_i64(load_i64(frame + 256) + 16))  # %k
        store_i64(frame + 144, load_i64(load_i64(frame + 264) + 16))  # %v
        store_i64(frame + 184, load_i64(load_i64(frame + 272) + 16))  # %o
        store_i64(frame + 216, load_i64(load_i64(frame + 280) + 16))  # %lse
        first, last = 0, 1
    for number in range(first, last):
        status = -1
        if number == 0:  # attend -> %o, %lse
            status = g0_op0(frame, 0, worker, workers, scratch)
        if status != 0:
            return status
    return load_i64(frame + 0) if op == -1 else 0
