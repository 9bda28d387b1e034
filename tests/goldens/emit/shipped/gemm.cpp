// gemm, emitted by Tilewright from gemm.ptoir; do not edit.
// lookahead 6, prefetch 1
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

// How many of size elements are valid.
static __aicore__ inline int64_t clipped(int64_t valid, int64_t size)
{
    return valid < 0 ? 0 : valid < size ? valid : size;
}

// A load of no element; what the slot holds reaches no stored element.
template <typename Tile>
static __aicore__ inline void nothing_loaded(Tile &)
{
}

// The first element of the tensor that an argument points to.
template <typename T>
static __aicore__ inline __gm__ T *data(int64_t argument)
{
    __gm__ ChipTensor *tensor = reinterpret_cast<__gm__ ChipTensor *>(argument);
    return reinterpret_cast<__gm__ T *>(tensor->buffer.addr) + tensor->start_offset;
}

using TotalFifoPipe = TPipe<0, Direction::DIR_C2V, 65536, 6, 2>;

#ifdef __DAV_CUBE__
// A matrix in L1: boxes of 16 rows by 32 bytes.
template <typename T, int R, int C, int VR = R, int VC = C>
using L1Nz =
    Tile<TileType::Mat, T, R, C, BLayout::ColMajor, VR, VC, SLayout::RowMajor, 512>;

// Left operand, right operand and result of a product.
template <typename T, int R, int C, int VR = R, int VC = C>
using L0A = TileLeft<T, R, C, VR, VC>;
template <typename T, int R, int C, int VR = R, int VC = C>
using L0B = TileRight<T, R, C, VR, VC>;
template <typename T, int R, int C, int VR = R, int VC = C>
using L0C = TileAcc<T, R, C, VR, VC>;

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

