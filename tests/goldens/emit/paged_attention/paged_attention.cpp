// paged_attention, emitted by Tilewright from paged_attention.ptoir; do not edit.
// lookahead 1, prefetch 1
#include <cstdint>

#include <pto/pto-inst.hpp>
#include <pto/common/fifo.hpp>

#include "tensor.h"

#ifndef __gm__
#define __gm__
#endif
#ifndef __aicore__
#define __aicore__ [aicore]
#endif

#include "intrinsic.h"

using namespace pto;

// R rows of C elements in GM, Step elements from row to row.
template <typename T, int64_t R, int64_t C, int64_t Step>
using GmRows = GlobalTensor<T, Shape<1, 1, 1, R, C>, Stride<1, 1, 1, Step, 1>>;

static __aicore__ inline int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// The quotient, rounded up.
static __aicore__ inline int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0 && (a < 0) == (b < 0) ? 1 : 0);
}

// The first element of the tensor that an argument points to.
template <typename T>
static __aicore__ inline __gm__ T *data(int64_t argument)
{
    __gm__ ChipTensor *tensor = reinterpret_cast<__gm__ ChipTensor *>(argument);
    return reinterpret_cast<__gm__ T *>(tensor->buffer.addr) + tensor->start_offset;
}

using SijPipe = TPipe<0, Direction::DIR_C2V, 8192, 2, 2>;
using PijPipe = TPipe<2, Direction::DIR_V2C, 4096, 2, 2>;
using OiPipe = TPipe<4, Direction::DIR_C2V, 8192, 2, 2>;

#ifdef __DAV_CUBE__
// A matrix in L1: boxes of 16 rows by 32 bytes.
template <typename T, int R, int C, int VR = R, int VC = C>
using L1Nz =
    Tile<TileType::Mat, T, R, C, BLayout::ColMajor, VR, VC, SLayout::RowMajor, 512>;

// The transpose of a matrix in L1, as the right operand of a product takes it.
template <typename T, int R, int C, int VR = R, int VC = C>
using L1Zn =
    Tile<TileType::Mat, T, R, C, BLayout::RowMajor, VR, VC, SLayout::ColMajor, 512>;

// Left operand, right operand and result of a product.
template <typename T, int R, int C, int VR = R, int VC = C>
using L0A = TileLeft<T, R, C, VR, VC>;
template <typename T, int R, int C, int VR = R, int VC = C>
using L0B = TileRight<T, R, C, VR, VC>;
template <typename T, int R, int C, int VR = R, int VC = C>
using L0C = TileAcc<T, R, C, VR, VC>;

// The same, seen as its transpose: R elements in each of C columns.
template <typename T, int64_t R, int64_t C, int64_t Step>
using GmColumns =
    GlobalTensor<T, Shape<1, 1, 1, R, C>, Stride<1, 1, 1, 1, Step>, Layout::DN>;

// How many of size elements are valid.
static __aicore__ inline int64_t clipped(int64_t valid, int64_t size)
{
    return valid < 0 ? 0 : valid < size ? valid : size;
}

