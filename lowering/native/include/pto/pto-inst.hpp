// The part of the tile library that emitted kernels call, for the asynchronous host machine.
#pragma once

#include "native/fifo.hpp"
#include "native/ops.hpp"
#include "native/tile.hpp"

namespace pto {

constexpr native::Pipe PIPE_S = native::Pipe::S;
constexpr native::Pipe PIPE_V = native::Pipe::V;
constexpr native::Pipe PIPE_M = native::Pipe::M;
constexpr native::Pipe PIPE_MTE1 = native::Pipe::MTE1;
constexpr native::Pipe PIPE_MTE2 = native::Pipe::MTE2;
constexpr native::Pipe PIPE_MTE3 = native::Pipe::MTE3;
constexpr native::Pipe PIPE_FIX = native::Pipe::FIX;
constexpr native::Pipe PIPE_ALL = native::Pipe::ALL;

enum event_t {
    EVENT_ID0,
    EVENT_ID1,
    EVENT_ID2,
    EVENT_ID3,
    EVENT_ID4,
    EVENT_ID5,
    EVENT_ID6,
    EVENT_ID7,
};

inline void set_flag(native::Pipe src, native::Pipe dst, event_t id, const Where &at = Where::current())
{
    native::set_flag(src, dst, id, at);
}
inline void wait_flag(native::Pipe src, native::Pipe dst, event_t id, const Where &at = Where::current())
{
    native::wait_flag(src, dst, id, at);
}
inline void pipe_barrier(native::Pipe pipe, const Where &at = Where::current())
{
    native::barrier(pipe, at);
}

}  // namespace pto
