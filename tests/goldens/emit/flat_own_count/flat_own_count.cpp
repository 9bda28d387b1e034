// flat_own_count, emitted by Tilewright from flat_own_count.ptoir; do not edit.
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

static __aicore__ void flat_own_count_vector(__gm__ int64_t *args)
{
    __gm__ float *src = data<float>(args[0]);
    __gm__ int32_t *length = data<int32_t>(args[1]);
    __gm__ float *out = data<float>(args[2]);
    const int64_t m = args[4];

    const int64_t block_idx = get_block_idx(args);
    const int64_t block_num = get_block_num(args);
    const int64_t lane = get_sub_block_id(args);

    // UB
    Ub<float, 8, 16> a[2];
    TASSIGN(a[0], 0);
    TASSIGN(a[1], 512);
    Ub<float, 8, 16> b[2];
    TASSIGN(b[0], 1024);
    TASSIGN(b[1], 1536);
    Ub<float, 8, 16> c;
    TASSIGN(c, 2048);
    Ub<float, 8, 16> d;
    TASSIGN(d, 2560);

    constexpr int a_free = 0;
    constexpr int a_full = 0;
    constexpr int b_free = 2;
    constexpr int b_full = 2;

    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // a.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // a.free[1]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // b.free[0]
    set_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // b.free[1]
    set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
    const int64_t w_count = (m - block_idx + (block_num - 1)) / block_num;
    // First the items without an iteration over i, each by itself.
    int64_t turn = 0;  // items so far
    for (int64_t w = 0; w < w_count; ++w) {
        const int64_t item = block_idx + w * block_num;
        const int64_t n = length[item];
        if ((n + 1) / 2 <= 0) {
            // a[turn] = load src[lane * 8:+8, :]
            wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(a_free + turn % 2));
            GmRows<float, 8, 16, 16> a_gm(src + lane * 8 * 16);
            TLOAD(a[turn % 2], a_gm);
            set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(a_full + turn % 2));
            // d = copy a[turn]
            wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(a_full + turn % 2));
            wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
            TMOV(d, a[turn % 2]);
            set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(a_free + turn % 2));
            set_flag(PIPE_V, PIPE_MTE3, EVENT_ID0);  // d.full
            pipe_barrier(PIPE_V);
            // out[item, lane * 8:+8, :] = store d
            wait_flag(PIPE_V, PIPE_MTE3, EVENT_ID0);  // d.full
            GmRows<float, 8, 16, 16> d_gm(out + item * 256 + lane * 8 * 16);
            TSTORE(d_gm, d);
            set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
            ++turn;
        }
    }
    // Iteration i of item w: what the stages need of a position.
    struct Position {
        int64_t w = -1;
        int64_t turn = -1;
        int64_t i = 0;
        int64_t i_count = 0;
        int64_t item = 0;
        int64_t n = 0;
    };
    Position positions[2];
    Position next;
    next.turn = turn - 1;
    int64_t u_count = 0;  // positions so far, all of them once the items end
    for (int64_t t = 0; t == u_count || t < u_count + 1; ++t) {
        if (t == u_count) {
            if (++next.i >= next.i_count) {
                next.i = next.i_count = 0;
                while (next.i_count <= 0 && ++next.w < w_count) {
                    next.item = block_idx + next.w * block_num;
                    next.n = length[next.item];
                    next.i_count = (next.n + 1) / 2;
                }
                ++next.turn;
            }
            if (next.i_count > 0) {
                positions[t % 2] = next;
                u_count = t + 1;
            }
        }
        if (const int64_t u = t; u < u_count) {
            Position &at = positions[u % 2];
            if (at.i == 0) {
                // a[turn] = load src[lane * 8:+8, :]
                wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(a_free + at.turn % 2));
                GmRows<float, 8, 16, 16> a_gm_2(src + lane * 8 * 16);
                TLOAD(a[at.turn % 2], a_gm_2);
                set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(a_full + at.turn % 2));
            }
            // b[u] = load src[i * 8:+8, :]
            wait_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(b_free + u % 2));
            GmRows<float, 8, 16, 16> b_gm(src + at.i * 8 * 16);
            TLOAD(b[u % 2], b_gm);
            set_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(b_full + u % 2));
        }
        if (const int64_t u = t - 1; u >= 0 && u < u_count) {
            Position &at = positions[u % 2];
            // c = copy b[u]
            wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(b_full + u % 2));
            TMOV(c, b[u % 2]);
            set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(b_free + u % 2));
            pipe_barrier(PIPE_V);
            if (at.i + 1 == at.i_count) {
                // d = copy a[turn]
                wait_flag(PIPE_MTE2, PIPE_V, static_cast<event_t>(a_full + at.turn % 2));
                wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
                TMOV(d, a[at.turn % 2]);
                set_flag(PIPE_V, PIPE_MTE2, static_cast<event_t>(a_free + at.turn % 2));
                set_flag(PIPE_V, PIPE_MTE3, EVENT_ID0);  // d.full
                pipe_barrier(PIPE_V);
                // out[item, lane * 8:+8, :] = store d
                wait_flag(PIPE_V, PIPE_MTE3, EVENT_ID0);  // d.full
                GmRows<float, 8, 16, 16> d_gm_2(out + at.item * 256 + lane * 8 * 16);
                TSTORE(d_gm_2, d);
                set_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
            }
        }
    }
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID0);  // a.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID1);  // a.free[1]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID2);  // b.free[0]
    wait_flag(PIPE_V, PIPE_MTE2, EVENT_ID3);  // b.free[1]
    wait_flag(PIPE_MTE3, PIPE_V, EVENT_ID0);  // d.free
    // drain MTE3
    set_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
    wait_flag(PIPE_MTE3, PIPE_S, EVENT_ID7);
}
#endif  // __DAV_VEC__

extern "C" __aicore__ void kernel_entry(__gm__ int64_t *args)
{
    (void)args;  // one of the cores has nothing to do
#ifdef __DAV_VEC__
    flat_own_count_vector(args);
#endif
}
