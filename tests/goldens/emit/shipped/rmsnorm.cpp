// rmsnorm, emitted by Tilewright from rmsnorm.ptoir; do not edit.
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

#ifdef __DAV_VEC__
// A tile of the vector core, row by row.
template <typename T, int R, int C, int VR = R, int VC = C,
          PadValue Pad = PadValue::Null>
using Ub = Tile<TileType::Vec, T, R, C, BLayout::RowMajor, VR, VC,
                SLayout::NoneBox, 512, Pad>;

// One value per row; arithmetic sees the same bytes as a tile of one row.
template <typename T, int R, int C, int VR = R, int VC = C>
using UbColumn = Tile<TileType::Vec, T, R, C, BLayout::ColMajor, VR, VC>;

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

static __aicore__ void rmsnorm_vector(__gm__ int64_t *args)
{
    __gm__ bfloat16_t *x = data<bfloat16_t>(args[0]);
    __gm__ float *gamma = data<float>(args[1]);
    __gm__ bfloat16_t *out = data<bfloat16_t>(args[2]);
    const float epsilon = from_u64<float>(static_cast<uint64_t>(args[3]));
    const int64_t rows = args[4];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // UB
    Ub<float, 1, 1024> weight;
    TASSIGN(weight, 0);
    Ub<bfloat16_t, 8, 1024> x_tile[2];
    TASSIGN(x_tile[0], 4096);
    TASSIGN(x_tile[1], 20480);
    Ub<float, 8, 1024> y;
    TASSIGN(y, 36864);
    Ub<float, 8, 1024> square;
    TASSIGN(square, 69632);
    UbColumn<float, 8, 1> norm;
    TASSIGN(norm, 102400);
    Ub<bfloat16_t, 8, 1024> y16[2];
    TASSIGN(y16[0], 102432);
    TASSIGN(y16[1], 118816);
    Ub<float, 8, 1024> scratch;
    TASSIGN(scratch, 135200);
    Ub<float, 1, 8> norm_row;
    TASSIGN(norm_row, 102400);

    constexpr int x_tile_free = 0;
    constexpr int x_tile_full = 1;
    constexpr int y16_free = 0;
    constexpr int y16_full = 0;

    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // x_tile.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // x_tile.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // y16.free[0]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // y16.free[1]
    // weight = load gamma[:]
    GmRows<float, 1, 1024, 1024> weight_gm(gamma);
    TLOAD(weight, weight_gm);
    set_flag(PIPE_MTE2, PIPE_V, EVENT_ID0);  // weight.full
    wait_flag(PIPE_MTE2, PIPE_V, EVENT_ID0);  // weight.full
    const int64_t w_count = ((rows + 15) / 16 - block_idx + (block_num - 1)) / block_num;
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t first = (block_idx + w * block_num) * 16;
        // x_tile[w] = load x[first + lane * 8:+8<rows - first - lane * 8, :]
        wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(x_tile_free + w % 2));
        const int64_t x_tile_rows = clipped(rows - first - lane * 8, 8);
        if (x_tile_rows > 0) {
            GmRows<bfloat16_t, DYNAMIC, 1024, 1024> x_tile_gm(
                x + (first + lane * 8) * 1024, {x_tile_rows});
            Ub<bfloat16_t, 8, 1024, DYNAMIC, 1024> x_tile_part(x_tile_rows);
            TRESHAPE(x_tile_part, x_tile[w % 2]);
            TLOAD(x_tile_part, x_tile_gm);
        } else {
            nothing_loaded(x_tile[w % 2]);
        }
        set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(x_tile_full + w % 2));
        // y = astype x_tile[w], f32 as v
        wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(x_tile_full + w % 2));
        TCVT(y, x_tile[w % 2], RoundMode::CAST_RINT);
        set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(x_tile_free + w % 2));
        pipe_barrier(PIPE_V);
        TMUL(square, y, y);  // square = mul y, y
        pipe_barrier(PIPE_V);
        TROWSUM(norm, square, scratch);  // norm = row_sum square, scratch as norm_row_sum
        pipe_barrier(PIPE_V);
        TMULS(norm_row, norm_row, 0.0009765625f);  // norm = mul norm, 0.0009765625 as norm_mul
        pipe_barrier(PIPE_V);
        TADDS(norm_row, norm_row, epsilon);  // norm = add norm, epsilon as norm_add
        pipe_barrier(PIPE_V);
        TSQRT(norm_row, norm_row);  // norm = sqrt norm
        pipe_barrier(PIPE_V);
        TROWEXPANDDIV(y, y, norm);  // y = div y, norm as y_div
        pipe_barrier(PIPE_V);
        TCOLEXPANDMUL(y, y, weight);  // y = mul y, weight
        pipe_barrier(PIPE_V);
        // y16[w] = astype y, bf16
        wait_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y16_free + w % 2));
        TCVT(y16[w % 2], y, RoundMode::CAST_RINT);
        set_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y16_full + w % 2));
        // out[first + lane * 8:+8<rows - first - lane * 8, :] = store y16[w]
        wait_flag(PIPE_V, PIPE_MTE3, static_cast<event_t>(y16_full + w % 2));
        const int64_t y16_rows = clipped(rows - first - lane * 8, 8);
        if (y16_rows > 0) {
            GmRows<bfloat16_t, DYNAMIC, 1024, 1024> y16_gm(
                out + (first + lane * 8) * 1024, {y16_rows});
            Ub<bfloat16_t, 8, 1024, DYNAMIC, 1024> y16_part(y16_rows);
            TRESHAPE(y16_part, y16[w % 2]);
            TSTORE(y16_gm, y16_part);
        }
        set_flag(PIPE_MTE3, PIPE_V, static_cast<event_t>(y16_free + w % 2));
    }
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // x_tile.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // x_tile.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // y16.free[0]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID1);  // y16.free[1]
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
    (void)args;  // one of the cores has nothing to do
#ifdef __DAV_VEC__
    rmsnorm_vector(args);
#endif
}