static __aicore__ void paged_attention_cube(__gm__ int64_t *args)
{
    __gm__ bfloat16_t *query = data<bfloat16_t>(args[0]);
    __gm__ bfloat16_t *key_cache = data<bfloat16_t>(args[1]);
    __gm__ bfloat16_t *value_cache = data<bfloat16_t>(args[2]);
    __gm__ int32_t *block_table = data<int32_t>(args[3]);
    __gm__ int32_t *context_lens = data<int32_t>(args[4]);
    const int64_t batch = args[10];
    const int64_t width = args[12];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);

    SijPipe sij(data<float>(args[6]) + block_idx * 4096, 0, 0);
    PijPipe pij(data<bfloat16_t>(args[7]) + block_idx * 4096, 0, 135168);
    OiPipe oi(data<float>(args[8]) + block_idx * 4096, 0, 0);

    // L1
    L1Nz<bfloat16_t, 16, 128> q;
    TASSIGN(q, 0);
    L1Zn<bfloat16_t, 128, 128> k[2];
    TASSIGN(k[0], 4096);
    TASSIGN(k[1], 36864);
    L1Nz<bfloat16_t, 128, 128> v[2];
    TASSIGN(v[0], 69632);
    TASSIGN(v[1], 102400);
    L1Nz<bfloat16_t, 16, 128> p[2];
    TASSIGN(p[0], 135168);
    TASSIGN(p[1], 139264);
    // L0A
    L0A<bfloat16_t, 16, 128> q_a;
    TASSIGN(q_a, 0);
    L0A<bfloat16_t, 16, 128> p_a;
    TASSIGN(p_a, 4096);
    // L0B
    L0B<bfloat16_t, 128, 128> k_b;
    TASSIGN(k_b, 0);
    L0B<bfloat16_t, 128, 128> v_b;
    TASSIGN(v_b, 32768);
    // L0C
    L0C<float, 16, 128> s_c;
    TASSIGN(s_c, 0);
    L0C<float, 16, 128> o_c;
    TASSIGN(o_c, 8192);

    constexpr int k_free = 1;
    constexpr int k_full = 1;
    constexpr int v_free = 3;
    constexpr int v_full = 3;
    constexpr int p_free = 5;
    constexpr int p_full = 5;

    int64_t u_base = 0;  // finished iterations of the loop over i

    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // k.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // k.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // v.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID4);  // v.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID5);  // p.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID6);  // p.free[1]
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // s_c.free
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // o_c.free
    const int64_t w_count = (batch - block_idx + (block_num - 1)) / block_num;
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t b = block_idx + w * block_num;
        const int64_t ctx = context_lens[b];
        const int64_t n = ceil_div(ctx, 128);
        // q = load query[b, :, :]
        wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free
        GmRows<bfloat16_t, 16, 128, 128> q_gm(query + b * 2048);
        TLOAD(q, q_gm);
        set_flag(PIPE_MTE2, PIPE_MTE1, EVENT_ID0);  // q.full
        // q_a = move q
        wait_flag(PIPE_MTE2, PIPE_MTE1, EVENT_ID0);  // q.full
        wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
        TMOV(q_a, q);
        set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free
        set_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
        wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
        int64_t page[2];
        for (int64_t t = 0; t < n + 2; ++t) {
            if (const int64_t i = t; i < n) {
                const int64_t u = u_base + i;
                page[i % 2] = block_table[b * width + i];
                // k[u] = load key_cache[page, :, 0, :]
                wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(k_free + u % 2));
                GmColumns<bfloat16_t, 128, 128, 128> k_gm(key_cache + page[i % 2] * 16384);
                TLOAD(k[u % 2], k_gm);
                set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(k_full + u % 2));
            }
            if (const int64_t i = t - 1; i >= 0 && i < n) {
                const int64_t u = u_base + i;
                const int64_t left = ctx - i * 128;
                // v[u] = load value_cache[page, 0:+128<left, 0, :]
                wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(v_free + u % 2));
                const int64_t v_rows = clipped(left, 128);
                if (v_rows < 128) {
                    TEXPANDS(v[u % 2], static_cast<bfloat16_t>(0.0f));
                    pipe_barrier(PIPE_MTE2);
                }
                if (v_rows > 0) {
                    GmRows<bfloat16_t, DYNAMIC, 128, 128> v_gm(
                        value_cache + page[i % 2] * 16384, {v_rows});
                    L1Nz<bfloat16_t, 128, 128, DYNAMIC, 128> v_part(v_rows);
                    TRESHAPE(v_part, v[u % 2]);
                    TLOAD(v_part, v_gm);
                }
                set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(v_full + u % 2));
                // k_b = move k[u].T
                wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(k_full + u % 2));
                wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
                TMOV(k_b, k[u % 2]);
                set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(k_free + u % 2));
                set_flag(PIPE_MTE1, PIPE_M, EVENT_ID1);  // k_b.full
                // s_c = matmul q_a, k_b
                wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID1);  // k_b.full
                wait_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // s_c.free
                TMATMUL(s_c, q_a, k_b);
                set_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
                set_flag(PIPE_M, PIPE_FIX, EVENT_ID0);  // s_c.full
                // sij = push s_c
                wait_flag(PIPE_M, PIPE_FIX, EVENT_ID0);  // s_c.full
                TPUSH<SijPipe, L0C<float, 16, 128>, TILE_UP_DOWN>(sij, s_c);
                set_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // s_c.free
            }
            if (const int64_t i = t - 2; i >= 0) {
                const int64_t u = u_base + i;
                // p[u] = pop pij
                wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(p_free + u % 2));
                TPOP<PijPipe, L1Nz<bfloat16_t, 16, 128>, TILE_UP_DOWN>(pij, p[u % 2]);
                TFREE<PijPipe, TILE_UP_DOWN>(pij);
                set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(p_full + u % 2));
                // p_a = move p[u]
                wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(p_full + u % 2));
                wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
                TMOV(p_a, p[u % 2]);
                set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(p_free + u % 2));
                // v_b = move v[u]
                wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(v_full + u % 2));
                TMOV(v_b, v[u % 2]);
                set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(v_free + u % 2));
                set_flag(PIPE_MTE1, PIPE_M, EVENT_ID2);  // v_b.full
                // o_c = matmul p_a, v_b
                wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID2);  // v_b.full
                wait_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // o_c.free
                TMATMUL(o_c, p_a, v_b);
                set_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
                set_flag(PIPE_M, PIPE_FIX, EVENT_ID1);  // o_c.full
                // oi = push o_c
                wait_flag(PIPE_M, PIPE_FIX, EVENT_ID1);  // o_c.full
                TPUSH<OiPipe, L0C<float, 16, 128>, TILE_UP_DOWN>(oi, o_c);
                set_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // o_c.free
            }
        }
        u_base += max_of(n, 0);
        set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
    }
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // k.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // k.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // v.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID4);  // v.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID5);  // p.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID6);  // p.free[1]
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // s_c.free
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // o_c.free
    set_flag(PIPE_FIX, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_FIX, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_CUBE__

#ifdef __DAV_VEC__
// A tile of the vector core, row by row.
template <typename T, int R, int C, int VR = R, int VC = C,
          PadValue Pad = PadValue::Null>
using Ub = Tile<TileType::Vec, T, R, C, BLayout::RowMajor, VR, VC,
                SLayout::NoneBox, 512, Pad>;

// One value per row; arithmetic sees the same bytes as a tile of one row.
template <typename T, int R, int C, int VR = R, int VC = C>
using UbColumn = Tile<TileType::Vec, T, R, C, BLayout::ColMajor, VR, VC>;

constexpr float INF = __builtin_inff();

static __aicore__ void paged_attention_vector(__gm__ int64_t *args)
{
    __gm__ int32_t *context_lens = data<int32_t>(args[4]);
    __gm__ float *out = data<float>(args[5]);
    const float scale = from_u64<float>(static_cast<uint64_t>(args[9]));
    const int64_t batch = args[10];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // A pipe finds a lane's half of a slot by the built-in lane number, which reads 0 on
    // both lanes under this runtime: the missing difference goes into the entry offset.
    const int64_t lane_shift = lane - static_cast<int64_t>(get_subblockid());
    SijPipe sij(data<float>(args[6]) + block_idx * 4096, 0, 0);
    sij.cons.entryOffset = static_cast<int>(lane_shift * 4096);
    PijPipe pij(data<bfloat16_t>(args[7]) + block_idx * 4096, 0, 0);
    pij.prod.entryOffset = static_cast<int>(lane_shift * 2048);
    OiPipe oi(data<float>(args[8]) + block_idx * 4096, 16384, 0);
    oi.cons.entryOffset = static_cast<int>(lane_shift * 4096);

    // UB
    Ub<float, 8, 128> s[2];
    TASSIGN(s[0], 0);
    TASSIGN(s[1], 8192);
    Ub<float, 8, 128> o[2];
    TASSIGN(o[0], 16384);
    TASSIGN(o[1], 24576);
    Ub<bfloat16_t, 8, 128> pb[2];
    TASSIGN(pb[0], 32768);
    TASSIGN(pb[1], 34816);
    Ub<float, 8, 128> acc;
    TASSIGN(acc, 36864);
    Ub<float, 8, 128> tmp;
    TASSIGN(tmp, 40960);
    UbColumn<float, 8, 1> m[2];
    TASSIGN(m[0], 45056);
    TASSIGN(m[1], 45088);
    UbColumn<float, 8, 1> l;
    TASSIGN(l, 45120);
    UbColumn<float, 8, 1> rm;
    TASSIGN(rm, 45152);
    UbColumn<float, 8, 1> rs;
    TASSIGN(rs, 45184);
    UbColumn<float, 8, 1> a[2];
    TASSIGN(a[0], 45216);
    TASSIGN(a[1], 45248);
    Ub<float, 8, 128> y;
    TASSIGN(y, 45312);
    Ub<float, 1, 8> m_row[2];
    TASSIGN(m_row[0], 45056);
    TASSIGN(m_row[1], 45088);
    Ub<float, 1, 8> l_row;
    TASSIGN(l_row, 45120);
    Ub<float, 1, 8> rm_row;
    TASSIGN(rm_row, 45152);
    Ub<float, 1, 8> a_row[2];
    TASSIGN(a_row[0], 45216);
    TASSIGN(a_row[1], 45248);
    Ub<float, 1, 8> rs_row;
    TASSIGN(rs_row, 45184);

    constexpr int s_free = 0;
    constexpr int s_full = 0;
    constexpr int pb_free = 0;
    constexpr int pb_full = 0;
    constexpr int o_free = 2;
    constexpr int o_full = 2;

    int64_t u_base = 0;  // finished iterations of the loop over i

    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // s.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // s.free[1]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // o.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // o.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // pb.free[0]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // pb.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free
    const int64_t w_count = (batch - block_idx + (block_num - 1)) / block_num;
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t b = block_idx + w * block_num;
        const int64_t ctx = context_lens[b];
        const int64_t n = ceil_div(ctx, 128);
        pipe_barrier(PIPE_V);
        TEXPANDS(m_row[0], -INF);  // m[0] = full -inf
        TEXPANDS(l_row, 0.0f);  // l = full 0.0
        TEXPANDS(acc, 0.0f);  // acc = full 0.0
        for (int64_t t = 0; t < n + 1; ++t) {
            if (const int64_t i = t; i < n) {
                const int64_t u = u_base + i;
                const int64_t left = ctx - i * 128;
                // s[u] = pop sij
                wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(s_free + u % 2));
                TPOP<SijPipe, Ub<float, 8, 128>, TILE_UP_DOWN>(sij, s[u % 2]);
                TFREE<SijPipe, TILE_UP_DOWN>(sij);
                set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(s_full + u % 2));
                pipe_barrier(PIPE_V);
                // s[u] = mul s[u], scale
                wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(s_full + u % 2));
                TMULS(s[u % 2], s[u % 2], scale);
                pipe_barrier(PIPE_V);
                // s[u] = where s[u], left, -inf
                if (left <= 0) {
                    TEXPANDS(s[u % 2], -INF);
                } else if (left < 128) {
                    Ub<float, 8, 128, 8, DYNAMIC> s_part(left);
                    TRESHAPE(s_part, s[u % 2]);
                    Ub<float, 8, 128, 8, 128, PadValue::Min> s_whole;
                    TRESHAPE(s_whole, s[u % 2]);
                    TFILLPAD_INPLACE(s_whole, s_part);
                }
                pipe_barrier(PIPE_V);
                TROWMAX(rm, s[u % 2], tmp);  // rm = row_max s[u], tmp
                pipe_barrier(PIPE_V);
                TMAX(m_row[(i + 1) % 2], m_row[i % 2], rm_row);  // m[i + 1] = maximum m[i], rm
                pipe_barrier(PIPE_V);
                TROWEXPANDSUB(s[u % 2], s[u % 2], m[(i + 1) % 2]);  // s[u] = sub s[u], m[i + 1]
                TSUB(a_row[u % 2], m_row[i % 2], m_row[(i + 1) % 2]);  // a[u] = sub m[i], m[i + 1]
                pipe_barrier(PIPE_V);
                TEXP(s[u % 2], s[u % 2]);  // s[u] = exp s[u]
                TEXP(a_row[u % 2], a_row[u % 2]);  // a[u] = exp a[u]
                pipe_barrier(PIPE_V);
                // pb[u] = astype s[u], bf16
                wait_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(pb_free + u % 2));
                TCVT(pb[u % 2], s[u % 2], RoundMode::CAST_RINT);
                set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(pb_full + u % 2));
                // rs = row_sum s[u], tmp
                TROWSUM(rs, s[u % 2], tmp);
                set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(s_free + u % 2));
                TMUL(l_row, l_row, a_row[u % 2]);  // l = mul l, a[u]
                pipe_barrier(PIPE_V);
                TADD(l_row, l_row, rs_row);  // l = add l, rs
                // pij = push pb[u]
                wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(pb_full + u % 2));
                TPUSH<PijPipe, Ub<bfloat16_t, 8, 128>, TILE_UP_DOWN>(pij, pb[u % 2]);
                set_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(pb_free + u % 2));
            }
            if (const int64_t i = t - 1; i >= 0) {
                const int64_t u = u_base + i;
                // o[u] = pop oi
                wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(o_free + u % 2));
                TPOP<OiPipe, Ub<float, 8, 128>, TILE_UP_DOWN>(oi, o[u % 2]);
                TFREE<OiPipe, TILE_UP_DOWN>(oi);
                set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(o_full + u % 2));
                pipe_barrier(PIPE_V);
                TROWEXPANDMUL(acc, acc, a[u % 2]);  // acc = mul acc, a[u]
                pipe_barrier(PIPE_V);
                // acc = add acc, o[u]
                wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(o_full + u % 2));
                TADD(acc, acc, o[u % 2]);
                set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(o_free + u % 2));
            }
        }
        u_base += max_of(n, 0);
        pipe_barrier(PIPE_V);
        TMAXS(l_row, l_row, 1e-30f);  // l = maximum l, 1e-30
        pipe_barrier(PIPE_V);
        // y = div acc, l
        wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free
        TROWEXPANDDIV(y, acc, l);
        set_flag(PIPE_V, PIPE_MTE3, EVENT_ID2);  // y.full
        // out[b, lane * 8:+8, :] = store y
        wait_flag(PIPE_V, PIPE_MTE3, EVENT_ID2);  // y.full
        GmRows<float, 8, 128, 128> y_gm(out + b * 2048 + lane * 8 * 128);
        TSTORE(y_gm, y);
        set_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free
    }
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // s.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // s.free[1]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // o.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // o.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // pb.free[0]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // pb.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
#ifdef __DAV_CUBE__
    paged_attention_cube(args);
#endif
#ifdef __DAV_VEC__
    paged_attention_vector(args);
#endif
}