static __aicore__ void gemm_cube(__gm__ int64_t *args)
{
    __gm__ bfloat16_t *a = data<bfloat16_t>(args[0]);
    __gm__ bfloat16_t *b = data<bfloat16_t>(args[1]);
    const int64_t m = args[5];
    const int64_t k = args[6];
    const int64_t n = args[7];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);

    TotalFifoPipe total_fifo(data<float>(args[4]) + block_idx * 98304, 0, 0);
    silent(total_fifo, 0);

    // L1
    L1Nz<bfloat16_t, 128, 64> a_tile[2];
    TASSIGN(a_tile[0], 0);
    TASSIGN(a_tile[1], 16384);
    L1Nz<bfloat16_t, 64, 128> b_tile[2];
    TASSIGN(b_tile[0], 32768);
    TASSIGN(b_tile[1], 49152);
    // L0A
    L0A<bfloat16_t, 128, 64> a_tile_a[2];
    TASSIGN(a_tile_a[0], 0);
    TASSIGN(a_tile_a[1], 16384);
    // L0B
    L0B<bfloat16_t, 64, 128> b_tile_b[2];
    TASSIGN(b_tile_b[0], 0);
    TASSIGN(b_tile_b[1], 16384);
    // L0C
    L0C<float, 128, 128> acc[2];
    TASSIGN(acc[0], 0);
    TASSIGN(acc[1], 65536);

    constexpr int acc_free = 0;
    constexpr int a_tile_free = 0;
    constexpr int a_tile_full = 0;
    constexpr int b_tile_free = 2;
    constexpr int b_tile_full = 2;
    constexpr int a_tile_a_free = 0;
    constexpr int b_tile_b_full = 0;
    constexpr int acc_full = 0;
    constexpr int total_fifo_stored = 0;

    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // a_tile.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // a_tile.free[1]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // b_tile.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // b_tile.free[1]
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // a_tile_a.free[0]
    set_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // a_tile_a.free[1]
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // acc.free[0]
    set_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // acc.free[1]
    const int64_t w_count = (
        (m + 127) / 128 * ((n + 127) / 128) - block_idx + (block_num - 1)) / block_num;
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t turn = -1;
        int64_t i = 0;
        int64_t n_2 = 0;
        int64_t item = 0;
        int64_t row = 0;
        int64_t col = 0;
    };
    Position positions[4];
    Position next;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 3; ++t) {
        if (t == u_count) {
            if (++next.i >= next.n_2) {
                next.i = next.n_2 = 0;
                while (next.n_2 <= 0 && ++next.w < w_count) {
                    next.item = block_idx + next.w * block_num;
                    next.row = next.item / ((n + 127) / 128) * 128;
                    next.col = next.item % ((n + 127) / 128) * 128;
                    next.n_2 = (k + 63) / 64;
                }
                ++next.turn;
            }
            if (next.n_2 > 0) {
                positions[t % 4] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 4];
            if (at.i == 0) {
                wait_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(acc_free + at.turn % 2));
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 4];
            // a_tile[u] = load a[row:+128<m - row, i * 64:+64<k - i * 64], fill_cols
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(a_tile_free + u % 2));
            const int64_t a_tile_rows = clipped(m - at.row, 128);
            const int64_t a_tile_cols = clipped(k - at.i * 64, 64);
            if (a_tile_cols < 64) {
                TEXPANDS(a_tile[u % 2], static_cast<bfloat16_t>(0.0f));
                pipe_barrier(PIPE_MTE2);
            }
            if (a_tile_rows > 0 && a_tile_cols > 0) {
                GmRows<bfloat16_t, DYNAMIC, DYNAMIC, DYNAMIC> a_tile_gm(
                    a + at.row * k + at.i * 64, {a_tile_rows, a_tile_cols}, {k});
                L1Nz<bfloat16_t, 128, 64, DYNAMIC, DYNAMIC> a_tile_part(a_tile_rows, a_tile_cols);
                TRESHAPE(a_tile_part, a_tile[u % 2]);
                TLOAD(a_tile_part, a_tile_gm);
            } else {
                nothing_loaded(a_tile[u % 2]);
            }
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(a_tile_full + u % 2));
            // b_tile[u] = load b[i * 64:+64<k - i * 64, col:+128<n - col], fill_rows
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(b_tile_free + u % 2));
            const int64_t b_tile_rows = clipped(k - at.i * 64, 64);
            const int64_t b_tile_cols = clipped(n - at.col, 128);
            if (b_tile_rows < 64) {
                TEXPANDS(b_tile[u % 2], static_cast<bfloat16_t>(0.0f));
                pipe_barrier(PIPE_MTE2);
            }
            if (b_tile_rows > 0 && b_tile_cols > 0) {
                GmRows<bfloat16_t, DYNAMIC, DYNAMIC, DYNAMIC> b_tile_gm(
                    b + at.i * 64 * n + at.col, {b_tile_rows, b_tile_cols}, {n});
                L1Nz<bfloat16_t, 64, 128, DYNAMIC, DYNAMIC> b_tile_part(b_tile_rows, b_tile_cols);
                TRESHAPE(b_tile_part, b_tile[u % 2]);
                TLOAD(b_tile_part, b_tile_gm);
            } else {
                nothing_loaded(b_tile[u % 2]);
            }
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(b_tile_full + u % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 4];
            // a_tile_a[u] = move a_tile[u]
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(a_tile_full + u % 2));
            wait_flag(PIPE_M, PIPE_MTE1, static_cast<event_t>(a_tile_a_free + u % 2));
            TMOV(a_tile_a[u % 2], a_tile[u % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(a_tile_free + u % 2));
            // b_tile_b[u] = move b_tile[u]
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(b_tile_full + u % 2));
            TMOV(b_tile_b[u % 2], b_tile[u % 2]);
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(b_tile_free + u % 2));
            set_flag(PIPE_MTE1, PIPE_M, static_cast<event_t>(b_tile_b_full + u % 2));
            pipe_barrier(PIPE_M);
            // acc[turn] = matmul a_tile_a[u], b_tile_b[u], acc[turn], i as acc_next
            wait_flag(PIPE_MTE1, PIPE_M, static_cast<event_t>(b_tile_b_full + u % 2));
            if (at.i != 0) {
                TMATMUL_ACC(acc[at.turn % 2], acc[at.turn % 2], a_tile_a[u % 2], b_tile_b[u % 2]);
            } else {
                TMATMUL(acc[at.turn % 2], a_tile_a[u % 2], b_tile_b[u % 2]);
            }
            set_flag(PIPE_M, PIPE_MTE1, static_cast<event_t>(a_tile_a_free + u % 2));
            if (at.i + 1 == at.n_2) {
                set_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(acc_full + at.turn % 2));
            }
        }
        if (const int64_t u = t - 3; u >= 0 && u < u_count) {
            Position &at = positions[u % 4];
            if (at.i + 1 == at.n_2) {
                // drain
                wait_flag(PIPE_FIX, PIPE_S, static_cast<event_t>(total_fifo_stored + at.turn % 2));
                signal(total_fifo, 0);  // record total_fifo
            }
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 4];
            if (at.i + 1 == at.n_2) {
                // total_fifo = push_data acc[turn]
                wait_flag(PIPE_M, PIPE_FIX, static_cast<event_t>(acc_full + at.turn % 2));
                TPUSH<TotalFifoPipe, L0C<float, 128, 128>, TILE_UP_DOWN>(
                    total_fifo, acc[at.turn % 2]);
                set_flag(PIPE_FIX, PIPE_M, static_cast<event_t>(acc_free + at.turn % 2));
                set_flag(PIPE_FIX, PIPE_S, static_cast<event_t>(total_fifo_stored + at.turn % 2));
            }
        }
    }
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // a_tile.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // a_tile.free[1]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID2);  // b_tile.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID3);  // b_tile.free[1]
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID0);  // a_tile_a.free[0]
    wait_flag(PIPE_M, PIPE_MTE1, EVENT_ID1);  // a_tile_a.free[1]
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID0);  // acc.free[0]
    wait_flag(PIPE_FIX, PIPE_M, EVENT_ID1);  // acc.free[1]
}
#endif  // __DAV_CUBE__

