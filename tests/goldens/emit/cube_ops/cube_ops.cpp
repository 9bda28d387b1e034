// cube_ops, emitted by Tilewright from cube_ops.ptoir; do not edit.
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

// The first element of the tensor that an argument points to.
template <typename T>
static __aicore__ inline __gm__ T *data(int64_t argument)
{
    __gm__ ChipTensor *tensor = reinterpret_cast<__gm__ ChipTensor *>(argument);
    return reinterpret_cast<__gm__ T *>(tensor->buffer.addr) + tensor->start_offset;
}

using MadePipe = TPipe<0, Direction::DIR_C2V, 2048, 2, 2>;

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

static __aicore__ inline int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// The quotient, rounded down.
static __aicore__ inline int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

// What floor_div leaves, with the sign of b.
static __aicore__ inline int64_t floor_mod(int64_t a, int64_t b)
{
    return a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
}

// How many of size elements are valid.
static __aicore__ inline int64_t clipped(int64_t valid, int64_t size)
{
    return valid < 0 ? 0 : valid < size ? valid : size;
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

static __aicore__ void cube_ops_cube(__gm__ int64_t *args)
{
    __gm__ half *a = data<half>(args[0]);
    __gm__ half *b = data<half>(args[1]);
    __gm__ int32_t *which = data<int32_t>(args[2]);
    __gm__ bfloat16_t *out = data<bfloat16_t>(args[3]);
    const int64_t m = args[6];
    const int64_t k = args[7];
    const int64_t n = args[8];
    const int64_t tiles = args[9];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);

    MadePipe made(data<float>(args[5]) + block_idx * 1024, 0, 0);
    silent(made, 0);

    // L1
    L1Nz<half, 32, 16> x[2];
    TASSIGN(x[0], 0);
    TASSIGN(x[1], 1024);
    L1Nz<half, 16, 16> y[2];
    TASSIGN(y[0], 2048);
    TASSIGN(y[1], 2560);
    // L0A
    L0A<half, 32, 16> x_a;
    TASSIGN(x_a, 0);
    // L0B
    L0B<half, 16, 16> y_b;
    TASSIGN(y_b, 0);
    // L0C
    L0C<float, 32, 16> z[2];
    TASSIGN(z[0], 0);
    TASSIGN(z[1], 2048);

    const event_t x_full[] = {EVENT_ID0, EVENT_ID2};

    int64_t u_base = 0;  // finished iterations of the loop over i

    const int64_t w_count = (tiles - block_idx + (block_num - 1)) / block_num;
    int64_t tile[2];
    int64_t row[2];
    for (int64_t t = 0; t < w_count + 1; ++t) {
        if (const int64_t w = t; w < w_count) {
            tile[w % 2] = which[block_idx + w * block_num];
            row[w % 2] = floor_mod(tile[w % 2], 3) * 32;
        }
        if (const int64_t w = t - 1; w >= 0) {
            const int64_t col = floor_div(tile[w % 2], 3) * 16;
            const int64_t i_count = (k + 15) / 16;
            int64_t left[2];
            for (int64_t t_2 = 0; t_2 < i_count + 1; ++t_2) {
                if (const int64_t i = t_2; i < i_count) {
                    const int64_t u = u_base + i;
                    left[i % 2] = k - i * 16;
                    // x[u] = load a[row:+32<m - row, i * 16:+16<left]
                    const int64_t x_rows = clipped(m - row[w % 2], 32);
                    const int64_t x_cols = clipped(left[i % 2], 16);
                    if (x_rows < 32 || x_cols < 16) {
                        TEXPANDS(x[u % 2], static_cast<half>(0.0f));
                        pipe_barrier(PIPE_MTE2);
                    }
                    if (x_rows > 0 && x_cols > 0) {
                        GmRows<half, DYNAMIC, DYNAMIC, DYNAMIC> x_gm(
                            a + row[w % 2] * k + i * 16, {x_rows, x_cols}, {k});
                        L1Nz<half, 32, 16, DYNAMIC, DYNAMIC> x_part(x_rows, x_cols);
                        TRESHAPE(x_part, x[u % 2]);
                        TLOAD(x_part, x_gm);
                    }
                    set_flag(PIPE_MTE2, PIPE_MTE1, x_full[u % 2]);
                }
                if (const int64_t i = t_2 - 1; i >= 0) {
                    const int64_t u = u_base + i;
                    // y[u] = load b[col:+16<n - col, i * 16:+16<left]
                    wait_flag(PIPE_MTE2, PIPE_MTE1, x_full[u % 2]);
                    const int64_t y_rows = clipped(n - col, 16);
                    const int64_t y_cols = clipped(left[i % 2], 16);
                    if (y_rows < 16 || y_cols < 16) {
                        TEXPANDS(y[u % 2], static_cast<half>(0.0f));
                        pipe_barrier(PIPE_MTE2);
                    }
                    if (y_rows > 0 && y_cols > 0) {
                        GmRows<half, DYNAMIC, DYNAMIC, DYNAMIC> y_gm(
                            b + col * k + i * 16, {y_rows, y_cols}, {k});
                        L1Nz<half, 16, 16, DYNAMIC, DYNAMIC> y_part(y_rows, y_cols);
                        TRESHAPE(y_part, y[u % 2]);
                        TLOAD(y_part, y_gm);
                    }
                    if (left[i % 2] != 1) {
                        TMOV(x_a, x[u % 2]);  // x_a = move x[u]
                    } else {
                        pipe_barrier(PIPE_MTE1);
                        TMOV(x_a, x[u % 2]);  // x_a = move x[u]
                    }
                    // y_b = move y[u].T
                    L1Zn<half, 16, 16> y_t;
                    TRESHAPE(y_t, y[u % 2]);
                    TMOV(y_b, y_t);
                    // z[w] = matmul x_a, y_b, z[w], i
                    if (i != 0) {
                        TMATMUL_ACC(z[w % 2], z[w % 2], x_a, y_b);
                    } else {
                        TMATMUL(z[w % 2], x_a, y_b);
                    }
                }
            }
            u_base += max_of(i_count, 0);
            // made = push_data z[w]
            TPUSH<MadePipe, L0C<float, 32, 16>, TILE_UP_DOWN>(made, z[w % 2]);
            // drain FIX
            set_flag(PIPE_FIX, PIPE_S, EVENT_ID7);
            wait_flag(PIPE_FIX, PIPE_S, EVENT_ID7);
            signal(made, 0);  // record made
            // out[row:+32<m - row, col:+16<n - col] = store z[w]
            const int64_t z_rows = clipped(m - row[w % 2], 32);
            const int64_t z_cols = clipped(n - col, 16);
            if (z_rows > 0 && z_cols > 0) {
                GmRows<bfloat16_t, DYNAMIC, DYNAMIC, DYNAMIC> z_gm(
                    out + row[w % 2] * n + col, {z_rows, z_cols}, {n});
                L0C<float, 32, 16, DYNAMIC, DYNAMIC> z_part(z_rows, z_cols);
                TRESHAPE(z_part, z[w % 2]);
                TSTORE(z_gm, z_part);
            }
        }
    }
    // drain FIX
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

static __aicore__ void cube_ops_vector(__gm__ int64_t *args)
{
    __gm__ float *total = data<float>(args[4]);
    const int64_t tiles = args[9];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // A pipe finds a lane's half of a slot by the built-in lane number, which reads 0 on
    // both lanes under this runtime: the missing difference goes into the entry offset.
    const int64_t lane_shift = lane - static_cast<int64_t>(get_subblockid());
    MadePipe made(data<float>(args[5]) + block_idx * 1024, 0, 0);
    made.cons.entryOffset = static_cast<int>(lane_shift * 1024);

    // UB
    Ub<float, 16, 16> s[2];
    TASSIGN(s[0], 0);
    TASSIGN(s[1], 2048);

    const int64_t w_count = (tiles - block_idx + (block_num - 1)) / block_num;
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t item = block_idx + w * block_num;
        // s[w] = pop made
        TPOP<MadePipe, Ub<float, 16, 16>, TILE_UP_DOWN>(made, s[w % 2]);
        TFREE<MadePipe, TILE_UP_DOWN>(made);
        TMULS(s[w % 2], s[w % 2], 2.0f);  // s[w] = mul s[w], 2.0
        // total[item, lane * 16:+16, :] = store s[w]
        GmRows<float, 16, 16, 16> s_gm(total + item * 512 + lane * 16 * 16);
        TSTORE(s_gm, s[w % 2]);
    }
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
#ifdef __DAV_CUBE__
    cube_ops_cube(args);
#endif
#ifdef __DAV_VEC__
    cube_ops_vector(args);
#endif
}
