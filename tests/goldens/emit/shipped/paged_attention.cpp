// paged_attention, emitted by Tilewright from paged_attention.ptoir; do not edit.
// lookahead 6, prefetch 1
// k_b: 1 slot inside loops, l0b would need 98304 of 65536 bytes with 2
// v_b: 1 slot inside loops, l0b would need 98304 of 65536 bytes with 2
// qk_fifo needs no free signals with 6 slots: pop qk_fifo, then a signal of p16_fifo, orders the next push into the slot
// p16_fifo needs no free signals with 6 slots: pop p16_fifo, then a signal of qk_fifo or o_fifo, orders the next push into the slot
// o_fifo needs no free signals with 7 slots: pop o_fifo, then a signal of p16_fifo, orders the next push into the slot
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

// The quotient, rounded up.
static __aicore__ inline int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0 && (a < 0) == (b < 0) ? 1 : 0);
}

// A push does not tell of its tile, a signal behind it does.  The pipe of the CPU simulator, which
// moves a tile at once, takes its next slot by telling: there each push tells.
template <typename Pipe>
static __aicore__ inline auto silent(Pipe &pipe, int) -> decltype(pipe.prod.record())
{
    pipe.prod.setRecordStatus(false);
}
template <typename Pipe>
static __aicore__ inline void silent(Pipe &, long)
{
}

// Tells the consumer that one more slot is full.
template <typename Pipe>
static __aicore__ inline auto signal(Pipe &pipe, int) -> decltype(pipe.prod.record())
{
    pipe.prod.record();
}
template <typename Pipe>
static __aicore__ inline void signal(Pipe &, long)
{
}

// No push waits for a free slot and no pop tells of one: other hand-overs keep them apart.
// The pipe of the CPU simulator finds its slots by these calls and keeps to them.
template <typename Pipe>
static __aicore__ inline auto without_credit(Pipe &pipe, int) -> decltype(pipe.prod.record())
{
    pipe.prod.setAllocateStatus(false);
    pipe.cons.setFreeStatus(false);
}
template <typename Pipe>
static __aicore__ inline void without_credit(Pipe &, long)
{
}

// The first element of the tensor that an argument points to.
template <typename T>
static __aicore__ inline __gm__ T *data(int64_t argument)
{
    __gm__ ChipTensor *tensor = reinterpret_cast<__gm__ ChipTensor *>(argument);
    return reinterpret_cast<__gm__ T *>(tensor->buffer.addr) + tensor->start_offset;
}