#ifdef __DAV_VEC__
// A tile of the vector core, row by row.
template <typename T, int R, int C, int VR = R, int VC = C,
          PadValue Pad = PadValue::Null>
using Ub = Tile<TileType::Vec, T, R, C, BLayout::RowMajor, VR, VC,
                SLayout::NoneBox, 512, Pad>;

static __aicore__ void gemm_vector(__gm__ int64_t *args)
{
    __gm__ float *bias = data<float>(args[2]);
    __gm__ float *out = data<float>(args[3]);
    const int64_t m = args[5];
    const int64_t n = args[7];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // A pipe finds a lane's half of a slot by the built-in lane number, which reads 0 on
    // both lanes under this runtime: the missing difference goes into the entry offset.
    const int64_t lane_shift = lane - static_cast<int64_t>(get_subblockid());
    TotalFifoPipe total_fifo(data<float>(args[4]) + block_idx * 98304, 1024, 0);
    total_fifo.cons.entryOffset = static_cast<int>(lane_shift * 32768);

    // UB
    Ub<float, 1, 128> bias_row[2];
    TASSIGN(bias_row[0], 0);
    TASSIGN(bias_row[1], 512);
    Ub<float, 64, 128> total_v[2];
    TASSIGN(total_v[0], 1024);
    TASSIGN(total_v[1], 66560);

    constexpr int bias_row_free = 0;
    constexpr int total_v_free = 0;
    constexpr int total_v_full = 0;
    constexpr int total_v_full2 = 0;

    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // bias_row.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // bias_row.free[1]
    set_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID0);  // total_v.free[0]
    set_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID1);  // total_v.free[1]
    const int64_t w_count = (
        (m + 127) / 128 * ((n + 127) / 128) - block_idx + (block_num - 1)) / block_num;
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t item = block_idx + w * block_num;
        const int64_t row = item / ((n + 127) / 128) * 128;
        const int64_t col = item % ((n + 127) / 128) * 128;
        // bias_row[turn] = load bias[col:+128<n - col]
        wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(bias_row_free + w % 2));
        const int64_t bias_row_cols = clipped(n - col, 128);
        if (bias_row_cols > 0) {
            GmRows<float, 1, DYNAMIC, 128> bias_row_gm(bias + col, {bias_row_cols});
            Ub<float, 1, 128, 1, DYNAMIC> bias_row_part(bias_row_cols);
            TRESHAPE(bias_row_part, bias_row[w % 2]);
            TLOAD(bias_row_part, bias_row_gm);
        } else {
            nothing_loaded(bias_row[w % 2]);
        }
        // total_v[turn] = pop total_fifo
        wait_flag(PIPE_MTE3, PIPE_MTE2, static_cast<event_t>(total_v_free + w % 2));
        TPOP<TotalFifoPipe, Ub<float, 64, 128>, TILE_UP_DOWN>(total_fifo, total_v[w % 2]);
        TFREE<TotalFifoPipe, TILE_UP_DOWN>(total_fifo);
        set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(total_v_full + w % 2));
        // total_v[turn] = add total_v[turn], bias_row[turn] as x
        wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(total_v_full + w % 2));
        TCOLEXPANDADD(total_v[w % 2], total_v[w % 2], bias_row[w % 2]);
        set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(bias_row_free + w % 2));
        pipe_barrier(PIPE_V);
        // total_v[turn] = maximum total_v[turn], 0.0 as x_2
        TMAXS(total_v[w % 2], total_v[w % 2], 0.0f);
        set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(total_v_full2 + w % 2));
        // out[row + lane * 64:+64<m - row - lane * 64, col:+128<n - col] = store total_v[turn]
        wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(total_v_full2 + w % 2));
        const int64_t total_v_rows = clipped(m - row - lane * 64, 64);
        const int64_t total_v_cols = clipped(n - col, 128);
        if (total_v_rows > 0 && total_v_cols > 0) {
            GmRows<float, DYNAMIC, DYNAMIC, DYNAMIC> total_v_gm(
                out + (row + lane * 64) * n + col, {total_v_rows, total_v_cols}, {n});
            Ub<float, 64, 128, DYNAMIC, DYNAMIC> total_v_part(total_v_rows, total_v_cols);
            TRESHAPE(total_v_part, total_v[w % 2]);
            TSTORE(total_v_gm, total_v_part);
        }
        set_flag(PIPE_MTE3, PIPE_MTE2, static_cast<event_t>(total_v_free + w % 2));
    }
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // bias_row.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // bias_row.free[1]
    wait_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID0);  // total_v.free[0]
    wait_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID1);  // total_v.free[1]
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
#ifdef __DAV_CUBE__
    gemm_cube(args);
#endif
#ifdef __DAV_VEC__
    gemm_vector(args);
#endif
}
