// flat_beside, emitted by Tilewright from flat_beside.ptoir; do not edit.
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

#ifdef __DAV_CUBE__
// A matrix in L1: boxes of 16 rows by 32 bytes.
template <typename T, int R, int C, int VR = R, int VC = C>
using L1Nz =
    Tile<TileType::Mat, T, R, C, BLayout::ColMajor, VR, VC, SLayout::RowMajor, 512>;

static __aicore__ void flat_beside_cube(__gm__ int64_t *args)
{
    __gm__ float *src = data<float>(args[0]);
    const int64_t m = args[3];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);

    // L1
    L1Nz<float, 16, 16> x[2];
    TASSIGN(x[0], 0);
    TASSIGN(x[1], 1024);

    constexpr int x_free = 0;
    constexpr int x_full = 0;

    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // x.free[0]
    set_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // x.free[1]
    const int64_t w_count = (m - block_idx + (block_num - 1)) / block_num;
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t i = 0;
        int64_t i_count = 0;
    };
    Position positions[2];
    Position next;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 1; ++t) {
        if (t == u_count) {
            if (++next.i >= next.i_count) {
                next.i = next.i_count = 0;
                while (next.i_count <= 0 && ++next.w < w_count) {
                    next.i_count = 4;
                }
            }
            if (next.i_count > 0) {
                positions[t % 2] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 2];
            // x[u] = load src[i * 16:+16, :]
            wait_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(x_free + u % 2));
            GmRows<float, 16, 16, 16> x_gm(src + at.i * 16 * 16);
            TLOAD(x[u % 2], x_gm);
            set_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(x_full + u % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            wait_flag(PIPE_MTE2, PIPE_MTE1, static_cast<event_t>(x_full + u % 2));
            set_flag(PIPE_MTE1, PIPE_MTE2, static_cast<event_t>(x_free + u % 2));
        }
    }
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID0);  // x.free[0]
    wait_flag(PIPE_MTE1, PIPE_MTE2, EVENT_ID1);  // x.free[1]
}
#endif  // __DAV_CUBE__

#ifdef __DAV_VEC__
// A tile of the vector core, row by row.
template <typename T, int R, int C, int VR = R, int VC = C,
          PadValue Pad = PadValue::Null>
using Ub = Tile<TileType::Vec, T, R, C, BLayout::RowMajor, VR, VC,
                SLayout::NoneBox, 512, Pad>;

static __aicore__ void flat_beside_vector(__gm__ int64_t *args)
{
    __gm__ float *src = data<float>(args[0]);
    __gm__ float *out = data<float>(args[1]);
    const int64_t m = args[3];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // UB
    Ub<float, 8, 16> a[2];
    TASSIGN(a[0], 0);
    TASSIGN(a[1], 512);

    constexpr int a_free = 0;
    constexpr int a_full = 0;

    set_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID0);  // a.free[0]
    set_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID1);  // a.free[1]
    const int64_t w_count = (m - block_idx + (block_num - 1)) / block_num;
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t turn = -1;
        int64_t item = 0;
    };
    Position positions[2];
    Position next;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 1; ++t) {
        if (t == u_count) {
            if (++next.w < w_count) {
                next.item = block_idx + next.w * block_num;
                ++next.turn;
            }
            if (next.w < w_count) {
                positions[t % 2] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 2];
            // a[turn] = load src[lane * 8:+8, :]
            wait_flag(PIPE_MTE3, PIPE_MTE2, static_cast<event_t>(a_free + at.turn % 2));
            GmRows<float, 8, 16, 16> a_gm(src + lane * 8 * 16);
            TLOAD(a[at.turn % 2], a_gm);
            set_flag(PIPE_MTE2, PIPE_MTE3, static_cast<event_t>(a_full + at.turn % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 2];
            // out[item, lane * 8:+8, :] = store a[turn]
            wait_flag(PIPE_MTE2, PIPE_MTE3, static_cast<event_t>(a_full + at.turn % 2));
            GmRows<float, 8, 16, 16> a_gm_2(out + at.item * 256 + lane * 8 * 16);
            TSTORE(a_gm_2, a[at.turn % 2]);
            set_flag(PIPE_MTE3, PIPE_MTE2, static_cast<event_t>(a_free + at.turn % 2));
        }
    }
    wait_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID0);  // a.free[0]
    wait_flag(PIPE_MTE3, PIPE_MTE2, EVENT_ID1);  // a.free[1]
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
#ifdef __DAV_CUBE__
    flat_beside_cube(args);
#endif
#ifdef __DAV_VEC__
    flat_beside_vector(args);
#endif
}
