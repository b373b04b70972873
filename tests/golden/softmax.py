@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_rows(frame, t, first, last, scratch):
    """softmax over blocks of 16 rows"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    group = max(8 // max(2, 1), 1)
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
    v_o = load_i64(frame + 184)  # %o: f32[B x 8 x N x 64]
    s0_o = load_i64(frame + 192)
    s1_o = load_i64(frame + 200)
    s2_o = load_i64(frame + 208)
    s3_o = load_i64(frame + 216)
    v_lse = load_i64(frame + 224)  # %lse: f32[B x 8 x N]
    s0_lse = load_i64(frame + 232)
    s1_lse = load_i64(frame + 240)
    s2_lse = load_i64(frame + 248)
    at_o = scratch
    at_score = at_o + 128 * 64
    at_q = at_score + 512
    at_k = at_q + 64 * 64
    at_s = at_k + 256 * 64
    at_v = at_s + 256
    at_part = at_v + 256 * 64
    at_keep = at_part + 4 * 64
    at_row = at_keep + 64
    blocks = (d_N + 15) // 16
    for unit in range(first, last):
        h = (unit // blocks) % 8
        b = unit // (blocks * 8)
        hk = h // group
        i0 = (unit % blocks) * 16
        rows = min(16, d_N - i0)
        low, high = d_M, 0
        for r in range(rows):
            i = i0 + r
            lo = 0
            hi = d_M
            hi = min(hi, i + corner + 1)
            lo = max(lo, i + corner - 256)
            hi = min(hi, i + corner + 0 + 1)
            hi = max(hi, 0)
            lo = min(lo, hi)
            if lo < hi:
                low, high = min(low, lo), max(high, hi)
            store_i64(at_row + 40 * r + 0, lo)
            store_i64(at_row + 40 * r + 8, hi)
            store_i64(at_row + 40 * r + 16, 0)
            store_f64(at_row + 40 * r + 24, -math.inf)
            store_f64(at_row + 40 * r + 32, 0.0)
            for c in range(64):
                store_f32(at_q + 4 * (r * 64 + c), np.float32(load_f32(v_q + b * s0_q + h * s1_q + i * s2_q + c * s3_q)))
            tile_fill_f64(at_o + 8 * r * 64, 0.0, 64)
        for j0 in range(low, high, 64):
            width = min(64, high - j0)
            keys = v_k + b * s0_k + hk * s1_k + j0 * s2_k
            values = v_v + b * s0_v + hk * s1_v + j0 * s2_v
            for x in range(width):
                for c in range(64):
                    store_f32(at_k + 4 * (c * 64 + x), np.float32(load_f32(keys + x * s2_k + c * s3_k)))
                for c in range(64):
                    store_f32(at_v + 4 * (x * 64 + c), np.float32(load_f32(values + x * s2_v + c * s3_v)))
            for r in range(rows):
                lo = max(load_i64(at_row + 40 * r + 0), j0) - j0
                hi = min(load_i64(at_row + 40 * r + 8), j0 + width) - j0
                if lo >= hi:
                    continue
                i = i0 + r
                tile_fill_f32(at_s + 4 * lo, np.float32(0.0), hi - lo)
                for c in range(64):
                    tile_axpy_f32(at_s + 4 * lo, load_f32(at_q + 4 * (r * 64 + c)), at_k + 4 * (c * 64 + lo), hi - lo)
                old = np.float32(load_f64(at_row + 40 * r + 24))
                top = old
                count = 0
                for x in range(lo, hi):
                    j = j0 + x
                    score = np.float32(np.float32(0.125) * load_f32(at_s + 4 * x))
                    count += 1
                    store_f32(at_score + 4 * x, np.float32(score))
                    if score > top or score != score:
                        top = score
                if count == 0:
                    continue
                store_i64(at_row + 40 * r + 16, load_i64(at_row + 40 * r + 16) + count)
                store_f64(at_row + 40 * r + 24, np.float64(top))
                shrink = 1.0
                if old != top:
                    shrink = math.exp(np.float64(old) - np.float64(top)) if old > -math.inf else 0.0
                total = np.float32(0.0)
                tile_fill_f32(at_part, np.float32(0.0), 64)
                for x in range(lo, hi):
                    score = load_f32(at_score + 4 * x)
                    weight = np.float32(0.0) if top == -math.inf else np.float32(math.exp(score - top))
                    total += weight
                    tile_axpy_f32(at_part, weight, at_v + 4 * x * 64, 64)
                store_f64(at_row + 40 * r + 32, load_f64(at_row + 40 * r + 32) * shrink + np.float64(total))
                tile_join_f32(at_o + 8 * r * 64, shrink, at_part, 64)
        for r in range(rows):
            i = i0 + r
            count = load_i64(at_row + 40 * r + 16)
            if count == 0:
                for c in range(64):
                    store_f32(v_o + b * s0_o + h * s1_o + i * s2_o + c * s3_o, np.float32(0.0))
                store_f32(v_lse + b * s0_lse + h * s1_lse + i * s2_lse, np.float32(-math.inf))
                continue
            top = load_f64(at_row + 40 * r + 24)
            total = load_f64(at_row + 40 * r + 32)
            shrink = 1.0
            for c in range(64):
                store_f32(v_o + b * s0_o + h * s1_o + i * s2_o + c * s3_o, np.float32(load_f64(at_o + 8 * (r * 64 + c)) * shrink / total))
            store_f32(v_lse + b * s0_lse + h * s1_lse + i * s2_lse, np.float32((top if math.isinf(top) else top + math.log(total))))
    return 0


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_blocks(frame, t):
    """how many blocks of query rows there are"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    return d_B * 8 * ((d_N + 15) // 16)


@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
def g0_n0_scratch(frame, t):
    """bytes of scratch per worker"""
    d_M = load_i64(frame + 40)
    d_B = load_i64(frame + 48)
    d_N = load_i64(frame + 56)
    return 4 * (16 * 64 + 64 * 64 + 64 + 64 * 64 + 64) + 8 * (16 * 64 + 64) + 64 + 16 * 40


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
    if op == 0:  # attend -> %o, %lse
        return g0_op0(frame, 0, worker, workers, scratch)
    return -1