using QkFifoPipe = TPipe<0, Direction::DIR_C2V, 8192, 6, 2>;
using P16FifoPipe = TPipe<2, Direction::DIR_V2C, 4096, 6, 2>;
using OFifoPipe = TPipe<4, Direction::DIR_C2V, 8192, 7, 2>;

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

    QkFifoPipe qk_fifo(data<float>(args[6]) + block_idx * 12288, 0, 0);
    without_credit(qk_fifo, 0);
    silent(qk_fifo, 0);
    P16FifoPipe p16_fifo(data<bfloat16_t>(args[7]) + block_idx * 12288, 0, 139264);
    without_credit(p16_fifo, 0);
    OFifoPipe o_fifo(data<float>(args[8]) + block_idx * 14336, 0, 0);
    without_credit(o_fifo, 0);
    silent(o_fifo, 0);

    // L1
    L1Nz<bfloat16_t, 16, 128> q[2];
    TASSIGN(q[0], 0);
    TASSIGN(q[1], 4096);
    L1Zn<bfloat16_t, 128, 128> k[2];
    TASSIGN(k[0], 8192);
    TASSIGN(k[1], 40960);
    L1Nz<bfloat16_t, 128, 128> v[2];
    TASSIGN(v[0], 73728);
    TASSIGN(v[1], 106496);
    L1Nz<bfloat16_t, 16, 128> p16_l1[2];
    TASSIGN(p16_l1[0], 139264);
    TASSIGN(p16_l1[1], 143360);
    // L0A
    L0A<bfloat16_t, 16, 128> q_a;
    TASSIGN(q_a, 0);
    L0A<bfloat16_t, 16, 128> p16_a[2];
    TASSIGN(p16_a[0], 4096);
    TASSIGN(p16_a[1], 8192);
    // L0B
    L0B<bfloat16_t, 128, 128> k_b;
    TASSIGN(k_b, 0);
    L0B<bfloat16_t, 128, 128> v_b;
    TASSIGN(v_b, 32768);
    // L0C
    L0C<float, 16, 128> qk[2];
    TASSIGN(qk[0], 0);
    TASSIGN(qk[1], 8192);
    L0C<float, 16, 128> o[2];
    TASSIGN(o[0], 16384);
    TASSIGN(o[1], 24576);

    constexpr int q_free = 0;
    constexpr int q_full = 0;
    constexpr int k_free = 2;
    constexpr int k_full = 2;
    constexpr int v_free = 4;
    constexpr int v_full = 4;
    constexpr int qk_full = 0;
    constexpr int qk_free = 0;
    constexpr int p16_l1_free = 6;
    constexpr int p16_l1_full = 6;
    constexpr int o_full = 2;
    constexpr int o_free = 2;
    constexpr int p16_a_full = 1;

    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // q.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // k.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // k.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID4);  // v.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID5);  // v.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID6);  // p16_l1.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID7);  // p16_l1.free[1]
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // qk.free[0]
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // qk.free[1]
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID2);  // o.free[0]
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID3);  // o.free[1]
    const int64_t w_count = (batch - block_idx + (block_num - 1)) / block_num;
    // First the items without an iteration over i, each by itself.
    int64_t turn = 0;  // items so far
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t b = block_idx + w * block_num;
        const int64_t context = context_lens[b];
        const int64_t n = ceil_div(context, 128);
        if (n <= 0) {
            // q[turn] = load query[b, :, :]
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(q_free + turn % 2));
            GmRows<bfloat16_t, 16, 128, 128> q_gm(query + b * 2048);
            TLOAD(q[turn % 2], q_gm);
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(q_full + turn % 2));
            // q_a = move q[turn]
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(q_full + turn % 2));
            wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
            TMOV(q_a, q[turn % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(q_free + turn % 2));
            set_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
            wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
            set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
            ++turn;
        }
    }
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t turn = -1;
        int64_t i = 0;
        int64_t n = 0;
        int64_t b = 0;
        int64_t context = 0;
        int64_t page = 0;
    };
    Position positions[10];
    Position next;
    next.turn = turn - 1;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 9; ++t) {
        if (t == u_count) {
            if (++next.i >= next.n) {
                next.i = next.n = 0;
                while (next.n <= 0 && ++next.w < w_count) {
                    next.b = block_idx + next.w * block_num;
                    next.context = context_lens[next.b];
                    next.n = ceil_div(next.context, 128);
                }
                ++next.turn;
            }
            if (next.n > 0) {
                positions[t % 10] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 10];
            if (at.i == 0) {
                // q[turn] = load query[b, :, :]
                wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(q_free + at.turn % 2));
                GmRows<bfloat16_t, 16, 128, 128> q_gm_2(query + at.b * 2048);
                TLOAD(q[at.turn % 2], q_gm_2);
                set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(q_full + at.turn % 2));
                // q_a = move q[turn]
                wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(q_full + at.turn % 2));
                wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
                TMOV(q_a, q[at.turn % 2]);
                set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(q_free + at.turn % 2));
                set_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
                wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID0);  // q_a.full
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 10];
            at.page = block_table[at.b * width + at.i];
            // k[u] = load key_cache[page, :, 0, :]
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(k_free + u % 2));
            GmColumns<bfloat16_t, 128, 128, 128> k_gm(key_cache + at.page * 16384);
            TLOAD(k[u % 2], k_gm);
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(k_full + u % 2));
        }
        if (const int64_t u = t - 6; u >= 0 && u < u_count) {
            Position &at = positions[u % 10];
            const int64_t left = at.context - at.i * 128;
            // v[u] = load value_cache[page, 0:+128<left, 0, :]
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(v_free + u % 2));
            const int64_t v_rows = clipped(left, 128);
            if (v_rows < 128) {
                TEXPANDS(v[u % 2], static_cast<bfloat16_t>(0.0f));
                pipe_barrier(PIPE_MTE2);
            }
            if (v_rows > 0) {
                GmRows<bfloat16_t, DYNAMIC, 128, 128> v_gm(value_cache + at.page * 16384, {v_rows});
                L1Nz<bfloat16_t, 128, 128, DYNAMIC, 128> v_part(v_rows);
                TRESHAPE(v_part, v[u % 2]);
                TLOAD(v_part, v_gm);
            }
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(v_full + u % 2));
        }
        if (const int64_t u = t - 3; u >= 0 && u < u_count) {
            // drain
            wait_flag(PIPE_FIX, PIPE_S, EVENT_ID0);  // qk_fifo.stored
            signal(qk_fifo, 0);  // record qk_fifo
        }
        if (const int64_t u = t - 2; u >= 0 && u < u_count) {
            // qk_fifo = push_data qk[u]
            wait_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(qk_full + u % 2));
            TPUSH<QkFifoPipe, L0C<float, 16, 128>, TILE_UP_DOWN>(qk_fifo, qk[u % 2]);
            set_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(qk_free + u % 2));
            set_flag(PIPE_FIX, PIPE_S, EVENT_ID0);  // qk_fifo.stored
        }
        if (const int64_t u = t - 7; u >= 0 && u < u_count) {
            // p16_l1[u] = pop p16_fifo
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(p16_l1_free + u % 2));
            TPOP<P16FifoPipe, L1Nz<bfloat16_t, 16, 128>, TILE_UP_DOWN>(p16_fifo, p16_l1[u % 2]);
            TFREE<P16FifoPipe, TILE_UP_DOWN>(p16_fifo);
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(p16_l1_full + u % 2));
        }
        if (const int64_t u = t - 9; u >= 0 && u < u_count) {
            // drain
            wait_flag(PIPE_FIX, PIPE_S, EVENT_ID1);  // o_fifo.stored
            signal(o_fifo, 0);  // record o_fifo
        }
        if (const int64_t u = t - 8; u >= 0 && u < u_count) {
            // o_fifo = push_data o[u]
            wait_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(o_full + u % 2));
            TPUSH<OFifoPipe, L0C<float, 16, 128>, TILE_UP_DOWN>(o_fifo, o[u % 2]);
            set_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(o_free + u % 2));
            set_flag(PIPE_FIX, PIPE_S, EVENT_ID1);  // o_fifo.stored
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            // k_b = move k[u].T
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(k_full + u % 2));
            wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
            TMOV(k_b, k[u % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(k_free + u % 2));
            set_flag(PIPE_MTE1, PIPE_M, EVENT_ID3);  // k_b.full
            // qk[u] = matmul q_a, k_b
            wait_flag(PIPE_MTE1, PIPE_M, EVENT_ID3);  // k_b.full
            wait_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(qk_free + u % 2));
            TMATMUL(qk[u % 2], q_a, k_b);
            set_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
            set_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(qk_full + u % 2));
        }
        if (const int64_t u = t - 7; u >= 0 && u < u_count) {
            // v_b = move v[u]
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(v_full + u % 2));
            wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
            TMOV(v_b, v[u % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(v_free + u % 2));
            // p16_a[u] = move p16_l1[u]
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(p16_l1_full + u % 2));
            TMOV(p16_a[u % 2], p16_l1[u % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(p16_l1_free + u % 2));
            set_flag(PIPE_MTE1, PIPE_M, static_cast<event_t>(p16_a_full + u % 2));
            // o[u] = matmul p16_a[u], v_b
            wait_flag(PIPE_MTE1, PIPE_M, static_cast<event_t>(p16_a_full + u % 2));
            wait_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(o_free + u % 2));
            TMATMUL(o[u % 2], p16_a[u % 2], v_b);
            set_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
            set_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(o_full + u % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 10];
            if (at.i + 1 == at.n) {
                set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
            }
        }
    }
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // q.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // q.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // k.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // k.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID4);  // v.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID5);  // v.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID6);  // p16_l1.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID7);  // p16_l1.free[1]
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // q_a.free
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // k_b.free
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID2);  // v_b.free
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // qk.free[0]
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // qk.free[1]
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID2);  // o.free[0]
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID3);  // o.free[1]
    // At its end a pipe waits for the free signals of the tiles that it has counted.
    qk_fifo.prod.setTileId(0, 0);
    o_fifo.prod.setTileId(0, 0);
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
    QkFifoPipe qk_fifo(data<float>(args[6]) + block_idx * 12288, 4192, 0);
    qk_fifo.cons.entryOffset = static_cast<int>(lane_shift * 4096);
    without_credit(qk_fifo, 0);
    P16FifoPipe p16_fifo(data<bfloat16_t>(args[7]) + block_idx * 12288, 0, 0);
    p16_fifo.prod.entryOffset = static_cast<int>(lane_shift * 2048);
    without_credit(p16_fifo, 0);
    silent(p16_fifo, 0);
    OFifoPipe o_fifo(data<float>(args[8]) + block_idx * 14336, 20864, 0);
    o_fifo.cons.entryOffset = static_cast<int>(lane_shift * 4096);
    without_credit(o_fifo, 0);

    // UB
    UbColumn<float, 8, 1> m[2];
    TASSIGN(m[0], 0);
    TASSIGN(m[1], 32);
    Ub<float, 8, 128> acc;
    TASSIGN(acc, 96);
    Ub<float, 8, 128> qk_v[2];
    TASSIGN(qk_v[0], 4192);
    TASSIGN(qk_v[1], 12384);
    UbColumn<float, 8, 1> m_new_row_max;
    TASSIGN(m_new_row_max, 16480);
    UbColumn<float, 8, 1> alpha[7];
    TASSIGN(alpha[0], 16512);
    TASSIGN(alpha[1], 16544);
    TASSIGN(alpha[2], 16576);
    TASSIGN(alpha[3], 16608);
    TASSIGN(alpha[4], 16640);
    TASSIGN(alpha[5], 16672);
    TASSIGN(alpha[6], 16704);
    UbColumn<float, 8, 1> l_new_row_sum;
    TASSIGN(l_new_row_sum, 16736);
    Ub<bfloat16_t, 8, 128> p16[2];
    TASSIGN(p16[0], 16768);
    TASSIGN(p16[1], 18816);
    Ub<float, 8, 128> o_v[2];
    TASSIGN(o_v[0], 20864);
    TASSIGN(o_v[1], 29056);
    UbColumn<float, 8, 1> y_maximum[7];
    TASSIGN(y_maximum[0], 33152);
    TASSIGN(y_maximum[1], 33184);
    TASSIGN(y_maximum[2], 33216);
    TASSIGN(y_maximum[3], 33248);
    TASSIGN(y_maximum[4], 33280);
    TASSIGN(y_maximum[5], 33312);
    TASSIGN(y_maximum[6], 33344);
    Ub<float, 8, 128> y[2];
    TASSIGN(y[0], 33376);
    TASSIGN(y[1], 37472);
    Ub<float, 8, 128> scratch;
    TASSIGN(scratch, 41568);
    Ub<float, 1, 8> m_row[2];
    TASSIGN(m_row[0], 0);
    TASSIGN(m_row[1], 32);
    Ub<float, 1, 8> l_row;
    TASSIGN(l_row, 64);
    Ub<float, 1, 8> y_maximum_row[7];
    TASSIGN(y_maximum_row[0], 33152);
    TASSIGN(y_maximum_row[1], 33184);
    TASSIGN(y_maximum_row[2], 33216);
    TASSIGN(y_maximum_row[3], 33248);
    TASSIGN(y_maximum_row[4], 33280);
    TASSIGN(y_maximum_row[5], 33312);
    TASSIGN(y_maximum_row[6], 33344);
    Ub<float, 1, 8> m_new_row_max_row;
    TASSIGN(m_new_row_max_row, 16480);
    Ub<float, 1, 8> alpha_row[7];
    TASSIGN(alpha_row[0], 16512);
    TASSIGN(alpha_row[1], 16544);
    TASSIGN(alpha_row[2], 16576);
    TASSIGN(alpha_row[3], 16608);
    TASSIGN(alpha_row[4], 16640);
    TASSIGN(alpha_row[5], 16672);
    TASSIGN(alpha_row[6], 16704);
    Ub<float, 1, 8> l_new_row_sum_row;
    TASSIGN(l_new_row_sum_row, 16736);

    constexpr int y_free = 2;
    constexpr int y_full = 2;
    constexpr int qk_v_free = 0;
    constexpr int qk_v_full = 0;
    constexpr int p16_free = 0;
    constexpr int p16_full = 0;
    constexpr int o_v_free = 2;
    constexpr int o_v_full = 2;

    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // qk_v.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // qk_v.free[1]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // o_v.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // o_v.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // p16.free[0]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // p16.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free[0]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID3);  // y.free[1]
    const int64_t w_count = (batch - block_idx + (block_num - 1)) / block_num;
    // First the items without an iteration over i, each by itself.
    int64_t turn = 0;  // items so far
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t b = block_idx + w * block_num;
        const int64_t context = context_lens[b];
        const int64_t n = ceil_div(context, 128);
        if (n <= 0) {
            const int64_t u = 0;
            TEXPANDS(m_row[u % 2], -INF);  // m[u] = full -inf as start_0
            TEXPANDS(l_row, 0.0f);  // l = full 0.0 as start_1
            pipe_barrier(PIPE_V);
            TMAXS(y_maximum_row[turn % 7], l_row, 1e-30f);  // y_maximum[turn] = maximum l, 1e-30
            TEXPANDS(acc, 0.0f);  // acc = full 0.0 as start_2
            pipe_barrier(PIPE_V);
            // y[turn] = div acc, y_maximum[turn]
            wait_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y_free + turn % 2));
            TROWEXPANDDIV(y[turn % 2], acc, y_maximum[turn % 7]);
            set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y_full + turn % 2));
            // out[b, lane * 8:+8, :] = store y[turn]
            wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y_full + turn % 2));
            GmRows<float, 8, 128, 128> y_gm(out + b * 2048 + lane * 8 * 128);
            TSTORE(y_gm, y[turn % 2]);
            set_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y_free + turn % 2));
            ++turn;
        }
    }
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t turn = -1;
        int64_t i = 0;
        int64_t n = 0;
        int64_t b = 0;
        int64_t context = 0;
    };
    Position positions[7];
    Position next;
    next.turn = turn - 1;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 6; ++t) {
        if (t == u_count) {
            if (++next.i >= next.n) {
                next.i = next.n = 0;
                while (next.n <= 0 && ++next.w < w_count) {
                    next.b = block_idx + next.w * block_num;
                    next.context = context_lens[next.b];
                    next.n = ceil_div(next.context, 128);
                }
                ++next.turn;
            }
            if (next.n > 0) {
                positions[t % 7] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 7];
            if (at.i == 0) {
                TEXPANDS(m_row[u % 2], -INF);  // m[u] = full -inf as start_0
                TEXPANDS(l_row, 0.0f);  // l = full 0.0 as start_1
            }
        }
        if (const int64_t u = t - 6; u >= 0 && u < u_count) {
            Position &at = positions[u % 7];
            if (at.i == 0) {
                TEXPANDS(acc, 0.0f);  // acc = full 0.0 as start_2
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 7];
            // qk_v[u] = pop qk_fifo
            wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(qk_v_free + u % 2));
            TPOP<QkFifoPipe, Ub<float, 8, 128>, TILE_UP_DOWN>(qk_fifo, qk_v[u % 2]);
            TFREE<QkFifoPipe, TILE_UP_DOWN>(qk_fifo);
            set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(qk_v_full + u % 2));
            // qk_v[u] = mul qk_v[u], scale as s_mul
            wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(qk_v_full + u % 2));
            TMULS(qk_v[u % 2], qk_v[u % 2], scale);
            const int64_t left = at.context - at.i * 128;
            pipe_barrier(PIPE_V);
            // qk_v[u] = where qk_v[u], left, -inf as s
            if (left <= 0) {
                TEXPANDS(qk_v[u % 2], -INF);
            } else if (left < 128) {
                Ub<float, 8, 128, 8, DYNAMIC> qk_v_part(left);
                TRESHAPE(qk_v_part, qk_v[u % 2]);
                Ub<float, 8, 128, 8, 128, PadValue::Min> qk_v_whole;
                TRESHAPE(qk_v_whole, qk_v[u % 2]);
                TFILLPAD_INPLACE(qk_v_whole, qk_v_part);
            }
            pipe_barrier(PIPE_V);
            // m_new_row_max = row_max qk_v[u], scratch
            TROWMAX(m_new_row_max, qk_v[u % 2], scratch);
            pipe_barrier(PIPE_V);
            // m[u + 1] = maximum m[u], m_new_row_max as m_new
            TMAX(m_row[(u + 1) % 2], m_row[u % 2], m_new_row_max_row);
            pipe_barrier(PIPE_V);
            // qk_v[u] = sub qk_v[u], m[u + 1] as p_sub
            TROWEXPANDSUB(qk_v[u % 2], qk_v[u % 2], m[(u + 1) % 2]);
            // alpha[u] = sub m[u], m[u + 1] as alpha_sub
            TSUB(alpha_row[u % 7], m_row[u % 2], m_row[(u + 1) % 2]);
            pipe_barrier(PIPE_V);
            TEXP(qk_v[u % 2], qk_v[u % 2]);  // qk_v[u] = exp qk_v[u] as p
            TEXP(alpha_row[u % 7], alpha_row[u % 7]);  // alpha[u] = exp alpha[u]
            pipe_barrier(PIPE_V);
            TMUL(l_row, l_row, alpha_row[u % 7]);  // l = mul l, alpha[u] as l_new_mul
            // l_new_row_sum = row_sum qk_v[u], scratch
            TROWSUM(l_new_row_sum, qk_v[u % 2], scratch);
            // p16[u] = astype qk_v[u], bf16
            wait_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(p16_free + u % 2));
            TCVT(p16[u % 2], qk_v[u % 2], RoundMode::CAST_RINT);
            set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(qk_v_free + u % 2));
            set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(p16_full + u % 2));
            pipe_barrier(PIPE_V);
            TADD(l_row, l_row, l_new_row_sum_row);  // l = add l, l_new_row_sum as l_new
        }
        if (const int64_t u = t - 6; u >= 0 && u < u_count) {
            // o_v[u] = pop o_fifo
            wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(o_v_free + u % 2));
            TPOP<OFifoPipe, Ub<float, 8, 128>, TILE_UP_DOWN>(o_fifo, o_v[u % 2]);
            TFREE<OFifoPipe, TILE_UP_DOWN>(o_fifo);
            set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(o_v_full + u % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            // drain
            wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID0);  // p16_fifo.stored
            signal(p16_fifo, 0);  // record p16_fifo
        }
        if (const int64_t u = t; u < u_count) {
            // p16_fifo = push_data p16[u]
            wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(p16_full + u % 2));
            TPUSH<P16FifoPipe, Ub<bfloat16_t, 8, 128>, TILE_UP_DOWN>(p16_fifo, p16[u % 2]);
            set_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(p16_free + u % 2));
            set_flag(PIPE_MTE3, PIPE_S, EVENT_ID0);  // p16_fifo.stored
        }
        if (const int64_t u = t - 6; u >= 0 && u < u_count) {
            pipe_barrier(PIPE_V);
            TROWEXPANDMUL(acc, acc, alpha[u % 7]);  // acc = mul acc, alpha[u] as acc_next_mul
            pipe_barrier(PIPE_V);
            // acc = add acc, o_v[u] as acc_next
            wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(o_v_full + u % 2));
            TADD(acc, acc, o_v[u % 2]);
            set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(o_v_free + u % 2));
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 7];
            if (at.i + 1 == at.n) {
                pipe_barrier(PIPE_V);
                // y_maximum[turn] = maximum l, 1e-30
                TMAXS(y_maximum_row[at.turn % 7], l_row, 1e-30f);
            }
        }
        if (const int64_t u = t - 6; u >= 0 && u < u_count) {
            Position &at = positions[u % 7];
            if (at.i + 1 == at.n) {
                pipe_barrier(PIPE_V);
                // y[turn] = div acc, y_maximum[turn]
                wait_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y_free + at.turn % 2));
                TROWEXPANDDIV(y[at.turn % 2], acc, y_maximum[at.turn % 7]);
                set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y_full + at.turn % 2));
                // out[b, lane * 8:+8, :] = store y[turn]
                wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y_full + at.turn % 2));
                GmRows<float, 8, 128, 128> y_gm_2(out + at.b * 2048 + lane * 8 * 128);
                TSTORE(y_gm_2, y[at.turn % 2]);
                set_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y_free + at.turn % 2));
            }
        }
    }
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // qk_v.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // qk_v.free[1]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // o_v.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // o_v.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // p16.free[0]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // p16.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID2);  // y.free[0]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID3);  // y.free[1]
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    // At its end a pipe waits for the free signals of the tiles that it has counted.
    p16_fifo.prod.setTileId(0, 0);
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
